"""From similarities of known pairs to thresholds and a probability (numpy only).

Thresholds are those of ``metrics.operating_point``. The probability is a logistic curve of the similarity fitted by
Platt's method (Platt 1999; Newton's method and targets after Lin, Lin and Weng 2007, "A note on Platt's probabilistic
outputs for support vector machines"), with both kinds of pair weighted equally, so that it holds for equal prior odds:
with other odds p : (1 - p) add log(p / (1 - p)) to slope * similarity + intercept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.errors import DataError
from arcface_paddle.evaluation.metrics import OperatingPoint, operating_point, operating_points

FAR_TARGETS = (1e-2, 1e-3, 1e-4)
FPIR_TARGET = 1e-2
_NEWTON_STEPS = 100  # the convex problem needs about ten
_BLOCK_ROWS = 2048  # rows of the matrix of all pairs held at a time


@dataclass(frozen=True)
class Logistic:
    """Probability of one person = 1 / (1 + exp(-(slope * similarity + intercept))), for equal prior odds."""

    slope: float
    intercept: float


@dataclass(frozen=True, eq=False)
class PairScores:
    """Similarities of all pairs of a labelled set.

    Attributes:
        genuine: (G,) of pairs of one person.
        impostor: (I,) of pairs of two persons.
        top_stranger: (N,) per picture the highest similarity to any picture of other people: what a search sees when
            the person is not in a gallery of all the others. None when only pairs are known.
        pictures: N; 0 when only pairs are known.
        people: number of people in the set; 0 when only pairs are known.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    top_stranger: Optional[np.ndarray] = None
    pictures: int = 0
    people: int = 0


@dataclass(frozen=True)
class CalibrationResult:
    """What a set says about a recogniser's similarities.

    Attributes:
        points: thresholds between two pictures at the FAR targets; without figures where pairs are too few.
        identification: threshold of a search at FPIR 1e-2 in a gallery of the whole set; None for pairs only.
        logistic: the probability that two pictures show one person, as a function of their similarity.
        genuine: number of pairs of one person.
        impostor: number of pairs of two persons.
        pictures, people: how many the set has; 0 when only pairs are known.
    """

    points: tuple[OperatingPoint, ...]
    identification: Optional[OperatingPoint]
    logistic: Logistic
    genuine: int
    impostor: int
    pictures: int
    people: int


def all_pairs(embeddings: np.ndarray, labels: np.ndarray) -> PairScores:
    """Compare every picture with every other one.

    Args:
        embeddings: (N, D) L2-normalised.
        labels: (N,) person of each.

    Raises:
        DataError: fewer than two people, or nobody with two pictures.
    """
    genuine, impostor, top = [], [], []
    for start in range(0, len(embeddings), _BLOCK_ROWS):
        rows = np.arange(start, min(start + _BLOCK_ROWS, len(embeddings)))
        similarity = embeddings[rows] @ embeddings.T
        same = labels[rows, None] == labels[None, :]
        once = np.arange(len(embeddings))[None, :] > rows[:, None]
        genuine.append(similarity[same & once])
        impostor.append(similarity[~same & once])
        top.append(np.where(same, -np.inf, similarity).max(axis=1))
    scores = PairScores(
        genuine=np.concatenate(genuine),
        impostor=np.concatenate(impostor),
        top_stranger=np.concatenate(top),
        pictures=len(labels),
        people=len(np.unique(labels)),
    )
    if len(scores.genuine) == 0 or len(scores.impostor) == 0:
        raise DataError(
            f"{scores.pictures} pictures of {scores.people} people: calibration needs two people or more, and two "
            "pictures of somebody"
        )
    return scores


def calibrate(scores: PairScores) -> CalibrationResult:
    """Find thresholds and probability.

    Raises:
        DataError: one kind of pair is missing, or genuine pairs are not the more similar ones.
    """
    identification = None
    if scores.top_stranger is not None:
        # The genuine side only gives the rate of the known persons found; a threshold needs the strangers.
        identification = operating_point(scores.genuine, scores.top_stranger, far_target=FPIR_TARGET)
    return CalibrationResult(
        points=operating_points(scores.genuine, scores.impostor, far_targets=FAR_TARGETS),
        identification=identification,
        logistic=fit_logistic(scores.genuine, scores.impostor),
        genuine=len(scores.genuine),
        impostor=len(scores.impostor),
        pictures=scores.pictures,
        people=scores.people,
    )


