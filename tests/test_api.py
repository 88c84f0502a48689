"""The Python interface as somebody at a prompt or in a notebook meets it."""

from __future__ import annotations

import ast
import base64
import doctest
import gc
import importlib
import inspect
import json
import os
import pickle
import pydoc
import re
import runpy
import subprocess
import sys
import threading
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import arcface_paddle
from arcface_paddle import errors, images, video
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline import Analyzer, RuntimeOptions, build_detector, build_recognizer, shortcuts
from arcface_paddle.pipeline.analyzed import AnalyzedImage
from arcface_paddle.pipeline.detection.strategies import PortraitDetector
from arcface_paddle.pipeline.drawing import draw_faces
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, identity_of
from arcface_paddle.pipeline.opening import OpenPipeline, open_pipeline
from arcface_paddle.pipeline.results import face_to_json, result_to_json
from arcface_paddle.types import UNKNOWN, Candidate, Detection, Face, ImageResult

ROOT = Path(__file__).parents[1]
HOPPER = ROOT / "demo" / "queries" / "hopper_relit.jpg"
COLLINS = ROOT / "demo" / "queries" / "stranger_collins.jpg"
TWO_LINES = 240
"""Characters on two lines of a wide terminal."""


def face_of(name: str | None, similarity: float | None = 0.71239) -> Face:
    detection = Detection(
        np.array([10.123, 20, 110, 140], np.float32), np.float32(0.98771), np.zeros((5, 2), np.float32)
    )
    candidates = () if name is None else (Candidate("Ada", 0.71239), Candidate("Grace", -0.1))
    return Face(detection, np.full(192, 0.0721, np.float32), np.float32(17.25), name, similarity, candidates)


# Results: short at the prompt, JSON where asked for


def test_results_fit_on_a_line_or_two():
    long = "a very long name " * 20
    faces = [face_of("Ada"), face_of(UNKNOWN, -0.2), face_of(None, None), face_of(long), Face(face_of(None).detection)]
    results = [
        ImageResult("a.jpg", (640, 480), ()),
        ImageResult("/long" * 60 + "/a.jpg", (64000, 48000), tuple(faces) * 9),
        ImageResult("a.jpg", (640, 480), tuple(face_of(long) for _ in range(30))),
    ]
    for value in [*faces, *(face.detection for face in faces), *faces[3].candidates, *results]:
        assert len(repr(value)) <= TWO_LINES and "\n" not in repr(value), repr(value)
        assert "array(" not in repr(value)


def test_results_say_what_matters():
    assert repr(face_of("Ada")) == (
        "Face('Ada', similarity=0.712, box_xyxy=(10, 20, 110, 140), score=0.988, 192-D embedding)"
    )
    assert repr(face_of(None).detection) == "Detection(box_xyxy=(10, 20, 110, 140), score=0.988, 5 landmarks)"
    assert repr(Detection(np.zeros(4), 1.0, is_crop=True)).endswith("score=1.000, is_crop)")
    assert repr(Candidate("Ada", 0.71239)) == "Candidate('Ada', 0.712)"
    result = ImageResult("group.jpg", (640, 480), (face_of("Ada"), face_of(UNKNOWN)))
    assert repr(result) == "ImageResult('group.jpg', 640x480, 2 faces: Ada, unknown)"
    assert repr(ImageResult("a.jpg", (1, 2), (face_of(None),))) == "ImageResult('a.jpg', 1x2, 1 face)"
    assert repr(ImageResult("/far" * 40 + "/a.jpg", (1, 2), ())).endswith("far/a.jpg', 1x2, 0 faces)")


