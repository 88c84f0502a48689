"""What every detector offers."""

from __future__ import annotations

from typing import Optional, Protocol, Sequence, runtime_checkable

import numpy as np

from arcface_paddle.errors import ImageError
from arcface_paddle.images import refuse_endless
from arcface_paddle.types import Detection


class Detector(Protocol):
    """Finds faces in pictures; may be called from several threads.

    Attributes:
        threshold: faces with a lower score are dropped.
    """

    threshold: float

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find the faces of a picture.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The faces, largest first; empty when there is none.

        Raises:
            ImageError: an array of another shape or type.
            ModelFileError: the network does not fit its card.
        """


@runtime_checkable
class FollowingDetector(Detector, Protocol):
    """A detector that can also look where faces are expected, for a tenth of what a search of the picture costs."""

    def search(self, image: np.ndarray, *, threshold: float) -> list[Detection]:
        """Do as ``detect`` with a threshold of this call's own."""

    def follow(self, image: np.ndarray, expected: Sequence[Detection], *, threshold: float) -> list[Detection]:
        """Find faces near the places where they are expected, and nowhere else.

        Args:
            image: (H, W, 3) uint8 RGB, a frame of a video.
            expected: with landmarks, which say how a face is tilted; each is wrong by less than half a face.
            threshold: least score.

        Returns:
            The faces, largest first; each once, also where several were expected at one place.
        """


def check_image(image: np.ndarray) -> None:
    """Refuse what is not a picture of at least one pixel. Raises ``ImageError``."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"image is of type {type(image).__name__}; allowed: array of (H, W, 3) uint8, RGB")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ImageError(f"image is {image.dtype} of shape {image.shape}; allowed: uint8 of (H, W, 3), RGB")
    refuse_endless(image)


def largest_first(detections: Sequence[Detection]) -> list[Detection]:
    """Sort by the area of the box, then from left to right."""

    def order(detection: Detection) -> tuple[float, float, float]:
        left, top, right, bottom = (float(edge) for edge in detection.box_xyxy)
        return -(right - left) * (bottom - top), left, top

    return sorted(detections, key=order)


def wanted(detections: Sequence[Detection], *, threshold: float, min_face: Optional[int]) -> list[Detection]:
    """Leave out faces below the threshold or too small, and sort the others largest first."""
    least = 0 if min_face is None else min_face
    return largest_first(
        [
            face
            for face in detections
            if face.score >= threshold and float((face.box_xyxy[2:] - face.box_xyxy[:2]).max()) >= least
        ]
    )
