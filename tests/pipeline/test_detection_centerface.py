"""CenterFace over whole pictures: large and small faces, seams, sides, thresholds, odd shapes, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Sequence

import cv2
import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.pipeline import RuntimeOptions, build_detector
from arcface_paddle.pipeline.detection import scanning
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.detection.boxes import overlaps
from arcface_paddle.pipeline.detection.centerface import CenterFaceDetector
from arcface_paddle.pipeline.detection.network_detector import detector_spec
from arcface_paddle.pipeline.detection.small_patches import look_at_patches
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import open_runtime
from arcface_paddle.pipeline.settings import DetectionSettings
from arcface_paddle.synthetic import SyntheticFaces
from arcface_paddle.types import Detection

OPTIONS = RuntimeOptions(threads=1)
DEMO = Path(__file__).parents[2] / "demo"
PHOTOGRAPHS = [*sorted((DEMO / "gallery").glob("*/*.jpg")), *sorted((DEMO / "queries").glob("*.jpg"))]
PORTRAIT = images.load_image(DEMO / "queries" / "hopper_relit.jpg")
FACE_BOX = np.array([97, 78, 210, 213])  # of PORTRAIT
FACE_WIDTH = 113


class CountingRuntime:
    """The network, and how many input pixels went through it."""

    def __init__(self) -> None:
        model = open_model("CenterFace")
        self._runtime = open_runtime(model.graph_file, model.weights_file, options=OPTIONS)
        self.input_names, self.output_names = self._runtime.input_names, self._runtime.output_names
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.shapes.append(inputs[0].shape)
        return self._runtime.run(inputs)


@pytest.fixture(scope="module")
def runtime() -> CountingRuntime:
    return CountingRuntime()


@pytest.fixture(scope="module")
def detector(runtime: CountingRuntime) -> CenterFaceDetector:
    return CenterFaceDetector(open_model("CenterFace"), runtime)


def with_settings(runtime: CountingRuntime, settings: DetectionSettings) -> CenterFaceDetector:
    return CenterFaceDetector(open_model("CenterFace"), runtime, settings=settings)


def portrait(face_width: int) -> np.ndarray:
    factor = face_width / FACE_WIDTH
    return cv2.resize(PORTRAIT, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else 1)


def paste(picture: np.ndarray, patch: np.ndarray, center_xy: tuple[int, int]) -> np.ndarray:
    """Lay a portrait on a picture so that its face has its middle at a place; return the face's box."""
    factor = patch.shape[1] / PORTRAIT.shape[1]
    box = FACE_BOX * factor
    left, top = (round(place - (box[axis] + box[axis + 2]) / 2) for axis, place in enumerate(center_xy))
    picture[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return box + np.array([left, top, left, top])


def assert_found_once(faces: Sequence[Detection], box: np.ndarray) -> None:
    shared = [overlaps(box.astype(float), face.box_xyxy[None].astype(float))[0][0] for face in faces]
    assert len(faces) == 1 and shared[0] > 0.5, (faces, box)


# ---------------------------------------------------------------- what a picture costs


def test_a_small_portrait_takes_one_small_pass_and_one_window(
    detector: CenterFaceDetector, runtime: CountingRuntime
) -> None:
    runtime.shapes.clear()
    assert_found_once(detector.detect(cv2.resize(PORTRAIT, (81, 96), interpolation=cv2.INTER_AREA)), FACE_BOX * 0.254)
    assert runtime.shapes == [(1, 3, 128, 128), (1, 3, 96, 96)]


def test_a_large_smallest_face_costs_less_and_leaves_smaller_ones_out(runtime: CountingRuntime) -> None:
    picture = np.full((1000, 1600, 3), 120, np.uint8)
    paste(picture, portrait(24), (300, 300))
    large = paste(picture, portrait(110), (1000, 500))
    fine, coarse = (with_settings(runtime, DetectionSettings(min_face=side)) for side in (16, 80))
    costs = []
    for detector, count in ((fine, 2), (coarse, 1)):
        runtime.shapes.clear()
        assert len(detector.detect(picture)) == count
        costs.append(sum(np.prod(shape) for shape in runtime.shapes))
    assert costs[1] < costs[0] / 4
    assert_found_once(coarse.detect(picture), large)


@pytest.mark.parametrize("beside", [(), (40,), (18, 40)])
def test_the_finest_level_is_for_pictures_that_show_small_faces(
    detector: CenterFaceDetector, runtime: CountingRuntime, beside: tuple[int, ...]
) -> None:
    picture = np.full((1080, 1920, 3), 120, np.uint8)
    picture[::7] = 100  # no wall
    paste(picture, portrait(200), (1000, 500))
    for index, width in enumerate(beside):
        paste(picture, portrait(width), (200, 200 + 300 * index))
    runtime.shapes.clear()
    assert len(detector.detect(picture)) == 1 + len(beside)
    pixels = sum(shape[0] * shape[2] * shape[3] for shape in runtime.shapes)
    assert pixels > 900_000 if beside else pixels < 450_000
    runtime.shapes.clear()
    assert len(with_settings(runtime, DetectionSettings(min_face=16)).detect(picture)) == 1 + len(beside)
    assert sum(shape[0] * shape[2] * shape[3] for shape in runtime.shapes) > 900_000


@pytest.mark.parametrize(("corner", "width"), [((300, 200), 19), ((301, 202), 19), ((301, 202), 17)])
def test_a_small_face_far_behind_a_large_one_is_found_by_patches(
    detector: CenterFaceDetector, corner: tuple[int, int], width: int
) -> None:
    """Half the resolution shows these too faintly for a second look, and takes the smallest for a larger one."""
    picture = np.full((1080, 1920, 3), 120, np.uint8)
    picture[::7] = 100  # no wall
    large = paste(picture, portrait(150), (1000, 500))
    person, box = images.load_image(DEMO / "queries" / "obama_blue_room.jpg"), np.array([430, 255, 700, 618])
    factor = width / (box[2] - box[0])
    small = cv2.resize(person, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    picture[corner[1] : corner[1] + small.shape[0], corner[0] : corner[0] + small.shape[1]] = small
    found = detector.detect(picture)
    assert len(found) == 2
    assert_found_once(found[:1], large)
    assert_found_once(found[1:], box * factor + np.tile(corner, 2))


def test_a_patch_tells_where_its_face_is(detector: CenterFaceDetector, runtime: CountingRuntime) -> None:
    """Places in the middle, at the corner and outside of the picture, more than one input takes."""
    picture = np.full((400, 600, 3), 120, np.uint8)
    box = paste(picture, portrait(20), (300, 200))
    centers = np.array([[301.0, 198.0], *([[0.0, 0.0], [599.0, 399.0], [-50.0, 900.0]] * 9)])
    runtime.shapes.clear()
    rows = look_at_patches(
        picture, centers, factor=0.625, runtime=runtime, card_input=detector.card.input, stride=4, noticed=0.2
    )
    assert runtime.shapes == [(1, 3, 256, 384), (1, 3, 128, 256)]
    assert len(rows)
    for row in rows:
        assert overlaps(row[:4], box[None].astype(float))[0][0] > 0.4
        assert (row[:2] < row[5:7]).all() and (row[5:7] < row[2:4]).all()


def test_a_wall_is_not_looked_at(detector: CenterFaceDetector, runtime: CountingRuntime) -> None:
    runtime.shapes.clear()
    picture = np.full((2000, 9000, 3), 150, np.uint8)
    box = paste(picture, portrait(41), (8000, 1000))
    assert_found_once(detector.detect(picture), box)
    assert sum(shape[0] * shape[2] * shape[3] for shape in runtime.shapes) < 4e6 < 9000 * 2000 * 0.625**2


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.stem)
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_every_face_of_the_photographs_whichever_way_up(detector: CenterFaceDetector, path: Path, turn: int) -> None:
    photograph = images.load_image(path)
    faces = detector.detect(np.ascontiguousarray(np.rot90(photograph, turn)))
    assert len(faces) == (4 if path.stem == "group" else 1)
    upright = detector.detect(photograph) if turn else faces
    for face, same in zip(_in_order(faces, photograph, turn), _in_order(upright, photograph, 0)):
        eyes = np.linalg.norm(same[0] - same[1])
        assert np.linalg.norm(face - same, axis=1).mean() < 0.25 * eyes


def _in_order(faces: Sequence[Detection], photograph: np.ndarray, turn: int) -> list[np.ndarray]:
    """Return landmarks in the upright photograph, from left to right."""
    points = []
    height, width = photograph.shape[:2]
    for face in faces:
        assert face.landmarks is not None
        x, y = face.landmarks.T
        back = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turn]
        points.append(np.stack(back, axis=1))
    return sorted(points, key=lambda one: float(one[:, 0].mean()))