def test_to_dict_is_what_the_command_writes():
    result = ImageResult("group.jpg", (np.int64(640), np.int64(480)), (face_of("Ada"), face_of(None, None)))
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content == json.loads(json.dumps(result_to_json(result))) and list(result.to_dict()) == list(content)
    assert [face_to_json(face) for face in result.faces] == content["faces"]
    assert content["faces"][0] == {
        "box": [10.12, 20.0, 110.0, 140.0],
        "detection_score": 0.9877,
        "landmarks": [[0.0, 0.0]] * 5,
        "landmark_doubt": None,
        "name": "Ada",
        "similarity": 0.7124,
        "candidates": [{"name": "Ada", "similarity": 0.7124}, {"name": "Grace", "similarity": -0.1}],
        "feature_norm": 17.25,
        "quality": None,
        "weakness": "",
        "reason": "",
    }
    assert content["faces"][1]["name"] is None and content["faces"][1]["candidates"] == []
    assert Candidate("Ada", 0.71239).to_dict() == {"name": "Ada", "similarity": 0.7124}
    assert Detection(np.zeros(4), 1.0).to_dict()["landmarks"] is None


def test_a_frame_keeps_the_order_of_its_keys():
    frame = result_to_json(ImageResult("clip.mp4#3", (8, 6), ()), time_s=0.12345)
    assert list(frame.items()) == [
        ("source", "clip.mp4#3"), ("time_s", 0.123), ("width", 8), ("height", 6), ("faces", []),
    ]  # fmt: skip


def test_results_stay_frozen_and_are_compared_as_objects():
    one, other = face_of("Ada"), face_of("Ada")
    assert one != other and one == one
    with pytest.raises(AttributeError):
        one.name = "Grace"


# Pictures: whatever somebody has at hand


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    options = RuntimeOptions(threads=1)
    return Analyzer(build_detector(options=options), build_recognizer("MobileFace", options=options))


@pytest.fixture(scope="module")
def from_array(analyzer) -> AnalyzedImage:
    return analyzer.analyze(images.load_image(HOPPER))


@pytest.mark.parametrize("give", [str, Path, lambda path: path.read_bytes(), lambda path: bytearray(path.read_bytes())])
def test_pictures_may_be_paths_and_bytes(analyzer, from_array, give):
    result = analyzer.analyze(give(HOPPER))
    assert result.size_wh == from_array.size_wh and len(result.faces) == 1
    np.testing.assert_allclose(result.faces[0].embedding, from_array.faces[0].embedding, atol=1e-5)


def test_results_are_called_as_their_pictures(analyzer, from_array):
    content = HOPPER.read_bytes()
    results = analyzer.analyze_many([str(HOPPER), HOPPER, content, images.load_image(HOPPER)])
    assert [result.source for result in results] == [str(HOPPER), str(HOPPER), "bytes", "array"]
    assert analyzer.analyze(HOPPER, source="Grace").source == "Grace"


def test_pillow_pictures_are_called_as_their_files(analyzer, from_array):
    with Image.open(HOPPER) as opened:
        result = analyzer.analyze(opened)
    assert result.source == str(HOPPER) and result.size_wh == from_array.size_wh
    np.testing.assert_allclose(result.faces[0].embedding, from_array.faces[0].embedding, atol=1e-5)
    assert analyzer.analyze(Image.new("RGB", (90, 60))).source == "picture"


def test_a_name_that_is_no_text_can_be_written(analyzer, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(HOPPER.read_bytes())
    result = analyzer.analyze(path)
    assert result.source.endswith("caf\\xe9.jpg") and len(result.faces) == 1
    json.dumps(result.to_dict(), ensure_ascii=False).encode("utf-8")


class Unreadable:
    """An object that only looks like an array."""

    shape = (4, 4, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none.jpg", "^none.jpg: no such file$"),
        (Path("/"), "is a folder"),
        ("nul\0byte.jpg", "not the name of a file"),
        (b"", "zero bytes"),
        (b"text", "not a picture"),
        (np.zeros((9, 9, 3), np.float32), "float32 .* allowed: uint8"),
        (np.zeros((0, 9, 3), np.uint8), r"\(0, 9, 3\); allowed"),
        (np.zeros(9, np.uint8), r"\(9,\); allowed"),
        (np.broadcast_to(np.uint8(7), (30_000, 30_000, 3)), r"30000, 3\) that repeats .* 178,956,970 pixels"),
        (np.uint8(3), "uint8; allowed: path"),
        (None, "NoneType; allowed: path"),
        ([HOPPER], "list; allowed: path"),
        (Unreadable(), "Unreadable; allowed: path"),
    ],
)
@pytest.mark.parametrize("portrait", [False, True])
def test_what_is_no_picture_is_said_in_one_line(analyzer, given, message, portrait):
    if portrait:
        analyzer = Analyzer(PortraitDetector(analyzer.detector, crop_size_wh=(112, 112)), analyzer.recognizer)
    with pytest.raises(ImageError, match=message) as caught:
        analyzer.analyze(given)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=message):
        analyzer.analyze_many([HOPPER, given])


