"""The best pairing of rows and columns: who of the faces is which track, which track is which person.

The Hungarian method by shortest augmenting paths, as ``scipy.optimize.linear_sum_assignment`` does it; SciPy is not
among the packages that recognition needs, and frames have tens of faces, not thousands.
Source: Jonker and Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse linear assignment
problems".
"""

from __future__ import annotations

import numpy as np


def best_pairs(gains: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs (row, column) with the greatest sum of gains; each row and column is in one pair at most.

    Args:
        gains: (N, M); a pair whose gain is not above 0 is never made. None may be NaN.

    Returns:
        Pairs by rising row.

    Example:
        >>> best_pairs(np.array([[0.9, 0.8], [0.8, 0.1]]))  # the greedy choice of .9 would leave .1
        [(0, 1), (1, 0)]
        >>> best_pairs(np.array([[-1.0, 0.5], [-1.0, 0.7]]))
        [(1, 1)]
    """
    if gains.size == 0:
        return []
    if gains.shape[0] > gains.shape[1]:
        return sorted((row, column) for column, row in best_pairs(gains.T))
    columns = _assigned_columns(-np.maximum(gains, 0.0))
    return [(row, int(column)) for row, column in enumerate(columns) if gains[row, column] > 0]


def _assigned_columns(cost: np.ndarray) -> np.ndarray:
    """Return the column of each row (N,) for which the sum of ``cost`` (N, M), N <= M, is least."""
    count, width = cost.shape
    of_row, of_column = np.zeros(count), np.zeros(width)  # dual values: no reduced cost is below 0
    row_of = np.full(width, -1)
    for start in range(count):
        shortest = np.full(width, np.inf)
        before = np.full(width, -1)  # the column from which a column is reached
        done = np.zeros(width, bool)
        row, column = start, -1
        length = 0.0
        while row >= 0:
            through = length + cost[row] - of_row[row] - of_column
            better = ~done & (through < shortest)
            shortest[better], before[better] = through[better], column
            column = int(np.argmin(np.where(done, np.inf, shortest)))
            length, done[column] = float(shortest[column]), True
            row = int(row_of[column])
        of_row[start] += length
        passed = done & (row_of >= 0)
        of_row[row_of[passed]] += length - shortest[passed]
        of_column[done] -= length - shortest[done]
        while column >= 0:  # turn the path around: every row on it takes the next column
            previous = int(before[column])
            row_of[column] = start if previous < 0 else row_of[previous]
            column = previous
    columns = np.full(count, -1)
    columns[row_of[row_of >= 0]] = np.flatnonzero(row_of >= 0)
    return columns
