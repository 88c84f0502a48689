"""Which class centres take part in a step of PartialFC (An et al. 2021, https://arxiv.org/abs/2010.05222).

A class takes part if a sample of the global batch belongs to it, or if a hash of (seed, step, class) falls below the
sample rate. Every rank decides for its own classes without asking the others, and the set does not depend on how the
classes are split, so a run can be continued on another number of ranks. The number of negatives is binomial: for
100,000 classes and rate .1 it is 10,000 with a standard deviation of 95.
"""

from __future__ import annotations

import math

import numpy as np

_MIX_1, _MIX_2, _GOLDEN = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35), 0x9E3779B97F4A7C15


def class_range(num_classes: int, rank: int, ranks: int) -> tuple[int, int]:
    """Return [start, end) of the classes of one rank; sizes differ by at most one, the larger come first."""
    size, larger = divmod(num_classes, ranks)
    start = rank * size + min(rank, larger)
    return start, start + size + (rank < larger)


def sampled_classes(start: int, end: int, *, rate: float, seed: int, step: int) -> np.ndarray:
    """Return the classes of [start, end) that the hash draws, sorted, int64.

    Args:
        rate: probability of each class, 0 to 1.
        seed: of the run.
        step: anything that changes from draw to draw.
    """
    classes = np.arange(start, end, dtype=np.uint32)
    key = _key(seed, step)
    values = _mixed(_mixed(classes ^ np.uint32(key & 0xFFFFFFFF)) + np.uint32(key >> 32))
    return start + np.flatnonzero(values < np.float64(rate) * 2.0**32)


def usual_count(classes: int, *, rate: float, batch: int, ranks: int, multiple: int) -> int:
    """Return a number of rows that a rank hardly ever needs more than, and which takes few more than it needs.

    Both the drawn classes and those of the batch are binomial; six standard deviations are exceeded once in a billion.

    Args:
        classes: of this rank.
        rate: probability of each.
        batch: samples of all ranks, each of another class at worst.
        ranks: over which their classes are spread.
        multiple: the result is one of it.
    """
    share = batch / ranks
    of_batch = min(batch, share + 6.0 * math.sqrt(share))
    drawn = classes * rate + 6.0 * math.sqrt(classes * rate * (1.0 - rate))
    return rounded_up(min(classes, math.ceil(drawn + of_batch)), multiple)


def rounded_up(count: int, multiple: int) -> int:
    """Return the next multiple, or ``count`` where it is one."""
    return -(-count // multiple) * multiple


def _key(seed: int, step: int) -> int:
    """Mix seed and step into 64 bits (splitmix64)."""
    mask = (1 << 64) - 1
    z = (seed * 0xD1342543DE82EF95 + (step + 1) * _GOLDEN) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Mix uint32 values so that every input bit reaches every output bit (finaliser of MurmurHash3)."""
    values = values ^ (values >> np.uint32(16))
    values = values * _MIX_1
    values = values ^ (values >> np.uint32(13))
    values = values * _MIX_2
    return values ^ (values >> np.uint32(16))
