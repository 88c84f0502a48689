"""Pictures of one face each: aligned crops, or close portraits whose face must first be found."""

from __future__ import annotations

import dataclasses
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.analyzer import Analyzer, FaceGallery
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.recognition import Recognizer
from arcface_paddle.types import ImageResult


class PortraitAnalyzer(Analyzer):
    """An analyzer that gives exactly one face per picture ("rec only").

    A picture of exactly the recogniser's input size is taken for an aligned crop. In any other the largest face is
    looked for and aligned, because an unaligned face is recognised far worse; without a face in it, the whole
    picture counts as one.

    Args:
        detector: finds the face of a portrait.
        recognizer: embeds faces.
        gallery: names faces.
        top_k: candidates reported per face.
        threshold: least similarity for a name; None for the card's.
    """

    def __init__(
        self,
        detector: Detector,
        recognizer: Recognizer,
        *,
        gallery: Optional[FaceGallery] = None,
        top_k: int = 5,
        threshold: Optional[float] = None,
    ) -> None:
        super().__init__(None, recognizer, gallery=gallery, top_k=top_k, threshold=threshold)
        self._crop_size_wh = recognizer.card.input.size_wh
        self._searching = Analyzer(detector, recognizer, gallery=gallery, top_k=top_k, threshold=threshold)

    def analyze_many(
        self, images: Sequence[np.ndarray], *, sources: Optional[Sequence[str]] = None
    ) -> list[ImageResult]:
        """Embed and name the one face of each picture (H, W, 3) uint8 RGB; see ``Analyzer.analyze_many``."""
        names = ["array"] * len(images) if sources is None else sources
        return [self._analyze_one(image, source) for image, source in zip(images, names)]

    def _analyze_one(self, image: np.ndarray, source: str) -> ImageResult:
        if (image.shape[1], image.shape[0]) != self._crop_size_wh:
            found = self._searching.analyze(image, source=source)
            if found.faces:
                return dataclasses.replace(found, faces=found.faces[:1])
        return super().analyze_many([image], sources=[source])[0]
