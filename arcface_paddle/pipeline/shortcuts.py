"""One call for one question: the default models are loaded when the first question is asked, and kept."""

from __future__ import annotations

import threading
from typing import Optional

from arcface_paddle.images import ImageSource
from arcface_paddle.pipeline.analyzed import name_of
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.comparison import Comparison, compare_faces
from arcface_paddle.pipeline.opening import open_pipeline
from arcface_paddle.pipeline.settings import CENTRE, PipelineSettings, ThresholdSettings


def compare(
    first: ImageSource,
    second: ImageSource,
    *,
    threshold: Optional[float] = None,
    far: Optional[str] = None,
    faces: str = CENTRE,
) -> Comparison:
    """Tell whether two pictures show the same person, with the shipped models.

    The models are loaded once per process; threads may call this at the same time. For other models, settings or an
    engine, open a pipeline and call ``pipeline.comparison.compare_faces``.

    Args:
        first: path, encoded bytes, PIL image, or array (H, W, 3) uint8 RGB.
        second: likewise.
        threshold: least similarity (-1 to 1) of one person; None for the one of the model's card.
        far: rate of false acceptances that the card's threshold is taken for, such as ``"1e-4"``; None for ``1e-3``.
        faces: which of several faces counts: ``"centre"`` (nearest to the middle, weighted by size), ``"largest"``, or
            ``"one"``, which refuses pictures with several.

    Raises:
        ImageError: a picture cannot be read, or shows no face.
        ConfigError: both ``threshold`` and ``far``, or a value that is not allowed.
        MissingDependencyError: paddle is not installed.

    Example:
        >>> found = compare("demo/gallery/Joe Biden/portrait_2013.jpg", "demo/queries/biden_relit.jpg")
        >>> found.same_person, found.similarity > 0.7, found.probability > 0.99
        (True, True, True)
    """
    return compare_faces(
        _default_models.analyzer(),
        first,
        second,
        threshold_settings=ThresholdSettings(threshold, far),
        faces=faces,
        sources=(_name_in_messages(first, "first"), _name_in_messages(second, "second")),
    )


class _DefaultModels:
    """Detector and recogniser of this process, loaded at the first use and by one thread only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._analyzer: Optional[Analyzer] = None

    def analyzer(self) -> Analyzer:
        with self._lock:
            if self._analyzer is None:
                self._analyzer = open_pipeline(PipelineSettings()).analyzer
            return self._analyzer


_default_models = _DefaultModels()


def _name_in_messages(given: ImageSource, place: str) -> str:
    """Return the path of a picture that has one; of two arrays, say which."""
    name = name_of(given)
    return f"{place} picture" if name in ("array", "bytes", "picture") else name
