from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from arcface_paddle.evaluation import metrics


def sample(genuine=300, impostor=5000, *, seed=0, digits=None):
    generator = np.random.default_rng(seed)
    good, bad = generator.normal(0.55, 0.15, genuine), generator.normal(0.05, 0.12, impostor)
    return (good, bad) if digits is None else (good.round(digits), bad.round(digits))


@pytest.mark.parametrize("digits", [None, 1, 2])
@pytest.mark.parametrize("target", [1.0, 0.1, 1e-2, 1e-3])
def test_operating_point_is_the_lowest_threshold_that_keeps_the_far(digits, target):
    genuine, impostor = sample(seed=4, digits=digits)
    point = metrics.operating_point(genuine, impostor, far_target=target)
    assert np.mean(impostor >= point.threshold) <= target
    assert point.false_accepts == np.sum(impostor >= point.threshold)
    assert point.tar == np.mean(genuine >= point.threshold)
    lower = impostor[impostor < point.threshold]
    if len(lower):
        assert np.mean(impostor >= lower.max()) > target
    assert point.tar_interval.low <= point.tar <= point.tar_interval.high


def test_operating_point_says_when_pairs_are_too_few():
    genuine, impostor = sample(impostor=999)
    assert metrics.operating_point(genuine, impostor, far_target=1e-2).tar is not None
    point = metrics.operating_point(genuine, impostor, far_target=1e-3)
    assert point.tar is None
    assert point.threshold is None
    assert point.remark == "too few pairs: 999 of strangers, at least 1,000 needed"
    assert metrics.operating_point(genuine[:0], impostor, far_target=1e-2).remark == "no genuine pairs"


def test_far_target_that_is_a_whole_number_of_pairs_is_not_lost_to_rounding():
    impostor = np.arange(3000) / 3000
    point = metrics.operating_point(np.ones(5), impostor, far_target=1e-3)
    assert point.false_accepts == 3


def test_wilson_interval_equals_textbook_values_and_covers():
    assert doctest.testmod(metrics).failed == 0
    interval = metrics.wilson_interval(81, 263)
    assert interval.low == pytest.approx(0.2553, abs=2e-4)
    assert interval.high == pytest.approx(0.3662, abs=2e-4)
    assert metrics.wilson_interval(10, 10).high == 1
    with pytest.raises(ValueError, match="11 of 10"):
        metrics.wilson_interval(11, 10)


@pytest.mark.parametrize("digits", [None, 1])
def test_auc_equals_counting_all_pairs_of_pairs(digits):
    genuine, impostor = sample(60, 80, digits=digits)
    wins = sum((g > i) + 0.5 * (g == i) for g in genuine for i in impostor)
    assert metrics.area_under_curve(genuine, impostor) == pytest.approx(wins / 4800, abs=1e-12)
    curve = metrics.roc_curve(genuine, impostor)
    trapezoid = np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1]) / 2)
    assert trapezoid == pytest.approx(wins / 4800, abs=1e-12)


def test_equal_error_rate_of_known_scores():
    # At 0.5 one genuine of four is refused and one impostor of four accepted.
    curve = metrics.roc_curve(np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.6, 0.1, 0.0, -0.5]))
    assert metrics.equal_error_rate(curve) == pytest.approx(0.25)
    assert metrics.equal_error_rate(metrics.roc_curve(np.array([0.9]), np.array([0.1]))) == 0
    assert metrics.equal_error_rate(metrics.roc_curve(np.array([0.1]), np.array([0.9]))) == 1


def test_equal_error_rate_is_close_to_theory():
    genuine, impostor = np.random.default_rng(0).normal([[1.0], [-1.0]], 1.0, size=(2, 200_000))
    expected = 0.5 * math.erfc(1 / math.sqrt(2))  # P(N(0, 1) > 1)
    assert metrics.equal_error_rate(metrics.roc_curve(genuine, impostor)) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("digits", [None, 1])
@pytest.mark.parametrize("counts", [(40, 60), (1, 60), (60, 1)])
def test_best_threshold_equals_trying_all(digits, counts):
    genuine, impostor = sample(*counts, seed=2, digits=digits)
    threshold, accuracy = metrics.best_threshold(genuine, impostor)
    candidates = np.concatenate([genuine, impostor, [5.0]])
    tried = [np.sum(genuine >= t) + np.sum(impostor < t) for t in candidates]
    assert accuracy == pytest.approx(max(tried) / sum(counts))
    assert (np.sum(genuine >= threshold) + np.sum(impostor < threshold)) == max(tried)


def test_histogram_counts_everything():
    genuine, impostor = np.array([-3.0, 0.0, 1.0]), np.array([0.999, -1.0])
    histogram = metrics.similarity_histogram(genuine, impostor, bins=4)
    np.testing.assert_array_equal(histogram.genuine, [1, 0, 1, 1])
    np.testing.assert_array_equal(histogram.impostor, [1, 0, 0, 1])
