"""Detectors made of other detectors, or of none: pictures that are themselves one face.

A strategy is a ``base.Detector`` like any other, so that the analyzer knows nothing of aligned crops and portraits.
"""

from __future__ import annotations

import numpy as np

from arcface_paddle.pipeline.detection.base import Detector, check_image
from arcface_paddle.types import Detection


class WholePicture:
    """Takes every picture for one face crop, whatever it shows ("rec only" on aligned crops)."""

    threshold = 0.0

    def __repr__(self) -> str:
        return "WholePicture()"

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Return the whole picture (H, W, 3) uint8 RGB as one face. Raises ``ImageError`` for other arrays."""
        check_image(image)
        height, width = image.shape[:2]
        return [Detection(np.array([0, 0, width, height], np.float32), 1.0, is_crop=True)]


class PortraitDetector:
    """Gives exactly one face per picture ("rec only" on portraits).

    A picture of exactly the recogniser's input size is taken for an aligned crop. In any other the largest face is
    looked for, because an unaligned face is recognised far worse; without a face in it, the whole picture counts as
    one.

    Args:
        detector: finds the face of a portrait.
        crop_size_wh: width and height of the recogniser's input.
    """

    def __init__(self, detector: Detector, *, crop_size_wh: tuple[int, int]) -> None:
        self.threshold = detector.threshold
        self._detector = detector
        self._crop_size_wh = crop_size_wh

    def __repr__(self) -> str:
        return f"PortraitDetector({self._detector!r})"

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Return the one face of a picture (H, W, 3) uint8 RGB. Raises ``ImageError`` for other arrays."""
        check_image(image)
        if image.shape[1::-1] != self._crop_size_wh:
            found = self._detector.detect(image)
            if found:
                return found[:1]
        return WholePicture().detect(image)
