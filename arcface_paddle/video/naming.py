"""Naming: the gallery is asked about tracks, and everybody in sight gets a name together."""

from __future__ import annotations

import dataclasses
from typing import Iterable, Optional, Sequence

import numpy as np

from arcface_paddle.types import Candidate
from arcface_paddle.video.changes import ChangeLog, ClosedTrack
from arcface_paddle.video.frame_state import FrameState
from arcface_paddle.video.identity import Claim, NameRules, assign_names, names_in_retrospect
from arcface_paddle.video.looking import Looker
from arcface_paddle.video.tracks import Track, are_two_people


class Naming:
    """Decides who the tracks in sight are."""

    def __init__(
        self, looker: Optional[Looker], rules: NameRules, log: ChangeLog, *, unique: bool, min_quality: float
    ) -> None:
        """Take what it needs.

        Args:
            looker: asks the gallery; None where nobody is named.
            rules: thresholds of similarity.
            log: is told of decisions.
            unique: give each person at most once in a frame.
            min_quality: tracks that were never seen better than this get no name.
        """
        self._looker = looker
        self._rules = rules
        self._log = log
        self._unique = unique
        self._min_quality = min_quality

    def decide(self, frame: FrameState, asked: Sequence[Track]) -> None:
        """Name everybody in sight, after the gallery was ``asked`` about those whose evidence has changed."""
        self._ask(asked)
        tracks = list(frame.found.values())
        names = assign_names([self.claim(one) for one in tracks], self._rules, unique=self._unique)
        for track, name in zip(tracks, names):
            before = track.name
            track.rename(name)
            self._log.decided(track, frame.time_s, before=before)

    def claim(self, track: Track) -> Claim:
        """Return what a track may be called."""
        is_fit = not track.looks or track.looked_quality >= self._min_quality
        return Claim(track.candidates if is_fit else (), track.name, track.looks)

    def in_retrospect(self, closed: Sequence[ClosedTrack]) -> dict[int, Optional[str]]:
        """Return the name of each track of a film by all that was seen of all of them."""
        # With all evidence there is nothing to hold on to: what was said before does not count.
        claims = {one.number: dataclasses.replace(one.claim, name=None) for one in closed}
        weights = {one.number: float(one.appearances) for one in closed}
        together = _together(closed) if self._unique else {}
        return names_in_retrospect(claims, self._rules, together=together, weights=weights)

    def _ask(self, tracks: Sequence[Track]) -> None:
        if self._looker is None or not tracks:
            return
        answers = self._looker.candidates(np.stack([track.evidence.template for track in tracks]))
        for track, candidates in zip(tracks, answers):
            track.candidates = tuple(
                Candidate(one.name, track.evidence.fused_similarity(one.similarity)) for one in candidates
            )


def _together(closed: Iterable[ClosedTrack]) -> dict[int, set[int]]:
    """Return with whom each track was seen for longer than a mistake of the tracker may last."""
    by_number = {one.number: one for one in closed}

    return {
        number: {
            other
            for other, frames in one.seen_with.items()
            if other in by_number and are_two_people(frames, one.appearances, by_number[other].appearances)
        }
        for number, one in by_number.items()
    }
