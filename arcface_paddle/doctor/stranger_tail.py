"""How similar strangers are at most, and which similarity is beyond chance among very many comparisons.

The tail of the similarities of strangers is kept as points (rate, similarity). Between them, and beyond the last one,
similarity is taken as linear in the root of log(1 / rate), as it is for a normal distribution: the six points of the
shipped recogniser's card (1e-1 to 1e-6, photographs) lie on such a line within 0.01 from 1e-2 on, while a line in
log(1 / rate) would leave them upwards by 0.1 at 1e-6.

One of N comparisons of strangers reaches a similarity of rate r with the probability 1 - (1 - r)^N, as if they were
independent; comparisons that share a picture are not, so that the stated false alarm rate is on the safe side.
"""

from __future__ import annotations

import math
import sys
from typing import Optional, Sequence

import numpy as np

Tail = tuple[tuple[float, float], ...]
"""(rate, similarity) with falling rate: two strangers are that similar or more at that rate."""

LEAST_EXCEEDING = 20
"""A rate is measured where so many pairs are beyond it: 95 % of such counts are within 45 % of the true one."""

_RATES = tuple(mantissa * 10.0**-decade for decade in range(1, 13) for mantissa in (1.0, 0.3))
_BINS = 20_000
_FITTED = 3  # last points, through which the line beyond them goes


class SimilarityCounts:
    """A histogram of similarities from -1 to 1, fine enough to read a tail from; its size does not depend on N."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, dtype=np.int64)

    def add(self, similarities: np.ndarray) -> None:
        """Count values of any shape."""
        places = ((similarities.ravel() + 1.0) * (_BINS / 2)).astype(np.int64)
        self.counts += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    def tail(self) -> Tail:
        """Return the points of the tail that enough values lie beyond."""
        beyond = np.cumsum(self.counts[::-1])[::-1]  # at least the lower edge of each bin
        points = []
        for rate in _RATES:
            allowed = rate * self.total
            if allowed < LEAST_EXCEEDING:
                break
            place = int(np.searchsorted(-beyond, -allowed))  # the first bin beyond which there are not more
            points.append((rate, min(1.0, place * 2.0 / _BINS - 1.0)))
        return tuple(points)


def rate_of_each(false_alarm: float, comparisons: int) -> float:
    """Return the rate at which one of the comparisons of strangers may reach the threshold."""
    return max(-math.expm1(math.log1p(-false_alarm) / max(1, comparisons)), sys.float_info.min)


def similarity_at_rate(tail: Sequence[tuple[float, float]], rate: float) -> float:
    """Return the similarity that strangers reach at a rate; see the module for how it goes on beyond the tail.

    Args:
        tail: two or more points.
        rate: above 0.
    """
    roots = np.array([math.sqrt(-math.log(each)) for each, _ in tail])
    similarities = np.array([similarity for _, similarity in tail])
    wanted = math.sqrt(-math.log(min(rate, tail[0][0])))
    if wanted <= roots[-1]:
        return float(np.interp(wanted, roots, similarities))
    slope = np.polyfit(roots[-_FITTED:], similarities[-_FITTED:], 1)[0]
    return float(similarities[-1] + max(0.0, slope) * (wanted - roots[-1]))


def strictest(tails: Sequence[Optional[Tail]], rate: float) -> Optional[float]:
    """Return the largest of the tails' similarities at a rate; None where no tail has two points."""
    known = [similarity_at_rate(tail, rate) for tail in tails if tail is not None and len(tail) > 1]
    return max(known) if known else None
