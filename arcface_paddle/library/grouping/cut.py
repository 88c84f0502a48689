"""From which mean score on two groups are one person: by the card's tail, the library's strangers, and its size.

A library of G people has G (G - 1) / 2 pairs of them, each of whom could be alike by accident. If E wrong links a
person are put up with, were all pairs of faces independent, the rate of accidents may be ::

    FAR = 2 E / (G - 1)

The card's tail says how many standard deviations above the mean of strangers that is. Where strangers of this library
stand, and how far they spread, is measured in the library: people of one family, one school, or one renderer are more
alike than those of whom the card was made. So the cut rises with the library's size, with its people's likeness, and
with the weight of the recogniser's tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Optional

import numpy as np

from arcface_paddle.library.grouping.evidence import Evidence
from arcface_paddle.pipeline.cards import Calibration
from arcface_paddle.pipeline.thresholds import similarity_at

WRONG_LINKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
"""E: the first that costs hardly any face of those who are together. Where people are told apart well, the cut may be
strict. At .3, .3 to 1.6 % of the pairs in groups of rendered people are two people (``tools/benchmark.py grouping``,
seeds 101 and 404): scores are averaged over the pairs of two groups, which makes accidents far rarer than those of
single pairs."""

LOST_FACES = 0.01
"""Share of faces that may be less similar to the rest of their group than the cut."""

LARGEST_FAR = 0.05
"""However few people there are."""

_NORMAL = NormalDist()
_SAMPLED_PAIRS = 400_000
_STRANGERS_OF_CARD = (0.0, 0.15)  # mean and deviation of strangers' similarity where the card says nothing
_LEAST_TOGETHER = 20  # faces, below which a quantile of 2 % says nothing
_PRIOR_GROUPS = 3.0  # as many groups do the card's strangers count as against the library's
_FURTHEST_SHIFT = 2.5  # of the strangers' mean from the card's, in the card's deviations


@dataclass(frozen=True)
class Strangers:
    """How scores of two people are distributed.

    Attributes:
        mean: of their scores.
        deviation: of their scores, above 0.
    """

    mean: float
    deviation: float


def strangers_of_card(calibration: Optional[Calibration]) -> Strangers:
    """Return mean and deviation of the similarity of strangers for which the card's tail would be a normal one.

    Example:
        >>> card = Calibration(None, None, None, 0.6, "", tail=((1e-2, 0.349), (1e-3, 0.463), (1e-4, 0.55)))
        >>> strangers = strangers_of_card(card)
        >>> round(strangers.mean, 3), round(strangers.deviation, 3)
        (0.002, 0.149)
    """
    if calibration is None or len(calibration.tail) < 2:
        return Strangers(*_STRANGERS_OF_CARD)
    near = sorted(calibration.tail, key=lambda point: abs(math.log10(point[0]) + 2.5))[:2]
    (rate_0, low), (rate_1, high) = sorted(near, reverse=True)
    steps = [-_NORMAL.inv_cdf(rate) for rate in (rate_0, rate_1)]
    deviation = max((high - low) / (steps[1] - steps[0]), 1e-3)
    return Strangers(low - steps[0] * deviation, deviation)


def deviations_at(far: float, calibration: Optional[Calibration]) -> float:
    """Return how many deviations above the strangers' mean a rate of accidents lies, by the card's tail."""
    if calibration is None or len(calibration.tail) < 2 or far >= calibration.tail[0][0]:
        return -_NORMAL.inv_cdf(far)
    strangers = strangers_of_card(calibration)
    return (similarity_at(calibration.tail, far) - strangers.mean) / strangers.deviation


def far_of(people: float, *, wrong_links: float = WRONG_LINKS[-1]) -> float:
    """Return the rate of accidents at which a library of some people has that many wrong links a person."""
    return min(LARGEST_FAR, 2 * wrong_links / max(people - 1, 1))


@dataclass(frozen=True)
class Cut:
    """A cut and what it rests on.

    Attributes:
        score: least mean score of groups that are joined.
        far: rate of accidents that it stands for.
        strangers: how scores of two people are distributed.
    """

    score: float
    far: float
    strangers: Strangers


def choose_cut(
    strangers: Strangers, calibration: Optional[Calibration], *, people: float, together: Optional[np.ndarray] = None
) -> Cut:
    """Return the strictest cut that costs hardly any face of those who are together.

    Args:
        strangers: of this library.
        calibration: the card's tail.
        people: how many there are.
        together: scores of faces with the rest of their groups by the most lenient cut, see ``Evidence.with_own``;
            None, or a few, for that cut. Groups by a stricter one would have lost those faces already.
    """
    most = -math.inf if together is None or len(together) < _LEAST_TOGETHER else np.quantile(together, LOST_FACES)
    for wrong_links in WRONG_LINKS:
        far = far_of(people, wrong_links=wrong_links)
        score = strangers.mean + deviations_at(far, calibration) * strangers.deviation
        if score <= most:
            break
    return Cut(score, far, strangers)


def measure_strangers(evidence: Evidence, *, rng: np.random.Generator) -> Optional[Strangers]:
    """Return how scores of different groups are distributed; None where there are not two.

    Mean and deviation are those of the lower half: pairs of one person who has not been put together yet are all in
    the upper one. Each pair of groups counts once, so that somebody with a thousand pictures does not count for all.

    Args:
        evidence: of the groups found so far, see ``Evidence.averaged``.
        rng: draws pairs where there are too many.
    """
    count = len(evidence)
    if count < 2:
        return None
    if count * (count - 1) // 2 <= _SAMPLED_PAIRS:
        ones, others = np.triu_indices(count, 1)
    else:
        ones = rng.integers(0, count, _SAMPLED_PAIRS)
        others = (ones + rng.integers(1, count, _SAMPLED_PAIRS)) % count
    step = 1 << 14
    scores = np.concatenate([
        evidence.of_pairs(ones[start : start + step], others[start : start + step])
        for start in range(0, len(ones), step)
    ])  # fmt: skip
    low, middle = np.quantile(scores, [_NORMAL.cdf(-1.0), 0.5])
    return Strangers(float(middle), max(float(middle - low), 1e-6))


def blend(measured: Optional[Strangers], expected: Strangers, *, people: int) -> Strangers:
    """Return what is taken for the strangers of a library: as measured, the less so the fewer people there are.

    A folder of a single person has no strangers, and what looks like some are that person's pictures; so the mean is
    never far from what is expected.
    """
    if measured is None:
        return expected
    share = people / (people + _PRIOR_GROUPS)
    mean = share * measured.mean + (1 - share) * expected.mean
    deviation = share * measured.deviation + (1 - share) * expected.deviation
    shift = _FURTHEST_SHIFT * expected.deviation
    return Strangers(min(max(mean, expected.mean - shift), expected.mean + shift), deviation)
