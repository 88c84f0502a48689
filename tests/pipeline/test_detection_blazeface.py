"""What BlazeFace costs, and landmarks on which its refiner slips."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import cv2
import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.pipeline import RuntimeOptions, build_detector
from arcface_paddle.pipeline.detection.blazeface import BlazeFaceDetector, settled
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
