"""Do two pictures show the same person: similarity, estimated probability, and a verdict at a known error rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.images import ImageSource
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.choosing import choose_faces
from arcface_paddle.pipeline.probability import same_person_probability
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.pipeline.settings import CENTRE, ONE_FACE_CHOICES, ThresholdSettings
from arcface_paddle.pipeline.thresholds import pair_threshold
from arcface_paddle.types import ImageResult

PAIR_FAR = "1e-3"
"""Rate of false acceptances of the verdict when the caller names neither a rate nor a threshold. Two pictures are
compared once, so the card's threshold for searching (every stranger meets many people) would be too strict."""


@dataclass(frozen=True)
class Comparison:
    """What comparing two pictures found.

    Attributes:
        similarity: of the two embeddings, -1 to 1: what the card makes of their cosine.
        probability: estimated probability (0 to 1) that both show one person, when both answers were equally likely
            before; None for a model that was never calibrated.
        threshold: least similarity at which the verdict is "the same person".
        far: rate of false acceptances that the threshold was measured for, such as ``1e-3``; None when the caller
            gave the threshold.
        same_person: the verdict.
        faces_found: number of faces in the first and in the second picture; one of each was compared.
        evidence: on what pictures that rate was measured, or who gave the threshold.
        note: what the evidence does not cover; empty for a threshold that was given.
    """

    similarity: float
    probability: Optional[float]
    threshold: float
    far: Optional[str]
    same_person: bool
    faces_found: tuple[int, int]
    evidence: str = ""
    note: str = ""


def compare_faces(
    analyzer: Analyzer,
    first: ImageSource,
    second: ImageSource,
    *,
    threshold_settings: Optional[ThresholdSettings] = None,
    faces: str = CENTRE,
    sources: tuple[str, str] = ("first picture", "second picture"),
) -> Comparison:
    """Compare one face of the first picture with one of the second.

    Args:
        analyzer: finds and embeds faces.
        first: path, encoded bytes, PIL image, or array (H, W, 3) uint8 RGB.
        second: likewise.
        threshold_settings: from which similarity on the two are one person; without any, and with settings that
            name no rate, similarity or distance, the threshold of the recogniser's card for ``PAIR_FAR``.
        faces: which of several faces counts, one of ``ONE_FACE_CHOICES``.
        sources: what messages call the two pictures.

    Raises:
        ImageError: a picture that cannot be read or shows no face, or with several faces when ``faces`` is ``one``.
        ConfigError: the analyzer has no recogniser, no threshold is known, or another ``faces``.
    """
    if faces not in ONE_FACE_CHOICES:
        raise ConfigError(f"faces {faces!r}; a comparison takes one face a picture: {', '.join(ONE_FACE_CHOICES)}")
    if analyzer.recognizer is None:
        raise ConfigError("the analyzer has no recogniser, so faces cannot be compared")
    card = analyzer.recognizer.card
    settings = _settings_of_pair(threshold_settings)
    threshold = pair_threshold(card, settings)
    results = [analyzer.analyze(image, source=source) for image, source in zip((first, second), sources)]
    one, other = (_embedding_of_chosen(result, faces) for result in results)
    similarity = recognizer_spec(card).similarity.similarity_of(float(np.dot(one, other)))
    return Comparison(
        similarity=similarity,
        probability=same_person_probability(card, similarity),
        threshold=threshold.similarity,
        far=settings.far,
        same_person=similarity >= threshold.similarity,
        faces_found=(len(results[0].faces), len(results[1].faces)),
        evidence=threshold.evidence,
        note=threshold.note,
    )


def _settings_of_pair(settings: Optional[ThresholdSettings]) -> ThresholdSettings:
    if settings is None or (settings.similarity is None and settings.far is None and settings.distance is None):
        return ThresholdSettings(far=PAIR_FAR)
    return settings


def _embedding_of_chosen(result: ImageResult, how: str) -> np.ndarray:
    if not result.faces:
        raise ImageError(f"{result.source}: no face found")
    chosen = choose_faces(result, how)
    if not chosen:
        raise ImageError(f"{result.source}: {len(result.faces)} faces found; choose with --faces centre or largest")
    return require_embedding(chosen[0])
