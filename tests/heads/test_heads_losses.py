"""Dense head, sub-centres, focal and centre loss: value and gradient against slow loops, sampling, pieces, updates."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest

from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.heads.centre_loss import FeatureCentres
from arcface_paddle.heads.focal import focal_loss, focal_number
from arcface_paddle.heads.margins import MARGINS, build_margin
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier

sys.path.insert(0, str(Path(__file__).parent))
from slow_losses import SlowLoss, numerical_gradient

CLASSES, SIZE, BATCH = 6, 5, 8
PLAIN = SlowLoss()

CASES = {
    "NormHead": ("NormHead", SlowLoss(linear=True, scale=1.0)),
    "NormHead, focal": ("NormHead", SlowLoss(linear=True, scale=1.0, gamma=2.0)),
    "CenterLoss": ("CenterLoss", SlowLoss(linear=True, scale=1.0, centre_weight=1.0)),
    "ArcFace and centre loss": ("ArcFace", SlowLoss(m2=0.5, scale=8.0, centre_weight=0.3)),
    "ArcFace, focal": ("ArcFace", SlowLoss(m2=0.5, scale=8.0, gamma=2.0)),
    "Softmax, focal with a small exponent": ("Softmax", SlowLoss(scale=8.0, gamma=0.5)),
    "ArcFace, 3 sub-centres": ("ArcFace", SlowLoss(m2=0.5, scale=8.0, subcentres=3)),
    "CosFace, 2 sub-centres, focal, centre loss": (
        "CosFace",
        SlowLoss(m3=0.35, scale=8.0, subcentres=2, gamma=2.0, centre_weight=0.1),
    ),
}


def make(name: str, slow: SlowLoss = PLAIN, **settings) -> ShardedClassifier:
    given = {
        "subcentres": slow.subcentres,
        "focal_gamma": slow.gamma,
        "centre_weight": slow.centre_weight,
        "seed": 1,
        **settings,
    }
    margin = build_margin(name, scale=slow.scale) if not slow.linear else build_margin(name)
    return ShardedClassifier(ClassifierSettings(CLASSES, SIZE, **given), margin)


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, BATCH)
    labels[:3] = labels[0]  # a class three times in the batch
    return random.normal(size=(BATCH, SIZE)).astype(np.float32) * 2.0, labels


def run(classifier: ShardedClassifier, features: np.ndarray, labels: np.ndarray, **arguments):
    """Forward and backward; return loss and feature gradient."""
    weight = arguments.pop("weight", 1.0)
    tensor = paddle.to_tensor(features, stop_gradient=False)
    loss = classifier.loss(tensor, classifier.choose_classes(labels, step=arguments.pop("step", 0), **arguments))
    (loss * weight).backward()
    return float(loss), tensor.grad.numpy()


def assert_close(actual, expected, tolerance=2e-5):
    scale = np.abs(expected).max() + 1e-30
    assert np.abs(np.asarray(actual, np.float64) - expected).max() / scale <= tolerance


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_those_of_the_slow_loops(case):
    name, slow = CASES[case]
    classifier = make(name, slow)
    features, labels = batch()
    rows, centres = classifier.weight().astype(np.float64), None
    if slow.centre_weight:
        centres = classifier.feature_centres.rows().astype(np.float64)
    loss, gradient = run(classifier, features, labels)
    assert loss == pytest.approx(slow(features.astype(np.float64), rows, labels, centres=centres), rel=1e-5)
    expected = numerical_gradient(lambda x: slow(x, rows, labels, centres=centres), features)
    assert_close(gradient, expected)
    # The rows are small (N(0, .01)), so that a step must be smaller still.
    assert_close(
        classifier.gradient(),
        numerical_gradient(lambda x: slow(features.astype(np.float64), x, labels), rows, 1e-8),
        1e-4,
    )


@pytest.mark.parametrize("name", sorted(name for name in MARGINS if build_margin(name).on_cosines))
def test_subcentres_in_pieces_change_nothing_under_any_margin(name):
    results = []
    for logits_bytes in (1 << 30, BATCH * 4 * 2):
        classifier = make(name, SlowLoss(subcentres=3, scale=16.0), logits_bytes=logits_bytes)
        loss, gradient = run(classifier, *batch())
        results.append((loss, gradient, classifier.gradient()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    assert_close(results[1][1], results[0][1])
    assert_close(results[1][2], results[0][2])


def test_equal_subcentres_are_one_centre():
    one, three = make("ArcFace"), make("ArcFace", SlowLoss(subcentres=3))
    three.load_rows(0, np.tile(one.weight(), (1, 3)))
    (loss, gradient), (loss_of_3, gradient_of_3) = run(one, *batch()), run(three, *batch())
    assert loss_of_3 == pytest.approx(loss, rel=1e-6)
    assert_close(gradient_of_3, gradient)
    assert_close(three.gradient()[:, :SIZE], one.gradient())  # the first of equals is the nearest
    assert not three.gradient()[:, SIZE:].any()


def test_sampling_works_on_whole_classes_of_subcentres():
    slow = SlowLoss(m2=0.5, scale=8.0, subcentres=2)
    classifier = make("ArcFace", slow, sample_rate=0.5, weight_decay=1e-2)
    features, labels = batch()
    labels %= 3
    before = classifier.weight()
    loss, _ = run(classifier, features, labels, sampled=np.array([4]))
    rows = np.union1d(labels, [4])
    places = np.searchsorted(rows, labels)
    assert loss == pytest.approx(slow(features.astype(np.float64), before[rows].astype(np.float64), places), rel=1e-5)
    classifier.step(0.1)
    moved = np.flatnonzero((classifier.weight() != before).any(1))
    np.testing.assert_array_equal(moved, rows)


def test_the_bias_of_the_dense_head_is_not_decayed():
    classifier = make("NormHead", SlowLoss(linear=True), weight_decay=0.5)
    start = classifier.weight()
    assert not start[:, -1].any() and start[:, :-1].any()
    start[:, -1] = 1.0
    classifier.load_rows(0, start)
    run(classifier, *batch(), weight=0.0)
    classifier.step(0.1)
    np.testing.assert_array_equal(classifier.weight()[:, -1], 1.0)
    assert_close(classifier.weight()[:, :-1], start[:, :-1] * (1 - 0.05))


def slow_move(centres: np.ndarray, features: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
    """Return the centres after a step (Wen 2016, eq. 4), class by class."""
    moved = centres.copy()
    for label in np.unique(labels):
        own = features[labels == label]
        moved[label] -= alpha * (centres[label] - own).sum(0) / (1 + len(own))
    return moved


def test_feature_centres_move_by_their_own_rule():
    classifier = make("ArcFace", SlowLoss(centre_weight=0.01), centre_alpha=0.3)
    expected = classifier.feature_centres.rows().astype(np.float64)
    for step in range(4):
        (first, first_labels), (second, second_labels) = batch(2 * step), batch(2 * step + 1)
        for part, labels in ((first, first_labels), (second, second_labels)):  # two accumulated passes
            run(classifier, part, labels, weight=0.5)
        classifier.step(10.0)  # the learning rate is not theirs
        joint = np.concatenate([first, second]), np.concatenate([first_labels, second_labels])
        expected = slow_move(expected, *joint, 0.3)
        assert_close(classifier.feature_centres.rows(), expected, 1e-6)


def test_feature_centres_keep_still_in_a_broken_step_and_without_a_backward_pass():
    classifier = make("CenterLoss", SlowLoss(linear=True, centre_weight=1.0))
    before = classifier.feature_centres.rows()
    features, labels = batch()
    with paddle.no_grad():
        classifier.loss(paddle.to_tensor(features), classifier.choose_classes(labels, step=0))
        classifier.loss(paddle.to_tensor(features, stop_gradient=False), classifier.choose_classes(labels, step=0))
    classifier.feature_centres.loss(paddle.to_tensor(features), paddle.to_tensor(labels))
    assert not classifier.feature_centres._passes, "what is only looked at takes no memory until the next step"
    classifier.step(0.1)
    np.testing.assert_array_equal(classifier.feature_centres.rows(), before)
    features[2, 2] = np.inf
    run(classifier, features, labels)
    classifier.step(0.1, factor=paddle.zeros([]), finite=paddle.to_tensor(False))
    np.testing.assert_array_equal(classifier.feature_centres.rows(), before)
    run(classifier, *batch())
    classifier.step(0.1, finite=paddle.to_tensor(True))
    assert np.isfinite(classifier.feature_centres.rows()).all()
    assert (classifier.feature_centres.rows() != before).any(1).sum() == len(np.unique(batch()[1]))


def test_feature_centres_do_not_depend_on_the_split_and_move_between_ranks():
    whole = FeatureCentres(0, 3000, size=3, alpha=0.5, seed=4).rows()
    parts = [FeatureCentres(start, end, size=3, alpha=0.5, seed=4) for start, end in ((0, 1100), (1100, 3000))]
    np.testing.assert_array_equal(np.concatenate([part.rows() for part in parts]), whole)
    other = FeatureCentres(1000, 2000, size=3, alpha=0.5, seed=5)
    for part, start in zip(parts, (0, 1100)):
        other.load_rows(start, part.rows() + 1)
    np.testing.assert_array_equal(other.rows(), whole[1000:2000] + 1)
    with pytest.raises(CheckpointError, match=r"expected \(n, 3\)"):
        other.load_rows(0, np.zeros((2, 4), np.float32))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
def test_focal_loss_and_its_derivative_from_certain_to_hopeless(gamma):
    entropies = np.array([0.0, 1e-9, 1e-5, 2e-4, 0.01, 0.7, 5.0, 60.0, 700.0])
    value, slope = focal_loss(paddle.to_tensor(entropies), gamma=gamma)
    missing = -np.expm1(-entropies)
    np.testing.assert_allclose(value.numpy(), missing**gamma * entropies, rtol=1e-5)
    assert focal_number(0.7, gamma=gamma) == pytest.approx(value[5].item(), rel=1e-6)
    assert np.isfinite(slope.numpy()).all() and slope.numpy().min() >= 0.0
    step = entropies[1:] * 1e-5
    up, down = (focal_loss(paddle.to_tensor(entropies[1:] + sign * step), gamma=gamma)[0].numpy() for sign in (1, -1))
    np.testing.assert_allclose(slope.numpy()[1:], (up - down) / (2 * step), rtol=1e-5)


def test_focal_loss_of_a_sample_that_rounding_makes_more_than_certain():
    value, slope = focal_loss(paddle.to_tensor([-1e-6]), gamma=2.0)
    assert value.item() == 0.0 and slope.item() == 0.0


@pytest.mark.parametrize("subcentres", [1, 3])
def test_a_feature_without_a_direction_has_no_gradient_and_leaves_the_others_theirs(subcentres):
    features, labels = batch()
    features[2] = 0.0
    classifier = make("ArcFace", SlowLoss(subcentres=subcentres))
    loss, gradient = run(classifier, features, labels)
    assert np.isfinite(loss) and not gradient[2].any()
    others = np.delete(np.arange(BATCH), 2)
    assert np.isfinite(gradient).all() and (np.abs(gradient[others]).max(1) > 0).all()
    assert np.abs(gradient).max() < 100 and np.isfinite(classifier.gradient()).all()


def test_published_settings_and_refusals():
    assert not build_margin("NormHead").on_cosines and build_margin("CenterLoss").scale == 1.0
    for arguments, words in (
        ({"subcentres": 0}, "1 to 64"),
        ({"focal_gamma": -1.0}, "0 or more"),
        ({"focal_gamma": float("nan")}, "0 or more"),
        ({"centre_weight": -1.0}, "0 or more"),
        ({"centre_weight": 1.0, "centre_alpha": 1.5}, "0 to 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            make("ArcFace", **arguments)
    with pytest.raises(ConfigError, match="no cosines"):
        make("NormHead", replace(SlowLoss(linear=True), subcentres=2))
    for arguments in ({"margin": 0.5}, {"scale": 30.0}):
        with pytest.raises(ConfigError, match="without cosines"):
            build_margin("NormHead", **arguments)


@pytest.mark.parametrize(("name", "statistic"), [("AdaFace", "norm_mean"), ("CurricularFace", "hardness")])
def test_a_broken_step_leaves_the_statistics_of_a_margin_alone(name, statistic):
    classifier = make(name)
    run(classifier, *batch())
    classifier.step(0.1)
    before = classifier.margin.state()
    features, labels = batch(1)
    run(classifier, features, labels)  # its gradient overflows in float16, the figures of its forward pass do not
    assert classifier.margin.state()[statistic] != before[statistic]
    classifier.step(0.1, factor=paddle.zeros([]), finite=paddle.to_tensor(False))
    assert classifier.margin.state() == before
    run(classifier, features, labels)
    classifier.step(0.1, finite=paddle.to_tensor(True))
    assert classifier.margin.state()[statistic] != before[statistic]
