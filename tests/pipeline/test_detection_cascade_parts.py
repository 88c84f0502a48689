"""MTCNN's stages and the refiner by hand: which squares are looked at, what their outputs mean, what is left out."""

from __future__ import annotations

import dataclasses
from typing import Callable, Optional, Sequence

import numpy as np
import pytest

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.detection import mtcnn
from arcface_paddle.pipeline.detection.mtcnn import CascadeStage, MtcnnDetector, moved, outermost, squared
from arcface_paddle.pipeline.detection.refiner import FaceRefiner, RefinedFaces
from arcface_paddle.pipeline.model_files import ModelFolder, open_model
from arcface_paddle.pipeline.preprocessing import crop_square
from arcface_paddle.pipeline.settings import DetectionSettings

Outputs = Callable[[np.ndarray], list[np.ndarray]]
AS_IT_IS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


class Scripted:
    """Stands in for a network: gives what a function makes of its input, and keeps what it was given."""

    input_names, output_names = ("image",), ("outputs",)

    def __init__(self, outputs: Outputs) -> None:
        self.inputs: list[np.ndarray] = []
        self._outputs = outputs

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.inputs.append(inputs[0])
        return self._outputs(inputs[0])


def model_of(name: str, **refiner: float) -> ModelFolder:
    """Return a shipped model whose input is the pixels as they are."""
    model = open_model(name)
    card = dataclasses.replace(model.card, input=dataclasses.replace(model.card.input, **AS_IT_IS))
    if refiner:
        assert card.refiner is not None
        card = dataclasses.replace(card, refiner=dataclasses.replace(card.refiner, **refiner))
    return dataclasses.replace(model, card=card)


