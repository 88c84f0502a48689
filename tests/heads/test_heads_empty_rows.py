"""Rows that are no classes: products of even and constant sizes, and results as without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.heads.margins import build_margin
from arcface_paddle.heads.sampling import rounded_up, sampled_classes, usual_count
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier
from arcface_paddle.heads.update_rules import UpdateRule

CLASSES, SIZE, BATCH = 301, 16, 12
CASES: list[tuple[str, dict[str, Any]]] = [
    ("ArcFace", {}),
    ("CurricularFace", {"sample_rate": 0.2, "weight_decay": 0.01}),
    ("CosFace", {"sample_rate": 0.2, "subcentres": 3, "rule": UpdateRule("amsgrad", epsilon=1e-3)}),
    ("NormHead", {"weight_decay": 0.01, "rule": UpdateRule("adamw", epsilon=1e-3)}),
    ("AdaFace", {"logits_bytes": 4 * BATCH * 30, "focal_gamma": 2.0}),
    ("ArcFace", {"logits_bytes": 4 * BATCH * 5, "sample_rate": 0.3, "centre_weight": 0.1}),
]
case = pytest.mark.parametrize(("margin", "settings"), CASES)


def make(margin: str, row_multiple: int, **settings: Any) -> ShardedClassifier:
    own = ClassifierSettings(CLASSES, SIZE, seed=1, row_multiple=row_multiple, **settings)
    return ShardedClassifier(own, build_margin(margin))


def steps(classifier: ShardedClassifier, count: int, *, passes: int = 1) -> list[np.ndarray]:
    """Train a little; returns every loss, gradient of features and of centres."""
    seen: list[np.ndarray] = []
    for step in range(count):
        for number in range(passes):
            random = np.random.default_rng([step, number])
            features = paddle.to_tensor(random.standard_normal((BATCH, SIZE)).astype(np.float32), stop_gradient=False)
            labels = random.integers(0, CLASSES, BATCH)
            loss = classifier.loss(features, classifier.choose_classes(labels, step=passes * step + number))
            loss.backward()
            seen += [loss.numpy(), features.grad.numpy()]
        seen.append(classifier.gradient())
        classifier.step(0.001)
    return seen


def assert_equal_state(one: ShardedClassifier, other: ShardedClassifier) -> None:
    pairs = [(one.weight(), other.weight()), (one.velocity(), other.velocity())]
    pairs += list(zip(one.extra_states().values(), other.extra_states().values()))
    for mine, theirs in pairs:
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * float(np.abs(theirs).max()))


@case
@pytest.mark.parametrize("passes", [1, 2])
def test_results_stay(margin: str, settings: dict[str, Any], passes: int) -> None:
    plain, filled = make(margin, 1, **settings), make(margin, 8, **settings)
    for mine, theirs in zip(steps(filled, 2, passes=passes), steps(plain, 2, passes=passes)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(theirs).max())))
    assert_equal_state(filled, plain)
    assert float(filled.weight_square_sum()) == 0.0


def test_empty_rows_may_be_a_piece_of_their_own() -> None:
    """Of eight rows in pieces of two, the third piece holds one class and the last one none."""
    seen = []
    for row_multiple in (1, 8):
        own = ClassifierSettings(5, SIZE, seed=1, row_multiple=row_multiple, logits_bytes=4 * BATCH * 2)
        classifier = ShardedClassifier(own, build_margin("ArcFace", scale=1.0))  # an empty row would be as likely
        features = paddle.to_tensor(np.random.default_rng(0).standard_normal((BATCH, SIZE)).astype(np.float32))
        features.stop_gradient = False
        loss = classifier.loss(features, classifier.choose_classes(np.arange(BATCH) % 5, step=0))
        loss.backward()
        seen.append([loss.numpy(), features.grad.numpy(), classifier.gradient()])
    for mine, theirs in zip(*seen):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * float(np.abs(theirs).max()))


def test_an_empty_row_is_not_the_largest_where_all_classes_are_far_away() -> None:
    losses = []
    for row_multiple in (1, 8):
        own = ClassifierSettings(2, SIZE, seed=1, row_multiple=row_multiple)
        classifier = ShardedClassifier(own, build_margin("Softmax", scale=400.0))
        features = paddle.to_tensor(-classifier.weight().sum(0, keepdims=True))
        losses.append(float(classifier.loss(features, classifier.choose_classes(np.array([0]), step=0))))
    assert np.isfinite(losses[1]) and losses[1] == pytest.approx(losses[0], rel=1e-5, abs=1e-4)


@case
def test_the_empty_rows_stay_empty(margin: str, settings: dict[str, Any]) -> None:
    classifier = make(margin, 8, **settings)
    steps(classifier, 3, passes=2)
    kept = [classifier._weight, *(state for name, state in classifier._states.items() if name != "count")]
    for tensor in kept:
        assert tensor.shape[0] == rounded_up(CLASSES + 1, 8) == 304
        assert not np.any(tensor.numpy()[CLASSES:])


@case
def test_products_are_even_and_of_the_same_size_in_every_step(
    monkeypatch: pytest.MonkeyPatch, margin: str, settings: dict[str, Any]
) -> None:
    shapes: list[tuple[int, ...]] = []
    real = paddle.matmul

    def noting(x: paddle.Tensor, y: paddle.Tensor, **transposes: bool) -> paddle.Tensor:
        product = real(x, y, **transposes)
        shapes.append((*x.shape, *y.shape))
        return product

    classifier = make(margin, 8, **settings)
    monkeypatch.setattr(paddle, "matmul", noting)
    of_steps = []
    for step in range(4):
        shapes.clear()
        random = np.random.default_rng(step)
        features = paddle.to_tensor(random.standard_normal((BATCH, SIZE)).astype(np.float32), stop_gradient=False)
        loss = classifier.loss(features, classifier.choose_classes(random.integers(0, CLASSES, BATCH), step=step))
        loss.backward()
        of_steps.append(list(shapes))
    assert of_steps[0] and all(shapes == of_steps[0] for shapes in of_steps)
    if settings.get("logits_bytes", 1 << 30) >= 4 * BATCH * 8:
        rows = {size for shape in of_steps[0] for size in shape} - {BATCH, SIZE}
        assert rows and all(size % 8 == 0 for size in rows), rows


def test_states_go_from_one_kind_to_the_other() -> None:
    rule = UpdateRule("adam")
    filled = make("ArcFace", 8, rule=rule, sample_rate=0.3)
    steps(filled, 2)
    plain = make("ArcFace", 1, rule=rule, sample_rate=0.3)
    plain.load_rows(0, filled.weight(), filled.velocity(), extra_states=filled.extra_states())
    assert_equal_state(filled, plain)
    again = make("ArcFace", 8, rule=rule, sample_rate=0.3)
    for start in (0, 100, 200):  # shards of another run
        part = slice(start, min(start + 100, CLASSES) if start < 200 else CLASSES)
        extra = {name: array[part] for name, array in plain.extra_states().items()}
        again.load_rows(start, plain.weight()[part], plain.velocity()[part], extra_states=extra)
    np.testing.assert_array_equal(again.weight(), filled.weight())
    assert not np.any(again._weight.numpy()[CLASSES:])


def test_the_usual_count_is_seldom_exceeded_and_not_much_too_large() -> None:
    for classes, rate, batch, ranks in ((125_000, 0.1, 1024, 8), (10_717, 0.3, 512, 8), (301, 0.2, 12, 1)):
        usual = usual_count(classes, rate=rate, batch=batch, ranks=ranks, multiple=8)
        assert usual % 8 == 0
        counts = []
        for step in range(40):
            drawn = sampled_classes(0, classes, rate=rate, seed=0, step=step)
            labels = np.random.default_rng(step).integers(0, classes * ranks, batch)
            counts.append(len(np.union1d(drawn, labels[labels < classes])))
        assert max(counts) <= usual < (2.0 if classes == 301 else 1.2) * np.mean(counts)
    assert usual_count(300, rate=1.0, batch=512, ranks=1, multiple=8) == 304
    with pytest.raises(ConfigError, match="row_multiple is 0; allowed: 1 or more"):
        make("ArcFace", 0)
