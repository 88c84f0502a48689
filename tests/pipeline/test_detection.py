from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Union

import cv2
import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, ImageError, ModelFileError
from arcface_paddle.pipeline import RuntimeOptions, build_detector, cards
from arcface_paddle.pipeline.detection.base import largest_first
from arcface_paddle.pipeline.detection.blazeface import BlazeFaceDetector
from arcface_paddle.pipeline.detection.boxes import overlaps, weighted_nms
from arcface_paddle.pipeline.detection.centerface import CenterFaceDetector
from arcface_paddle.pipeline.detection.rows import RowsDetector
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import open_runtime
from arcface_paddle.types import Detection

OPTIONS = RuntimeOptions(threads=1)
SCENE = np.load(Path(__file__).parent.parent / "fixtures" / "model_references.npz")["scene"]
ShippedDetector = Union[BlazeFaceDetector, CenterFaceDetector]
FACE_BOX = np.array([91, 31, 133, 87])  # of SCENE, by eye


@pytest.fixture(scope="module", params=["BlazeFace", "CenterFace"])
def detector(request: pytest.FixtureRequest) -> ShippedDetector:
    found = build_detector(request.param, options=OPTIONS)
    assert isinstance(found, (BlazeFaceDetector, CenterFaceDetector)) and found.card.name == request.param
    return found


def iou(box: np.ndarray, other: np.ndarray) -> float:
    return float(overlaps(np.asarray(box, float), np.asarray(other, float)[None])[0][0])


# ---------------------------------------------------------------- geometry


def test_overlaps_against_counting_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        boxes = rng.integers(0, 20, (2, 2, 2))
        boxes.sort(axis=1)
        masks = np.zeros((2, 20, 20), bool)
        for mask, ((x0, y0), (x1, y1)) in zip(masks, boxes):
            mask[y0:y1, x0:x1] = True
        both, sizes = (masks[0] & masks[1]).sum(), masks.sum(axis=(1, 2))
        found_iou, found_containment = overlaps(boxes[0].reshape(4).astype(float), boxes[1].reshape(1, 4).astype(float))
        assert found_iou[0] == pytest.approx(both / max(masks.any(axis=0).sum(), 1))
        assert found_containment[0] == pytest.approx(both / max(sizes.min(), 1))


def test_weighted_nms_merges_by_score_and_keeps_the_best_score() -> None:
    candidates = np.array([[0, 0, 10, 10, 0.9, 5], [1, 0, 11, 10, 0.6, 8], [50, 50, 60, 60, 0.7, 55]], float)
    merged = weighted_nms(candidates, iou=0.3)
    np.testing.assert_allclose(merged[0], [0.4, 0, 10.4, 10, 0.9, 6.2])
    np.testing.assert_allclose(merged[1], candidates[2])
    assert weighted_nms(candidates[:0], iou=0.3).shape == (0, 6)


def test_largest_first() -> None:
    boxes = [np.array(box, np.float32) for box in ([0, 0, 2, 2], [5, 0, 9, 9], [1, 1, 3, 3])]
    order = [tuple(one.box_xyxy) for one in largest_first([Detection(box, 1.0) for box in boxes])]
    assert order == [(5, 0, 9, 9), (0, 0, 2, 2), (1, 1, 3, 3)]


# ---------------------------------------------------------------- the shipped detectors


@pytest.mark.parametrize("size", [64, 150, 256, 700, 1500])
def test_one_face_at_any_size(detector: ShippedDetector, size: int) -> None:
    picture = cv2.resize(SCENE, (size, size), interpolation=cv2.INTER_AREA if size < 256 else cv2.INTER_CUBIC)
    [face] = detector.detect(picture)
    assert iou(face.box_xyxy / (size / 256), FACE_BOX) > 0.6
    assert face.landmarks is not None
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks / (size / 256)
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("margin", [0, 4, 15])
@pytest.mark.parametrize("size", [80, 400])
def test_a_face_that_fills_the_frame(detector: ShippedDetector, margin: int, size: int) -> None:
    left, top, right, bottom = FACE_BOX + np.array([-margin, -margin, margin, margin])
    crop = SCENE[top:bottom, left:right]
    assert len(detector.detect(cv2.resize(crop, (size, round(size * len(crop) / crop.shape[1]))))) == 1


