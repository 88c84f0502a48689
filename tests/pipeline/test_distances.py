"""Distances of other programs against vectors, and as thresholds."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import distances
from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec
from arcface_paddle.pipeline.distances import DISTANCES, distance_of, similarity_at_distance
from arcface_paddle.pipeline.model_files import find_card
from arcface_paddle.pipeline.settings import DISTANCE_METRICS, ThresholdSettings
from arcface_paddle.pipeline.thresholds import pair_threshold, search_threshold

RESNET29 = SimilaritySpec(0.857, 0.12)


def slow_distance(metric: str, one: np.ndarray, other: np.ndarray) -> float:
    if metric == "squared_l2":
        return float(np.sum((one - other) ** 2))
    cosine = float(one @ other)
    return float(np.arccos(cosine) / np.pi) if metric == "arccos" else 1 - cosine


@pytest.mark.parametrize("metric", DISTANCE_METRICS)
def test_distances_of_vectors(metric: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for one, other in zip(vectors[::2], vectors[1::2]):
        assert distance_of(float(one @ other), metric, PLAIN_COSINE) == pytest.approx(slow_distance(metric, one, other))


@pytest.mark.parametrize("spec", [PLAIN_COSINE, RESNET29])
@pytest.mark.parametrize("metric", DISTANCE_METRICS)
def test_a_threshold_goes_there_and_back_and_falls_with_the_distance(metric: str, spec: SimilaritySpec) -> None:
    reach = [distance_of(similarity, metric, spec) for similarity in (0.95, -0.95)]
    steps = np.linspace(*reach, 50)
    similarities = [similarity_at_distance(float(step), metric, spec) for step in steps]
    assert all(one > other for one, other in zip(similarities, similarities[1:]))
    np.testing.assert_allclose([distance_of(one, metric, spec) for one in similarities], steps, atol=1e-9)
    for bad in (-0.01, DISTANCES[metric].most + 0.01, float("nan")):
        with pytest.raises(ConfigError, match=r"--max_threshold is .*; allowed: 0 to"):
            similarity_at_distance(bad, metric, spec)


def test_thresholds_of_a_card() -> None:
    settings = ThresholdSettings(distance=0.9)
    found = search_threshold(find_card("MobileFace"), settings, comparisons=1000)
    assert found.similarity == pytest.approx(0.55) and found.evidence == "given by the user: squared_l2 0.9"
    scaled = pair_threshold(find_card("ResNet29"), ThresholdSettings(distance=0.16))
    assert scaled.similarity == pytest.approx((0.92 - 0.857) / 0.12)
    with pytest.raises(ConfigError, match="--far and --max_threshold both set the threshold"):
        pair_threshold(find_card("MobileFace"), ThresholdSettings(far="1e-3", distance=0.9))
    with pytest.raises(ConfigError, match="allowed: squared_l2, arccos, cosine"):
        pair_threshold(find_card("MobileFace"), ThresholdSettings(distance=0.9, metric="l1"))


def test_names_and_examples() -> None:
    assert tuple(DISTANCES) == DISTANCE_METRICS
    assert doctest.testmod(distances).failed == 0