@pytest.mark.parametrize("width", [5000, 16000])
def test_a_face_is_found_as_well_in_a_wide_picture(detector: CenterFaceDetector, width: int) -> None:
    picture = np.full((900, width, 3), 120, np.uint8)
    box = paste(picture, portrait(41), (width - 300, 400))
    faces = detector.detect(picture)
    assert_found_once(faces, box)
    assert faces[0].score > 0.75


@pytest.mark.parametrize("shift", [-40, -16, 0, 16, 40])
def test_a_face_on_a_seam_is_found_once(detector: CenterFaceDetector, shift: int) -> None:
    size_wh = (4000, 2600)
    scan = detector_spec(detector.card).scan
    assert scan is not None
    finest = list(scanning.pieces(size_wh, factor=10 / 16, spec=scan))
    seam = next(piece for piece in finest if piece.seams[2] and piece.seams[3])
    picture = np.full((size_wh[1], size_wh[0], 3), 120, np.uint8)
    picture[::7] = 100  # so that no piece is a wall
    for face_width in (30, 110):
        shown = picture.copy()
        corner = (seam.part_xyxy[2] + shift, seam.part_xyxy[3] + shift)
        box = paste(shown, portrait(face_width), corner)
        assert_found_once(detector.detect(shown), box)


def test_faces_of_all_sizes_in_one_large_picture(detector: CenterFaceDetector) -> None:
    picture = np.full((3000, 5000, 3), 120, np.uint8)
    boxes = [
        paste(picture, portrait(width), place)
        for width, place in ((700, (3500, 1300)), (200, (700, 600)), (60, (300, 2500)), (18, (1500, 2700)))
    ]
    # Among the decorations on the uniform, 80 pixels wide here, something weak looks like a face.
    faces = [face for face in detector.detect(picture) if face.score > 0.7]
    assert len(faces) == len(boxes)
    for face, box in zip(faces, boxes):
        assert_found_once([face], box)


