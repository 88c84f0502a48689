"""The published Python interface and the small modern one, as their examples use them."""

from __future__ import annotations

import doctest
import importlib
import logging
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import arcface_paddle
from arcface_paddle import images
from arcface_paddle.errors import ArcfaceError, ConfigError, ImageError
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.writing import VideoWriter

ROOT = Path(__file__).parents[2]
PEOPLE, QUERIES = ROOT / "demo" / "gallery", ROOT / "demo" / "queries"


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> str:
    args = arcface_paddle.parser().parse_args([])
    args.build_index = str(tmp_path_factory.mktemp("index") / "index.bin")
    args.img_dir, args.label = str(PEOPLE), str(PEOPLE / "label.txt")
    args.rec_model = "MobileFace"
    report = arcface_paddle.InsightFace(args, print_info=False).build_index()
    assert report["people"] == 3 and report["rejected"] == []
    return args.build_index


@pytest.fixture
def args(index, tmp_path):
    args = arcface_paddle.parser().parse_args([])
    args.det = args.rec = True
    args.index, args.output = index, str(tmp_path / "output")
    return args


@pytest.fixture(scope="module")
def predictor_of(index):
    """Give one loaded predictor per set of switches, because loading takes most of the time."""
    made = {}

    def give(output, *, det=True, rec=True):
        if (det, rec) not in made:
            args = arcface_paddle.parser().parse_args([])
            args.det, args.rec, args.index = det, rec, index
            made[det, rec] = arcface_paddle.InsightFace(args, print_info=False)
        made[det, rec].args.output = str(output)
        return made[det, rec]

    return give