def test_a_detector_asked_for_a_path_says_so(analyzer):
    with pytest.raises(ImageError, match="image is of type str"):
        analyzer.detector.detect(str(HOPPER))


@pytest.mark.parametrize("one", [str(HOPPER), HOPPER, b"bytes"])
def test_many_pictures_are_a_list(analyzer, one):
    with pytest.raises(ImageError, match="takes a list of pictures"):
        analyzer.analyze_many(one)


# Results with their picture


def test_a_result_draws_and_saves_itself(analyzer, tmp_path):
    picture = images.load_image(HOPPER)
    result = analyzer.analyze(picture)
    annotated = result.draw()
    np.testing.assert_array_equal(annotated, draw_faces(picture, result.faces))
    assert (annotated != picture).any() and result.image is picture
    result.save(tmp_path / "annotated.png")
    np.testing.assert_array_equal(images.load_image(tmp_path / "annotated.png"), annotated)
    with pytest.raises(ImageError, match="suffix"):
        result.save(tmp_path / "annotated.xyz")


def test_results_of_files_hold_no_pixels(analyzer, tmp_path):
    path = tmp_path / "hopper.jpg"
    path.write_bytes(HOPPER.read_bytes())
    result = analyzer.analyze(path)
    assert result.given is path
    assert len(pickle.dumps(result)) < 4000, "faces of a picture of 200 kB"
    np.testing.assert_array_equal(result.image, images.load_image(HOPPER))
    path.write_bytes(COLLINS.read_bytes())
    with pytest.raises(ImageError, match="has changed since it was analysed"):
        result.draw()
    path.unlink()
    with pytest.raises(ImageError, match="no such file"):
        result.draw()
    assert "no such file" in result._repr_html_()
    assert f"{result.faces[0].detection.score:.3f}" in result._repr_html_(), "the faces are shown all the same"


def test_the_picture_can_be_let_go_of(analyzer):
    picture = images.load_image(HOPPER)
    result = analyzer.analyze(picture)
    alive = weakref.ref(picture)
    plain = result.without_picture()
    del picture, result
    gc.collect()
    assert alive() is None and type(plain) is ImageResult and len(plain.faces) == 1


