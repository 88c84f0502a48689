"""Figures of merit of a verifier from the similarities of genuine and impostor pairs (numpy only).

A pair is accepted as the same person when its similarity is at or above the threshold. FAR is the share of
impostor pairs accepted, TAR the share of genuine pairs accepted, FRR = 1 - TAR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

FAR_TARGETS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

_Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True)
class ConfidenceInterval:
    """A 95 % confidence interval of a share, 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True)
class OperatingPoint:
    """What a verifier does at the strictest threshold that a FAR target needs.

    Attributes:
        far_target: the share of impostor pairs that may be accepted.
        impostors: number of impostor pairs that were compared.
        genuine: number of genuine pairs that were compared.
        threshold: accept at or above it; None when there are too few pairs.
        tar: share of genuine pairs accepted; None when there are too few pairs.
        tar_interval: Wilson interval of ``tar`` for this threshold.
        false_accepts: impostor pairs accepted at the threshold.
        far_interval: Wilson interval of the FAR measured: how well the threshold itself is known.
    """

    far_target: float
    impostors: int
    genuine: int
    threshold: Optional[float] = None
    tar: Optional[float] = None
    tar_interval: Optional[ConfidenceInterval] = None
    false_accepts: Optional[int] = None
    far_interval: Optional[ConfidenceInterval] = None

    @property
    def remark(self) -> str:
        """Why there is no figure; empty when there is one."""
        if self.tar is not None:
            return ""
        if self.genuine == 0:
            return "no genuine pairs"
        return f"too few pairs: {self.impostors:,} of strangers, at least {math.ceil(1 / self.far_target):,} needed"


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of similarities per bin: ``edges`` (B + 1,), ``genuine`` (B,), ``impostor`` (B,)."""

    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


@dataclass(frozen=True, eq=False)
class Curve:
    """The whole trade-off: ``threshold`` (K,) falling, ``far`` (K,) and ``tar`` (K,) rising from 0 to 1."""

    threshold: np.ndarray
    far: np.ndarray
    tar: np.ndarray


def wilson_interval(successes: int, trials: int, *, z: float = _Z_95) -> ConfidenceInterval:
    """Return the Wilson score interval of ``successes / trials`` (Wilson 1927, eq. with centre p + z²/2n).

    Pairs count as independent draws; pairs that share pictures or people are less informative than that.

    >>> interval = wilson_interval(0, 10)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.0, 0.278)
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials}; allowed: 0 to trials, trials at least 1")
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return ConfidenceInterval(low, high)


def operating_point(genuine: np.ndarray, impostor: np.ndarray, *, far_target: float) -> OperatingPoint:
    """Find the lowest threshold whose FAR on these pairs does not exceed ``far_target``.

    Args:
        genuine: (G,) similarities of pairs of one person, any order.
        impostor: (I,) similarities of pairs of two persons, any order.
        far_target: above 0, up to 1.

    Returns:
        The point; without figures when not even one false accept is allowed (I x far_target < 1), because the
        threshold would then only be a guess beyond the data.
    """
    if not 0 < far_target <= 1:
        raise ValueError(f"far_target is {far_target}; allowed: above 0, up to 1")
    # 1e-3 x 1000 may be a hair below 1 in floating point; that pair is allowed all the same.
    allowed = math.floor(far_target * len(impostor) + 1e-9)
    if allowed < 1 or len(genuine) == 0:
        return OperatingPoint(far_target, len(impostor), len(genuine))
    threshold = _threshold_letting_through(impostor, allowed)
    accepted = int(np.count_nonzero(genuine >= threshold))
    false_accepts = int(np.count_nonzero(impostor >= threshold))
    return OperatingPoint(
        far_target=far_target,
        impostors=len(impostor),
        genuine=len(genuine),
        threshold=threshold,
        tar=accepted / len(genuine),
        tar_interval=wilson_interval(accepted, len(genuine)),
        false_accepts=false_accepts,
        far_interval=wilson_interval(false_accepts, len(impostor)),
    )