def test_picture(predictor_of, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    results = predictor_of(tmp_path).predict(str(QUERIES / "group.jpg"), print_info=True)
    result = next(results)
    assert sorted(result["labels"]) == ["Barack Obama", "Grace Hopper", "Joe Biden", "unknown"]
    assert result["box_list"].shape == (4, 6) and result["features"].shape == (4, 192)
    assert (result["box_list"][:, 0] == 0).all() and (
        (result["box_list"][:, 1] > 0.5) & (result["box_list"][:, 1] <= 1)
    ).all()
    np.testing.assert_allclose(np.linalg.norm(result["features"], axis=1), 1, atol=1e-5)
    assert result["similarities"].shape == (4,)
    assert list(results) == [] and (tmp_path / "group.jpg").is_file()
    assert "predict label(s)" in caplog.text and "Grace Hopper" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_a_name_of_a_file_forges_no_line_of_a_log(predictor_of, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a\nforged: line\x1b[2J.jpg").write_bytes(b"no picture")
    shutil.copy(QUERIES / "hopper_relit.jpg", folder / "b\nforged.jpg")
    list(predictor_of(tmp_path / "out").predict(str(folder), print_info=True))
    said = [record.getMessage() for record in caplog.records if "forged" in record.getMessage()]
    assert len(said) == 2 and all(message.isprintable() for message in said)


def test_array_is_rgb_as_the_published_example_passes_it(predictor_of, tmp_path):
    path = QUERIES / "obama_speech_2009.jpg"
    from_array = next(predictor_of(tmp_path).predict(cv2.imread(str(path))[:, :, ::-1]))
    from_path = next(predictor_of(tmp_path).predict(path))
    assert from_array["labels"] == from_path["labels"] == ["Barack Obama"]
    np.testing.assert_allclose(from_array["features"] @ from_path["features"].T, 1, atol=1e-3)
    annotated = images.load_image(tmp_path / "tmp.png")
    difference = np.abs(annotated.astype(int) - images.load_image(path))
    assert np.median(difference) == 0, "the annotated picture must keep its colours"


def test_folder_skips_what_cannot_be_read(predictor_of, tmp_path, caplog):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.jpg").write_text("text")
    (folder / "good.jpg").write_bytes((QUERIES / "biden_relit.jpg").read_bytes())
    images.write_image(folder / "wall.png", np.full((200, 200, 3), 128, np.uint8))
    good, wall = predictor_of(tmp_path / "out").predict(str(folder))
    assert good["labels"] == ["Joe Biden"] and "bad.jpg" in caplog.text
    assert wall["labels"] == [] and wall["box_list"].shape == (0, 6) and wall["features"].shape == (0, 192)


def test_a_copy_that_cannot_be_written_does_not_lose_the_result(predictor_of, tmp_path, caplog):
    (tmp_path / "file").write_text("in the place of a folder")
    [result] = predictor_of(tmp_path / "file").predict(str(QUERIES / "biden_relit.jpg"))
    assert result["labels"] == ["Joe Biden"] and "cannot be written" in caplog.text


def test_folders_inside_are_searched_and_what_is_no_picture_is_logged(predictor_of, tmp_path, caplog):
    folder = tmp_path / "in" / "2019"
    folder.mkdir(parents=True)
    (folder / "a.jfif").write_bytes((QUERIES / "biden_relit.jpg").read_bytes())
    (folder / "a.txt").write_text("text")
    [result] = predictor_of(tmp_path / "out").predict(str(tmp_path / "in"))
    assert result["labels"] == ["Joe Biden"] and (tmp_path / "out" / "2019" / "a.jfif").is_file()
    assert "1 file is no picture and was passed over: a.txt" in caplog.text


def test_video_gives_one_result_per_frame(predictor_of, tmp_path):
    picture = images.resize(images.load_image(QUERIES / "biden_relit.jpg"), (240, 300))
    with VideoWriter(tmp_path / "clip.mp4", fps=10) as writer:
        for _ in range(3):
            writer.write(picture)
    results = list(predictor_of(tmp_path / "out").predict(str(tmp_path / "clip.mp4")))
    assert [result["labels"] for result in results] == [["Joe Biden"]] * 3
    lengths = [np.linalg.norm(result["features"], axis=1) for result in results]
    np.testing.assert_allclose(lengths, np.ones((3, 1)), atol=1e-5, err_msg="every face of every frame is embedded")
    with VideoReader(str(tmp_path / "out" / "clip.mp4")) as reader:
        assert len(list(reader)) == 3


def test_a_video_left_early_keeps_its_frames(predictor_of, tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", fps=10) as writer:
        for _ in range(4):
            writer.write(np.full((64, 64, 3), 128, np.uint8))
    results = predictor_of(tmp_path / "out").predict(str(tmp_path / "clip.mp4"))
    next(results), next(results)
    results.close()
    with VideoReader(str(tmp_path / "out" / "clip.mp4")) as reader:
        assert len(list(reader)) == 2


def test_detection_only(predictor_of, tmp_path):
    result = next(predictor_of(tmp_path, rec=False).predict(str(QUERIES / "group.jpg")))
    assert result["labels"] == ["face"] * 4 and result["features"] is None and result["similarities"] is None


def test_recognition_only(predictor_of, tmp_path):
    predictor = predictor_of(tmp_path, det=False)
    portrait = next(predictor.predict(images.load_image(PEOPLE / "Joe Biden" / "portrait_2013.jpg")))
    assert portrait["labels"] == ["Joe Biden"] and portrait["features"].shape == (1, 192)
    crop = next(predictor.predict(np.full((112, 112, 3), 128, np.uint8)))
    assert crop["labels"] == ["unknown"]
    np.testing.assert_array_equal(crop["box_list"], [[0, 1, 0, 0, 112, 112]])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"det": False, "rec": False}, "args.det"), ({"index": None}, "args.index"), ({"index": "none"}, "none")],
)
def test_settings_that_cannot_work(args, change, message):
    for name, value in change.items():
        setattr(args, name, value)
    with pytest.raises(ArcfaceError, match=message):
        next(arcface_paddle.InsightFace(args, print_info=False).predict(str(QUERIES / "group.jpg")))


def test_strangers_are_called_as_the_arguments_say_and_windows_are_for_the_command(predictor_of, tmp_path):
    predictor = predictor_of(tmp_path)
    predictor.args.unknown_face = "Nobody"
    try:
        labels = next(predictor.predict(QUERIES / "stranger_collins.jpg"))["labels"]
        predictor.args.show = True
        with pytest.raises(ConfigError, match=r"args\.show"):
            next(predictor.predict(QUERIES / "stranger_collins.jpg"))
    finally:
        predictor.args.unknown_face, predictor.args.show = None, False
    assert labels == ["Nobody"]


def test_missing_input(predictor_of, tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        next(predictor_of(tmp_path).predict("none.jpg"))


def test_build_index_needs_its_settings(args):
    with pytest.raises(ConfigError, match="build_index"):
        arcface_paddle.InsightFace(args, print_info=False).build_index()


@pytest.mark.parametrize(
    "name", ["cli.insightface_api", "pipeline.inputs", "pipeline.gallery", "pipeline.gallery.collection"]
)
def test_examples_of_the_documentation(name, tmp_path, monkeypatch):
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(importlib.import_module(f"arcface_paddle.{name}"))
    assert outcome.attempted > 0 and outcome.failed == 0
