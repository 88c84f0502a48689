"""The optimal pairing, against trying everything and against SciPy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from arcface_paddle.video.assignment import best_pairs


def best_by_trying(gains: np.ndarray) -> float:
    rows, columns = gains.shape
    if rows > columns:
        return best_by_trying(gains.T)
    choices = itertools.permutations(range(columns), rows)
    return max(sum(max(gains[i, j], 0.0) for i, j in enumerate(choice)) for choice in choices)


@pytest.mark.parametrize("seed", range(40))
def test_the_sum_is_the_greatest(seed):
    rng = np.random.default_rng(seed)
    gains = rng.normal(size=rng.integers(1, 6, 2)).round(1)  # rounded, so that ties occur
    pairs = best_pairs(gains)
    assert sum(gains[pair] for pair in pairs) == pytest.approx(best_by_trying(gains))
    assert len({i for i, _ in pairs}) == len(pairs) == len({j for _, j in pairs})
    assert all(gains[pair] > 0 for pair in pairs) and pairs == sorted(pairs)


def test_large_tables_agree_with_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(3)
    for shape in ((60, 60), (30, 80), (80, 30)):
        gains = rng.uniform(0.1, 1, shape)
        rows, columns = optimize.linear_sum_assignment(-gains)
        assert sum(gains[pair] for pair in best_pairs(gains)) == pytest.approx(gains[rows, columns].sum())


def test_nothing_to_pair():
    assert best_pairs(np.empty((0, 3))) == best_pairs(np.empty((2, 0))) == best_pairs(np.full((2, 2), -1.0)) == []
