from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.evaluation import calibration
from arcface_paddle.evaluation.calibration import (
    Logistic,
    PairScores,
    all_pairs,
    calibrate,
    describe_points,
    fit_logistic,
    gallery_threshold,
    probability,
)
from arcface_paddle.evaluation.metrics import OperatingPoint


def people_set(people=40, pictures=5, *, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), pictures)
    rows = np.repeat(generator.normal(size=(people, 32)), pictures, axis=0)
    rows = rows + noise * generator.normal(size=rows.shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


@pytest.mark.parametrize("block", [7, 2048])
def test_all_pairs_equals_two_loops(block, monkeypatch):
    monkeypatch.setattr(calibration, "_BLOCK_ROWS", block)
    embeddings, labels = people_set(people=6, pictures=4)
    genuine, impostor, top = [], [], np.full(len(labels), -np.inf)
    for i in range(len(labels)):
        for j in range(len(labels)):
            similarity = float(embeddings[i] @ embeddings[j])
            if labels[i] != labels[j]:
                top[i] = max(top[i], similarity)
            if i < j:
                (genuine if labels[i] == labels[j] else impostor).append(similarity)
    scores = all_pairs(embeddings, labels)
    np.testing.assert_allclose(np.sort(scores.genuine), np.sort(genuine))
    np.testing.assert_allclose(np.sort(scores.impostor), np.sort(impostor))
    np.testing.assert_allclose(scores.top_stranger, top)
    assert (scores.pictures, scores.people) == (24, 6)


def weighted_loss(slope, intercept, genuine, impostor):
    """Platt's objective with each kind of pair weighing one half, written out."""
    total = 0.0
    for values, target in (
        (genuine, (len(genuine) + 1) / (len(genuine) + 2)),
        (impostor, 1 / (len(impostor) + 2)),
    ):
        p = 1 / (1 + np.exp(-(slope * values + intercept)))
        total += 0.5 * np.mean(-(target * np.log(p) + (1 - target) * np.log(1 - p)))
    return total


@pytest.mark.parametrize("counts", [(300, 5000), (5, 20_000), (2000, 50)])
def test_logistic_is_the_minimum_of_platts_objective(counts):
    generator = np.random.default_rng(1)
    genuine, impostor = generator.normal(0.6, 0.15, counts[0]), generator.normal(0.05, 0.12, counts[1])
    found = fit_logistic(genuine, impostor)
    best = weighted_loss(found.slope, found.intercept, genuine, impostor)
    for factor in (0.99, 1.01):
        assert weighted_loss(found.slope * factor, found.intercept, genuine, impostor) > best
        assert weighted_loss(found.slope, found.intercept * factor, genuine, impostor) > best
    x = np.concatenate([genuine, impostor])
    target = np.repeat([(counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2)], counts)
    residual = np.repeat([0.5 / counts[0], 0.5 / counts[1]], counts) * (probability(found, x) - target)
    assert (residual.sum(), residual @ x) == pytest.approx((0, 0), abs=1e-7)  # no slope is left in any direction


def test_logistic_recovers_equal_prior_odds_whatever_the_counts():
    # Two normal distributions of one width have exactly logistic odds: slope = distance of means / variance.
    generator = np.random.default_rng(0)
    genuine, impostor = generator.normal(0.5, 0.15, 30_000), generator.normal(0.1, 0.15, 300_000)
    found = fit_logistic(genuine, impostor)
    assert found.slope == pytest.approx(0.4 / 0.15**2, rel=0.03)
    assert float(probability(found, np.array(0.3))) == pytest.approx(0.5, abs=0.01)


def test_logistic_stays_finite_for_perfect_separation():
    found = fit_logistic(np.array([0.8, 0.9]), np.linspace(-0.2, 0.3, 50))
    assert 0 < found.slope < 1000
    share = probability(found, np.array([-1.0, 0.3, 0.8, 1.0]))
    assert (np.diff(share) > 0).all()
    assert share[1] < 0.5 < share[2]


def test_logistic_refuses_what_cannot_be_fitted():
    with pytest.raises(DataError, match="0 pairs of one person and 3 of two"):
        fit_logistic(np.zeros(0), np.zeros(3))
    with pytest.raises(DataError, match="are not more similar"):
        fit_logistic(np.array([0.1, 0.2]), np.array([0.5, 0.6]))
    with pytest.raises(DataError, match="are not more similar"):
        fit_logistic(np.array([0.5]), np.array([0.5]))


def test_probability_takes_extreme_values():
    share = probability(Logistic(1e6, 0.0), np.array([-1.0, 1.0]))
    np.testing.assert_allclose(share, [0, 1], atol=1e-12)


def test_calibrate_reports_what_the_pairs_carry():
    embeddings, labels = people_set(people=60, pictures=4)
    scores = all_pairs(embeddings, labels)
    result = calibrate(scores)
    assert result.genuine == 60 * 6
    assert result.impostor == 240 * 239 // 2 - 360
    for point in result.points[:2]:
        assert np.mean(scores.impostor >= point.threshold) <= point.far_target
    assert result.points[0].threshold < result.points[1].threshold
    assert result.identification.threshold > result.points[0].threshold
    assert np.mean(scores.top_stranger >= result.identification.threshold) <= 0.01
    few = calibrate(all_pairs(*people_set(people=5, pictures=3)))
    assert [point.threshold is None for point in few.points] == [True, True, True]
    assert few.identification.threshold is None
    text = describe_points(result.points)
    assert f"FAR 1e-2: {result.points[0].threshold:.3f} (" in text
    assert "too few pairs: 90 of strangers" in describe_points(few.points)


def test_gallery_threshold_keeps_the_rate_of_independent_comparisons():
    impostor = np.random.default_rng(0).normal(0, 0.15, 2_000_000)
    point = gallery_threshold(impostor, people=100)
    searches = np.random.default_rng(1).normal(0, 0.15, (20_000, 100)).max(axis=1)
    assert np.mean(searches >= point.threshold) == pytest.approx(0.01, abs=0.003)
    assert gallery_threshold(impostor[:1000], people=100).threshold is None


def test_all_pairs_needs_two_people_and_two_pictures():
    with pytest.raises(DataError, match="3 pictures of 1 people"):
        all_pairs(np.eye(3), np.zeros(3, dtype=int))
    with pytest.raises(DataError, match="3 pictures of 3 people"):
        all_pairs(np.eye(3), np.arange(3))


def test_one_pair_of_each_kind_is_enough_for_a_curve():
    found = fit_logistic(np.array([0.8]), np.array([0.2]))
    assert probability(found, np.array([0.8, 0.5, 0.2])) == pytest.approx([2 / 3, 0.5, 1 / 3])
    for genuine, impostor in ((np.zeros(0), np.zeros(1)), (np.ones(1), np.zeros(0))):
        with pytest.raises(DataError, match="both kinds are needed"):
            fit_logistic(genuine, impostor)


def test_the_published_rates():
    assert calibration.FAR_TARGETS == (1e-2, 1e-3, 1e-4) and calibration.FPIR_TARGET == 1e-2
    pairs = PairScores(np.ones(1), np.zeros(1))
    assert (pairs.top_stranger, pairs.pictures, pairs.people) == (None, 0, 0)


def test_a_point_that_lacks_a_figure_is_told_by_its_remark():
    halves = OperatingPoint(1e-3, 9, 9, threshold=0.5), OperatingPoint(1e-2, 9, 0, tar=None)
    assert describe_points(halves) == f"FAR 1e-3: {halves[0].remark}; FAR 1e-2: no genuine pairs"
