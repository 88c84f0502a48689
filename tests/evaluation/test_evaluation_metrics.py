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


@pytest.mark.parametrize(("successes", "trials"), [(-1, 10), (11, 10), (0, 0), (1, 0)])
def test_shares_that_are_none_are_refused(successes, trials):
    with pytest.raises(ValueError, match=f"{successes} of {trials}; allowed: 0 to trials"):
        metrics.wilson_interval(successes, trials)


@pytest.mark.parametrize("trials", [1, 2, 7, 1000])
def test_wilson_interval_against_its_equation(trials):
    """Its ends are the shares p for which (successes / trials - p)^2 is z^2 p (1 - p) / trials."""
    for successes in sorted({0, 1, trials // 2, trials}):
        interval = metrics.wilson_interval(successes, trials)
        for end in (interval.low, interval.high):
            apart = (successes / trials - end) ** 2 - metrics._Z_95**2 * end * (1 - end) / trials
            assert apart == pytest.approx(0.0, abs=1e-12) or end == successes / trials
        assert interval.low < successes / trials or successes == 0
        assert interval.high > successes / trials or successes == trials
    assert math.erf(metrics._Z_95 / math.sqrt(2)) == pytest.approx(0.95, abs=1e-12)


def test_intervals_of_none_and_of_all_end_at_the_ends():
    for trials in range(1, 200):
        assert metrics.wilson_interval(0, trials).low == 0.0 and metrics.wilson_interval(trials, trials).high == 1.0


def test_what_lies_at_a_threshold_or_outside_of_all_bins_counts():
    assert metrics.operating_point(np.array([0.0, -1.0]), np.arange(10.0), far_target=1.0).tar == 0.5
    histogram = metrics.similarity_histogram(np.array([1.5, 1.0]), np.array([-1.5]), bins=4)
    assert histogram.genuine.tolist() == [0, 0, 0, 2] and histogram.impostor.tolist() == [1, 0, 0, 0]


def test_the_threshold_is_found_in_any_order():
    impostor = np.random.default_rng(0).permutation(1000.0 * np.arange(2000))
    for allowed in (1, 5, 37, 500, 1000, 1999):
        found = metrics.operating_point(np.ones(1), impostor, far_target=allowed / 2000)
        assert found.threshold == np.nextafter(1000.0 * (1999 - allowed), np.inf)


@pytest.mark.parametrize("target", [0.0, -0.1, 1.0001])
def test_targets_out_of_range_are_refused(target):
    with pytest.raises(ValueError, match="allowed: above 0, up to 1"):
        metrics.operating_point(np.ones(3), np.zeros(3), far_target=target)


def test_the_threshold_is_just_above_the_first_impostor_refused():
    impostor = np.arange(10.0)
    for allowed in (1, 4, 9):
        point = metrics.operating_point(np.array([9.0, 3.0]), impostor, far_target=allowed / 10)
        assert point.threshold == np.nextafter(9.0 - allowed, np.inf)
        assert (point.impostors, point.genuine, point.false_accepts) == (10, 2, allowed)
        assert point.far_interval == metrics.wilson_interval(allowed, 10)
    assert metrics.operating_point(np.ones(2), impostor, far_target=1.0).threshold == 0.0
    assert metrics.operating_point(np.ones(2), impostor, far_target=0.1).tar is not None, "one false accept is enough"
    assert metrics.operating_point(np.ones(2), impostor, far_target=0.0999).tar is None


def test_the_published_targets():
    assert metrics.FAR_TARGETS == (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    points = metrics.operating_points(*sample(impostor=20_000))
    assert [point.far_target for point in points] == list(metrics.FAR_TARGETS)
    assert [point.remark == "" for point in points] == [True, True, True, False, False]


def test_a_curve_goes_from_nothing_to_everything():
    curve = metrics.roc_curve(np.array([0.5, 0.9]), np.array([0.1, 0.5, 0.2]))
    np.testing.assert_array_equal(curve.threshold, [np.inf, 0.9, 0.5, 0.2, 0.1])
    np.testing.assert_allclose(curve.far, [0, 0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.tar, [0, 0.5, 1, 1, 1])
    # FAR - FRR goes from -1/2 to 1/3 between the second and the third point
    assert metrics.equal_error_rate(curve) == pytest.approx(0.6 / 3)
    assert metrics.roc_curve(np.ones(2), np.empty(0)).far.tolist() == [0.0, 0.0]


def test_no_area_where_one_kind_is_missing():
    assert metrics.area_under_curve(np.empty(0), np.ones(1)) is None
    assert metrics.area_under_curve(np.ones(1), np.empty(0)) is None
    assert metrics.area_under_curve(np.ones(1), np.zeros(1)) == 1.0


def test_the_best_threshold_lies_halfway_and_just_beyond_the_ends():
    assert metrics.best_threshold(np.array([0.8, 0.6]), np.array([0.2, 0.4])) == (0.5, 1.0)
    threshold, share = metrics.best_threshold(np.array([0.1]), np.array([0.5, 0.6]))  # accepts nobody
    assert threshold == pytest.approx(0.6 + 1e-6, abs=1e-9) and share == pytest.approx(2 / 3)
    threshold, share = metrics.best_threshold(np.array([0.5, 0.6]), np.array([0.7]))  # accepts all
    assert threshold == pytest.approx(0.5 - 1e-6, abs=1e-9) and share == pytest.approx(2 / 3)
    assert metrics.best_threshold(np.array([0.4, 0.8]), np.array([0.6]))[0] == pytest.approx(0.7), (
        "of equals the highest"
    )


def test_a_histogram_has_a_hundred_bins_of_equal_width():
    histogram = metrics.similarity_histogram(np.array([0.005]), np.array([-0.005]))
    np.testing.assert_allclose(histogram.edges, np.linspace(-1, 1, 101))
    assert histogram.genuine[50] == histogram.impostor[49] == 1
