"""What BlazeFace costs, and landmarks on which its refiner slips."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence

import cv2
import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import RuntimeOptions, build_detector
from arcface_paddle.pipeline.cards import DetectorSpec, ScaleSpec
from arcface_paddle.pipeline.detection.blazeface import (
    BlazeFaceDetector,
    _fitting_scales,
    _is_portrait,
    _unrefined,
    decode_heads,
    settled,
)
from arcface_paddle.pipeline.detection.refiner import FaceRefiner, RefinedFaces
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import open_runtime
from arcface_paddle.pipeline.settings import DetectionSettings

OPTIONS = RuntimeOptions(threads=1)
QUERIES = Path(__file__).parents[2] / "demo" / "queries"
HOPPER = images.load_image(QUERIES / "hopper_relit.jpg")
GROUP = images.load_image(QUERIES / "group.jpg")


class CountingRuntime:
    """BlazeFace, and the sizes of the inputs that it saw."""

    def __init__(self) -> None:
        model = open_model("BlazeFace")
        self._runtime = open_runtime(model.graph_file, model.weights_file, options=OPTIONS)
        self.input_names, self.output_names = self._runtime.input_names, self._runtime.output_names
        self.sizes: list[tuple[int, ...]] = []

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.sizes.append(inputs[0].shape[2:])
        return self._runtime.run(inputs)


@pytest.fixture(scope="module")
def runtime() -> CountingRuntime:
    return CountingRuntime()


def detector_of(runtime: CountingRuntime, settings: DetectionSettings) -> BlazeFaceDetector:
    model = open_model("FaceRefiner")
    refiner = FaceRefiner(model, open_runtime(model.graph_file, model.weights_file, options=OPTIONS))
    return BlazeFaceDetector(open_model("BlazeFace"), runtime, refiner=refiner, settings=settings)


def passes(runtime: CountingRuntime, image: np.ndarray, *, faces: int, min_face: int = 1) -> list[tuple[int, ...]]:
    runtime.sizes.clear()
    assert len(detector_of(runtime, DetectionSettings(min_face=min_face)).detect(image)) == faces
    return list(runtime.sizes)


def test_a_small_picture_is_not_enlarged(runtime: CountingRuntime) -> None:
    small = cv2.resize(HOPPER, (81, 96), interpolation=cv2.INTER_AREA)
    assert passes(runtime, small, faces=1) == [(160, 160)]


def test_a_portrait_takes_one_pass_and_a_group_two(runtime: CountingRuntime) -> None:
    near = np.ascontiguousarray(HOPPER[60:260, 60:260])
    assert passes(runtime, near, faces=1) == [(256, 256)]
    assert len(passes(runtime, GROUP[:, :640], faces=2)) == 2


def test_a_large_smallest_face_needs_no_fine_pass(runtime: CountingRuntime) -> None:
    large = cv2.resize(GROUP, None, fx=2, fy=2)
    assert len(passes(runtime, large, faces=4)) == 4
    assert len(passes(runtime, large, faces=4, min_face=150)) == 2


def test_a_picture_that_yields_nothing_is_enlarged_after_all(runtime: CountingRuntime) -> None:
    assert passes(runtime, np.full((90, 120, 3), 128, np.uint8), faces=0)[:3] == [(192, 192), (256, 256), (480, 640)]


def test_a_turned_picture_is_found_in_its_own_coordinates() -> None:
    lying = np.ascontiguousarray(np.rot90(GROUP))
    found = build_detector("BlazeFace", options=OPTIONS).detect(lying)
    given = build_detector("BlazeFace", rotate="90", options=OPTIONS).detect(lying)
    upright = build_detector("BlazeFace", options=OPTIONS).detect(GROUP)
    assert len(found) == len(given) == len(upright) == 4
    for face, told, same in zip(found, given, upright):
        x0, y0, x1, y1 = same.box_xyxy
        expected = [y0, GROUP.shape[1] - x1, y1, GROUP.shape[1] - x0]
        np.testing.assert_allclose(face.box_xyxy, expected, atol=0.5)
        np.testing.assert_allclose(told.box_xyxy, expected, atol=0.5)
    assert build_detector("BlazeFace", rotate="0", options=OPTIONS).detect(lying) == []


def test_points_that_slipped_give_way_to_the_middle_of_all_looks() -> None:
    own = np.array([[[30, 40], [60, 40], [45, 55], [35, 70], [55, 70]]] * 2, float)
    refined = np.add(own, [1, 0])
    refined[1] += [0, 25]  # most of an eye distance
    first = np.add(own, [2, 1])
    faces = RefinedFaces(np.zeros((2, 4)), refined, np.ones(2), first)
    points, doubts = settled(own, faces)
    np.testing.assert_allclose(points[0], refined[0])
    np.testing.assert_allclose(points[1], np.add(own[1], [1, 1]))
    np.testing.assert_allclose(doubts, [1 / 30, np.hypot(1, 25) / 30])
    assert settled(own[:0], faces.take(np.arange(0)))[1].shape == (0,)


SPEC = DetectorSpec("blazeface", 0.5, (ScaleSpec(64),), strides=(8, 16), anchors=(2, 3), keypoints=4, score_clip=2.0)


def random_heads() -> list[np.ndarray]:
    """Return maps of scores and values of an input of 32 x 64 pixels, those of the coarser stride first."""
    random = np.random.default_rng(7)
    shapes = [(3, 2, 4), (36, 2, 4), (24, 4, 8), (2, 4, 8)]
    return [random.normal(0, 3, (1, *shape)).astype(np.float32) for shape in shapes]


def test_heads_are_decoded_as_by_hand() -> None:
    coarse_logits, coarse, fine, fine_logits = (head[0] for head in random_heads())
    points, scores = [], []
    for stride, anchors, values, logits in [(8, 2, fine, fine_logits), (16, 3, coarse, coarse_logits)]:
        for row in range(32 // stride):
            for column in range(64 // stride):
                for anchor in range(anchors):
                    x, y = (column + 0.5) * stride, (row + 0.5) * stride
                    cx, cy, width, height, *others = values[12 * anchor : 12 * (anchor + 1), row, column]
                    corners = [x + cx - width / 2, y + cy - height / 2, x + cx + width / 2, y + cy + height / 2]
                    points.append([*corners, *(value + (x, y)[place % 2] for place, value in enumerate(others))])
                    scores.append(1 / (1 + np.exp(-min(max(float(logits[anchor, row, column]), -2), 2))))
    found, likely = decode_heads(random_heads(), SPEC, input_hw=(32, 64))
    np.testing.assert_allclose(found.reshape(len(found), -1), points, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(likely, scores, rtol=1e-6)


@pytest.mark.parametrize("lost", range(4))
def test_a_map_that_is_missing_is_told(lost: int) -> None:
    heads = [head for place, head in enumerate(random_heads()) if place != lost]
    with pytest.raises(ModelFileError, match=f"its card promises others for stride {16 if lost < 2 else 8}"):
        decode_heads(heads, SPEC, input_hw=(32, 64))


SCALES = [ScaleSpec(256, border=0.25), ScaleSpec(640, square=False), ScaleSpec(1280, from_longer_side=1281)]


@pytest.mark.parametrize(
    ("longer_side", "min_face", "sizes"),
    [
        (20, None, [128]),  # none smaller than the network needs
        (100, None, [160]),  # not enlarged, but for the border and a whole number of cells
        (170, None, [256]),  # 192 in the second pass would be less than 1.5 times as fine
        (400, None, [256, 416]),
        (1280, None, [256, 640]),
        (1281, None, [256, 640, 1280]),
        (1280, 105, [256]),  # 14 pixels in an input of 256 are 105 of a picture of 1280 with its border
        (1280, 104, [256, 640]),
        (2560, 56, [256, 640]),  # and 56 in an input of 640 without
        (2560, 55, [256, 640, 1280]),
    ],
)
def test_passes_follow_the_picture_and_the_smallest_face(
    longer_side: int, min_face: Optional[int], sizes: list[int]
) -> None:
    chosen = _fitting_scales(SCALES, longer_side, min_face)
    assert [scale.size for scale in chosen] == sizes
    assert [scale.border for scale in chosen] == [scale.border for scale in SCALES[: len(sizes)]]


def test_landmarks_of_the_detector_itself_have_a_mouth_as_wide_as_the_template() -> None:
    row = np.array([10, 20, 110, 140, 0.75, 40, 60, 80, 62, 61, 90, 60, 110, 5, 5, 6, 6], float)
    face = _unrefined(row)
    half, mouth = 0.83 * np.array([40, 2]) / 2, np.array([60, 110])
    expected = [[40, 60], [80, 62], [61, 90], mouth - half, mouth + half]
    np.testing.assert_allclose(face.landmarks, expected, rtol=1e-6)
    np.testing.assert_array_equal(face.box_xyxy, [10, 20, 110, 140])
    assert face.score == 0.75


@pytest.mark.parametrize(
    ("candidates", "is_portrait"),
    [
        ([], False),
        ([(0, 0, 50, 40, 0.9)], True),
        ([(0, 0, 40, 50, 0.9)], True),
        ([(0, 0, 49, 49, 0.9)], False),
        ([(0, 0, 50, 40, 0.89)], False),
        ([(0, 0, 50, 40, 0.9), (2, 0, 52, 40, 0.6)], True),  # the same face
        ([(0, 0, 50, 40, 0.9), (60, 0, 99, 40, 0.5)], False),
        ([(0, 0, 50, 40, 0.9), (60, 0, 99, 40, 0.49)], True),
    ],
)
def test_a_portrait_is_filled_by_one_face_beyond_doubt(candidates: list[tuple[float, ...]], is_portrait: bool) -> None:
    assert _is_portrait(np.array(candidates, float).reshape(-1, 5), 100, SPEC) == is_portrait
