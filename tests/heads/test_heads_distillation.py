"""The distillation losses against slow loops and finite differences; the empty classifier beside them."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest

from arcface_paddle.heads.distillation import LessonWeights, lesson_of, relation_loss
from arcface_paddle.heads.margins import build_margin
from arcface_paddle.heads.no_classifier import NoClassifier


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow_relation_loss(student: np.ndarray, teacher: np.ndarray) -> float:
    """Park et al. 2019, eq. 4 to 6, pair by pair in float64."""
    count = len(student)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    distances = [[math.dist(rows[i], rows[j]) for i, j in pairs] for rows in (student, teacher)]
    own, theirs = ([value / (sum(values) / len(pairs)) for value in values] for values in distances)
    huber = [0.5 * (a - b) ** 2 if abs(a - b) <= 1 else abs(a - b) - 0.5 for a, b in zip(own, theirs)]
    return sum(huber) / len(pairs)


def slow_contrast_loss(student: np.ndarray, teacher: np.ndarray) -> float:
    """Fang et al. 2021, eq. 2 to 4, as a divergence, row by row in float64."""
    total = 0.0
    for own, theirs in zip(student, teacher):
        p, q = (np.exp([32 * row @ other for other in teacher]) for row in (theirs, own))
        p, q = p / p.sum(), q / q.sum()
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q))
    return total / len(student)


def slow_lesson(features: np.ndarray, targets: np.ndarray, weights: LessonWeights) -> float:
    student = unit(features)
    loss = weights.relation * slow_relation_loss(student, targets)
    if weights.embedding:
        loss += weights.embedding * (1 - sum(float(a @ b) for a, b in zip(student, targets)) / len(student))
    if weights.contrast:
        loss += weights.contrast * slow_contrast_loss(student, targets)
    return loss


@pytest.mark.parametrize(
    ("size", "weights"),
    [
        (6, LessonWeights(1.0, 0.0)),
        (6, LessonWeights(0.5, 2.0, 0.25)),
        (6, LessonWeights(0.0, 0.0, 1.0)),
        (9, LessonWeights(0.0, 1.0)),
    ],
    ids=["embedding", "all", "contrast", "other-length"],
)
def test_value_and_gradient_are_those_of_slow_loops(size, weights):
    random = np.random.default_rng(0)
    features = random.normal(0, 3, (5, size))
    features[0] = features[1] * 2 + random.normal(0, 0.3, size)  # near neighbours
    features[2] = -features[1]  # and a pair far apart: both sides of the Huber loss
    targets = unit(random.normal(0, 1, (5, 6)))
    tensor = paddle.to_tensor(features.astype(np.float32), stop_gradient=False)
    lesson = lesson_of(tensor, paddle.to_tensor(targets.astype(np.float32)), weights=weights)
    assert float(lesson.loss) == pytest.approx(slow_lesson(features, targets, weights), rel=2e-4)
    (lesson.loss * 3.0).backward()
    for row, column in [(0, 0), (1, 3), (4, size - 1)]:
        moved = []
        for step in (1e-5, -1e-5):
            changed = features.copy()
            changed[row, column] += step
            moved.append(slow_lesson(changed, targets, weights))
        expected = 3.0 * (moved[0] - moved[1]) / 2e-5
        assert float(tensor.grad[row, column]) == pytest.approx(expected, rel=5e-3, abs=2e-4)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    targets = unit(np.random.default_rng(1).normal(0, 1, (8, 4))).astype(np.float32)
    tensor = paddle.to_tensor(targets * 7, stop_gradient=False)
    lesson = lesson_of(tensor, paddle.to_tensor(targets), weights=LessonWeights(1.0, 1.0, 1.0))
    assert float(lesson.loss) == pytest.approx(0.0, abs=1e-6)
    assert float(lesson.cosine) == pytest.approx(1.0, abs=1e-6)
    lesson.loss.backward()
    assert np.abs(tensor.grad.numpy()).max() < 1e-4


def test_equal_pictures_and_a_batch_of_one_give_finite_gradients():
    for rows in (np.ones((4, 3), np.float32), np.ones((1, 3), np.float32)):
        tensor = paddle.to_tensor(rows, stop_gradient=False)
        targets = paddle.to_tensor(unit(rows + np.arange(len(rows), dtype=np.float32)[:, None] * [[1, 0, 0]]))
        lesson = lesson_of(tensor, targets.astype("float32"), weights=LessonWeights(1.0, 1.0))
        lesson.loss.backward()
        assert np.isfinite(tensor.grad.numpy()).all() and math.isfinite(float(lesson.loss))


def test_relations_do_not_depend_on_turning_mirroring_or_the_number_of_dimensions():
    rows = unit(np.random.default_rng(2).normal(0, 1, (6, 4)))
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(0, 1, (4, 4)))
    longer = np.concatenate([rows @ turn, np.zeros((6, 3))], axis=1)
    pair = [paddle.to_tensor(array.astype(np.float32)) for array in (rows, longer)]
    assert float(relation_loss(pair[0], pair[1])) == pytest.approx(0.0, abs=1e-6)


def test_relations_of_rows_of_any_length_by_slow_loops():
    random = np.random.default_rng(4)
    student, teacher = random.normal(0, 2, (4, 3)), random.normal(0, 1, (4, 5))
    distances = []
    for rows in (student, teacher):
        apart = np.array([[np.linalg.norm(one - other) for other in rows] for one in rows])
        distances.append(apart / (apart.sum() / 12))
    size = np.abs(distances[0] - distances[1])
    expected = np.where(size < 1, size**2 / 2, size - 0.5).sum() / 12
    pair = [paddle.to_tensor(array.astype(np.float32)) for array in (student, teacher)]
    assert float(relation_loss(*pair)) == pytest.approx(expected, rel=1e-5)


def test_no_classifier_has_the_shards_of_no_class():
    empty = NoClassifier(embedding_size=4, rule="adam", margin=build_margin("ArcFace"))
    assert (empty.start, empty.end, empty.weight().shape, empty.velocity().shape) == (0, 0, (0, 4), (0, 4))
    assert {name: state.shape for name, state in empty.extra_states().items()} == {"second": (0, 4), "count": (0, 1)}
    features = paddle.to_tensor([[3.0, 4.0], [0.0, 1.0]])
    none = empty.choose_classes(np.array([7, 9]), step=0)
    assert [part.shape[0] for part in (none.rows, none.row_indices, none.columns, none.owned, none.places)] == [0] * 5
    assert empty.load_rows(0, np.zeros((3, 4), np.float32)) == 0
    assert float(empty.loss(features, none)) == 0.0
    assert float(empty.statistics["feature_norm"]) == 3.0
    assert float(empty.gradient_square_sum()) == float(empty.weight_square_sum()) == 0.0
