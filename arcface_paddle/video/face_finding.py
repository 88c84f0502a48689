"""Finding faces in the frames of a video: one frame of a few is searched, and in the others faces are followed.

A search of a whole frame costs as much as ten looks where a face is expected. So a step of frames, a fifth of a second
of film, is searched in its middle, and the faces are followed from there frame by frame to both ends: a step needs
nothing from the one before, and several are taken at once. What is followed so is found in every frame of its own
step; somebody who comes or goes within one may be missed at the step's near end. Faces that a track expects and the
step has not found, because they were hidden in its middle, or left behind it, are looked for once more where the track
expects them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.detection.base import Detector, FollowingDetector, largest_first
from arcface_paddle.pipeline.detection.boxes import overlaps
from arcface_paddle.types import Detection

_SAME_IOU, _SAME_CONTAINMENT = 0.3, 0.7  # of two boxes that are one face, as in the detector


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of a frame.

    Attributes:
        detections: faces and weak boxes, largest first.
        is_searched: whether the whole frame was searched, so that there are no others.
    """

    detections: Sequence[Detection]
    is_searched: bool


class FaceFinder:
    """Finds faces in frames; remembers nothing."""

    def __init__(self, *, threshold: float) -> None:
        """Take the least score (0 to 1) of a box that is told of."""
        self._threshold = threshold

    def step(self, detector: Detector, images: Sequence[np.ndarray]) -> list[FoundFaces]:
        """Find the faces of frames (H, W, 3) uint8 RGB that follow each other closely."""
        if not isinstance(detector, FollowingDetector):
            return [FoundFaces(_searched(detector, image, self._threshold), True) for image in images]
        middle = len(images) // 2
        searched = detector.search(images[middle], threshold=self._threshold)
        before = self._followed(detector, images[:middle][::-1], searched)
        after = self._followed(detector, images[middle + 1 :], searched)
        return [*before[::-1], FoundFaces(searched, True), *after]

    def completed(
        self, detector: Detector, image: np.ndarray, found: FoundFaces, expected: Sequence[Detection]
    ) -> Sequence[Detection]:
        """Return the faces of a frame, with those that are expected and were not found, if they are there."""
        if not isinstance(detector, FollowingDetector):
            return found.detections
        missing = [one for one in expected if not _is_among(one, found.detections)]
        seen = detector.follow(image, missing, threshold=self._threshold)
        fresh = [one for one in seen if not _is_among(one, found.detections)]
        return largest_first([*found.detections, *fresh]) if fresh else found.detections

    def _followed(
        self, detector: FollowingDetector, images: Sequence[np.ndarray], faces: Sequence[Detection]
    ) -> list[FoundFaces]:
        """Follow the faces of one frame through others, nearest first, which come before or after it."""
        followed = []
        earlier: Sequence[Detection] = ()
        for image in images:
            seen = detector.follow(image, [_moved_on(one, earlier) for one in faces], threshold=self._threshold)
            followed.append(FoundFaces(seen, False))
            earlier, faces = faces, [*seen, *(one for one in faces if not _is_among(one, seen))]
        return followed


def moved(face: Detection, box_xyxy: np.ndarray) -> Detection:
    """Return a face with its landmarks as it looks in another box (4,)."""
    assert face.landmarks is not None
    old = face.box_xyxy.astype(np.float64)
    scale = (box_xyxy[2:] - box_xyxy[:2]) / np.maximum(old[2:] - old[:2], 1e-3)
    landmarks = (face.landmarks - old[:2]) * scale + box_xyxy[:2]
    return Detection(box_xyxy.astype(np.float32), face.score, landmarks.astype(np.float32))


def _moved_on(face: Detection, earlier: Sequence[Detection]) -> Detection:
    """Return where a face will be in the next frame: as far on as it came since the one before."""
    before = _nearest(face, earlier)
    return face if before is None else moved(face, face.box_xyxy + (_middle(face) - _middle(before)))


def _middle(face: Detection) -> np.ndarray:
    return np.tile((face.box_xyxy[:2] + face.box_xyxy[2:]) / 2, 2)


def _nearest(face: Detection, others: Sequence[Detection]) -> Optional[Detection]:
    """Return the box that overlaps a face most; None if none does."""
    if not others:
        return None
    shared, _ = overlaps(face.box_xyxy, np.stack([one.box_xyxy for one in others]))
    best = int(np.argmax(shared))
    return others[best] if shared[best] > _SAME_IOU else None


def _is_among(face: Detection, others: Sequence[Detection]) -> bool:
    if not others:
        return False
    shared, contained = overlaps(face.box_xyxy, np.stack([one.box_xyxy for one in others]))
    return bool(((shared > _SAME_IOU) | (contained > _SAME_CONTAINMENT)).any())


def _searched(detector: Detector, image: np.ndarray, threshold: float) -> list[Detection]:
    """Search with a detector that has one threshold for all calls; it is the caller's alone meanwhile."""
    usual = detector.threshold
    detector.threshold = threshold
    try:
        return detector.detect(image)
    finally:
        detector.threshold = usual
