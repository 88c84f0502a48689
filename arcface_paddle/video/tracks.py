"""Tracks: one face through the frames, and all that is known of it."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Iterable, Optional

import numpy as np

from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.types import Candidate
from arcface_paddle.video.evidence import Evidence, Look
from arcface_paddle.video.looking import Seen
from arcface_paddle.video.motion import Motion

COAST_S = 1.0
"""Seconds for which a face that is out of sight is expected where its motion leads; afterwards nobody knows."""

ABSENCE_S = 1.0
"""Seconds out of sight that count as absence: somebody who turns around has not left."""

_MISTAKEN_SHARE = 0.1  # of its frames in which a track may have been on another face, next to its own


def are_two_people(together: int, appearances: int, of_other: int) -> bool:
    """Tell whether two tracks were in sight together for longer than a mistake of the tracker may last.

    Args:
        together: frames in which both were in sight.
        appearances: frames in which one was.
        of_other: likewise of the other.

    Example:
        >>> are_two_people(3, 50, 90), are_two_people(6, 50, 90)
        (False, True)
    """
    return together > _MISTAKEN_SHARE * min(appearances, of_other)


@dataclass(eq=False)
class Track:
    """One face through the frames.

    Attributes:
        number: from 1.
        motion: where it is; None after a cut, when nobody can know.
        evidence: what was seen of the face when it was looked at.
        first_s: time of the first box, seconds of the video.
        last_s: of the last one.
        appearances: boxes so far.
        before: motion and time of the last box, as they were before this frame.
        name: the person decided on, None for nobody.
        similarity: fused, to the person, or to the best one if there is no name, -1 to 1; None if the gallery was not
            asked.
        candidates: the best persons with fused similarities, most similar first.
        met: numbers of tracks with which it may have been confused since the last look that told them apart.
        doubtful: whether it was out of sight since then.
        contradictions: looks in a row that show somebody else.
        looked_s: time of the last look.
        looks: taken so far.
        looked_quality: the best quality, 0 to 1, that a look has found; 0 before the first.
        judged_s: time at which the quality was last measured.
        seen_with: in how many frames another track was there, too, by its number.
        spans: from when to when it was in sight, absences of less than ``ABSENCE_S`` left out.
    """

    number: int
    motion: Optional[Motion]
    evidence: Evidence
    first_s: float
    last_s: float
    appearances: int = 1
    before: Optional[tuple[Motion, float]] = None
    name: Optional[str] = None
    similarity: Optional[float] = None
    candidates: tuple[Candidate, ...] = ()
    met: set[int] = field(default_factory=set)
    doubtful: bool = False
    contradictions: list[Look] = field(default_factory=list)
    looked_s: float = -1e9
    looks: int = 0
    looked_quality: float = 0.0
    judged_s: float = -1e9
    seen_with: Counter[int] = field(default_factory=Counter)
    spans: list[tuple[float, float]] = field(default_factory=list)

    def see(self, time_s: float) -> None:
        """Note that the face is in sight: a span goes on, or begins after an absence."""
        if self.spans and time_s - self.spans[-1][1] <= ABSENCE_S:
            self.spans[-1] = (self.spans[-1][0], time_s)
        else:
            self.spans.append((time_s, time_s))
        self.last_s = time_s

    def go_on(self, box_xyxy: np.ndarray, time_s: float, *, gap_s: float) -> None:
        """Take in the box (4,) of a frame; after more than ``gap_s`` out of sight it may be somebody else's."""
        assert self.motion is not None
        if time_s - self.last_s > gap_s:
            self.doubtful = True
        self.before = self.motion.copy(), self.last_s
        self.motion.update(box_xyxy, time_s)
        self.see(time_s)
        self.appearances += 1

    def resume(self, box_xyxy: np.ndarray, time_s: float) -> None:
        """Go on with a box (4,) that a look has shown to be this face, wherever it was expected."""
        self.motion = Motion(box_xyxy, time_s)
        self.see(time_s)
        self.appearances += 1
        self.met.clear()
        self.doubtful = False

    def give_up_face(self) -> list[Look]:
        """Go out of sight, as the face of this frame is somebody else's; returns the looks that have shown it."""
        looks, self.contradictions = self.contradictions, []
        self.motion, self.doubtful = None, False
        self.met.clear()
        self.appearances = max(1, self.appearances - 1)
        return looks

    def add_look(self, seen: Seen, time_s: float) -> None:
        """Take a look into the evidence: the face is no longer in doubt."""
        self.evidence.add(seen.as_look(time_s))
        self.count_look(seen, time_s)
        self.met.clear()
        self.doubtful = False
        self.contradictions.clear()

    def count_look(self, seen: Seen, time_s: float) -> None:
        """Count a look without believing what it shows."""
        self.looks += 1
        self.looked_s = self.judged_s = time_s
        self.looked_quality = max(self.looked_quality, seen.quality)

    def rename(self, name: Optional[str]) -> None:
        """Take the name of one of the candidates, or None for nobody."""
        best = self.candidates[0].similarity if self.candidates else None
        self.name = name
        self.similarity = best if name is None else {one.name: one.similarity for one in self.candidates}[name]

    def absorb(self, young: Track) -> None:
        """Go on as a newer track in sight, which turned out to be the same face."""
        self.motion = young.motion
        self.spans = union([*self.spans, *young.spans], most_gap=ABSENCE_S)
        self.see(young.last_s)
        self.appearances += young.appearances
        self.evidence.join(young.evidence)
        self.looks += young.looks
        self.looked_s, self.judged_s = young.looked_s, young.judged_s
        self.looked_quality = max(self.looked_quality, young.looked_quality)
        self.seen_with.update(young.seen_with)
        self.met, self.doubtful = set(), False

    @property
    def is_confirmed(self) -> bool:
        """Whether it was seen often enough not to be a slip of the detector."""
        return self.appearances >= 3 or (self.appearances >= 2 and self.last_s - self.first_s >= 0.5)


class TrackList:
    """The tracks that are in sight or may come back, and the numbers given out.

    Attributes:
        open: the tracks, by number.
    """

    def __init__(self, spec: SimilaritySpec) -> None:
        """Begin with nobody; ``spec`` says what a cosine is worth."""
        self.open: dict[int, Track] = {}
        self._spec = spec
        self._numbers = itertools.count(1)

    def begin(self, box_xyxy: np.ndarray, time_s: float) -> Track:
        """Begin a track with a box (4,)."""
        track = Track(next(self._numbers), Motion(box_xyxy, time_s), Evidence(self._spec), time_s, time_s)
        track.see(time_s)
        self.open[track.number] = track
        return track

    def moving(self, time_s: float) -> list[Track]:
        """Return the tracks whose motion says where they are."""
        return [one for one in self.open.values() if one.motion is not None and time_s - one.last_s <= COAST_S + 1e-6]

    def forget_motion(self) -> None:
        """Note a cut: everybody may be anywhere."""
        for track in self.open.values():
            track.motion = None

    def overdue(self, time_s: float, *, keep_s: float) -> list[Track]:
        """Return the tracks that were out of sight for more than ``keep_s`` seconds."""
        return [track for track in self.open.values() if time_s - track.last_s > keep_s]


def union(spans: Iterable[tuple[float, float]], *, most_gap: float = 0.0) -> list[tuple[float, float]]:
    """Return spans of time joined where they overlap, or are no farther apart than ``most_gap``.

    Example:
        >>> union([(5, 6), (0, 2), (1, 3)])
        [(0, 3), (5, 6)]
    """
    joined: list[tuple[float, float]] = []
    for first, last in sorted(spans):
        if joined and first - joined[-1][1] <= most_gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
