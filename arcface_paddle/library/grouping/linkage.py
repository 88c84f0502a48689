"""Exact average linkage with pairs that must not be joined, by nearest-neighbour chains: O(N^2) time and memory.

Two groups are as similar as the pairs between them are on average. Similarities of two look-alikes' groups therefore
stay low however many in-betweens there are: a chain joins them with single linkage, and with a graph's components.

The chain (Murtagh 1983, https://doi.org/10.1093/comjnl/26.4.354) goes from each group to its most similar one until
two choose each other, and joins these. It gives the same groups as joining the most similar pair of all each time,
because a joined group is never more similar to a third than the more similar of its parts. That also holds where a
forbidden pair makes two groups infinitely dissimilar, for good.
"""

from __future__ import annotations

import numpy as np

FORBIDDEN = np.float32(-np.inf)
"""The similarity of two that must not be in one group."""


def average_linkage(similarities: np.ndarray, sizes: np.ndarray, *, cut: float) -> np.ndarray:
    """Join the most similar until no two groups are as similar as ``cut``.

    Args:
        similarities: (N, N) float32, symmetric, ``FORBIDDEN`` for pairs that must stay apart; the diagonal is not
            read. It is overwritten.
        sizes: (N,) how many faces each row stands for.
        cut: least mean similarity of two groups that are joined.

    Returns:
        (N,) int64, the lowest row of each row's group.
    """
    count = len(similarities)
    np.fill_diagonal(similarities, FORBIDDEN)
    weights = np.asarray(sizes, np.float32).copy()
    group_of = np.arange(count)
    open_rows = np.ones(count, bool)  # neither joined to another one nor finished
    chain: list[int] = []
    lowest = 0
    while True:
        if not chain:
            while lowest < count and not open_rows[lowest]:
                lowest += 1
            if lowest == count:
                return _roots(group_of)
            chain.append(lowest)
        top = chain[-1]
        row = similarities[top]
        best = int(row.argmax())
        if not row[best] >= cut:
            # Nobody can become more similar to it: it is finished, and whoever led here looks again.
            open_rows[top] = False
            _close(similarities, top)
            chain.pop()
        elif len(chain) > 1 and row[chain[-2]] >= row[best]:
            other = chain[-2]
            del chain[-2:]
            keep, gone = min(top, other), max(top, other)
            _join(similarities, weights, keep, gone)
            group_of[gone] = keep
            open_rows[gone] = False
        else:
            chain.append(best)


def _join(similarities: np.ndarray, weights: np.ndarray, keep: int, gone: int) -> None:
    """Put row ``gone`` into row ``keep``: Lance and Williams' update for average linkage."""
    total = weights[keep] + weights[gone]
    joined = (similarities[keep] * weights[keep] + similarities[gone] * weights[gone]) / total
    joined[keep] = FORBIDDEN
    weights[keep] = total
    similarities[keep] = joined
    similarities[:, keep] = joined
    _close(similarities, gone)


def _close(similarities: np.ndarray, row: int) -> None:
    similarities[row] = FORBIDDEN
    similarities[:, row] = FORBIDDEN


def _roots(group_of: np.ndarray) -> np.ndarray:
    """Follow every row to the row into which it went at last; each points to a lower one or itself."""
    while True:
        further = group_of[group_of]
        if np.array_equal(further, group_of):
            return group_of
        group_of = further
