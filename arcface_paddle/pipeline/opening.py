"""From settings to loaded models: what a command, a service or a notebook opens before it looks at pictures.

pipeline = open_pipeline(PipelineSettings(rec_model="MobileFace"), gallery=Gallery.load("people.index"))
faces = pipeline.analyzer.analyze("group.jpg").faces
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import model_files
from arcface_paddle.pipeline.analyzer import Analyzer, FaceGallery
from arcface_paddle.pipeline.builders import build_detector, build_recognizer
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.detection.strategies import PortraitDetector, WholePicture
from arcface_paddle.pipeline.gallery import ModelIdentity, identity_of
from arcface_paddle.pipeline.recognition import FaceRecognizer
from arcface_paddle.pipeline.settings import (
    ALIGNED,
    CONTENTS,
    CROP_RECOGNIZER,
    DEFAULT_RECOGNIZER,
    DETECT,
    PORTRAIT,
    PipelineSettings,
    ThresholdSettings,
)
from arcface_paddle.pipeline.thresholds import caution_about, choose_threshold, search_threshold

__all__ = [
    "ALIGNED",
    "CONTENTS",
    "DETECT",
    "PORTRAIT",
    "OpenPipeline",
    "PipelineSettings",
    "ThresholdSettings",
    "choose_threshold",
    "open_detection",
    "open_detector",
    "open_pipeline",
    "recognizer_of",
]


class MadeByModel(Protocol):
    """Whatever says which model made its embeddings: a ``Gallery``, a store, a contract."""

    @property
    def model(self) -> Optional[ModelIdentity]:
        """The model's identity; None when it is not known."""


class SearchedGallery(MadeByModel, Protocol):
    """Known people to name faces by: a ``Gallery`` in memory, or a store that an engine keeps."""

    @property
    def comparisons(self) -> int:
        """With how many pictures or persons each face is compared."""

    @property
    def decision(self) -> str:
        """How several pictures of a person decide."""

    def require_model(self, model: ModelIdentity) -> str: ...
    def judged_by(self, model: ModelIdentity) -> FaceGallery: ...


@dataclass(frozen=True, eq=False)
class OpenPipeline:
    """Loaded models and what is to be said about them.

    Attributes:
        analyzer: finds, embeds and names faces, as far as was asked for.
        model: the recogniser's identity; None without one.
        caution: about the gallery or its threshold, for the user; may be empty.
        facts: models, thresholds, engine, precision and threads in use, as JSON values.
    """

    analyzer: Analyzer
    model: Optional[ModelIdentity]
    caution: str
    facts: dict[str, Any]

    def __repr__(self) -> str:
        return f"OpenPipeline({self.analyzer!r})"


def open_detector(settings: PipelineSettings) -> Detector:
    """Load the detector. Raises ``ModelFileError`` or ``ConfigError`` as ``builders.build_detector`` does."""
    return build_detector(
        settings.det_model,
        threshold=settings.det_thresh,
        min_face=settings.min_face,
        rotate=settings.rotate,
        preset=settings.det_preset,
        options=settings.runtime,
    )


def open_detection(settings: PipelineSettings) -> OpenPipeline:
    """Load the detector only: faces are found and not embedded.

    Raises:
        ModelFileError: the model is missing or damaged.
        ConfigError: options that cannot work here.
    """
    detector = open_detector(settings)
    facts = _detector_facts(settings, detector)
    execution = getattr(detector, "execution", None)  # a detector of the user's own need not say
    if execution is not None:
        facts.update(dataclasses.asdict(execution))
    return OpenPipeline(Analyzer(detector, None), None, "", facts)


def open_pipeline(
    settings: PipelineSettings, *, contents: str = DETECT, gallery: Optional[SearchedGallery] = None
) -> OpenPipeline:
    """Load detector and recogniser; with a gallery, faces get names.

    Args:
        settings: models, engine, thresholds.
        contents: what the pictures are, one of ``CONTENTS``; aligned crops need no detector, and none is loaded.
        gallery: names faces.

    Raises:
        ModelFileError: a model is missing or damaged.
        GalleryError: the gallery was made with another model.
        ConfigError: no threshold is known, or options that cannot work here.
    """
    if not isinstance(settings, PipelineSettings):
        raise ConfigError(f"settings of type {type(settings).__name__}; allowed: PipelineSettings(...)")
    if isinstance(gallery, (str, bytes, os.PathLike)):
        raise ConfigError(f"the gallery is the path {os.fsdecode(gallery)}; give Gallery.load(...) of it")
    if contents not in CONTENTS:
        raise ConfigError(f"contents is {contents!r}; allowed: {', '.join(CONTENTS)}")
    found = None if contents == ALIGNED else open_detector(settings)
    facts = {} if found is None else _detector_facts(settings, found)
    rec_model = settings.rec_model or recognizer_of(gallery)
    recognizer = build_recognizer(
        rec_model,
        max_batch_size=settings.max_batch_size,
        mirrored=_mirrored(settings.mirrored, gallery),
        preset=settings.rec_preset,
        options=settings.runtime,
    )
    detector = _for_contents(found, contents, recognizer)
    model = identity_of(recognizer)
    facts.update(rec_model=rec_model, flip=model.mirrored, **dataclasses.asdict(recognizer.execution))
    if gallery is None:
        return OpenPipeline(Analyzer(detector, recognizer), model, "", facts)
    caution = gallery.require_model(model)
    threshold = search_threshold(recognizer.card, settings.threshold, comparisons=gallery.comparisons)
    caution = caution or caution_about(recognizer.card, threshold)
    facts.update(rec_thresh=threshold.similarity, threshold=threshold.to_dict(), decision=gallery.decision)
    analyzer = Analyzer(
        detector,
        recognizer,
        gallery=gallery.judged_by(model),
        top_k=settings.top_k,
        threshold=threshold.similarity,
        min_quality=settings.min_quality,
    )
    return OpenPipeline(analyzer, model, caution, facts)


def recognizer_of(gallery: Optional[MadeByModel]) -> str:
    """Return the known recogniser that made a gallery, by its weights; the default where that cannot be told.

    A gallery that does not say what made it (an imported index.bin) is opened as ever, with ``CROP_RECOGNIZER``.

    Raises:
        ModelFileError: a shipped model is missing or damaged.
    """
    if gallery is None:
        return DEFAULT_RECOGNIZER
    if gallery.model is None:
        return CROP_RECOGNIZER
    for name in model_files.local_recognizers():
        if model_files.weights_sha256_of(name) == gallery.model.weights_sha256:
            return name
    return DEFAULT_RECOGNIZER


def _for_contents(detector: Optional[Detector], contents: str, recognizer: FaceRecognizer) -> Detector:
    if detector is None:
        return WholePicture()
    if contents == PORTRAIT:
        return PortraitDetector(detector, crop_size_wh=recognizer.card.input.size_wh)
    return detector


def _detector_facts(settings: PipelineSettings, detector: Detector) -> dict[str, Any]:
    return {"det_model": settings.det_model, "det_thresh": detector.threshold}


def _mirrored(wanted: Optional[bool], gallery: Optional[MadeByModel]) -> bool:
    if wanted is not None:
        return wanted
    if gallery is None:
        return True
    return gallery.model is not None and gallery.model.mirrored  # a published index.bin never is
