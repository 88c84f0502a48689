"""Tracks: which box of this frame is the face of which box before.

Association is by motion and overlap, an optimal assignment in two rounds as in ByteTrack (Zhang et al. 2022, section
3): first the faces that the detector is sure of, then the weak boxes, which go on with a track and begin none. What
motion cannot tell (people who crossed, a face after a cut, one that comes back) is left to the embedding, see
``tracker``.

Why our own: the trackers on the package index are made for bodies and bring PyTorch or SciPy, embed every box of every
frame (the embedding is what costs), count time in frames, know nothing of a gallery, and most have not been released
for years. What is needed here is this module, ``motion`` and ``assignment``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Iterable, Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.types import Candidate, Detection
from arcface_paddle.video.assignment import best_pairs
from arcface_paddle.video.evidence import Evidence, Look
from arcface_paddle.video.motion import Motion

COAST_S = 1.0
"""Seconds for which a face that is out of sight is expected where its motion leads; afterwards nobody knows."""

ABSENCE_S = 1.0
"""Seconds out of sight that count as absence: somebody who turns around has not left."""

_GATE = 16.0  # squared Mahalanobis distance in three dimensions: exceeded by 1 in 900 of the right ones
_LEAST_OVERLAP = 0.1  # of the boxes that goes with any distance
_WEAK_OVERLAP = 0.3  # with the expected box, that a weak box must have
_CROWDED = 0.9  # distance of two middles, in sizes of the faces, below which one may be taken for the other


@dataclass(eq=False)
class Track:
    """One face through the frames.

    Attributes:
        number: from 1.
        motion: where it is; None after a cut, when nobody can know.
        evidence: what was seen of the face when it was looked at.
        before: motion and time of the last box, as they were before this frame.
        first_s: time of the first box.
        last_s: of the last one.
        appearances: boxes so far.
        name: the person decided on, None for nobody.
        similarity: fused, to the person, or to the best one if there is no name; None if nobody was asked.
        candidates: the best persons with fused similarities.
        met: tracks with which it may have been confused since the last look that told them apart.
        doubtful: whether it was out of sight since then.
        contradictions: looks in a row that show somebody else.
        looked_s: time of the last look.
        looks: taken so far.
        looked_quality: the best quality, circumstances only, at which a look was taken.
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

    @property
    def is_confirmed(self) -> bool:
        """Whether it was seen often enough not to be a slip of the detector."""
        return self.appearances >= 3 or (self.appearances >= 2 and self.last_s - self.first_s >= 0.5)


class TrackList:
    """The tracks that are in sight or may come back, and the numbers given out."""

    def __init__(self, spec: SimilaritySpec) -> None:
        self.open: dict[int, Track] = {}
        self._spec = spec
        self._numbers = itertools.count(1)

    def begin(self, box_xyxy: np.ndarray, time_s: float) -> Track:
        """Begin a track with a box."""
        track = Track(next(self._numbers), Motion(box_xyxy, time_s), Evidence(self._spec), time_s, time_s)
        track.see(time_s)
        self.open[track.number] = track
        return track

    def moving(self, time_s: float) -> list[Track]:
        """Return the tracks whose motion says where they are."""
        return [one for one in self.open.values() if one.motion is not None and time_s - one.last_s <= COAST_S + 1e-6]

    def forget_motion(self) -> None:
        """A cut: everybody may be anywhere."""
        for track in self.open.values():
            track.motion = None

    def overdue(self, time_s: float, *, keep_s: float) -> list[Track]:
        """Return the tracks that were out of sight for too long."""
        return [track for track in self.open.values() if time_s - track.last_s > keep_s]


def go_on(
    tracks: Sequence[Track], detections: Sequence[Detection], time_s: float, *, strong: float
) -> dict[int, Track]:
    """Find the track of each box by motion and overlap.

    Args:
        tracks: those whose motion is known.
        detections: of this frame, with the weak ones.
        time_s: of this frame.
        strong: score from which on a detection is a face; lower ones only go on with what is known.

    Returns:
        The track of each detection that has one, by the position of the detection.
    """
    found: dict[int, Track] = {}
    left = list(tracks)
    for is_strong in (True, False):
        places = [i for i, one in enumerate(detections) if (one.score >= strong) == is_strong]
        table = np.array([[_gain(track, detections[i], time_s, is_strong) for i in places] for track in left])
        pairs = best_pairs(table.reshape(len(left), len(places)))
        found.update({places[column]: left[row] for row, column in pairs})
        taken = {row for row, _ in pairs}
        left = [track for row, track in enumerate(left) if row not in taken]
    return found


def _gain(track: Track, detection: Detection, time_s: float, is_strong: bool) -> float:
    """Return how well a box goes on with a track, above 0 to 2; -1 if it cannot."""
    assert track.motion is not None
    overlap = iou(track.motion.box_at(time_s), detection.box_xyxy)
    surprise = track.motion.surprise(detection.box_xyxy, time_s)
    if not is_strong and overlap < _WEAK_OVERLAP:
        return -1.0
    if surprise > _GATE and overlap < max(_LEAST_OVERLAP, 0.4):
        return -1.0
    return 0.05 + overlap + 0.95 / (1 + surprise / 3)


def neighbours(boxes_xyxy: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return the pairs of boxes so close that one face may be taken for the other."""
    if len(boxes_xyxy) < 2:
        return []
    boxes = np.array(boxes_xyxy, np.float64)
    middles, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1), 1))
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=2) / np.maximum(sizes[:, None], sizes[None])
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(apart < _CROWDED, 1))]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes.

    Example:
        >>> round(iou(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])), 3)
        0.333
    """
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(max(sides[0], 0.0) * max(sides[1], 0.0))
    areas = [float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)) for box in (one, other)]
    return shared / max(sum(areas) - shared, 1e-9)


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