def operating_points(
    genuine: np.ndarray, impostor: np.ndarray, *, far_targets: Sequence[float] = FAR_TARGETS
) -> tuple[OperatingPoint, ...]:
    """Return ``operating_point`` for each target."""
    return tuple(operating_point(genuine, impostor, far_target=target) for target in far_targets)


def roc_curve(genuine: np.ndarray, impostor: np.ndarray) -> Curve:
    """Return FAR and TAR at every distinct similarity, preceded by the point (0, 0) at threshold infinity."""
    scores = np.unique(np.concatenate([genuine, impostor]))[::-1]
    far = _share_at_or_above(impostor, scores)
    tar = _share_at_or_above(genuine, scores)
    return Curve(np.concatenate([[np.inf], scores]), np.concatenate([[0.0], far]), np.concatenate([[0.0], tar]))


def area_under_curve(genuine: np.ndarray, impostor: np.ndarray) -> Optional[float]:
    """Return the probability that a genuine pair is more similar than an impostor pair (ties count half).

    This is the area under the ROC curve (Mann-Whitney); None when one kind of pair is missing.
    """
    if len(genuine) == 0 or len(impostor) == 0:
        return None
    ordered = np.sort(impostor)
    below = np.searchsorted(ordered, genuine, side="left")
    not_above = np.searchsorted(ordered, genuine, side="right")
    return float((below + not_above).sum(dtype=np.float64) / (2.0 * len(genuine) * len(impostor)))


def equal_error_rate(curve: Curve) -> float:
    """Return the rate at which FAR and FRR are equal, linear between the two neighbouring points of the curve."""
    gap = curve.far - (1.0 - curve.tar)  # rises from -1 to 1 along the curve
    after = int(np.argmax(gap >= 0))
    before = after - 1
    weight = -gap[before] / (gap[after] - gap[before])
    return float(curve.far[before] + weight * (curve.far[after] - curve.far[before]))


def best_threshold(genuine: np.ndarray, impostor: np.ndarray) -> tuple[float, float]:
    """Return the threshold that classifies most pairs rightly, and that share.

    The threshold lies halfway to the next lower similarity, so that it does not hang on one pair; among equals
    the highest is taken.
    """
    scores = np.unique(np.concatenate([genuine, impostor]))[::-1]
    accepted_genuine = _count_at_or_above(genuine, scores)
    accepted_impostor = _count_at_or_above(impostor, scores)
    right = np.concatenate([[0], accepted_genuine - accepted_impostor]) + len(impostor)
    index = int(np.argmax(right))  # accept the `index` highest scores
    # Beyond the ends there is no neighbour: a millionth is far below what a similarity in float32 resolves.
    upper = scores[index - 1] if index > 0 else scores[0] + 2e-6
    lower = scores[index] if index < len(scores) else scores[-1] - 2e-6
    return float((upper + lower) / 2), float(right[index] / (len(genuine) + len(impostor)))


def similarity_histogram(genuine: np.ndarray, impostor: np.ndarray, *, bins: int = 100) -> Histogram:
    """Count similarities in equal bins from -1 to 1; what lies outside counts in the outermost bin."""
    edges = np.linspace(-1.0, 1.0, bins + 1)
    counts = [np.histogram(np.clip(values, -1.0, 1.0), edges)[0] for values in (genuine, impostor)]
    return Histogram(edges, counts[0], counts[1])


def _threshold_letting_through(impostor: np.ndarray, allowed: int) -> float:
    """Return the lowest threshold that accepts at most ``allowed`` impostors; just above the first one refused."""
    if allowed >= len(impostor):
        return float(impostor.min())
    refused = np.partition(impostor, len(impostor) - allowed - 1)[len(impostor) - allowed - 1]
    return float(np.nextafter(refused, np.inf))


def _count_at_or_above(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return len(values) - np.searchsorted(np.sort(values), thresholds, side="left")


def _share_at_or_above(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return _count_at_or_above(values, thresholds) / max(1, len(values))