def test_pictures_of_one_call_are_decoded_one_after_the_other(analyzer, tmp_path):
    large = tmp_path / "large.png"
    images.write_image(large, np.full((1500, 1500, 3), 128, np.uint8))
    analyzer.analyze(large)
    tracemalloc.start()
    analyzer.analyze_many([large] * 6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 1500 * 1500 * 3, "six decoded pictures would take 40 MB"


def test_a_notebook_shows_the_annotated_picture(analyzer):
    shown = analyzer.analyze(HOPPER)._repr_html_()
    encoded = re.search(r'src="data:image/jpeg;base64,([^"]+)"', shown).group(1)
    picture = images.load_image(base64.b64decode(encoded))
    assert picture.shape == images.load_image(HOPPER).shape
    assert "http" not in shown and "<td>1</td>" in shown


def test_a_notebook_is_not_filled_by_a_large_picture():
    large = AnalyzedImage("array", (4000, 500), (), np.full((500, 4000, 3), 128, np.uint8))
    encoded = re.search(r'base64,([^"]+)"', large._repr_html_()).group(1)
    assert images.load_image(base64.b64decode(encoded)).shape == (128, 1024, 3)
    assert "no face found" in large._repr_html_()


def test_names_cannot_write_into_a_notebook():
    evil = '<script>alert("1")</script>'
    wall = np.full((60, 80, 3), 128, np.uint8)
    shown = AnalyzedImage(evil, (80, 60), (face_of(evil),), wall)._repr_html_()
    assert "<script" not in shown and "&lt;script&gt;" in shown and 'alt="&lt;script&gt;alert(&quot;' in shown


# What holds models and people


@pytest.fixture(scope="module")
def gallery(from_array, analyzer) -> Gallery:
    names = ["Grace", "Ada", "Bob of a very long name " * 4, "Zoe"]
    entries = [GalleryEntry(name, f"{number}.jpg") for number, name in enumerate(["Ada", *names])]
    rows = np.repeat(from_array.faces[0].embedding[None], len(entries), axis=0)
    return Gallery(entries, rows, model=identity_of(analyzer.recognizer))


def test_models_and_galleries_fit_on_a_line_or_two(analyzer, gallery):
    assert repr(analyzer.recognizer) == "Recognizer('MobileFace', 192-D, mirrored)"
    assert repr(analyzer.detector) == f"CenterFaceDetector('CenterFace', threshold={analyzer.detector.threshold:.3g})"
    assert repr(analyzer) == f"Analyzer({analyzer.detector!r}, {analyzer.recognizer!r})"
    assert repr(Analyzer(recognizer=analyzer.recognizer)).startswith("Analyzer(WholePicture(), Recognizer(")
    portraits = PortraitDetector(analyzer.detector, crop_size_wh=(112, 112))
    assert repr(portraits) == f"PortraitDetector({analyzer.detector!r})"
    naming = Analyzer(portraits, analyzer.recognizer, gallery, threshold=0.25)
    assert repr(naming).endswith(f"{gallery!r}, threshold=0.250)") and len(repr(naming)) <= TWO_LINES
    opened = OpenPipeline(naming, gallery.model, "", {"det_model": "CenterFace"})
    assert repr(opened) == f"OpenPipeline({naming!r})" and len(repr(opened)) <= TWO_LINES
    embeddings = analyzer.recognizer.embed(np.zeros((2, 112, 112, 3), np.uint8))
    assert repr(embeddings) == "Embeddings(2 faces, 192-D)"


def test_a_gallery_says_whom_it_knows(gallery):
    assert repr(gallery).startswith("Gallery(4 people, 5 faces, MobileFace 192-D: Ada, Bob of a very long name")
    assert repr(gallery).endswith(", …)") and len(repr(gallery)) <= TWO_LINES // 2
    assert repr(Gallery([], np.zeros((0, 8), np.float32))) == "Gallery(0 people, 0 faces, unknown model 8-D)"
    shown = gallery.renamed("Zoe", "<b>Zoe</b>")._repr_html_()
    assert "<tr><td>Ada</td><td>2</td></tr>" in shown and "&lt;b&gt;Zoe" in shown and "<b>" not in shown


def test_a_large_gallery_does_not_fill_a_notebook():
    many = Gallery([GalleryEntry(f"p{n}", "a.jpg") for n in range(250)], np.eye(250, dtype=np.float32))
    assert many._repr_html_().count("<tr>") == 101 and "and 150 people more" in many._repr_html_()


# One question, one call


def test_compare_takes_whatever_a_picture_is():
    same = arcface_paddle.compare(str(HOPPER), (ROOT / "demo/gallery/Grace Hopper/portrait_1984.jpg").read_bytes())
    assert same.same_person and same.similarity > 0.7 and same.probability > 0.99
    other = arcface_paddle.compare(HOPPER, images.load_image(COLLINS))
    assert not other.same_person and other.probability < 0.5 and isinstance(other, arcface_paddle.Comparison)
    strict = arcface_paddle.compare(HOPPER, HOPPER, far="1e-4")
    assert strict.threshold > same.threshold and strict.far == "1e-4"
    assert not arcface_paddle.compare(HOPPER, COLLINS, threshold=0.9).same_person


def test_compare_says_which_picture_it_means():
    wall = np.full((200, 200, 3), 128, np.uint8)
    with pytest.raises(ImageError, match=r"^second picture: no face found"):
        arcface_paddle.compare(HOPPER, wall)
    with pytest.raises(ImageError, match=r"^none\.jpg: no such file"):
        arcface_paddle.compare("none.jpg", wall)
    with pytest.raises(ImageError, match=r"group\.jpg: 4 faces found"):
        arcface_paddle.compare(ROOT / "demo/queries/group.jpg", HOPPER, faces="one")
    with pytest.raises(ConfigError, match="both set the threshold"):
        arcface_paddle.compare(HOPPER, HOPPER, threshold=0.3, far="1e-3")


def test_the_models_of_compare_are_loaded_once_whoever_asks_first(monkeypatch):
    loaded = []

    def counted(settings):
        loaded.append(settings)
        return open_pipeline(settings)

    monkeypatch.setattr(shortcuts, "open_pipeline", counted)
    models = shortcuts._DefaultModels()
    found = []
    threads = [threading.Thread(target=lambda: found.append(models.analyzer())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 1 and len(found) == 4 and len({id(analyzer) for analyzer in found}) == 1


# The names at the top


def test_every_public_name_is_there():
    for name in arcface_paddle.__all__:
        assert getattr(arcface_paddle, name) is not None, name
    assert set(arcface_paddle.__all__) <= set(dir(arcface_paddle))
    assert {"compare", "open_pipeline", "PipelineSettings", "AnalyzedImage", "__doc__"} <= set(dir(arcface_paddle))
    with pytest.raises(AttributeError, match="no attribute 'recognise'"):
        arcface_paddle.recognise  # noqa: B018


def test_every_error_is_importable_from_the_top():
    for name, error in inspect.getmembers(errors, inspect.isclass):
        assert getattr(arcface_paddle, name) is error and issubclass(error, arcface_paddle.ArcfaceError)


@pytest.mark.parametrize("package", [arcface_paddle, video], ids=lambda package: package.__name__)
def test_editors_know_the_same_names_as_the_interpreter(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    [block] = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    declared = {alias.asname: node.module for node in block.body for alias in node.names}
    assert declared == package._HOME_OF_NAME


def test_every_public_name_of_the_room_of_films_is_there():
    for name in video.__all__:
        assert getattr(video, name).__module__ == video._HOME_OF_NAME[name], name
    assert {"VideoSession", "VideoReader", "FaceTracks", "timeline_to_csv"} <= set(dir(video))
    with pytest.raises(AttributeError, match="no attribute 'FilmSession'"):
        video.FilmSession  # noqa: B018


def test_naming_the_room_of_films_opens_no_library():
    code = (
        "import sys; import arcface_paddle.video\n"
        "print([name for name in ('paddle', 'cv2', 'av', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_shows_how_to_begin():
    shown = pydoc.plain(pydoc.render_doc(arcface_paddle))
    assert "from arcface_paddle import compare" in shown and "print(found.same_person" in shown


def test_a_light_import_stays_light_when_errors_and_settings_are_used():
    code = (
        "import sys; from arcface_paddle import ImageError, PipelineSettings, ThresholdSettings\n"
        "print([name for name in ('paddle', 'cv2', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    ["types", "pipeline.analyzed", "pipeline.analyzer", "pipeline.detection.network_detector", "pipeline.shortcuts"],
)
def test_examples_of_the_documentation(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    outcome = doctest.testmod(importlib.import_module(f"arcface_paddle.{name}"))
    assert outcome.attempted > 0 and outcome.failed == 0


def test_an_older_python_is_told_which_one_is_needed(monkeypatch):
    """pip refuses it; a copy of the repository on the path met a missing name of the standard library instead."""
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    with pytest.raises(ImportError, match=r"arcface_paddle needs Python 3.9 or newer; .* is \d"):
        runpy.run_path(arcface_paddle.__file__)
