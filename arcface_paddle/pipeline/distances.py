"""Distances by which other programs compare faces, and the similarities that they stand for.

All of them fall as the cosine of two embeddings rises, so that "closer than d" and "more similar than s" say the same:

    squared_l2   |a - b|**2 = 2 - 2 cos       0 to 4;  cos = 1 - d / 2
    arccos       acos(cos) / pi               0 to 1;  cos = cos(pi d)
    cosine       1 - cos                      0 to 2;  cos = 1 - d

for embeddings a and b of length 1. A recogniser whose card says that a cosine is worth another similarity
(``cards.SimilaritySpec``) keeps that: distances are of embeddings, similarities are what the card makes of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.pipeline.settings import DISTANCE_METRICS


@dataclass(frozen=True)
class Distance:
    """A way to say how far two embeddings are apart.

    Attributes:
        most: the largest value, of opposite embeddings.
        of_cosine: the distance of a cosine.
        cosine_at: the cosine of a distance.
    """

    most: float
    of_cosine: Callable[[float], float]
    cosine_at: Callable[[float], float]


DISTANCES = {
    "squared_l2": Distance(4.0, lambda cosine: 2 - 2 * cosine, lambda distance: 1 - distance / 2),
    "arccos": Distance(
        1.0,
        lambda cosine: math.acos(max(-1.0, min(1.0, cosine))) / math.pi,  # rounding can leave -1 to 1
        lambda distance: math.cos(math.pi * distance),
    ),
    "cosine": Distance(2.0, lambda cosine: 1 - cosine, lambda distance: 1 - distance),
}


def distance_of(similarity: float, metric: str, spec: SimilaritySpec) -> float:
    """Return the distance that a similarity stands for; one that was cut off at 1 or -1 gives the bound.

    Example:
        >>> from arcface_paddle.pipeline.cards import PLAIN_COSINE
        >>> [round(distance_of(0.5, metric, PLAIN_COSINE), 4) for metric in DISTANCES]
        [1.0, 0.3333, 0.5]
    """
    return _named(metric).of_cosine(max(-1.0, min(1.0, spec.cosine_of(similarity))))


def similarity_at_distance(distance: float, metric: str, spec: SimilaritySpec) -> float:
    """Return the similarity, -1 to 1, from which on two embeddings are no farther apart than a distance.

    Raises:
        ConfigError: another metric, or a distance that it cannot give.

    Example:
        >>> from arcface_paddle.pipeline.cards import PLAIN_COSINE
        >>> [round(similarity_at_distance(0.6, metric, PLAIN_COSINE), 4) for metric in DISTANCES]
        [0.7, -0.309, 0.4]
    """
    chosen = _named(metric)
    if not 0 <= distance <= chosen.most:
        raise ConfigError(f"--max_threshold is {distance}; allowed: 0 to {chosen.most:g}, a distance ({metric})")
    return spec.similarity_of(chosen.cosine_at(distance))


def _named(metric: str) -> Distance:
    if metric not in DISTANCES:
        raise ConfigError(f"the distance is {metric!r}; allowed: {', '.join(DISTANCE_METRICS)}")
    return DISTANCES[metric]
