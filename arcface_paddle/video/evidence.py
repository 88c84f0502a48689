"""What is known of a track's face: looks at it, fused into one template with a similarity of the usual meaning.

A look is an embedding of one moment. The mean of several, each with a weight, holds less noise than any one of them.
How similar is that mean to a face of the gallery, so that the card's thresholds, measured between single pictures, keep
their meaning? Let o be the cosine at which strangers stand (``SimilaritySpec.offset``) and m the mean of K looks of
length 1. An embedding consists of what all faces share (o of its squared length) and what sets this face apart in this
moment (1 - o); noise that differs from look to look is a part of the latter and shrinks in the mean. What is left of it
is ::

    kept^2 = (|m|^2 - o) / (1 - o)

and its scalar product with a stranger's face scatters by ``kept`` times as much as that of a single look. So ::

    similarity(template) = similarity(mean of the K cosines) / kept

scatters among strangers as the similarity of one look does, and the card's tail holds for it without a constant of our
own. For the person themselves the shared part stays and the noise goes: the similarity rises. With o = 0 it is the
cosine to the normalised mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.pipeline.cards import SimilaritySpec

MOST_LOOKS = 24
"""Looks that a track keeps, the best ones: more make no better mean, and a camera may run for days."""

_LEAST_KEPT = 0.5  # of ``kept`` squared: looks that differ more than this may not be of one face


@dataclass(frozen=True, eq=False)
class Look:
    """One look at a face.

    Attributes:
        vector: (D,) float32, L2-normalised.
        weight: how much it counts, above 0.
        time_s: when it was taken.
    """

    vector: np.ndarray
    weight: float
    time_s: float


def weight_of(quality: Optional[float]) -> float:
    """Return how much a look counts: the square of its quality, which knows size, sharpness, pose and light."""
    return max(1.0 if quality is None else quality, 0.05) ** 2


class Evidence:
    """The looks of one track.

    Example:
        >>> evidence = Evidence(SimilaritySpec())
        >>> for vector in ([0.8, 0.6, 0.0], [0.8, -0.6, 0.0]):
        ...     evidence.add(Look(np.array(vector, np.float32), 1.0, 0.0))
        >>> round(evidence.similarity_to(np.array([1.0, 0.0, 0.0], np.float32)), 2)  # of one look: .8
        1.0
    """

    def __init__(self, spec: SimilaritySpec) -> None:
        """Begin with nothing; ``spec`` says what a cosine of these embeddings is worth."""
        self._spec = spec
        self._looks: list[Look] = []
        self._template: Optional[np.ndarray] = None
        self._length, self._kept = 1.0, 1.0

    def __len__(self) -> int:
        """Return the number of looks that are kept."""
        return len(self._looks)

    @property
    def template(self) -> np.ndarray:
        """The weighted mean of the embeddings, (D,) float32, L2-normalised; there must be a look."""
        assert self._template is not None, "no look was added"
        return self._template

    def add(self, look: Look) -> None:
        """Take in a look; of too many, the one that counts least goes."""
        self._looks.append(look)
        if len(self._looks) > MOST_LOOKS:
            self._looks.remove(min(self._looks, key=lambda one: one.weight))
        weights = np.array([one.weight for one in self._looks])
        vectors = np.array([one.vector for one in self._looks], np.float64)
        mean = (weights / weights.sum()) @ vectors
        self._length = max(float(np.linalg.norm(mean)), 1e-9)
        apart = (self._length**2 - self._spec.offset) / max(1 - self._spec.offset, 1e-6)
        self._kept = math.sqrt(min(1.0, max(_LEAST_KEPT, apart)))
        self._template = (mean / self._length).astype(np.float32)

    def fused_similarity(self, similarity: float) -> float:
        """Return what a similarity of ``template`` to a face is worth by the scale of single pictures, -1 to 1."""
        cosine = self._length * self._spec.cosine_of(similarity)
        return max(-1.0, min(1.0, self._spec.similarity_of(cosine) / self._kept))

    def similarity_to(self, vector: np.ndarray) -> float:
        """Return the similarity (-1 to 1) to one embedding (D,) of unit length."""
        return self.fused_similarity((float(self.template @ vector) - self._spec.offset) / self._spec.scale)

    def similarity_between(self, other: Evidence) -> float:
        """Return the similarity (-1 to 1) of the faces of two tracks."""
        cosine = self._length * other._length * float(self.template @ other.template)
        return max(-1.0, min(1.0, self._spec.similarity_of(cosine) / (self._kept * other._kept)))

    def join(self, other: Evidence) -> None:
        """Take in the looks of a track that turned out to be the same."""
        for look in sorted(other._looks, key=lambda one: one.time_s):
            self.add(look)