def test_a_face_at_the_very_edge(detector: CenterFaceDetector) -> None:
    left, top, right, bottom = FACE_BOX
    assert len(detector.detect(np.ascontiguousarray(PORTRAIT[top:bottom, left:right]))) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (20, 20000), (3, 500), (33, 31)])
def test_odd_shapes_are_no_error(detector: CenterFaceDetector, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    assert detector.detect(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) == []


def test_no_face_gives_an_empty_list(detector: CenterFaceDetector) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for picture in (noise, cv2.GaussianBlur(noise, (0, 0), 9), np.zeros((50, 50, 3), np.uint8), PORTRAIT[260:]):
        assert detector.detect(np.ascontiguousarray(picture)) == []


def test_detection_leaves_the_picture_alone_and_repeats_itself(detector: CenterFaceDetector) -> None:
    before = PORTRAIT.copy()
    first, second = detector.detect(PORTRAIT), detector.detect(PORTRAIT)
    np.testing.assert_array_equal(PORTRAIT, before)
    np.testing.assert_array_equal(first[0].box_xyxy, second[0].box_xyxy)


# ---------------------------------------------------------------- landmarks


def test_landmarks_are_exact_and_doubt_says_where_they_may_not_be(detector: CenterFaceDetector) -> None:
    faces = SyntheticFaces(5, size=320, full_frame=True)
    errors, doubts = [], []
    for number in range(6):
        shown = faces.render(number, 0)
        [face] = [one for one in detector.detect(shown.image) if one.score > 0.5]
        assert face.landmarks is not None and face.landmark_doubt is not None
        eyes = np.linalg.norm(shown.points[0] - shown.points[1])
        errors.append(np.linalg.norm(face.landmarks - shown.points, axis=1).mean() / eyes)
        doubts.append(face.landmark_doubt)
    assert np.median(errors) < 0.16 and max(errors) < 0.5
    assert np.median(doubts) < 0.12


# ---------------------------------------------------------------- thresholds


def composed_scene() -> np.ndarray:
    """Lay faces of many sizes, some of them hard, on the demo's group."""
    picture = np.concatenate([images.load_image(DEMO / "queries" / "group.jpg"), np.full((500, 1400, 3), 90, np.uint8)])
    for index, width in enumerate((9, 11, 13, 16, 24, 40)):
        paste(picture, portrait(width), (60 + 110 * index, 620))
    turned = np.ascontiguousarray(np.rot90(portrait(30)))
    picture[800 : 800 + turned.shape[0], 100 : 100 + turned.shape[1]] = turned
    blurred = cv2.GaussianBlur(portrait(60), (0, 0), 5)
    picture[740 : 740 + blurred.shape[0], 500 : 500 + blurred.shape[1]] = blurred
    return picture


@pytest.mark.parametrize("model", ["CenterFace", "BlazeFace"])
def test_a_lower_threshold_never_loses_a_face(model: str) -> None:
    frame = SyntheticFaces(3, size=300, full_frame=True).render(1, 0).image
    pictures = [composed_scene(), frame, np.ascontiguousarray(np.rot90(PORTRAIT))]
    above: list[list[Detection]] = [[] for _ in pictures]
    for threshold in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
        detector: Detector = build_detector(model, threshold=threshold, options=OPTIONS)
        for index, picture in enumerate(pictures):
            faces = detector.detect(picture)
            assert all(face.score >= threshold for face in faces)
            for face in above[index]:
                shared = overlaps(face.box_xyxy.astype(float), np.array([one.box_xyxy for one in faces], float))[0]
                assert shared.max() > 0.9, (threshold, face)
            above[index] = faces
    assert len(above[0]) >= 9


# ---------------------------------------------------------------- memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux tells it")
def test_a_very_wide_picture_takes_little_more_memory_than_itself() -> None:
    code = """
import resource
import numpy as np
from arcface_paddle.pipeline import RuntimeOptions, build_detector
detector = build_detector("CenterFace", options=RuntimeOptions(threads=1))
rng = np.random.default_rng(0)
def peak(width):
    picture = np.repeat(rng.integers(0, 256, (1500, width // 50, 3), dtype=np.uint8), 50, axis=1)
    detector.detect(picture)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small = peak(4000)
print(peak(16000) - small)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    more = float(done.stdout.split()[-1])
    assert more < 12000 * 1500 * 3 / 2**20 + 150, more  # the picture itself is 52 MiB larger
