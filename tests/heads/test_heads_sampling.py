"""How classes are split over ranks and drawn for a step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from arcface_paddle.heads.sampling import class_range, rounded_up, sampled_classes, usual_count

WORD, LONG_WORD = (1 << 32) - 1, (1 << 64) - 1


def splitmix64(state: int) -> int:
    """The published generator, https://prng.di.unimi.it/splitmix64.c, without its addition."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & LONG_WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & LONG_WORD
    return state ^ (state >> 31)


def fmix32(value: int) -> int:
    """The published finaliser of MurmurHash3, x86 of 32 bits."""
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & WORD
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & WORD
    return value ^ (value >> 16)


@pytest.mark.parametrize(("rate", "seed", "step"), [(0.1, 0, 0), (0.3, 7, 123_456), (0.5, 2**31, 10**9)])
def test_the_draw_against_a_slow_twin(rate, seed, step):
    """A run that goes on under another version has to draw what it would have drawn."""
    key = splitmix64((seed * 0xD1342543DE82EF95 + (step + 1) * 0x9E3779B97F4A7C15) & LONG_WORD)
    drawn = [c for c in range(50, 350) if fmix32((fmix32(c ^ (key & WORD)) + (key >> 32)) & WORD) < rate * 2**32]
    np.testing.assert_array_equal(sampled_classes(50, 350, rate=rate, seed=seed, step=step), drawn)


def test_the_usual_count_is_six_deviations_above_the_mean():
    drawn, of_batch = 10_000 + 6 * math.sqrt(10_000 * 0.9), 64 + 6 * 8
    count = usual_count(100_000, rate=0.1, batch=256, ranks=4, multiple=1)
    assert count == math.ceil(drawn + of_batch) == 10_682
    assert usual_count(100_000, rate=0.1, batch=256, ranks=4, multiple=512) == 10_752
    assert usual_count(100_000, rate=0.1, batch=16, ranks=1, multiple=1) == math.ceil(drawn + 16)  # no more than all
    assert usual_count(300, rate=0.9, batch=256, ranks=4, multiple=8) == 304  # no more than there are classes


@pytest.mark.parametrize(("count", "multiple", "rounded"), [(0, 8, 0), (1, 8, 8), (8, 8, 8), (9, 8, 16), (7, 1, 7)])
def test_rounding_up(count, multiple, rounded):
    assert rounded_up(count, multiple) == rounded


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
