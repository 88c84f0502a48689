"""Looking at a face: quality and embedding. It costs as much as finding it, so a track is looked at when it pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Sequence

import numpy as np

from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.quality import measure_quality
from arcface_paddle.types import Candidate, Detection
from arcface_paddle.video.evidence import Look, weight_of

FASTEST_S = 0.2
"""Seconds between two looks at a face, and the time between frames at which the share of looks counts as given."""

_SLOWER = 1.15  # each further look at a face without a decision waits longer by this factor
_RELAXED_S = 1.0  # between two looks once the person is known, and at most
_BETTER = 1.25  # times the best quality so far


@dataclass(frozen=True, eq=False)
class Seen:
    """What a look at a face has found.

    Attributes:
        vector: (D,) float32 embedding, L2-normalised.
        quality: 0 to 1, see ``pipeline.quality``.
        feature_norm: length of the feature before normalisation.
        weakness: what lowers the quality most.
    """

    vector: np.ndarray
    quality: float
    feature_norm: float = 0.0
    weakness: str = ""

    def as_look(self, time_s: float) -> Look:
        """Return it as evidence of a moment, with the weight of its quality."""
        return Look(self.vector, weight_of(self.quality), time_s)


class Looker(Protocol):
    """Whoever can look at faces, such as ``FaceLooker``."""

    def qualities(self, image: np.ndarray, detections: Sequence[Detection]) -> list[float]:
        """Return the quality (0 to 1) of each face by its circumstances: cheap, nothing is embedded."""

    def look(self, image: np.ndarray, detections: Sequence[Detection]) -> list[Seen]:
        """Embed faces of (H, W, 3) uint8 RGB."""

    def candidates(self, vectors: np.ndarray) -> list[tuple[Candidate, ...]]:
        """Return the best persons of the gallery for (N, D) embeddings; none without a gallery."""


class FaceLooker:
    """Looks with the models of an analyzer that has a recogniser."""

    def __init__(self, analyzer: Analyzer) -> None:
        assert analyzer.recognizer is not None, "there is nothing to look with"
        self._recognizer = analyzer.recognizer
        self._gallery = analyzer.gallery
        self._top_k = analyzer.top_k
        self._norm_range = recognizer_spec(self._recognizer.card).feature_norms

    def qualities(self, image: np.ndarray, detections: Sequence[Detection]) -> list[float]:
        if not detections:
            return []
        crops = self._recognizer.pictures_of(self._recognizer.align(image, detections))
        return [measure_quality(crop, one).score for crop, one in zip(crops, detections)]

    def look(self, image: np.ndarray, detections: Sequence[Detection]) -> list[Seen]:
        if not detections:
            return []
        crops = self._recognizer.align(image, detections)
        embeddings = self._recognizer.embed(crops)
        seen = []
        pictures = self._recognizer.pictures_of(crops)
        for crop, detection, vector, norm in zip(pictures, detections, embeddings.vectors, embeddings.norms):
            found = measure_quality(crop, detection, feature_norm=float(norm), norm_range=self._norm_range)
            seen.append(Seen(vector, found.score, float(norm), found.weakness))
        return seen

    def candidates(self, vectors: np.ndarray) -> list[tuple[Candidate, ...]]:
        if self._gallery is None:
            return [() for _ in vectors]
        answers = self._gallery.identify(vectors, top_k=self._top_k, threshold=-1.0)
        return [tuple(answer.candidates) for answer in answers]


class LookBudget:
    """How many looks the faces seen so far allow.

    Attributes:
        appearances: faces in frames so far.
        looks: taken so far.
    """

    def __init__(self, share: float) -> None:
        self.appearances = 0
        self.looks = 0
        self._share = share
        self._allowance = 0.0

    def count(self, appearances: int, *, step_s: float) -> None:
        """Count the faces of a frame, which comes ``step_s`` seconds after the one before."""
        self.appearances += appearances
        self._allowance += appearances * min(1.0, self._share * max(1.0, step_s / FASTEST_S))

    @property
    def left(self) -> int:
        """Looks that may be taken now."""
        return max(0, int(self._allowance - self.looks + 1e-9))


def pause_before_next(looks: int, *, is_settled: bool) -> float:
    """Return how many seconds after the last look the next one is due.

    Example:
        >>> [round(pause_before_next(looks, is_settled=False), 2) for looks in (0, 1, 2, 4, 12)]
        [0.0, 0.2, 0.23, 0.3, 0.93]
    """
    if looks == 0:
        return 0.0
    return _RELAXED_S if is_settled else min(_RELAXED_S, FASTEST_S * _SLOWER ** (looks - 1))


def is_clearly_better(quality: float, best: float) -> bool:
    """Tell whether a face is shown so much better than before that it is worth another look."""
    return quality > _BETTER * best
