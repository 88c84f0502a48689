"""Results that cross the border between the rooms of the package: frozen, documented, free of behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

import numpy as np

UNKNOWN = "unknown"
"""The name given to a face whose best similarity stays below the threshold."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One face found in a picture, in pixels of the upright picture (x to the right, y down).

    Attributes:
        box_xyxy: (4,) float32, left, top, right, bottom; may reach outside of the picture.
        score: confidence of the detector, 0 to 1.
        landmarks: (5, 2) float32 x, y of image-left eye, image-right eye, nose tip, image-left and image-right
            mouth corner; None when the detector gives boxes only.
        is_crop: the picture itself is the face crop, aligned or taken for it: it is scaled to the recogniser's input
            and not warped.
    """

    box_xyxy: np.ndarray
    score: float
    landmarks: Optional[np.ndarray] = None
    is_crop: bool = False


@dataclass(frozen=True)
class Candidate:
    """A person of the gallery and the signed cosine similarity (-1 to 1) to the probe."""

    name: str
    similarity: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a picture with everything that was found out about it.

    Attributes:
        detection: where it is; for input that is itself a face crop, the whole picture with score 1.
        embedding: (D,) float32, L2-normalised; None when no recogniser ran.
        feature_norm: L2 norm of the feature before normalisation (a rough measure of quality), or None.
        name: the person decided on, ``UNKNOWN`` below the threshold; None when no gallery was asked.
        similarity: signed cosine to the best person of the gallery, also when the name is unknown; None without
            a gallery.
        candidates: the best persons of the gallery, most similar first.
    """

    detection: Detection
    embedding: Optional[np.ndarray] = None
    feature_norm: Optional[float] = None
    name: Optional[str] = None
    similarity: Optional[float] = None
    candidates: tuple[Candidate, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class ImageResult:
    """All faces of one picture, largest first.

    Attributes:
        source: path of the picture, or a word such as ``array``; for video, path and frame index.
        size_wh: width and height in pixels after EXIF orientation.
        faces: the faces; empty when there is none.
    """

    source: str
    size_wh: tuple[int, int]
    faces: tuple[Face, ...]
