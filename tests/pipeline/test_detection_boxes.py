"""Which of several boxes stay, against slow twins and right at the threshold; and the refiner's passes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.pipeline import RuntimeOptions
from arcface_paddle.pipeline.detection.boxes import disagreement, iou, nms, overlaps, weighted_nms
from arcface_paddle.pipeline.detection.refiner import FaceRefiner, RefinedFaces
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.preprocessing import crop_square, to_blob
from arcface_paddle.pipeline.runtime import open_runtime

SCENE = np.load(Path(__file__).parent.parent / "fixtures" / "model_references.npz")["scene"]
HALVES = np.array([[0, 0, 30, 10, 0.8], [10, 0, 40, 10, 0.9]], float)
"""They share 20 of 40 columns: an intersection over union of 0.5, which is exact."""


def candidates(count: int, seed: int) -> np.ndarray:
    """Return (count, 5) boxes that crowd a small place, with different scores."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 30, (count, 2)).astype(float)
    return np.column_stack([corners, corners + rng.integers(5, 25, (count, 2)), rng.permutation(count) / count + 0.01])


def slow_nms(rows: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: -rows[index, 4]):
        if all(iou(rows[index, :4], rows[other, :4]) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3, 0.4, 0.7, 1.0])
def test_nms_against_a_slow_twin(threshold: float) -> None:
    for seed in range(5):
        rows = candidates(40, seed)
        assert nms(rows, iou=threshold).tolist() == slow_nms(rows, threshold)


def test_boxes_that_overlap_by_the_threshold_both_stay() -> None:
    assert overlaps(HALVES[0, :4], HALVES[1:, :4])[0] == 0.5
    assert nms(HALVES, iou=0.5).tolist() == [1, 0]
    assert nms(HALVES, iou=0.499).tolist() == [1]
    assert len(weighted_nms(HALVES, iou=0.5)) == 2
    assert len(weighted_nms(HALVES, iou=0.499)) == 1


def test_weighted_nms_groups_around_the_best_only() -> None:
    """The third overlaps the second, which is gone, and not the best."""
    chain = np.array([[0, 0, 10, 10, 0.9], [4, 0, 14, 10, 0.8], [8, 0, 18, 10, 0.7]], float)
    merged = weighted_nms(chain, iou=0.3)
    np.testing.assert_allclose(merged, [[4 * 0.8 / 1.7, 0, 10 + 4 * 0.8 / 1.7, 10, 0.9], chain[2]])


def test_boxes_without_an_area_overlap_nothing() -> None:
    point = np.array([3.0, 3.0, 3.0, 3.0])
    assert iou(point, point) == 0.0
    assert [part.tolist() for part in overlaps(point, point[None])] == [[0.0], [0.0]]


def test_disagreement_is_in_distances_of_the_eyes() -> None:
    points = np.array([[[0, 0], [10, 0], [5, 5], [0, 10], [10, 10]]], float)
    larger = points * 3
    moved = np.linalg.norm(points * 2, axis=2).mean()
    np.testing.assert_allclose(disagreement(points, larger), [moved / 20])


def refiner(**changes: object) -> FaceRefiner:
    model = open_model("FaceRefiner")
    made = FaceRefiner(model, open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(threads=1)))
    made.spec = dataclasses.replace(made.spec, **changes)
    return made


def test_each_pass_of_the_refiner_looks_at_what_the_one_before_gave() -> None:
    height, width = SCENE.shape[:2]
    boxes = np.array([[0.2 * width, 0.2 * height, 0.6 * width, 0.7 * height], [5, 9, 45, 39]], float)
    first = refiner(passes=1).refine(SCENE, boxes)
    second = refiner(passes=1, crop_factor=1.0).refine(SCENE, first.boxes)
    both = refiner().refine(SCENE, boxes)  # as the card says: two
    np.testing.assert_allclose(both.boxes, second.boxes, atol=1e-3)
    np.testing.assert_allclose(both.landmarks, second.landmarks, atol=1e-3)
    np.testing.assert_allclose(both.probabilities, second.probabilities, atol=1e-5)
    np.testing.assert_allclose(both.first_landmarks, first.landmarks, atol=1e-3)
    assert np.abs(second.boxes - first.boxes).max() > 0.5  # a pass more or less would be seen
    third = refiner(passes=3).refine(SCENE, boxes)
    np.testing.assert_allclose(
        third.boxes, refiner(passes=1, crop_factor=1.0).refine(SCENE, second.boxes).boxes, atol=1e-3
    )


