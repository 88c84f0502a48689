from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.evaluation.similarity import MEASURES, measure_by_name, pair_distances


def slow_similarity(name, left, right):
    if name in ("diff", "cos"):
        return float(left @ right)
    if name in ("corr", "fft_corr"):
        return float(np.correlate(left, right, mode="full").max())
    mean_left, mean_right = left.mean(), right.mean()
    covariance = np.mean((left - mean_left) * (right - mean_right))
    return (
        (2 * mean_left * mean_right + 0.0001)
        * (2 * covariance + 0.0002)
        / ((mean_left**2 + mean_right**2 + 0.0001) * (np.var(left) + np.var(right) + 0.0002))
    )


@pytest.fixture(params=[1, 7, 64], ids="dimension {}".format)
def pairs(request):
    vectors = np.random.default_rng(0).normal(size=(2, 30, request.param))
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


@pytest.mark.parametrize("name", MEASURES)
def test_measure_equals_one_pair_at_a_time(name, pairs):
    similarities, distances = pair_distances(*pairs, measure=MEASURES[name])
    expected = [slow_similarity(name, left, right) for left, right in zip(*pairs)]
    np.testing.assert_allclose(similarities, expected, atol=1e-12)
    scale = 2 if name == "diff" else 1
    assert measure_by_name(name) is MEASURES[name] and MEASURES[name].distance_scale == scale
    np.testing.assert_allclose(distances, scale * (1 - np.array(expected)), atol=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_same_vector_is_most_similar(name, pairs):
    similarities, _ = pair_distances(pairs[0], pairs[0], measure=MEASURES[name])
    np.testing.assert_allclose(similarities, 1, atol=1e-9)


def test_every_measure_has_its_line():
    assert list(MEASURES) == ["diff", "cos", "corr", "fft_corr", "ssim"]
    assert all(len(measure.meaning) > 20 and "AUC" in measure.fared for measure in MEASURES.values())


def test_unknown_measure_lists_the_known():
    with pytest.raises(ConfigError, match=r"'euclid'; allowed: diff, cos, corr, fft_corr, ssim"):
        measure_by_name("euclid")
