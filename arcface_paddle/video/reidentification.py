"""Re-identification: which faces are those of tracks that are out of sight."""

from __future__ import annotations

from typing import Iterable, Mapping, Optional, Sequence

import numpy as np

from arcface_paddle.video.assignment import best_pairs
from arcface_paddle.video.changes import ChangeLog
from arcface_paddle.video.frame_state import FrameState
from arcface_paddle.video.identity import NameRules
from arcface_paddle.video.tracks import Track, TrackList, are_two_people

_MOST_LOST = 64  # tracks out of sight that a new face is compared with, the latest ones
_FIT = 0.5  # quality that two looks need to tell that they are one face: half hidden faces resemble each other


class ReIdentification:
    """Finds lost tracks again: at the first look at a new face, or later, by joining two tracks.

    Attributes:
        aliases: numbers of tracks that turned out to be the face of an earlier one, and that one's number.
    """

    def __init__(self, tracks: TrackList, rules: NameRules, log: ChangeLog) -> None:
        self.aliases: dict[int, int] = {}
        self._tracks = tracks
        self._rules = rules
        self._log = log

    def resolved(self, number: int) -> int:
        """Return the number under which a track is known in the end."""
        while number in self.aliases:
            number = self.aliases[number]
        return number

    def lost(self, frame: FrameState) -> list[Track]:
        """Return the tracks with evidence that are out of sight, the latest first."""
        present = frame.numbers()
        lost = [one for one in self._tracks.open.values() if one.number not in present and len(one.evidence)]
        return sorted(lost, key=lambda one: -one.last_s)[:_MOST_LOST]

    def recognised(self, frame: FrameState, indices: Sequence[int]) -> dict[int, Track]:
        """Find, among the tracks that are out of sight, those of new faces; by the indices of their detections."""
        lost = [one for one in self.lost(frame) if one.looked_quality >= _FIT]
        fit = [index for index in indices if index in frame.seen and frame.seen[index].quality >= _FIT]
        if not lost or not fit:
            return {}
        table = np.array([[one.evidence.similarity_to(frame.seen[index].vector) for one in lost] for index in fit])
        return {fit[row]: lost[column] for row, column in best_pairs(table - self._rules.same)}

    def begin_or_resume(self, frame: FrameState, index: int, known: Mapping[int, Track]) -> Track:
        """Give a detection the track that ``recognised`` found for it, or a new one."""
        box_xyxy, track = frame.detections[index].box_xyxy, known.get(index)
        if track is None:
            track = self._tracks.begin(box_xyxy, frame.time_s)
        else:
            track.resume(box_xyxy, frame.time_s)
        frame.found[index] = track
        return track

    def is_one_face(self, one: Track, other: Track) -> bool:
        """Tell whether two tracks with evidence show one face."""
        return one.evidence.similarity_between(other.evidence) >= self._rules.same

    def join_young(self, frame: FrameState, touched: Iterable[int]) -> set[int]:
        """Join new tracks with lost ones that they turn out to be, now that their faces were seen better.

        Args:
            frame: with its tracks.
            touched: numbers of the tracks whose evidence has changed.

        Returns:
            Numbers of the lost tracks that were found again.
        """
        joined = set()
        for index, young in list(frame.found.items()):
            if young.number not in touched or len(young.evidence) < 2 or young.looked_quality < _FIT:
                continue
            old = self._elder(frame, young)
            if old is not None:
                self._join(frame, index, old)
                joined.add(old.number)
        return joined

    def _elder(self, frame: FrameState, young: Track) -> Optional[Track]:
        """Return the lost track whose face a new one shows; None if there is none."""
        lost = [one for one in self.lost(frame) if one.number < young.number and one.looked_quality >= _FIT]
        # Who was seen together is two people, unless the tracker mistook one for the other for a moment: who goes on
        # as another for longer has looks of both among the evidence, which then says little.
        lost = [
            one for one in lost if not are_two_people(one.seen_with[young.number], one.appearances, young.appearances)
        ]
        if not lost:
            return None
        old = max(lost, key=lambda one: one.evidence.similarity_between(young.evidence))
        together = young.number in old.seen_with or old.last_s > young.first_s
        least = self._rules.same + (2 * self._rules.lead if together else 0)
        return old if old.evidence.similarity_between(young.evidence) >= least else None

    def _join(self, frame: FrameState, index: int, old: Track) -> None:
        young = frame.found[index]
        old.absorb(young)
        for number in young.seen_with.keys() & self._tracks.open.keys():
            self._tracks.open[number].seen_with[old.number] += young.seen_with[number]
        del self._tracks.open[young.number]
        frame.found[index] = old
        self.aliases[young.number] = old.number
        self._log.joined(old, frame.time_s, was=young.number)