def fit_logistic(genuine: np.ndarray, impostor: np.ndarray) -> Logistic:
    """Fit the probability of one person to the similarity.

    Platt's targets (n + 1)/(n + 2) and 1/(n + 2) instead of 1 and 0 keep the slope finite for pairs that separate
    perfectly; each kind of pair has half of the total weight.

    Raises:
        DataError: one kind of pair is missing, or genuine pairs are not the more similar ones.
    """
    if len(genuine) == 0 or len(impostor) == 0:
        raise DataError(f"{len(genuine)} pairs of one person and {len(impostor)} of two: both kinds are needed")
    if genuine.mean() <= impostor.mean():
        raise DataError(
            f"pairs of one person are not more similar ({genuine.mean():.3f}) than those of two "
            f"({impostor.mean():.3f}): labels or model are wrong; nothing to calibrate"
        )
    x = np.concatenate([genuine, impostor]).astype(np.float64)
    kinds = ((len(genuine), (len(genuine) + 1) / (len(genuine) + 2)), (len(impostor), 1 / (len(impostor) + 2)))
    target = np.concatenate([np.full(count, value) for count, value in kinds])
    weight = np.concatenate([np.full(count, 0.5 / count) for count, _ in kinds])
    return _newton(x, target, weight)


def probability(logistic: Logistic, similarity: np.ndarray) -> np.ndarray:
    """Return the estimated probability of one person for similarities of any shape."""
    odds = logistic.slope * np.asarray(similarity, dtype=np.float64) + logistic.intercept
    return 1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500)))


def gallery_threshold(impostor: np.ndarray, *, people: int, fpir: float = FPIR_TARGET) -> OperatingPoint:
    """Estimate a search threshold from pairs alone, as if the comparisons with ``people`` people were independent.

    FPIR = 1 - (1 - FAR)^people, so the FAR per comparison that leaves ``fpir`` is 1 - (1 - fpir)^(1/people).
    """
    far = 1.0 - (1.0 - fpir) ** (1.0 / people)
    return operating_point(impostor, impostor, far_target=far)


def describe_points(points: Sequence[OperatingPoint]) -> str:
    """Say thresholds with their evidence in words, for a model card."""
    parts = []
    for point in points:
        far = f"FAR {point.far_target:.0e}".replace("e-0", "e-")
        if point.threshold is None or point.far_interval is None or point.tar is None or point.tar_interval is None:
            parts.append(f"{far}: {point.remark}")
            continue
        parts.append(
            f"{far}: {point.threshold:.3f} ({point.false_accepts} of {point.impostors:,} pairs of strangers accepted, "
            f"FAR 95 % {point.far_interval.low:.1e} to {point.far_interval.high:.1e}; TAR {100 * point.tar:.1f} % of "
            f"{point.genuine:,} pairs of one person, 95 % {100 * point.tar_interval.low:.1f} to "
            f"{100 * point.tar_interval.high:.1f})"
        )
    return "; ".join(parts)


def _newton(x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Logistic:
    """Minimise the weighted cross-entropy by Newton's method with halved steps; the problem is convex."""
    centre, scale = float(np.average(x, weights=weight)), float(x.std()) or 1.0
    z = (x - centre) / scale
    theta = np.zeros(2)

    def loss(parameters: np.ndarray) -> float:
        odds = parameters[0] * z + parameters[1]
        return float(np.sum(weight * (np.logaddexp(0.0, odds) - target * odds)))

    current = loss(theta)
    for _ in range(_NEWTON_STEPS):
        odds = theta[0] * z + theta[1]
        share = 1.0 / (1.0 + np.exp(-odds))
        residual = weight * (share - target)
        gradient = np.array([np.dot(residual, z), residual.sum()])
        curvature = weight * share * (1.0 - share)
        cross = np.dot(curvature, z)
        hessian = np.array([[np.dot(curvature, z * z), cross], [cross, curvature.sum()]])
        hessian += 1e-12 * np.eye(2)  # invertible even where pairs separate so well that all curvature vanishes
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while loss(theta - length * step) > current and length > 1e-10:
            length /= 2
        theta = theta - length * step
        previous, current = current, loss(theta)
        if previous - current < 1e-14:
            break
    slope = theta[0] / scale
    return Logistic(float(slope), float(theta[1] - slope * centre))
