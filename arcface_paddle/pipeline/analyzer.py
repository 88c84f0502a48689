"""Pictures in, faces out: detection, alignment, embedding and, with a gallery, names."""

from __future__ import annotations

import dataclasses
import os
import threading
from dataclasses import dataclass
from typing import Optional, Protocol, Sequence

import numpy as np

from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.images import ImageSource, load_image
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.analyzed import AnalyzedImage, name_of
from arcface_paddle.pipeline.detection.base import Detector, check_image
from arcface_paddle.pipeline.detection.strategies import WholePicture
from arcface_paddle.pipeline.quality import measure_quality
from arcface_paddle.pipeline.recognition import Embeddings, FaceRecognizer, require_embedding
from arcface_paddle.pipeline.settings import ThresholdSettings, available_cores
from arcface_paddle.pipeline.thresholds import search_threshold
from arcface_paddle.types import UNKNOWN, Candidate, Detection, Face

_LEAST_AT_A_TIME = 2  # one is decoded while the other is in the network


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

    @property
    def comparisons(self) -> int:
        """With how many pictures or persons each face is compared."""

    def identify(self, embeddings: np.ndarray, *, top_k: int, threshold: float) -> Sequence[GalleryAnswer]: ...


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The faces of one picture before they are embedded; the picture itself is needed no longer.

    Attributes:
        size_wh: width and height of the picture in pixels.
        detections: where they are.
        crops: N aligned faces as the recogniser cuts them; None without faces or without a recogniser.
    """

    size_wh: tuple[int, int]
    detections: Sequence[Detection]
    crops: Optional[np.ndarray]

    def take(self, indices: Sequence[int]) -> FoundFaces:
        """Return some of the faces, in the order of ``indices``."""
        crops = None if self.crops is None or not len(indices) else self.crops[list(indices)]
        return FoundFaces(self.size_wh, [self.detections[index] for index in indices], crops)


class Analyzer:
    """The one path that gallery pictures and probes go through.

    It may be used from many threads at once. Only as many pictures as there are cores are decoded and searched at a
    time; the others wait, so that memory does not grow with the number of threads.

    Args:
        detector: finds faces; None when every picture is itself an aligned face crop, as
            ``detection.strategies.WholePicture`` takes it. For portraits pass a ``PortraitDetector``: aligned faces
            are recognised far better.
        recognizer: embeds faces; None for detection only.
        gallery: names faces; needs a recogniser.
        top_k: candidates reported per face.
        threshold: least similarity for a name; None for the one at which one search for a stranger in a hundred ends
            with a name, by the recogniser's card and the size of the gallery.
        min_quality: faces of a lower quality (0 to 1) get no name.

    Raises:
        ConfigError: a value out of range, neither detector nor recogniser, a gallery without a recogniser, or no
            threshold anywhere.
    """

    def __init__(
        self,
        detector: Optional[Detector] = None,
        recognizer: Optional[FaceRecognizer] = None,
        gallery: Optional[FaceGallery] = None,
        *,
        top_k: int = 5,
        threshold: Optional[float] = None,
        min_quality: float = 0.0,
    ) -> None:
        if detector is None and recognizer is None:
            raise ConfigError("an analyzer needs a detector, a recogniser, or both")
        if gallery is not None and recognizer is None:
            raise ConfigError("a gallery needs a recogniser")
        if top_k < 1:
            raise ConfigError(f"top_k is {top_k}; allowed: 1 or more")
        if not 0 <= min_quality <= 1:
            raise ConfigError(f"the least quality is {min_quality}; allowed: 0 to 1")
        self.min_quality = min_quality
        self.detector: Detector = WholePicture() if detector is None else detector
        self.recognizer = recognizer
        self.gallery = gallery
        self.top_k = top_k
        self._decoded = threading.BoundedSemaphore(max(_LEAST_AT_A_TIME, available_cores()))
        self.threshold = None if gallery is None else _threshold(threshold, recognizer, gallery)

    def __repr__(self) -> str:
        parts = [repr(self.detector)]
        if self.recognizer is not None:
            parts.append(repr(self.recognizer))
        if self.gallery is not None:
            parts += [repr(self.gallery), f"threshold={self.threshold:.3f}"]
        return f"Analyzer({', '.join(parts)})"

    def analyze(self, image: ImageSource, *, source: Optional[str] = None) -> AnalyzedImage:
        """Find, embed and name the faces of one picture.

        Args:
            image: path of a picture; encoded bytes (JPEG, PNG, WebP, ...); a PIL image; or an array (H, W, 3) uint8
                RGB (what OpenCV reads is BGR: ``image[:, :, ::-1]``).
            source: what the result is called; None for the path's text, or ``array``, ``bytes``, ``picture``.

        Returns:
            The faces, largest first; none is no error. The result can ``draw()``, ``save(path)`` and show itself.

        Raises:
            ImageError: the picture cannot be read, or is none: an array of another shape or type, another object.

        Example:
            >>> from arcface_paddle import Analyzer, build_detector
            >>> Analyzer(build_detector()).analyze("demo/queries/group.jpg")
            AnalyzedImage('demo/queries/group.jpg', 1400x502, 4 faces)
        """
        return self.analyze_many([image], sources=None if source is None else [source])[0]

    def analyze_many(
        self, images: Sequence[ImageSource], *, sources: Optional[Sequence[str]] = None
    ) -> list[AnalyzedImage]:
        """Do the same for several pictures; the faces of all of them go through the recogniser together.

        Only the aligned faces are held until then, not the decoded pictures.

        Args:
            images: pictures as ``analyze`` takes them.
            sources: what the results are called; None as in ``analyze``.

        Raises:
            ImageError: one of the pictures cannot be read, or is none.
            ConfigError: another number of sources than of pictures.
        """
        if isinstance(images, (str, bytes, os.PathLike)):
            raise ImageError("analyze_many takes a list of pictures; give [picture], or call analyze(picture)")
        names = [name_of(image) for image in images] if sources is None else list(sources)
        if len(names) != len(images):
            raise ConfigError(f"{len(images)} pictures but {len(names)} sources")
        found = [self.find(image) for image in images]
        faces = self.name(self.embed(found))
        results = []
        for image, of_image, name in zip(images, found, names):
            own, faces = faces[: len(of_image.detections)], faces[len(of_image.detections) :]
            results.append(AnalyzedImage(name, of_image.size_wh, tuple(own), image))
        return results

    def find(self, given: ImageSource) -> FoundFaces:
        """Take the first of three steps: find the faces of one picture, largest first, and cut them out.

        ``embed`` and ``name`` are the others; ``analyze`` takes all three. Who knows most faces from the frame before
        takes the two only for those that are new or in doubt.

        Raises:
            ImageError: the picture cannot be read, or is none.
        """
        with self._decoded:
            image = np.asarray(given) if isinstance(given, np.ndarray) else load_image(given)
            check_image(image)
            detections = self.detector.detect(image)
            crops = self.recognizer.align(image, detections) if self.recognizer is not None and detections else None
        return FoundFaces((image.shape[1], image.shape[0]), detections, crops)

    def embed(self, found: Sequence[FoundFaces]) -> list[Face]:
        """Take the second step: embed the faces of some pictures together, and judge their quality.

        Returns:
            The faces of all pictures in order, without names; without a recogniser, without embeddings.
        """
        detections = [detection for of_image in found for detection in of_image.detections]
        if self.recognizer is None or not detections:
            return [Face(detection) for detection in detections]
        crops = np.concatenate([of_image.crops for of_image in found if of_image.crops is not None])
        return self._judged(detections, self.recognizer.pictures_of(crops), self.recognizer.embed(crops))

    def name(self, faces: Sequence[Face]) -> list[Face]:
        """Take the third step: name embedded faces by the gallery; without one they stay as they are."""
        if self.gallery is None or not faces:
            return list(faces)
        assert self.threshold is not None
        vectors = np.stack([require_embedding(face) for face in faces])
        answers = self.gallery.identify(vectors, top_k=self.top_k, threshold=self.threshold)
        return [self._with_answer(face, answer) for face, answer in zip(faces, answers)]

    def _judged(self, detections: Sequence[Detection], crops: np.ndarray, embeddings: Embeddings) -> list[Face]:
        """Return the faces with embedding and quality, still without names."""
        assert self.recognizer is not None
        norm_range = recognizer_spec(self.recognizer.card).feature_norms
        faces = []
        for detection, crop, vector, norm in zip(detections, crops, embeddings.vectors, embeddings.norms):
            found = measure_quality(crop, detection, feature_norm=float(norm), norm_range=norm_range)
            faces.append(Face(detection, vector, float(norm), quality=found.score, weakness=found.weakness))
        return faces

    def _with_answer(self, face: Face, answer: GalleryAnswer) -> Face:
        named = dataclasses.replace(
            face, name=answer.name, similarity=answer.similarity, candidates=tuple(answer.candidates)
        )
        if answer.name == UNKNOWN or face.quality is None or face.quality >= self.min_quality:
            return named
        why = f": {face.weakness}" if face.weakness else ""
        reason = f"quality {face.quality:.2f} is below {self.min_quality:.2f}{why}"
        return dataclasses.replace(named, name=UNKNOWN, reason=reason)


def _threshold(threshold: Optional[float], recognizer: Optional[FaceRecognizer], gallery: FaceGallery) -> float:
    if threshold is not None:
        if not -1 <= threshold <= 1:
            raise ConfigError(f"the similarity threshold is {threshold}; allowed: -1 to 1")
        return float(threshold)
    assert recognizer is not None
    return search_threshold(recognizer.card, ThresholdSettings(), comparisons=gallery.comparisons).similarity
