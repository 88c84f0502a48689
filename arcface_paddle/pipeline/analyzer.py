"""Pictures in, faces out: detection, alignment, embedding and, with a gallery, names."""

from __future__ import annotations

from typing import Optional, Protocol, Sequence

import numpy as np

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.detection.strategies import WholePicture
from arcface_paddle.pipeline.recognition import Embeddings, Recognizer
from arcface_paddle.types import Candidate, Detection, Face, ImageResult


class GalleryAnswer(Protocol):
    """A gallery's answer for one face, such as ``gallery.Identification``."""

    @property
    def name(self) -> str: ...
    @property
    def similarity(self) -> Optional[float]: ...
    @property
    def candidates(self) -> tuple[Candidate, ...]: ...


class FaceGallery(Protocol):
    """Whoever can say whose an embedding is, such as ``gallery.Gallery``."""

    def identify(self, embeddings: np.ndarray, *, top_k: int, threshold: float) -> Sequence[GalleryAnswer]: ...


class Analyzer:
    """The one path that gallery pictures and probes go through.

    Args:
        detector: finds faces; None when every picture is itself an aligned face crop, as
            ``detection.strategies.WholePicture`` takes it. For portraits pass a ``PortraitDetector``: aligned faces
            are recognised far better.
        recognizer: embeds faces; None for detection only.
        gallery: names faces; needs a recogniser.
        top_k: candidates reported per face.
        threshold: least similarity for a name; None for the card's threshold of a search in a gallery.

    Raises:
        ConfigError: neither detector nor recogniser, a gallery without a recogniser, or no threshold anywhere.
    """

    def __init__(
        self,
        detector: Optional[Detector] = None,
        recognizer: Optional[Recognizer] = None,
        gallery: Optional[FaceGallery] = None,
        *,
        top_k: int = 5,
        threshold: Optional[float] = None,
    ) -> None:
        if detector is None and recognizer is None:
            raise ConfigError("an analyzer needs a detector, a recogniser, or both")
        if gallery is not None and recognizer is None:
            raise ConfigError("a gallery needs a recogniser")
        if top_k < 1:
            raise ConfigError(f"top_k is {top_k}; allowed: 1 or more")
        self.detector: Detector = WholePicture() if detector is None else detector
        self.recognizer = recognizer
        self.gallery = gallery
        self.top_k = top_k
        self.threshold = _threshold(threshold, recognizer) if gallery is not None else None

    def analyze(self, image: np.ndarray, *, source: str = "array") -> ImageResult:
        """Find, embed and name the faces of one picture (H, W, 3) uint8 RGB.

        Raises:
            ImageError: an array of another shape or type.
        """
        return self.analyze_many([image], sources=[source])[0]

    def analyze_many(
        self, images: Sequence[np.ndarray], *, sources: Optional[Sequence[str]] = None
    ) -> list[ImageResult]:
        """Do the same for several pictures; the faces of all of them go through the recogniser together.

        Args:
            images: (H, W, 3) uint8 RGB each.
            sources: what the results are called; ``array`` when None.

        Raises:
            ImageError: an array of another shape or type.
        """
        names = ["array"] * len(images) if sources is None else list(sources)
        if len(names) != len(images):
            raise ConfigError(f"{len(images)} pictures but {len(names)} sources")
        found = [self.detector.detect(image) for image in images]
        faces = self._faces(images, found)
        results = []
        for image, detections, name in zip(images, found, names):
            own, faces = faces[: len(detections)], faces[len(detections) :]
            results.append(ImageResult(name, (image.shape[1], image.shape[0]), tuple(own)))
        return results

    def _faces(self, images: Sequence[np.ndarray], found: Sequence[Sequence[Detection]]) -> list[Face]:
        """Return the faces of all pictures in order."""
        detections = [detection for of_image in found for detection in of_image]
        if self.recognizer is None or not detections:
            return [Face(detection) for detection in detections]
        crops = np.concatenate([self.recognizer.align(image, of_image) for image, of_image in zip(images, found)])
        embeddings = self.recognizer.embed(crops)
        return self._named(detections, embeddings)

    def _named(self, detections: Sequence[Detection], embeddings: Embeddings) -> list[Face]:
        parts = list(zip(detections, embeddings.vectors, (float(norm) for norm in embeddings.norms)))
        if self.gallery is None:
            return [Face(detection, vector, norm) for detection, vector, norm in parts]
        assert self.threshold is not None
        identities = self.gallery.identify(embeddings.vectors, top_k=self.top_k, threshold=self.threshold)
        return [
            Face(detection, vector, norm, identity.name, identity.similarity, tuple(identity.candidates))
            for (detection, vector, norm), identity in zip(parts, identities)
        ]


def _threshold(threshold: Optional[float], recognizer: Optional[Recognizer]) -> float:
    if threshold is not None:
        if not -1 <= threshold <= 1:
            raise ConfigError(f"the similarity threshold is {threshold}; allowed: -1 to 1")
        return float(threshold)
    assert recognizer is not None
    calibration = recognizer_spec(recognizer.card).calibration
    if calibration is None:
        raise ConfigError(
            f"the card of {recognizer.card.name} has no similarity threshold; give one, or run "
            "'arcface-paddle calibrate'"
        )
    return calibration.identification
