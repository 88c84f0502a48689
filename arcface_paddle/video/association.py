"""Association: which box of this frame is the face of which track, by motion and overlap.

An optimal assignment in two rounds as in ByteTrack (Zhang et al. 2022, section 3): first the faces that the detector is
sure of, then the weak boxes, which go on with a track and begin none. What motion cannot tell (people who crossed, a
face after a cut, one that comes back) is left to the embedding, see ``crossings`` and ``reidentification``.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np

from arcface_paddle.pipeline.detection.boxes import iou
from arcface_paddle.types import Detection
from arcface_paddle.video.assignment import best_pairs
from arcface_paddle.video.frame_state import FrameState
from arcface_paddle.video.tracks import Track

_GATE = 16.0  # squared Mahalanobis distance in three dimensions: exceeded by 1 in 900 of the right ones
_BEYOND_GATE_OVERLAP = 0.4  # intersection over union of a box that goes with any distance
_WEAK_OVERLAP = 0.3  # with the expected box, that a weak box must have
_CROWDED = 0.9  # distance of two middles, in sizes of the faces, below which one may be taken for the other


def associate(
    tracks: Sequence[Track], detections: Sequence[Detection], time_s: float, *, strong: float
) -> dict[int, Track]:
    """Find the track of each box by motion and overlap.

    Args:
        tracks: those whose motion is known.
        detections: of this frame, with the weak ones.
        time_s: of this frame.
        strong: score from which on a detection is a face; lower ones only go on with what is known.

    Returns:
        The track of each detection that has one, by the index of the detection.
    """
    found: dict[int, Track] = {}
    left = list(tracks)
    for is_strong in (True, False):
        indices = [i for i, one in enumerate(detections) if (one.score >= strong) == is_strong]
        boxes = [detections[i].box_xyxy for i in indices]
        least = 0.0 if is_strong else _WEAK_OVERLAP
        table = np.array([[_gain(track, box, time_s, least_overlap=least) for box in boxes] for track in left])
        pairs = best_pairs(table.reshape(len(left), len(indices)))
        found.update({indices[column]: left[row] for row, column in pairs})
        taken = {row for row, _ in pairs}
        left = [track for row, track in enumerate(left) if row not in taken]
    return found


def _gain(track: Track, box_xyxy: np.ndarray, time_s: float, *, least_overlap: float) -> float:
    """Return how well a box (4,) goes on with a track, above 0 to 2; -1 if it is outside the gate."""
    assert track.motion is not None
    overlap = iou(track.motion.box_at(time_s), box_xyxy)
    distance = track.motion.gating_distance(box_xyxy, time_s)
    if overlap < least_overlap or (distance > _GATE and overlap < _BEYOND_GATE_OVERLAP):
        return -1.0
    return 0.05 + overlap + 0.95 / (1 + distance / 3)


def note_neighbours(frame: FrameState, moving: Sequence[Track]) -> None:
    """Note who is so close to whom that one may go on as the other.

    Args:
        frame: with the tracks in sight.
        moving: all tracks whose motion is known; those that are not in sight may be hidden behind somebody.
    """
    in_sight = frame.numbers()
    visible, hidden = list(frame.found.values()), [one for one in moving if one.number not in in_sight]
    boxes = [frame.detections[index].box_xyxy.astype(np.float64) for index in frame.found]
    boxes += [one.motion.box_at(frame.time_s) for one in hidden if one.motion is not None]
    everyone = [*visible, *hidden]
    for i, j in neighbours(boxes):
        one, other = everyone[i], everyone[j]
        if i < len(visible):
            one.met.add(other.number)
            other.met.add(one.number)
        if j < len(visible):
            frame.crowded |= {one.number, other.number}


def neighbours(boxes_xyxy: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of boxes (4,) so close that one face may be taken for the other."""
    if len(boxes_xyxy) < 2:
        return []
    boxes = np.array(boxes_xyxy, np.float64)
    middles, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1), 1))
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=2) / np.maximum(sizes[:, None], sizes[None])
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(apart < _CROWDED, 1))]