def test_every_face_of_a_group_large_and_small(detector: ShippedDetector) -> None:
    picture = np.full((900, 1200, 3), 90, np.uint8)
    truth = []
    for index, factor in enumerate((2.0, 1.2, 0.8, 0.6)):
        person = cv2.resize(SCENE[:160, 40:200], None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        x, y = 20 + 300 * index, 100 * index
        picture[y : y + person.shape[0], x : x + person.shape[1]] = person
        truth.append((FACE_BOX - [40, 0, 40, 0]) * factor + [x, y, x, y])
    faces = detector.detect(picture)
    assert len(faces) == len(truth)
    for face, box in zip(faces, truth):  # largest first, as they were made
        assert iou(face.box_xyxy, box) > 0.55


@pytest.mark.parametrize(("width", "height", "zoom"), [(2000, 1500, 0.6), (3600, 2400, 0.45)])
def test_small_faces_in_a_large_picture_need_the_fine_passes(
    detector: ShippedDetector, width: int, height: int, zoom: float
) -> None:
    picture = np.full((height, width, 3), 90, np.uint8)
    person = cv2.resize(SCENE[:160, 40:200], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)  # faces of 25, 19 px
    for x, y in ((200, 300), (900, 900), (1700, 1200), (width - 200, height - 150)):
        part = picture[y : y + person.shape[0], x : x + person.shape[1]]
        part[:] = person[: part.shape[0], : part.shape[1]]
    assert len(detector.detect(picture)) == 4


def test_no_face_gives_an_empty_list(detector: ShippedDetector) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    stripes = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (200, 4))[:, :, None], 3, axis=2)
    for picture in (noise, stripes, np.zeros((50, 50, 3), np.uint8), cv2.GaussianBlur(noise, (0, 0), 9), SCENE[150:]):
        assert detector.detect(picture) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 20000, 3), (20000, 20, 3), (3, 500, 3)])
def test_odd_shapes_are_no_error(detector: ShippedDetector, shape: tuple[int, int, int]) -> None:
    assert detector.detect(np.full(shape, 128, np.uint8)) == []


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3), np.float32), np.zeros((0, 5, 3), np.uint8)]
)
def test_what_is_no_picture(detector: ShippedDetector, image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="allowed: uint8 of"):
        detector.detect(image)


def test_detection_leaves_the_picture_alone_and_repeats_itself(detector: ShippedDetector) -> None:
    before = SCENE.copy()
    first, second = detector.detect(SCENE), detector.detect(SCENE)
    np.testing.assert_array_equal(SCENE, before)
    np.testing.assert_array_equal(first[0].box_xyxy, second[0].box_xyxy)


def test_the_threshold_is_the_users_or_the_cards(detector: ShippedDetector) -> None:
    assert detector.threshold == 0.5
    score = detector.detect(SCENE)[0].score
    assert build_detector(detector.card.name, threshold=min(score + 0.01, 1.0), options=OPTIONS).detect(SCENE) == []
    with pytest.raises(ConfigError, match=r"is 1\.5"):
        build_detector(threshold=1.5)


def test_without_a_refiner_the_detectors_own_points_serve() -> None:
    model = open_model("BlazeFace")
    plain = BlazeFaceDetector(model, open_runtime(model.graph_file, model.weights_file, options=OPTIONS))
    face = max(plain.detect(SCENE), key=lambda one: iou(one.box_xyxy, FACE_BOX))
    [refined] = build_detector("BlazeFace", options=OPTIONS).detect(SCENE)
    assert face.landmarks is not None and refined.landmarks is not None
    eyes = np.linalg.norm(refined.landmarks[0] - refined.landmarks[1])
    assert np.linalg.norm(face.landmarks - refined.landmarks, axis=1).mean() < 0.25 * eyes


