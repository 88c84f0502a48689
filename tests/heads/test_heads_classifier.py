"""The sharded classifier in one process: against a dense twin, in pieces, sampled, accumulated, in half precision."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from arcface_paddle.errors import CheckpointError, ConfigError, DataError
from arcface_paddle.heads import sharded_classifier
from arcface_paddle.heads.margins import MARGINS, build_margin
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier
from arcface_paddle.heads.update_rules import UpdateRule

sys.path.insert(0, str(Path(__file__).parent))
from classifier_twin import DenseClassifier

CLASSES, SIZE, BATCH = 37, 16, 12


def make(margin="ArcFace", **settings):
    return ShardedClassifier(ClassifierSettings(CLASSES, SIZE, seed=1, **settings), build_margin(margin))


def batch(seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(BATCH, SIZE)).astype(np.float32) * 3.0
    labels = random.integers(0, CLASSES, BATCH)
    labels[:2] = labels[0]  # a class twice in the batch
    return features, labels


def run(classifier, features, labels, weight=1.0, **arguments):
    """Forward and backward; return loss and feature gradient."""
    tensor = paddle.to_tensor(features, stop_gradient=False)
    loss = classifier.loss(tensor, classifier.choose_classes(labels, step=arguments.pop("step", 0), **arguments))
    (loss * weight).backward()
    return float(loss), tensor.grad.numpy()


def assert_close(actual, expected, tolerance=1e-4):
    """Relative to the largest magnitude; float32 cosines times 64 in an exponent leave about 1e-5 against float64."""
    scale = np.abs(expected).max() + 1e-30
    assert np.abs(np.asarray(actual, np.float64) - expected).max() / scale <= tolerance


@pytest.mark.parametrize(("name", "m2", "m3"), [("ArcFace", 0.5, 0.0), ("CosFace", 0.0, 0.35), ("Softmax", 0.0, 0.0)])
def test_equals_the_dense_twin_over_several_steps(name, m2, m3):
    classifier = make(name, weight_decay=5e-4)
    twin = DenseClassifier(classifier.weight(), m2=m2, m3=m3, weight_decay=5e-4)
    for step in range(5):
        features, labels = batch(step)
        loss, feature_gradient = run(classifier, features, labels)
        expected_loss, expected_features, expected_weight, _ = twin.loss_and_gradients(features, labels)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert_close(feature_gradient, expected_features)
        assert_close(classifier.gradient(), expected_weight)
        classifier.step(0.05)
        twin.step(expected_weight, 0.05)
        assert_close(classifier.weight(), twin.weight)
        assert_close(classifier.velocity(), twin.velocity)


def test_sampled_steps_touch_only_their_rows():
    classifier = make(sample_rate=0.5, weight_decay=5e-4)
    twin = DenseClassifier(classifier.weight(), weight_decay=5e-4)
    for step in range(6):
        features, labels = batch(step)
        drawn = np.random.default_rng(step).choice(CLASSES, 9, replace=False)
        before = classifier.weight(), classifier.velocity()
        loss, feature_gradient = run(classifier, features, labels, sampled=drawn)
        expected_loss, expected_features, expected_weight, rows = twin.loss_and_gradients(features, labels, drawn)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert_close(feature_gradient, expected_features)
        classifier.step(0.05)
        twin.step(expected_weight, 0.05, rows)
        others = np.setdiff1d(np.arange(CLASSES), rows)
        assert len(others) > 0
        np.testing.assert_array_equal(classifier.weight()[others], before[0][others])
        np.testing.assert_array_equal(classifier.velocity()[others], before[1][others])
    assert_close(classifier.weight(), twin.weight)
    assert_close(classifier.velocity(), twin.velocity)


def test_its_own_draw_holds_the_classes_of_the_batch():
    classifier = make(sample_rate=0.1)
    features, labels = batch()
    run(classifier, features, labels, step=3)
    touched = np.flatnonzero(np.abs(classifier.gradient()).sum(1))
    assert set(labels) <= set(touched) and len(touched) < CLASSES


@pytest.mark.parametrize("name", sorted(MARGINS))
def test_working_in_pieces_changes_nothing(name):
    results = []
    for logits_bytes in (1 << 30, BATCH * 4 * 10):
        classifier = make(name, logits_bytes=logits_bytes)
        loss, feature_gradient = run(classifier, *batch())
        results.append((loss, feature_gradient, classifier.gradient()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    assert_close(results[1][1], results[0][1], 1e-5)
    assert_close(results[1][2], results[0][2], 1e-5)


@pytest.mark.parametrize(("rows", "products"), [(CLASSES, 3), (CLASSES - 1, 2 * 4)])
def test_only_what_is_in_pieces_is_computed_twice(monkeypatch, rows, products):
    """One piece: the logits, and in the backward pass the gradients of features and centres."""
    shapes, real = [], paddle.matmul
    monkeypatch.setattr(paddle, "matmul", lambda x, y, **kinds: shapes.append(x.shape) or real(x, y, **kinds))
    run(make(logits_bytes=4 * BATCH * rows), *batch())
    assert len(shapes) == products


@pytest.mark.parametrize("settings", [{}, {"sample_rate": 0.5}, {"rule": UpdateRule("adamw")}])
def test_updating_in_blocks_changes_nothing(monkeypatch, settings):
    weights = []
    for block in (1 << 16, 10, 7):
        monkeypatch.setattr(sharded_classifier, "UPDATE_BLOCK_ROWS", block)
        classifier = make(weight_decay=0.01, **settings)
        for step in range(2):
            run(classifier, *batch(step), step=step)
            classifier.step(0.1)
        weights.append((classifier.weight(), classifier.velocity()))
    for weight, velocity in weights[1:]:
        assert_close(weight, weights[0][0], 1e-6)
        assert_close(velocity, weights[0][1], 1e-6)


@pytest.mark.parametrize("name", sorted(MARGINS))
def test_feature_gradient_of_every_margin_is_the_numerical_one(name):
    features, labels = batch(4)
    classifier = make(name)
    for _ in range(200):  # bring the adaptive margins' statistics close to this batch, so that a step moves them little
        classifier.margin.observe(paddle.full([BATCH], 0.2), paddle.linalg.norm(paddle.to_tensor(features), axis=1))
    state = classifier.margin.state()
    _, gradient = run(classifier, features, labels)
    step = 1e-2
    for sample, axis in ((0, 0), (5, 7), (11, 15)):
        losses = []
        for sign in (1, -1):
            moved = features.copy()
            # Along the sphere only: AdaFace treats the norm as a constant.
            direction = np.eye(SIZE)[axis] - moved[sample] * moved[sample, axis] / (moved[sample] ** 2).sum()
            moved[sample] += (sign * step * direction).astype(np.float32)
            classifier.margin.load_state(state)
            with paddle.no_grad():
                classes = classifier.choose_classes(labels, step=0)
                losses.append(float(classifier.loss(paddle.to_tensor(moved), classes)))
        numerical = (losses[0] - losses[1]) / (2 * step)
        assert float(gradient[sample] @ direction) == pytest.approx(numerical, rel=0.03, abs=0.01), name


def test_accumulation_equals_one_large_batch():
    features, labels = batch()
    whole = make()
    loss, feature_gradient = run(whole, features, labels)
    halves = make()
    parts = [run(halves, features[part], labels[part], 0.5) for part in (slice(0, 6), slice(6, 12))]
    assert np.mean([part[0] for part in parts]) == pytest.approx(loss, rel=1e-6)
    assert_close(np.concatenate([part[1] for part in parts]), feature_gradient, 1e-5)
    assert_close(halves.gradient(), whole.gradient(), 1e-5)


def test_accumulation_with_different_samples_adds_row_by_row():
    classifier = make(sample_rate=0.5)
    expected = np.zeros((CLASSES, SIZE))
    rows = np.array([], int)
    twin = DenseClassifier(classifier.weight())
    for seed, drawn in ((0, [1, 2, 3]), (1, [3, 30, 36]), (2, [0])):
        features, labels = batch(seed)
        run(classifier, features, labels, 1 / 3, sampled=np.array(drawn))
        _, _, gradient, used = twin.loss_and_gradients(features, labels, np.array(drawn))
        expected += gradient / 3
        rows = np.union1d(rows, used)
    assert_close(classifier.gradient(), expected)
    assert float(classifier.gradient_square_sum()) == pytest.approx((expected**2).sum(), rel=1e-4)
    classifier.step(0.1)
    twin.step(expected, 0.1, rows)
    assert_close(classifier.weight(), twin.weight)


def test_loss_scale_and_clipping_enter_through_the_factor():
    plain, scaled = make(), make()
    run(plain, *batch())
    run(scaled, *batch(), weight=1024.0)
    plain.step(0.1)
    scaled.step(0.1, factor=paddle.to_tensor(1.0 / 1024.0))
    np.testing.assert_array_equal(scaled.weight(), plain.weight())


@pytest.mark.parametrize("sample_rate", [1.0, 0.3])
def test_a_step_that_is_not_finite_leaves_no_trace(sample_rate):
    classifier = make(sample_rate=sample_rate, weight_decay=1e-3)
    run(classifier, *batch())
    classifier.step(0.1)
    before = classifier.weight(), classifier.velocity()
    features, labels = batch(1)
    features[3, 3] = np.nan
    loss, _ = run(classifier, features, labels)
    assert np.isnan(loss)
    finite = paddle.isfinite(classifier.gradient_square_sum())
    assert not bool(finite)
    classifier.step(0.1, factor=paddle.zeros([]), finite=finite)
    np.testing.assert_array_equal(classifier.weight(), before[0])
    np.testing.assert_array_equal(classifier.velocity(), before[1])
    run(classifier, *batch(2))  # and the run goes on
    classifier.step(0.1, finite=paddle.isfinite(classifier.gradient_square_sum()))
    assert np.isfinite(classifier.weight()).all() and not np.array_equal(classifier.weight(), before[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sample_rate", [1.0, 0.3])
def test_half_precision_features_and_storage(dtype, sample_rate):
    features, labels = batch()
    exact, half = make(sample_rate=sample_rate), make(sample_rate=sample_rate, weight_dtype=dtype, momentum_dtype=dtype)
    loss, gradient = run(exact, features, labels)
    tensor = paddle.to_tensor(features).astype(dtype)
    tensor.stop_gradient = False
    half_loss = half.loss(tensor, half.choose_classes(labels, step=0))
    half_loss.backward()
    assert half_loss.dtype == paddle.float32 and tensor.grad.dtype == tensor.dtype
    assert float(half_loss) == pytest.approx(loss, rel=0.01)
    assert_close(tensor.grad.astype("float32").numpy(), gradient, 0.05)
    exact.step(0.1)
    half.step(0.1)
    assert_close(half.weight(), exact.weight(), 0.02)
    assert_close(half.velocity(), exact.velocity(), 0.02)


def test_mixed_precision_context_does_not_reach_the_loss():
    features, labels = batch()
    loss, _ = run(make(), features, labels)
    with paddle.amp.auto_cast(dtype="bfloat16"):
        inside, _ = run(make(), features, labels)
    assert inside == loss


def test_no_full_one_hot_and_no_logits_survive_the_step():
    classifier = make()
    run(classifier, *batch())
    classifier.step(0.1)
    assert not classifier._passes and classifier._gradient is None


@pytest.mark.parametrize(("trained", "watched"), [(True, False), (False, True), (False, False)])
def test_evaluation_without_gradient_leaves_nothing_to_step(trained, watched):
    classifier = make()
    features, labels = batch()
    before = classifier.weight()
    with paddle.set_grad_enabled(watched):
        own = paddle.to_tensor(features, stop_gradient=not trained)
        classifier.loss(own, classifier.choose_classes(labels, step=0))
    assert not classifier._passes
    classifier.step(0.1)
    np.testing.assert_array_equal(classifier.weight(), before)
    assert not classifier.gradient().any()


@pytest.mark.parametrize("name", ["ArcFace", "NormHead"])
def test_statistics_describe_the_batch(name):
    classifier = make(name)
    features, labels = batch()
    run(classifier, features, labels)
    directions = classifier.weight()[:, :SIZE]  # without the bias of a dense head
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    norms = np.linalg.norm(features, axis=1)
    cosine = ((features / norms[:, None]) * units[labels]).sum(1)
    assert float(classifier.statistics["target_cosine"]) == pytest.approx(cosine.mean(), abs=1e-6)
    assert float(classifier.statistics["feature_norm"]) == pytest.approx(norms.mean(), rel=1e-6)


@pytest.mark.parametrize(("first", "last"), [(0, CLASSES), (15, 28)])
def test_rows_move_between_classifiers(monkeypatch, first, last):
    source = make()
    run(source, *batch())
    source.step(0.1)
    monkeypatch.setattr(sharded_classifier, "class_range", lambda *_: (first, last))
    target = make(sample_rate=0.5)
    taken = sum(
        target.load_rows(start, source.weight()[start : start + 10], source.velocity()[start : start + 10])
        for start in range(0, CLASSES, 10)
    )
    assert taken == last - first
    np.testing.assert_array_equal(target.weight(), source.weight()[first:last])
    np.testing.assert_array_equal(target.velocity(), source.velocity()[first:last])


def test_bad_rows_are_refused():
    classifier = make()
    with pytest.raises(CheckpointError, match="expected"):
        classifier.load_rows(0, np.zeros((3, SIZE + 1), np.float32))
    for start in (30, -1):
        with pytest.raises(CheckpointError, match="outside of 37"):
            classifier.load_rows(start, np.zeros((8, SIZE), np.float32))


@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
@pytest.mark.parametrize("label", [CLASSES, -1])
def test_a_label_out_of_range_is_named(label, sample_rate):
    features, labels = batch()
    labels[4] = label
    with pytest.raises(DataError, match=f"label {label} "):
        run(make(sample_rate=sample_rate), features, labels)


def test_first_centres_depend_on_the_seed_only():
    np.testing.assert_array_equal(make().weight(), make().weight())
    other = ShardedClassifier(ClassifierSettings(CLASSES, SIZE, seed=2), build_margin("ArcFace"))
    assert not np.array_equal(other.weight(), make().weight())
    assert make().weight().std() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("own", [(0, 2050), (700, 1500), (1024, 2050), (3, 9)])
def test_first_centres_come_from_a_stream_for_every_1024_classes(monkeypatch, own):
    """A change of the streams would make the same seed another run, and another rank's part other classes."""
    monkeypatch.setattr(sharded_classifier, "class_range", lambda *_: own)
    weight = ShardedClassifier(ClassifierSettings(2050, 2, seed=5), build_margin("ArcFace")).weight()
    blocks = [np.random.default_rng([5, block]).standard_normal((1024, 2), np.float32) for block in range(3)]
    np.testing.assert_array_equal(weight, np.concatenate(blocks)[slice(*own)] * np.float32(0.01))


