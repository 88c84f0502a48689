"""How classes are split over ranks and drawn for a step."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.heads.sampling import class_range, sampled_classes


@pytest.mark.parametrize(("classes", "ranks"), [(9, 4), (5, 4), (4, 4), (10, 3), (1, 1), (85742, 7)])
def test_shards_tile_the_classes_and_differ_by_at_most_one(classes, ranks):
    ranges = [class_range(classes, rank, ranks) for rank in range(ranks)]
    assert ranges[0][0] == 0 and ranges[-1][1] == classes
    assert all(before[1] == after[0] for before, after in zip(ranges, ranges[1:]))
    sizes = [end - start for start, end in ranges]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_the_draw_does_not_depend_on_the_number_of_ranks(ranks):
    whole = sampled_classes(0, 1000, rate=0.1, seed=3, step=17)
    parts = [sampled_classes(*class_range(1000, rank, ranks), rate=0.1, seed=3, step=17) for rank in range(ranks)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_draw_has_the_rate_and_changes_with_step_and_seed():
    first = sampled_classes(0, 100_000, rate=0.1, seed=0, step=0)
    assert abs(len(first) - 10_000) < 5 * 95
    for seed, step in ((0, 1), (1, 0), (1, 1)):
        other = sampled_classes(0, 100_000, rate=0.1, seed=seed, step=step)
        common = len(np.intersect1d(first, other))
        assert abs(common - 1000) < 5 * 32, (seed, step)  # independent draws share rate squared


def test_every_class_is_drawn_equally_often():
    counts = np.zeros(500)
    for step in range(2000):
        counts[sampled_classes(0, 500, rate=0.2, seed=5, step=step)] += 1
    assert np.abs(counts - 400).max() < 5.0 * np.sqrt(2000 * 0.2 * 0.8)


def test_rates_at_the_ends():
    assert len(sampled_classes(0, 1000, rate=1.0, seed=0, step=0)) == 1000
    assert len(sampled_classes(0, 1000, rate=0.0, seed=0, step=0)) == 0