def test_a_pass_of_the_refiner_against_a_slow_twin() -> None:
    """Crops 1.3 times as wide as the longer side; what comes back is in sides of the crop, from its corner."""
    height, width = SCENE.shape[:2]
    boxes = np.array([[0.2 * width, 0.2 * height, 0.6 * width, 0.7 * height], [5, 9, 45, 29]], float)
    own = refiner(passes=1)
    refined = own.refine(SCENE, boxes)
    for index, (left, top, right, bottom) in enumerate(boxes):
        side = 1.3 * max(right - left, bottom - top)
        center = np.array([(left + right) / 2, (top + bottom) / 2])
        crop = crop_square(SCENE, center, side, 48)
        told = {out.shape[1]: out[0] for out in own._runtime.run([to_blob([crop], own._model.card.input)])}
        corner = center - side / 2
        np.testing.assert_allclose(refined.boxes[index][:2], corner + told[4][:2] * side, atol=1e-3)
        np.testing.assert_allclose(refined.boxes[index][2:], corner + side + told[4][2:] * side, atol=1e-3)
        x, y = told[10][:5], told[10][5:]
        np.testing.assert_allclose(refined.landmarks[index], corner + np.stack([x, y], axis=1) * side, atol=1e-3)
        assert refined.probabilities[index] == pytest.approx(told[2][1], abs=1e-5)


def test_no_candidates_are_none_after_refinement() -> None:
    nothing = refiner().refine(SCENE, np.empty((0, 4)))
    assert nothing.boxes.shape == (0, 4) and nothing.probabilities.shape == (0,)
    assert nothing.landmarks.shape == nothing.first_landmarks.shape == (0, 5, 2)
    assert refiner().distinct(nothing).shape == (0,)


POINTS = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], float)  # eyes 40 apart


@pytest.mark.parametrize(
    ("box", "points", "same"),
    [
        ([0, 0, 100, 100], POINTS, True),
        ([200, 0, 300, 100], POINTS + 11.9, True),  # points closer than 0.3 of 40
        ([200, 0, 300, 100], POINTS + 12.0, False),
        ([0, 0, 100, 39], POINTS + 50, True),  # contained
        ([60, 0, 160, 100], POINTS + 50, False),  # shares 0.25, 0.4 of the smaller
        ([42, 0, 142, 100], POINTS + 50, True),  # shares 0.41, 0.58 of the smaller
        ([45, 0, 145, 100], POINTS + 50, False),  # shares 0.38, 0.55 of the smaller
        ([90, 0, 100, 10], POINTS + 50, True),
        ([94, 0, 104, 10], POINTS + 50, False),  # 0.6 of the smaller, which is exact
        ([95, 0, 105, 10], POINTS + 50, False),  # half of the smaller
    ],
)
def test_when_two_candidates_are_one_face(box: list[int], points: np.ndarray, same: bool) -> None:
    faces = RefinedFaces(
        np.array([[0, 0, 100, 100], box], float), np.stack([POINTS, points]), np.array([0.8, 0.7]), np.empty((2, 5, 2))
    )
    assert refiner().distinct(faces).tolist() == ([0] if same else [0, 1])


def test_a_candidate_of_the_least_probability_stays() -> None:
    boxes = np.arange(3)[:, None] * 200.0 + [0, 0, 100, 100]
    points = POINTS + np.arange(3)[:, None, None] * 200
    faces = RefinedFaces(boxes, points, np.array([0.699, 0.7, 0.71]), points)
    assert refiner().distinct(faces).tolist() == [1, 2]
