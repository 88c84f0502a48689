"""Code written for insightface's FaceAnalysis, run on this toolkit."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_paddle import Analyzer, FaceAnalysis, build_detector, build_recognizer, images
from arcface_paddle.errors import ConfigError, ImageError, ModelFileError
from arcface_paddle.pipeline.model_files import shipped_folder

DEMO = Path(__file__).parents[2] / "demo"
GROUP = DEMO / "queries" / "group.jpg"
PROVIDERS = ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture(scope="module")
def app() -> FaceAnalysis:
    made = FaceAnalysis(name="buffalo_l", allowed_modules=["detection", "recognition"], providers=PROVIDERS)
    made.prepare(ctx_id=0, det_thresh=0.5, det_size=None)
    return made


def test_embeddings_are_those_of_the_analyzer(app: FaceAnalysis) -> None:
    faces = app.get(cv2.imread(str(GROUP)))
    own = (
        Analyzer(build_detector(), build_recognizer())
        .analyze(images.from_array(cv2.imread(str(GROUP)), color_order="BGR"))
        .faces
    )
    expected = sorted(own, key=lambda face: -face.detection.score)
    assert len(faces) == len(expected) == 4
    for face, same in zip(faces, expected):
        np.testing.assert_array_equal(face.bbox, same.detection.box_xyxy)
        np.testing.assert_array_equal(face["kps"], same.detection.landmarks)
        np.testing.assert_allclose(face.normed_embedding, same.embedding, atol=1e-6)
        assert face.embedding_norm == pytest.approx(same.feature_norm, rel=1e-5)
        assert face.det_score == same.detection.score and face.embedding is face["embedding"]
        assert face.bbox.shape == (4,) and face.kps.shape == (5, 2)


def test_bgr_is_what_it_takes(app: FaceAnalysis) -> None:
    picture = cv2.imread(str(DEMO / "queries" / "obama_blue_room.jpg"))
    right, wrong = app.get(picture)[0], app.get(np.ascontiguousarray(picture[:, :, ::-1]))[0]
    own = Analyzer(build_detector(), build_recognizer()).analyze(DEMO / "queries" / "obama_blue_room.jpg").faces[0]
    assert right.normed_embedding @ own.embedding > 0.999 > wrong.normed_embedding @ own.embedding


def test_what_no_model_tells_is_none(app: FaceAnalysis) -> None:
    face = app.get(cv2.imread(str(DEMO / "queries" / "hopper_relit.jpg")))[0]
    assert face.age is None and face.gender is None and face.sex is None and face.landmark_2d_106 is None
    assert "age" not in face
    face.mine = 3
    assert face["mine"] == 3
    with pytest.raises(ConfigError, match="no model for genderage"):
        FaceAnalysis(allowed_modules=["detection", "genderage"])


def test_few_faces_are_the_large_ones_near_the_middle(app: FaceAnalysis) -> None:
    picture = cv2.imread(str(GROUP))
    faces = app.get(picture)
    areas = [float(np.prod(face.bbox[2:] - face.bbox[:2])) for face in faces]
    [largest] = app.get(picture, max_num=1, det_metric="max")
    assert float(np.prod(largest.bbox[2:] - largest.bbox[:2])) == max(areas)
    middle = np.array([picture.shape[1] / 2, picture.shape[0] / 2])
    [central] = app.get(picture, max_num=1)
    off = [np.linalg.norm((face.bbox[:2] + face.bbox[2:]) / 2 - middle) for face in faces]
    np.testing.assert_array_equal(central.bbox, faces[int(np.argmin(off))].bbox)
    assert len(app.get(picture, max_num=3)) == 3 and len(app.get(picture, max_num=9)) == 4


def test_det_size_shrinks_for_the_detection_only() -> None:
    picture = cv2.imread(str(GROUP))
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    app = FaceAnalysis()
    app.prepare(-1, det_size=(640, 640))
    faces, twice = app.get(picture), app.get(large)
    assert app.det_size == (640, 640) and len(faces) == len(twice) == 4
    for face, same in zip(sorted(faces, key=lambda one: one.bbox[0]), sorted(twice, key=lambda one: one.bbox[0])):
        np.testing.assert_allclose(same.bbox, 2 * face.bbox, atol=8)
        assert face.normed_embedding @ same.normed_embedding > 0.95
    app.prepare(-1, det_size=(96, 128))
    assert len(app.get(picture)) < 4  # ten pixels a face
    assert repr(app.det_model).endswith("within 96x128")


def test_detection_alone_and_the_drawing(app: FaceAnalysis) -> None:
    small = FaceAnalysis(allowed_modules=["detection"])
    small.prepare(ctx_id=-1)
    picture = cv2.imread(str(GROUP))
    faces = small.get(picture)
    assert set(small.models) == {"detection"} and small.det_model is small.models["detection"]
    assert len(faces) == 4 and faces[0].embedding is None and faces[0].normed_embedding is None
    before = picture.copy()
    drawn = small.draw_on(picture, faces)
    np.testing.assert_array_equal(picture, before)
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8
    x, y = np.round(faces[0].kps[2]).astype(int)
    assert tuple(drawn[y, x]) == (0, 255, 0)
    assert (drawn[-1] == picture[-1]).all()  # colours are kept


def test_points_of_small_pictures_are_small(app: FaceAnalysis) -> None:
    faces = [{"bbox": [1, 1, 99, 99], "det_score": 0.9, "kps": np.full((5, 2), 60.0, np.float32)}]
    drawn = app.draw_on(np.zeros((449, 449, 3), np.uint8), faces)
    dot = (drawn == (0, 255, 0)).all(axis=2)[50:71, 50:71]
    assert dot.sum() == 5 and dot[10, 9:12].all() and dot[9:12, 10].all()


def test_models_by_name_and_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        FaceAnalysis("antelopev2")
    assert "antelopev2 is not used: MobileFace takes its place" in caplog.text
    app = FaceAnalysis("ResNet29")
    app.prepare(-1)
    assert app.get(cv2.imread(str(DEMO / "queries" / "hopper_relit.jpg")))[0].embedding.shape == (128,)
    shutil.copytree(shipped_folder("MobileFace"), tmp_path / "models" / "mine")
    FaceAnalysis("mine", root=tmp_path).prepare(-1)
    with pytest.raises(ModelFileError, match="'nobody' is neither"):
        FaceAnalysis("nobody", root=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"allowed_modules": ["recognition"]}, "detection must be among them"),
        ({"providers": ["DmlExecutionProvider"]}, "DmlExecutionProvider are not known"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FaceAnalysis(**arguments)


def test_wrong_use(app: FaceAnalysis) -> None:
    with pytest.raises(ConfigError, match="call prepare"):
        FaceAnalysis().get(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ConfigError, match="det_size is"):
        FaceAnalysis().prepare(0, det_size=(1, 640))
    with pytest.raises(ConfigError, match="none of CUDAExecutionProvider can run here"):
        FaceAnalysis(providers=[("CUDAExecutionProvider", {"device_id": 0})]).prepare(-1)
    with pytest.raises(ConfigError, match="det_metric"):
        app.get(np.zeros((90, 90, 3), np.uint8), det_metric="min")
    with pytest.raises(ImageError, match="img is NoneType"):
        app.get(cv2.imread("/none.jpg"))
    assert app.get(np.zeros((90, 90, 3), np.uint8)) == []
