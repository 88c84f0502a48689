"""Which of the faces in a picture is meant: the only one, the one in the middle, the largest, or all of them."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.settings import ALL, CENTRE, FACE_CHOICES, ONE
from arcface_paddle.types import Detection, Face, ImageResult

CENTRE_WEIGHT = 2.0
"""Weight of the squared distance to the centre against the area of the box, both in pixels squared."""


MINOR_SCORE, MINOR_SIZE = 0.77, 0.5
"""A face beside a larger one does not count below this score if its side is less than this share of the other's."""


def pick(boxes_xyxy: np.ndarray, size_wh: tuple[int, int], how: str) -> list[int]:
    """Choose among the faces of one picture.

    ``one`` takes a face that is alone and nothing where there are several. ``largest`` takes the box of the largest
    area. ``centre`` takes the face nearest to the middle of the picture, weighted by its size: the largest value of ::

        area - 2 * ((x - width / 2) ** 2 + (y - height / 2) ** 2)        with x, y the middle of the box

    This is the rule of FaceNet's alignment script ("some extra weight on the centering"), with which LFW and many sets
    after it were prepared: who takes a photograph of somebody puts that person into the middle, while a bystander who
    is nearer to the camera is larger. ``all`` takes every face.
    Source: https://github.com/davidsandberg/facenet/blob/master/src/align/align_dataset_mtcnn.py

    Args:
        boxes_xyxy: (N, 4) left, top, right, bottom in pixels of the picture; N may be 0.
        size_wh: width and height of the picture in pixels.
        how: one of ``FACE_CHOICES``.

    Returns:
        Positions in ``boxes_xyxy``: at most one, or with ``all`` every one in the given order. Of two faces that are
        equally good the first is taken.

    Raises:
        ConfigError: another ``how``.

    Example:
        >>> boxes = np.array([[0, 0, 50, 50], [80, 80, 120, 120]])
        >>> pick(boxes, (200, 200), "largest"), pick(boxes, (200, 200), "centre")
        ([0], [1])
    """
    if how not in FACE_CHOICES:
        raise ConfigError(f"faces {how!r}; allowed: {', '.join(FACE_CHOICES)}")
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    if how == ALL or len(boxes) == 0:
        return list(range(len(boxes)))
    if how == ONE:
        return [0] if len(boxes) == 1 else []
    value = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    if how == CENTRE:
        offsets = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.asarray(size_wh) / 2
        value = value - CENTRE_WEIGHT * np.sum(offsets**2, axis=1)
    return [int(np.argmax(value))]


def is_minor(face: Detection, main: Detection) -> bool:
    """Say whether a face is only a weak, far smaller one beside the main face of a portrait.

    Such a face (a pattern on a shirt, a picture on the wall, somebody far behind) is no reason to doubt whom it
    shows: its score is below ``MINOR_SCORE`` and its longer side less than ``MINOR_SIZE`` of the main one's.
    """
    sides = [float((one.box_xyxy[2:] - one.box_xyxy[:2]).max()) for one in (face, main)]
    return face.score < MINOR_SCORE and sides[0] < MINOR_SIZE * sides[1]


def without_minor(faces: Sequence[Detection]) -> list[Detection]:
    """Leave out the faces of a picture that are minor beside its largest; the order stays.

    Example:
        >>> sitter = Detection(np.array([10, 10, 110, 140], np.float32), 0.9)
        >>> pattern = Detection(np.array([60, 180, 80, 205], np.float32), 0.55)
        >>> without_minor([sitter, pattern]) == [sitter]
        True
    """
    if not faces:
        return []
    main = max(faces, key=lambda face: float((face.box_xyxy[2:] - face.box_xyxy[:2]).max()))
    return [face for face in faces if face is main or not is_minor(face, main)]


def choose_faces(result: ImageResult, how: str) -> list[Face]:
    """Return the faces of a result that are meant; see ``pick``.

    Nothing for ``one`` where there are several; those that are minor beside the largest (``is_minor``) do not count.
    """
    faces = list(result.faces)
    if how == ONE:
        counting = without_minor([face.detection for face in faces])
        faces = [face for face in faces if any(face.detection is one for one in counting)]
    boxes = np.array([face.detection.box_xyxy for face in faces]).reshape(-1, 4)
    return [faces[position] for position in pick(boxes, result.size_wh, how)]
