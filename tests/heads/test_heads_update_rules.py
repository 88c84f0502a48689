"""The update rules against a slow twin in float64 and against Paddle's own optimizers, alone and on class centres."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.heads.margins import build_margin
from arcface_paddle.heads.memory import STATES_OF
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier
from arcface_paddle.heads.update_rules import Update, UpdateRule, change_of, first_states

sys.path.insert(0, str(Path(__file__).parent))
from update_twin import SlowRule

RULES = ["sgd", "nesterov", "adam", "amsgrad", "adamw"]
SHAPE = (3, 4)


def rule_of(name: str, **constants) -> UpdateRule:
    return UpdateRule("sgd" if name == "nesterov" else name, nesterov=name == "nesterov", **constants)


def gradients(steps: int, shape=SHAPE) -> list[np.ndarray]:
    """Gradients that shrink, so that the largest second moment is not the latest one."""
    random = np.random.default_rng(0)
    return [(random.normal(size=shape) * 0.5**step).astype(np.float32) for step in range(steps)]


def follow(rule: UpdateRule, start: np.ndarray, steps: list[np.ndarray], *, lr: float, decay: float) -> np.ndarray:
    weight = paddle.to_tensor(start)
    states = first_states(rule, weight, count_shape=[1])
    for gradient in steps:
        change, states = change_of(rule, weight, paddle.to_tensor(gradient), states=states, update=Update(lr, decay))
        weight = weight - change
    return weight.numpy()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    ("constants", "decay"),
    [
        ({}, 0.01),
        ({"momentum": 0.5, "beta2": 0.9, "epsilon": 1e-3}, 1.0),
        ({"momentum": 0.0, "beta2": 0.0, "epsilon": 1e-3}, 0.0),
    ],
    ids=["usual", "others", "no memory"],
)
def test_equals_the_slow_twin(name, constants, decay):
    start = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    twin, weight = SlowRule(name, SHAPE, **constants), start.astype(np.float64)
    for gradient in gradients(8):
        twin.step(weight, gradient, lr=0.05, decay=decay)
    ours = follow(rule_of(name, **constants), start, gradients(8), lr=0.05, decay=decay)
    np.testing.assert_allclose(ours, weight, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", RULES)
def test_equals_paddles_own(name):
    start = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    theirs = paddle.create_parameter(list(SHAPE), "float32", default_initializer=paddle.nn.initializer.Assign(start))
    common = {"learning_rate": 0.05, "parameters": [theirs], "weight_decay": 0.01}
    optimizer = {
        "sgd": lambda: paddle.optimizer.Momentum(momentum=0.9, **common),
        "nesterov": lambda: paddle.optimizer.Momentum(momentum=0.9, use_nesterov=True, **common),
        "adam": lambda: paddle.optimizer.Adam(**common),
        "amsgrad": lambda: paddle.optimizer.Adam(amsgrad=True, **common),
        "adamw": lambda: paddle.optimizer.AdamW(**common),
    }[name]()
    for gradient in gradients(6):
        (theirs * paddle.to_tensor(gradient)).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
    ours = follow(rule_of(name), start, gradients(6), lr=0.05, decay=0.01)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-5, atol=2e-5)  # Paddle multiplies powers in float32


@pytest.mark.parametrize("name", RULES)
def test_a_broken_step_changes_nothing_even_as_the_first(name):
    rule, weight = rule_of(name), paddle.ones(SHAPE)
    states = first_states(rule, weight, count_shape=[1])
    broken = Update(0.1, decay=0.5, finite=paddle.to_tensor(False))
    for _ in range(2):  # before any update, and with states that are not zero
        bad = paddle.full(SHAPE, float("nan"))
        change, after = change_of(rule, weight, bad, states=states, update=broken)
        assert not change.numpy().any()
        for key, value in after.items():
            np.testing.assert_array_equal(value.numpy(), states[key].numpy(), err_msg=key)
        _, states = change_of(rule, weight, paddle.ones(SHAPE), states=states, update=Update(0.1))


def test_wrong_rules_are_refused():
    with pytest.raises(ConfigError, match="optimizer is 'lamb'; allowed: sgd, adam, amsgrad, adamw"):
        UpdateRule("lamb")
    with pytest.raises(ConfigError, match="nesterov is a variant of optimizer sgd"):
        UpdateRule("adam", nesterov=True)


def classifier_of(name: str, *, classes: int = 12, seed: int = 1, **settings) -> ShardedClassifier:
    rule = rule_of(name, epsilon=1e-3)
    return ShardedClassifier(ClassifierSettings(classes, 4, rule=rule, seed=seed, **settings), build_margin("ArcFace"))


def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(step)
    return random.normal(size=(6, 4)).astype(np.float32), random.integers(0, 12, 6)


def backward(classifier: ShardedClassifier, step: int) -> np.ndarray:
    """Do the passes of a step and return the rows that take part."""
    features, labels = batch(step)
    classes = classifier.choose_classes(labels, step=step)
    classifier.loss(paddle.to_tensor(features, stop_gradient=False), classes).backward()
    return np.arange(12) if classes.rows is None else classes.rows


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("sample_rate", [1.0, 0.2])
def test_class_centres_follow_the_twin_and_rows_that_take_no_part_keep_their_states(name, sample_rate):
    classifier = classifier_of(name, sample_rate=sample_rate, weight_decay=0.01)
    twin, weight = SlowRule(name, (12, 4), epsilon=1e-3), classifier.weight().astype(np.float64)
    for step in range(6):
        rows = backward(classifier, step)
        gradient = classifier.gradient()
        assert float(classifier.weight_square_sum()) == pytest.approx((classifier.weight()[rows] ** 2).sum(), rel=1e-5)
        twin.step(weight, gradient, lr=0.05, decay=0.01, places=[(row, column) for row in rows for column in range(4)])
        classifier.step(0.05)
    np.testing.assert_allclose(classifier.weight(), weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classifier.velocity(), twin.first, rtol=1e-5, atol=1e-5 * np.abs(twin.first).max())
    states = classifier.extra_states()
    assert tuple(states) == (*STATES_OF["sgd" if name == "nesterov" else name][1:], "count")[: len(states)]
    if "count" in states:
        np.testing.assert_array_equal(states["count"][:, 0], twin.count[:, 0])
        assert (twin.count.min() < 6) == (sample_rate < 1.0)


@pytest.mark.parametrize("name", ["amsgrad", "adamw"])
def test_states_are_taken_over_by_other_shards(name):
    source, target = classifier_of(name), classifier_of(name, seed=2)
    for step in range(3):
        backward(source, step)
        source.step(0.05)
    for start, end in ((0, 5), (5, 12)):
        extra = {key: value[start:end] for key, value in source.extra_states().items()}
        target.load_rows(start, source.weight()[start:end], source.velocity()[start:end], extra_states=extra)
    for classifier in (source, target):
        backward(classifier, 3)
        classifier.step(0.05)
    np.testing.assert_array_equal(source.weight(), target.weight())
    for key, value in source.extra_states().items():
        np.testing.assert_array_equal(value, target.extra_states()[key])
    with pytest.raises(CheckpointError, match=r"classifier rows are \(5, 4\), expected \(12, 1\)"):
        target.load_rows(0, source.weight(), extra_states={"count": np.zeros((5, 4), np.float32)})
