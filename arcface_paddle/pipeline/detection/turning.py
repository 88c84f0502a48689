"""Pictures that lie on their side: looked at as if they stood upright, and told in their own coordinates."""

from __future__ import annotations

from typing import Callable, Optional, Sequence

import cv2
import numpy as np

from arcface_paddle.pipeline.detection.boxes import overlaps
from arcface_paddle.pipeline.settings import AUTO
from arcface_paddle.types import Detection

FindFaces = Callable[[np.ndarray], Sequence[Detection]]
"""Finds the faces of a picture (H, W, 3) that stands upright."""

_PROBE_SIDE = 480  # longer side to which a picture is shrunk to see which way up it is
_PROBE_SCORE = 0.6  # that a face needs there: three more tries must not make three times as many false faces
_SAME_IOU, _SAME_CONTAINMENT = 0.3, 0.7
_TURNS = (90, 270, 180)  # most frequent first: cameras are turned to the side, seldom upside down


def find_turned(
    find: FindFaces, image: np.ndarray, *, glance: FindFaces, rotate: str, plausible: float
) -> list[Detection]:
    """Find faces in a picture that may lie on its side.

    Args:
        find: finds those that stand upright.
        image: (H, W, 3) uint8 RGB.
        glance: does so quickly, for the small copies.
        rotate: degrees clockwise by which the picture must be turned to stand upright; or ``"auto"``: as it is, and if
            nothing plausible is found, by whichever turn shows plausible faces in a small copy.
        plausible: score of a face that settles that the picture stands upright.

    Returns:
        Faces in coordinates of the picture as it was given.
    """
    if rotate != AUTO:
        return _find_after_turn(find, image, int(rotate))
    found = list(find(image))
    if any(face.score >= plausible for face in found):
        return found
    turn = _promising_turn(glance, image)
    if turn is None:
        return found
    turned = _find_after_turn(find, image, turn)
    return [*turned, *(face for face in found if not _is_among(face, turned))]


def _promising_turn(glance: FindFaces, image: np.ndarray) -> Optional[int]:
    """Return the turn in degrees that shows the best faces in a small copy; None when no turn shows any."""
    factor = min(1.0, _PROBE_SIDE / max(image.shape[:2]))
    size_wh = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = image if factor == 1 else cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    best, best_score = None, 0.0
    for turn in _TURNS:
        score = sum(face.score for face in glance(_turned(small, turn)) if face.score >= _PROBE_SCORE)
        if score > best_score:
            best, best_score = turn, score
    return best


def _is_among(face: Detection, others: Sequence[Detection]) -> bool:
    """Say whether a face that was found without a turn is one of those found with it."""
    if not others:
        return False
    boxes = np.stack([other.box_xyxy for other in others]).astype(np.float64)
    shared, contained = overlaps(face.box_xyxy.astype(np.float64), boxes)
    return bool(((shared > _SAME_IOU) | (contained > _SAME_CONTAINMENT)).any())


def _find_after_turn(find: FindFaces, image: np.ndarray, turn: int) -> list[Detection]:
    if turn == 0:
        return list(find(image))
    size_wh = (image.shape[1], image.shape[0])
    return [_turned_back(face, turn, size_wh) for face in find(_turned(image, turn))]


def _turned(image: np.ndarray, turn: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, -(turn // 90)))  # NumPy turns counterclockwise


def _turned_back(face: Detection, turn: int, size_wh: tuple[int, int]) -> Detection:
    corners = points_turned_back(face.box_xyxy.reshape(2, 2), turn, size_wh)
    landmarks = None if face.landmarks is None else points_turned_back(face.landmarks, turn, size_wh)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
    return Detection(box, face.score, landmarks, landmark_doubt=face.landmark_doubt)


def points_turned_back(points: np.ndarray, turn: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Bring points of a turned picture to the picture as it was.

    Args:
        points: (N, 2) x, y in continuous coordinates of the turned picture.
        turn: degrees clockwise, 0, 90, 180 or 270.
        size_wh: width and height of the picture as it was.

    Returns:
        (N, 2) float32.
    """
    width, height = size_wh
    x, y = points[:, 0], points[:, 1]
    as_it_was = {0: (x, y), 90: (y, height - x), 180: (width - x, height - y), 270: (width - y, x)}[turn]
    return np.stack(as_it_was, axis=1).astype(np.float32)