def colourful(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


# ---------------------------------------------------------------- crops


@pytest.mark.parametrize(("count", "filled"), [(1, [1]), (3, [4]), (64, [64]), (65, [64, 1]), (0, [])])
def test_a_stage_looks_at_each_square_and_fills_batches_up(count: int, filled: list[int]) -> None:
    numbers = iter(range(1000))

    def outputs(blob: np.ndarray) -> list[np.ndarray]:
        own = np.array([next(numbers) for _ in range(min(len(blob), count))] + [-1] * max(0, len(blob) - count), float)
        return [np.tile(own[:, None], (1, columns)) for columns in (4, 2, 10)]

    runtime = Scripted(outputs)
    stage = CascadeStage(model_of("FaceFilter"), runtime)
    image = colourful(90, 120)
    squares = np.array([[n - 5, n / 2, n + 25, n / 2 + 30] for n in range(count)], float).reshape(-1, 4)
    if not count:
        with pytest.raises(ModelFileError, match="gives no box and probability"):
            stage.look(image, squares)
        return
    seen = stage.look(image, squares)
    assert [len(blob) for blob in runtime.inputs] == filled
    assert {columns: rows.shape for columns, rows in seen.items()} == {4: (count, 4), 2: (count, 2), 10: (count, 10)}
    np.testing.assert_array_equal(seen[10][:, 3], np.arange(count))
    blobs = np.concatenate(runtime.inputs)
    for number in (0, count - 1):
        crop = crop_square(image, squares[number, :2] + 15, 30.0, 24)
        np.testing.assert_array_equal(blobs[number], crop.transpose(2, 0, 1).astype(np.float32))
    assert not blobs[count:].any()


@pytest.mark.parametrize("shape", [(2, 4, 1), (3, 4)])
def test_a_stage_that_gives_other_outputs_is_refused(shape: tuple[int, ...]) -> None:
    stage = CascadeStage(model_of("FaceFilter"), Scripted(lambda blob: [np.zeros(shape)]))
    with pytest.raises(ModelFileError, match="unexpected output of shape"):
        stage.look(colourful(9, 9), np.array([[0, 0, 5, 5.0]] * 2))
    only_boxes = CascadeStage(model_of("FaceFilter"), Scripted(lambda blob: [np.zeros((len(blob), 4))]))
    with pytest.raises(ModelFileError, match="no box and probability"):
        only_boxes.look(colourful(9, 9), np.array([[0, 0, 5, 5.0]] * 2))


def test_boxes_are_moved_by_shares_of_their_sides_and_made_square() -> None:
    rows = np.array([[10, 20, 30, 60, 0.9, 0.1, -0.2, 0.3, 0.4], [0, 0, 10, 10, 0.8, 0, 0, 0, 0]])
    np.testing.assert_allclose(moved(rows), [[12, 12, 36, 76], [0, 0, 10, 10]])
    boxes = np.array([[10, 20, 30, 60], [0, 0, 50, 10], [5, 7, 5, 7]], float)
    np.testing.assert_allclose(squared(boxes), [[0, 20, 40, 60], [0, -20, 50, 30], [4.5, 6.5, 5.5, 7.5]])


def test_of_boxes_inside_each_other_the_best_stays() -> None:
    rows = np.array(
        [
            [0, 0, 10, 10, 0.5],
            [0, 0, 30, 30, 0.9],  # has the first inside
            [15, 0, 45, 30, 0.8],  # half of it
            [100, 0, 110, 10, 0.7],
            [100, 3, 110, 13, 0.6],  # seven tenths
        ]
    )
    assert outermost(rows, share=0.7).tolist() == [1, 2, 3, 4]
    assert outermost(rows, share=0.69).tolist() == [1, 2, 3]
    assert outermost(rows, share=0.49).tolist() == [1, 3]
    assert outermost(rows[:0], share=0.5).shape == (0,)


# ---------------------------------------------------------------- the cascade


class Stage:
    """Stands in for RNet or ONet."""

    def __init__(self, seen: dict[int, np.ndarray], model: str) -> None:
        card = open_model(model).card
        assert card.refiner is not None
        self.spec, self.squares, self._seen = card.refiner, [], seen

    def look(self, image: np.ndarray, squares: np.ndarray) -> dict[int, np.ndarray]:
        self.squares.append(squares)
        return self._seen


def detector(
    outputs: Optional[Outputs] = None,
    *,
    first: Optional[Stage] = None,
    last: Optional[Stage] = None,
    settings: Optional[DetectionSettings] = None,
) -> tuple[MtcnnDetector, Scripted]:
    runtime = Scripted(outputs or (lambda blob: []))
    stages = (first or Stage({}, "FaceFilter"), last or Stage({}, "FaceRefiner"))
    return MtcnnDetector(
        model_of("MTCNN"), runtime, stages=stages, settings=settings or DetectionSettings(rotate="0")
    ), runtime


def random_maps(blob: np.ndarray) -> list[np.ndarray]:
    height, width = (-(-(side - 2) // 2) - 4 for side in blob.shape[2:])
    random = np.random.default_rng(height * width)
    return [random.normal(0, 0.1, (1, 4, height, width)), random.uniform(0, 0.7, (1, 2, height, width))]


def test_windows_of_a_part_are_read_as_by_hand() -> None:
    found_by, runtime = detector(random_maps)
    picture = colourful(60, 70)
    rows = found_by._proposed_in(picture, (20, 10, 70, 44))
    [blob] = runtime.inputs
    assert blob.shape == (1, 3, 64, 64)
    np.testing.assert_array_equal(blob[0, :, :34, :50], picture[10:44, 20:70].transpose(2, 0, 1))
    assert not blob[0, :, 34:].any() and not blob[0, :, :, 50:].any()
    corrections, probabilities = (output[0] for output in random_maps(blob))
    expected = {}
    for y in range(12):  # the windows that begin at 0, 2, ..., 22 of 34
        for x in range(20):
            if probabilities[1, y, x] >= 0.6:
                left, top = 20 + 2 * x, 10 + 2 * y
                expected[left, top] = [left + 12, top + 12, probabilities[1, y, x], *corrections[:, y, x]]
    assert len(expected) > len(rows) > 3  # some lie on each other
    assert (np.diff(rows[:, 4]) <= 0).all() and rows[0, 4] == max(row[2] for row in expected.values())
    for row in rows:
        np.testing.assert_allclose(row[2:], expected[int(row[0]), int(row[1])])


def test_only_the_maps_of_pnet_will_do() -> None:
    found_by, _ = detector(lambda blob: random_maps(blob)[:1])
    with pytest.raises(ModelFileError, match="PNet gives 4 and 2"):
        found_by._proposed_in(colourful(20, 20), (0, 0, 20, 20))


def test_places_of_a_shrunk_picture_come_back_to_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    found_by, _ = detector()
    given = np.array(
        [[2, 4, 14, 16, 0.9, 0, 0, 0, 0], [3, 4, 15, 16, 0.8, 0, 0, 0, 0], [30, 4, 42, 16, 0.7, 0, 0, 0, 0]]
    )
    shown = []

    def proposed_in(small: np.ndarray, part: tuple[int, ...]) -> np.ndarray:
        shown.append((small.shape, part))
        return given.copy()

    monkeypatch.setattr(found_by, "_proposed_in", proposed_in)
    rows = found_by._proposed_at(colourful(61, 101), 0.5)
    assert shown == [((31, 51, 3), (0, 0, 51, 31))]
    scale = np.array([51 / 101, 31 / 61, 51 / 101, 31 / 61])
    np.testing.assert_allclose(rows[:, :4], given[[0, 2], :4] / scale)
    shown.clear()
    assert len(found_by._proposed_at(colourful(61, 101), 1.0)) == 2 and shown[0][0] == (61, 101, 3)


@pytest.mark.parametrize(("min_face", "factors"), [(None, [0.6, 0.6 * 0.709]), (24, [0.5]), (12, [1, 0.709, 0.709**2])])
def test_levels_are_those_of_the_smallest_face(
    min_face: Optional[int], factors: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found_by, _ = detector(settings=DetectionSettings(rotate="0", min_face=min_face))
    asked = []

    def proposed_at(image: np.ndarray, factor: float) -> np.ndarray:
        asked.append(factor)
        return np.array(
            [[0, 0, 40, 20, 0.9, 0, 0, 0, 0.5], [0, 0, 40, 29, 0.8, 0, 0, 0, 0], [0, 0, 40, 28, 0.7, 0, 0, 0, 0]]
        )

    monkeypatch.setattr(found_by, "_proposed_at", proposed_at)
    squares = found_by._proposed(colourful(30, 30))
    assert asked == pytest.approx(factors)
    np.testing.assert_allclose(squares, [[0, -5, 40, 35], [0, -5.5, 40, 34.5]])  # .69 are two, .71 one
    assert found_by._proposed(colourful(5, 5)).shape == (0, 4)


def test_the_first_stage_keeps_what_it_takes_for_a_face_and_moves_it() -> None:
    squares = np.array([[0, 0, 40, 40], [100, 0, 140, 40], [102, 0, 142, 40], [200, 0, 240, 40]], float)
    boxes = np.zeros((4, 4))
    boxes[0] = [0.1, 0.1, 0.1, 0.2]
    probabilities = np.array([[0.3, 0.7], [0.2, 0.8], [0.1, 0.9], [0.31, 0.69]])
    first = Stage({4: boxes, 2: probabilities}, "FaceFilter")
    found_by, _ = detector(first=first)
    np.testing.assert_allclose(found_by._filtered(colourful(9, 9), squares), [[102, 0, 142, 40], [2, 4, 46, 48]])
    np.testing.assert_array_equal(first.squares[0], squares)
    assert found_by._filtered(colourful(9, 9), squares[:0]).shape == (0, 4) and len(first.squares) == 1


def test_the_last_stage_gives_box_score_and_points(monkeypatch: pytest.MonkeyPatch) -> None:
    squares = np.array([[100, 200, 140, 240], [0, 0, 10, 10], [300, 0, 310, 10], [400, 0, 410, 10]], float)
    boxes = np.zeros((4, 4))
    boxes[0], boxes[2] = [0.1, -0.1, 0.2, 0.3], [0, 0, -1, 0]  # the third has no width left
    landmarks = np.tile(np.arange(10) / 10, (4, 1))
    probabilities = np.array([[0, 0.8], [0, 0.049], [0, 0.9], [0, 0.05]])
    last = Stage({4: boxes, 2: probabilities, 10: landmarks}, "FaceRefiner")
    found_by, _ = detector(last=last)
    monkeypatch.setattr(found_by, "_proposed", lambda image: squares)
    monkeypatch.setattr(found_by, "_filtered", lambda image, given: given)
    best, weak = found_by._find(colourful(9, 9))
    np.testing.assert_allclose(best.box_xyxy, [104, 196, 148, 252])
    np.testing.assert_allclose(best.landmarks, [[100 + 4 * n, 220 + 4 * n] for n in range(5)], rtol=1e-6)
    assert best.score == pytest.approx(0.8) and weak.score == pytest.approx(0.05)


def test_what_is_more_than_anybody_needs_is_cut_off() -> None:
    rows = np.random.default_rng(0).uniform(size=(9, 9))
    assert mtcnn._best(rows, 9) is rows
    np.testing.assert_array_equal(mtcnn._best(rows, 8), rows[np.argsort(-rows[:, 4])[:8]])


# ---------------------------------------------------------------- the refiner


def refiner(outputs: Outputs, **spec: float) -> tuple[FaceRefiner, Scripted]:
    runtime = Scripted(outputs)
    return FaceRefiner(model_of("FaceRefiner", **spec), runtime), runtime


def steady(blob: np.ndarray) -> list[np.ndarray]:
    """A box a tenth to the right, points at tenths of the square, and probabilities by the place in the batch."""
    count = len(blob)
    box = np.tile([0.1, 0.0, 0.1, 0.0], (count, 1))
    points = np.tile(np.arange(10) / 10, (count, 1))
    probability = np.stack([np.zeros(count), np.arange(count) / 100], axis=1)
    return [points, probability, box]


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_each_pass_looks_at_the_square_of_what_the_last_one_saw(passes: int) -> None:
    looking, runtime = refiner(steady, passes=passes, crop_factor=1.5)
    image = colourful(200, 200)
    boxes = np.array([[50, 60, 90, 80, 0.9], [10, 10, 10, 10, 0.8]])
    found = looking.refine(image, boxes)
    assert len(runtime.inputs) == passes
    for number, (center, side) in enumerate([(np.array([70.0, 70]), 60.0), (np.array([10.0, 10]), 1.0)]):
        for blob in runtime.inputs:
            crop = crop_square(image, center, side, 48)
            np.testing.assert_array_equal(blob[number], crop.transpose(2, 0, 1).astype(np.float32))
            corner = center - side / 2
            points = corner + side * np.stack([np.arange(5), np.arange(5, 10)], axis=1) / 10
            if blob is runtime.inputs[0]:
                np.testing.assert_allclose(found.first_landmarks[number], points)
            center = center + np.array([0.1 * side, 0])
        np.testing.assert_allclose(found.landmarks[number], points)
        np.testing.assert_allclose(found.boxes[number], [*(center - side / 2), *(center + side / 2)])
    np.testing.assert_allclose(found.probabilities, [0, 0.01])


def test_many_candidates_go_in_batches_and_none_costs_nothing() -> None:
    looking, runtime = refiner(steady, passes=1)
    boxes = np.array([[n, n, n + 20, n + 20] for n in range(70)], float)
    found = looking.refine(colourful(100, 100), boxes)
    assert [len(blob) for blob in runtime.inputs] == [64, 6]
    np.testing.assert_allclose(found.probabilities, [*np.arange(64) / 100, *np.arange(6) / 100])
    nothing = looking.refine(colourful(9, 9), boxes[:0])
    assert len(runtime.inputs) == 2 and nothing.first_landmarks.shape == (0, 5, 2) and nothing.boxes.shape == (0, 4)


def test_a_refiner_that_gives_other_outputs_is_refused() -> None:
    with pytest.raises(ModelFileError, match="is a model for face detection, not for face refinement"):
        FaceRefiner(open_model("MTCNN"), Scripted(steady))
    looking, _ = refiner(lambda blob: [np.zeros((len(blob), 3))])
    with pytest.raises(ModelFileError, match=r"unexpected output of shape \(1, 3\)"):
        looking.refine(colourful(9, 9), np.array([[0, 0, 5, 5.0]]))


POINTS = np.array([[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]], float)  # eyes 20 pixels apart
OFF, ASIDE = np.array([10, 15]), np.array([11.9, 0])
APART = np.array([[1, 1], [500, 1], [900, 500], [1, 900], [700, 700]], float)


@pytest.mark.parametrize(
    ("box", "points", "probability", "kept"),
    [
        ((500, 0, 540, 40), POINTS + 5.9, 0.9, False),  # mean offset below .3 of the eye distance
        ((500, 0, 540, 40), POINTS + ASIDE, 0.9, False),
        ((500, 0, 540, 40), POINTS + 6.1, 0.9, True),
        ((500, 0, 540, 40), POINTS * 2 - OFF, 0.9, False),  # 10 pixels away, but of eyes 40 apart
        ((0, 16.9, 40, 56.9), APART, 0.9, False),  # .405 of the union, as large
        ((0, 17.3, 40, 57.3), APART, 0.9, True),
        ((0, 0, 10, 16), APART, 0.9, False),  # inside
        ((32, 0, 48, 10), APART, 0.9, True),  # half inside
        ((30.1, 0, 46.1, 10), APART, 0.9, False),  # more than .6 inside
        ((500, 0, 540, 40), APART, 0.7, True),
        ((500, 0, 540, 40), APART, 0.69, False),
    ],
)
def test_candidates_that_are_one_face_by_points_or_box(
    box: tuple[float, ...], points: np.ndarray, probability: float, kept: bool
) -> None:
    looking, _ = refiner(steady)
    landmarks = np.stack([POINTS, points])
    boxes = np.array([(0, 0, 40, 40), box], float)
    refined = RefinedFaces(boxes, landmarks, np.array([0.8, probability]), landmarks)
    assert looking.distinct(refined).tolist() == ([0, 1] if kept else [0])
    assert looking.distinct(refined.take(np.array([1, 0]))).tolist() == (
        [0, 1] if kept else [0 if probability >= 0.7 else 1]
    )
