"""Margins against formulas in angles, numerical derivatives in float64, and their behaviour at the borders."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.heads.margins import (
    MARGINS,
    AdaFaceMargin,
    CombinedMargin,
    CurricularFaceMargin,
    EasedMargin,
    build_margin,
    combined_margin,
    curricular_negatives,
)

TRIPLES = [(1.0, 0.5, 0.0), (1.0, 0.0, 0.35), (1.35, 0.0, 0.0), (1.0, 0.3, 0.2), (4.0, 0.0, 0.0), (1.5, 1.2, 0.1)]
TRIPLES.append((1.0, -0.4, 0.1))  # AdaFace turns the angles of bad pictures towards 0
NORMS = np.array([0.5, 5.0, 20.0, 21.0, 60.0, 150.0])


def slow_combined(cosine: float, m1: float, m2: float, m3: float) -> float:
    """The same margin for one number, in angles; outside of [0, pi] the cosine plus what makes it continuous."""
    angle = m1 * math.acos(max(-1.0, min(1.0, cosine))) + m2
    if angle > math.pi:
        return cosine - math.cos((math.pi - m2) / m1) - 1.0 - m3
    if angle < 0.0:
        return cosine - math.cos(-m2 / m1) + 1.0 - m3
    return math.cos(angle) - m3


def all_margins(cosine: paddle.Tensor):
    """Yield (name, value, derivative, function to call again) of every margin at these cosines."""
    norms = paddle.to_tensor(np.resize(NORMS, cosine.shape[0]).astype("float32"))
    for name in MARGINS:
        margin = build_margin(name)
        yield (name, *margin.target(cosine, norms), lambda c, margin=margin: margin.target(c, norms)[0])


@pytest.mark.parametrize("triple", TRIPLES)
def test_combined_margin_equals_the_formula_for_single_numbers(triple):
    cosines = np.linspace(-1.0, 1.0, 401)
    value, _ = combined_margin(paddle.to_tensor(cosines), m1=triple[0], m2=triple[1], m3=triple[2])
    expected = [slow_combined(c, *triple) for c in cosines]
    np.testing.assert_allclose(value.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("triple", TRIPLES)
def test_derivative_equals_the_numerical_one_in_float64(triple):
    m1, m2, m3 = triple
    cosines = np.linspace(-0.999, 0.999, 1001)
    for border in (math.cos((math.pi - m2) / m1), math.cos(-m2 / m1)):
        cosines = cosines[np.abs(cosines - border) > 1e-4]  # the derivative jumps there
    step = 1e-6
    up, _ = combined_margin(paddle.to_tensor(cosines + step), m1=m1, m2=m2, m3=m3)
    down, _ = combined_margin(paddle.to_tensor(cosines - step), m1=m1, m2=m2, m3=m3)
    _, derivative = combined_margin(paddle.to_tensor(cosines), m1=m1, m2=m2, m3=m3)
    numerical = (up - down).numpy() / (2 * step)
    np.testing.assert_allclose(derivative.numpy(), numerical, rtol=1e-4, atol=1e-6)


def test_every_margin_has_the_numerical_derivative():
    cosines = np.linspace(-0.97, 0.97, 60)
    step = 1e-6
    for name, _, derivative, again in all_margins(paddle.to_tensor(cosines)):
        numerical = (again(paddle.to_tensor(cosines + step)) - again(paddle.to_tensor(cosines - step))) / (2 * step)
        # Float32 norms decide on AdaFace's margins, the derivative itself is float64 throughout.
        np.testing.assert_allclose(derivative.numpy(), numerical.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("triple", TRIPLES)
def test_value_is_continuous_and_increasing_in_the_cosine(triple):
    cosines = np.linspace(-1.0, 1.0, 200001)
    value, derivative = combined_margin(paddle.to_tensor(cosines), m1=triple[0], m2=triple[1], m3=triple[2])
    steps = np.diff(value.numpy())
    assert steps.min() >= 0.0
    assert steps[1:-1].max() < 0.05  # the steepest place is next to cos = 1, where acos has slope infinity
    assert derivative.numpy().min() >= 0.0


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_finite_at_the_ends_and_a_little_beyond_in_every_dtype(dtype):
    cosines = paddle.to_tensor([-1.0, 1.0, -1.0000001, 1.0000001, 0.99999994, -0.99999994], dtype="float64")
    cosines = cosines.astype(dtype)
    for name, value, derivative, _ in all_margins(cosines):
        assert value.dtype == derivative.dtype == cosines.dtype, name
        assert np.isfinite(value.astype("float64").numpy()).all(), name
        slopes = derivative.astype("float64").numpy()
        assert np.isfinite(slopes).all() and slopes.max() < 710 * 1.35, name


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_lower_precision_agrees_with_float64(dtype, tolerance):
    cosines = paddle.to_tensor(np.linspace(-0.9, 0.9, 37)).astype(dtype)
    exact, _ = combined_margin(cosines.astype("float64"), m1=1.0, m2=0.5, m3=0.0)
    value, _ = combined_margin(cosines, m1=1.0, m2=0.5, m3=0.0)
    np.testing.assert_allclose(value.astype("float64").numpy(), exact.numpy(), atol=tolerance)


def test_adaface_margin_follows_the_quality():
    margin = AdaFaceMargin()
    norms = paddle.to_tensor([20.0, 90.0, 0.1])  # mean 20, deviation 100 at the start
    cosine = paddle.to_tensor([0.6, 0.6, 0.6])
    value, _ = margin.target(cosine, norms)
    for got, norm in zip(value.numpy(), norms.numpy()):
        k = max(-1.0, min(1.0, (norm - 20.0) / 100.001 * 0.333))
        assert got == pytest.approx(slow_combined(0.6, 1.0, -0.4 * k, 0.4 + 0.4 * k), abs=1e-6)


def test_adaface_norms_that_are_all_alike_are_divided_by_a_thousandth():
    margin = AdaFaceMargin()
    margin.load_state({"norm_mean": 20.0, "norm_deviation": 0.0})
    value, _ = margin.target(paddle.to_tensor([0.6]), paddle.to_tensor([20.0 + 2**-10]))
    k = 2**-10 / 0.001 * 0.333
    assert value.item() == pytest.approx(slow_combined(0.6, 1.0, -0.4 * k, 0.4 + 0.4 * k), abs=1e-6)


@pytest.mark.parametrize(
    ("norm", "clipped", "state"),
    [
        (150.0, 100.0, {"norm_mean": 20.0, "norm_deviation": 100.0}),
        (0.0005, 0.001, {"norm_mean": 0, "norm_deviation": 0}),
    ],
)
def test_adaface_norms_count_from_a_thousandth_to_a_hundred(norm, clipped, state):
    margin = AdaFaceMargin()
    margin.load_state(state)
    value, _ = margin.target(paddle.to_tensor([0.6]), paddle.to_tensor([norm]))
    k = (clipped - state["norm_mean"]) / (state["norm_deviation"] + 0.001) * 0.333
    assert value.item() == pytest.approx(slow_combined(0.6, 1.0, -0.4 * k, 0.4 + 0.4 * k), abs=1e-6)
    margin.observe(paddle.zeros([2]), paddle.to_tensor([norm, norm]))
    assert margin.state()["norm_mean"] == pytest.approx(0.01 * clipped + 0.99 * state["norm_mean"])


def test_adaface_statistics_are_running_averages_and_survive_a_checkpoint():
    margin = AdaFaceMargin()
    norms = np.array([3.0, 5.0, 10.0, 14.0], np.float32)
    for _ in range(3):
        margin.observe(paddle.zeros([4]), paddle.to_tensor(norms))
    mean, deviation = 20.0, 100.0
    for _ in range(3):
        mean = 0.01 * norms.mean() + 0.99 * mean
        deviation = 0.01 * norms.std(ddof=1) + 0.99 * deviation
    state = margin.state()
    assert state == pytest.approx({"norm_mean": mean, "norm_deviation": deviation}, rel=1e-5)
    restored = AdaFaceMargin()
    restored.load_state(state)
    assert restored.state() == state


def test_statistics_ignore_a_batch_with_nan():
    margin = build_margin("CurricularFace")
    margin.observe(paddle.to_tensor([float("nan"), 0.5]), paddle.ones([2]))
    assert margin.state() == {"hardness": 0.0}


def test_curricular_negatives_reweight_only_those_above_the_target():
    cosine = paddle.to_tensor([[0.1, 0.5, -0.2], [0.7, 0.3, 0.2]], dtype="float64")
    value, slope = curricular_negatives(
        cosine,
        target_value=paddle.to_tensor([0.3, 0.6], dtype="float64"),
        hardness=paddle.to_tensor(0.2, dtype="float64"),
    )
    np.testing.assert_allclose(value.numpy(), [[0.1, 0.5 * 0.7, -0.2], [0.7 * 0.9, 0.3, 0.2]])
    np.testing.assert_allclose(slope.numpy(), [[1.0, 1.2, 1.0], [1.6, 1.0, 1.0]])


@pytest.mark.parametrize("name", ["ArcFace", "AdaFace", "CurricularFace"])
def test_a_share_of_a_margin_lies_between_the_plain_cosine_and_the_margin(name):
    cosine, norms = paddle.linspace(-0.9, 0.9, 6, dtype="float64"), paddle.to_tensor(NORMS.astype("float32"))
    others = paddle.to_tensor(np.random.default_rng(1).uniform(-1, 1, (6, 9)))
    margin = build_margin(name, scale=30.0)
    value, slope = margin.target(cosine, norms)
    for share in (0.0, 0.25, 1.0):
        eased = EasedMargin(margin, share)
        assert eased.scale == 30.0 and eased.rewrites_negatives == margin.rewrites_negatives
        found, found_slope = eased.target(cosine, norms)
        np.testing.assert_allclose(found.numpy(), (1 - share) * cosine.numpy() + share * value.numpy(), atol=1e-12)
        np.testing.assert_allclose(found_slope.numpy(), 1 - share + share * slope.numpy(), atol=1e-12)
        rest, rest_slope = eased.negatives(others, found)
        full, full_slope = margin.negatives(others, found)
        np.testing.assert_allclose(rest.numpy(), (1 - share) * others.numpy() + share * full.numpy(), atol=1e-12)
        np.testing.assert_allclose(rest_slope.numpy(), 1 - share + share * full_slope.numpy(), atol=1e-12)
    eased.observe(cosine, norms)
    eased.settle(None)
    assert eased.state() == margin.state()  # one set of statistics, which goes on when the share is 1
    changed = {name: value + 0.5 for name, value in margin.state().items()}
    eased.load_state(changed)
    assert margin.state() == pytest.approx(changed)
    with pytest.raises(ConfigError, match=r"share of a margin is 1\.5"):
        EasedMargin(margin, 1.5)


def test_published_settings():
    assert (build_margin("ArcFace").m1, build_margin("ArcFace").m2, build_margin("ArcFace").scale) == (1.0, 0.5, 64.0)
    assert build_margin("CosFace").m3 == 0.35
    assert build_margin("CosFace", margin=0.4).m3 == 0.4
    assert build_margin("SphereFace").m1 == 1.35
    combined = build_margin("Combined", combined=(1.1, 0.2, 0.1))
    assert (combined.m1, combined.m2, combined.m3) == (1.1, 0.2, 0.1)


def test_settings_right_at_their_borders():
    for m1, m2, m3 in ((1.0, 0.0, 0.0), (16.0, math.pi - 1e-6, 2.0)):
        margin = build_margin("Combined", combined=(m1, m2, m3))
        assert (margin.m1, margin.m2, margin.m3) == (m1, m2, m3)
    assert [build_margin("AdaFace", margin=m).margin for m in (0.0, 1.57)] == [0.0, 1.57]


def test_the_published_scale_is_that_of_every_margin_on_cosines():
    made = [CombinedMargin(), AdaFaceMargin(), CurricularFaceMargin(), *map(build_margin, MARGINS)]
    assert {margin.scale for margin in made if margin.on_cosines} == {64.0}
    assert {margin.scale for margin in made if not margin.on_cosines} == {1.0}
    mixture = CombinedMargin()
    assert (mixture.m1, mixture.m2, mixture.m3) == (1.0, 0.3, 0.2)
    assert (AdaFaceMargin().margin, AdaFaceMargin().concentration) == (0.4, 0.333)
    assert (CurricularFaceMargin().m1, CurricularFaceMargin().m2, CurricularFaceMargin().m3) == (1.0, 0.5, 0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "Arcface"}, "ArcFace"),
        ({"name": "ArcFace", "margin": 4.0}, "m2 < pi"),
        ({"name": "ArcFace", "margin": math.pi}, "m2 < pi"),
        ({"name": "ArcFace", "margin": -0.001}, "m2 < pi"),
        ({"name": "SphereFace", "margin": 16.001}, "m1 <= 16"),
        ({"name": "CosFace", "margin": 2.001}, "m3 <= 2"),
        ({"name": "AdaFace", "margin": math.pi / 2}, "m < pi / 2"),
        ({"name": "AdaFace", "margin": -0.001}, "m < pi / 2"),
        ({"name": "ArcFace", "scale": 0.0}, "above 0"),
        ({"name": "ArcFace", "scale": float("nan")}, "above 0"),
        ({"name": "SphereFace", "margin": 0.5}, "1 <= m1"),
        ({"name": "Softmax", "margin": 0.5}, "no margin"),
        ({"name": "Combined", "margin": 0.5}, "three margins"),
        ({"name": "ArcFace", "combined": (1.0, 0.5, 0.0)}, "Combined alone"),
    ],
)
def test_bad_settings_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        build_margin(**arguments)