def test_a_network_that_does_not_fit_its_card() -> None:
    model = open_model("FaceRefiner")
    card = dataclasses.replace(open_model("BlazeFace").card)
    wrong = dataclasses.replace(model, card=card)
    runtime = open_runtime(model.graph_file, model.weights_file, options=OPTIONS)
    with pytest.raises(ModelFileError):
        BlazeFaceDetector(wrong, runtime).detect(SCENE)


# ---------------------------------------------------------------- detectors that give rows


@pytest.fixture(scope="module")
def rows_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the signature of the published archives: fixed boxes, the first score the mean of the input."""
    import paddle
    from paddle.static import InputSpec

    class Rows(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.boxes = self.create_parameter([4, 4])
            self.boxes.set_value(
                np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.9, 0.8], [0, 0, 1, 1], [0.5, 0.5, 0.4, 0.6]], np.float32)
            )

        def forward(
            self, im_shape: paddle.Tensor, image: paddle.Tensor, scale_factor: paddle.Tensor
        ) -> tuple[paddle.Tensor, paddle.Tensor]:
            height_width = im_shape / scale_factor  # of the picture
            sides = paddle.concat([height_width[:, 1:], height_width[:, :1]] * 2, axis=1)
            scores = paddle.stack(
                [image.mean(), image.mean() * 0 + 0.95, image.mean() * 0 + 0.99, image.mean() * 0 + 1]
            )
            classes = paddle.to_tensor([0.0, 0.0, -1.0, 0.0])
            rows = paddle.concat([classes[:, None], scores[:, None], self.boxes * sides], axis=1)
            return rows, paddle.to_tensor([4], dtype="int32")

    folder = tmp_path_factory.mktemp("rows")
    network = Rows()
    network.eval()
    shapes = (("im_shape", [1, 2]), ("image", [1, 3, 640, 640]), ("scale_factor", [1, 2]))
    signature = [InputSpec(shape, "float32", name) for name, shape in shapes]
    paddle.jit.save(network, str(folder / "inference"), input_spec=signature)
    return folder


def test_rows_become_boxes_of_the_picture(rows_folder: Path) -> None:
    detector = build_detector(rows_folder, options=OPTIONS)
    assert isinstance(detector, RowsDetector) and detector.threshold == 0.8
    faces = detector.detect(np.full((100, 400, 3), 233, np.uint8))  # mean of the input: (233 - 114.7) / 127.5 = .93
    assert [face.landmarks for face in faces] == [None, None]
    np.testing.assert_allclose(faces[0].box_xyxy, [200, 10, 360, 80], rtol=1e-5)
    np.testing.assert_allclose(faces[1].box_xyxy, [40, 20, 120, 40], rtol=1e-5)
    assert faces[1].score == pytest.approx((233 - np.mean([123, 117, 104])) / 127.502231, abs=1e-3)


def test_the_presets_differ_in_normalisation(rows_folder: Path) -> None:
    picture = np.full((64, 64, 3), 180, np.uint8)
    faces = build_detector(rows_folder, preset="blazeface-fpn-ssh-imagenet", options=OPTIONS).detect(picture)
    expected = np.mean((180 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]))
    assert expected > 0.8 and faces[1].score == pytest.approx(expected, abs=1e-3)
    assert len(build_detector(rows_folder, options=OPTIONS).detect(picture)) == 1  # (180 - 114.7) / 127.5 = .51


def test_a_recognizer_is_no_rows_detector(tmp_path: Path) -> None:
    source = open_model("MobileFace").path
    for name in ("inference.pdmodel", "inference.pdiparams"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    with pytest.raises(ModelFileError, match="a detector gives rows"):
        build_detector(tmp_path, options=RuntimeOptions(engine="paddle", threads=1)).detect(SCENE)


def test_a_card_that_names_a_missing_refiner(tmp_path: Path) -> None:
    source = open_model("BlazeFace")
    for name in source.card.files:
        (tmp_path / name).write_bytes((source.path / name).read_bytes())
    assert source.card.detector is not None
    spec = dataclasses.replace(source.card.detector, refiner="Nobody")
    cards.write_card(tmp_path, dataclasses.replace(source.card, detector=spec))
    with pytest.raises(ModelFileError, match="refiner 'Nobody'"):
        build_detector(tmp_path, options=OPTIONS)