def test_what_is_not_asked_for_is_not_done():
    plain = make()
    assert plain.feature_centres is None and make(centre_weight=0.1).feature_centres is not None
    labels = batch()[1]
    assert plain.choose_classes(labels, step=0).rows is None
    assert make(sample_rate=0.99).choose_classes(labels, step=0).rows is not None


def test_the_square_sum_is_of_what_is_decayed():
    for name, columns in (("ArcFace", SIZE), ("NormHead", SIZE)):
        classifier = make(name, weight_decay=0.5)
        run(classifier, *batch())
        classifier.step(0.1)  # the bias of a dense head is no longer zero
        assert name == "ArcFace" or classifier.weight()[:, -1].any()
        run(classifier, *batch())
        squares = np.square(classifier.weight()[:, :columns].astype(np.float64)).sum()
        assert float(classifier.weight_square_sum()) == pytest.approx(squares, rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_classes": 0, "embedding_size": 4},
        {"num_classes": 4, "embedding_size": 0},
        {"num_classes": 4, "embedding_size": 4, "sample_rate": 0.0},
        {"num_classes": 4, "embedding_size": 4, "sample_rate": 1.1},
        {"num_classes": 4, "embedding_size": 4, "momentum_dtype": "int8"},
    ],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        ClassifierSettings(**settings)


def test_settings_right_at_their_bounds():
    smallest = ClassifierSettings(1, 1)
    assert (smallest.seed, smallest.sample_rate, smallest.row_multiple, smallest.subcentres) == (0, 1.0, 1, 1)
    assert (smallest.centre_weight, smallest.centre_alpha, smallest.focal_gamma, smallest.weight_decay) == (
        0,
        0.5,
        0,
        0,
    )
    assert smallest.weight_dtype == smallest.momentum_dtype == smallest.matmul_dtype == "float32"
    assert ShardedClassifier(smallest, build_margin("ArcFace")).weight().shape == (1, 1)
    for settings in ({"row_multiple": 0}, {"sample_rate": 1.001}, {"centre_weight": -0.001}, {"focal_gamma": -0.1}):
        with pytest.raises(ConfigError):
            ClassifierSettings(1, 1, **settings)
