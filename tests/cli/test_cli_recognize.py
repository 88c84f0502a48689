"""``test_recognition`` from the outside: flags, bad input, and what is written."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arcface_paddle import images
from arcface_paddle.cli import main
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import opening
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.builders import build_detector, build_recognizer
from arcface_paddle.pipeline.cards import ModelCard, read_card
from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.pipeline.outputs import OutputNames
from arcface_paddle.pipeline.thresholds import similarity_at
from arcface_paddle.video.analysis import EachFrameAlone
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.writing import VideoWriter

ROOT = Path(__file__).parents[2]
PEOPLE, QUERIES = ROOT / "demo" / "gallery", ROOT / "demo" / "queries"

pytestmark = pytest.mark.usefixtures("models_loaded_once")


def recognize(*arguments) -> int:
    """Run the command in this process; argparse's exits count as exit codes."""
    try:
        return main.run_module("recognize", [str(argument) for argument in arguments], prog="test_recognition")
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "index.bin"
    made = (f"--build_index={path}", f"--img_dir={PEOPLE}", f"--label={PEOPLE}/label.txt", "--rec_model=MobileFace")
    assert recognize(*made) == 0
    return path


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def error_line(capsys) -> str:
    """Return what stands on stderr, which must be one line."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


# -- pictures


def test_folder_with_all_kinds_of_output(index, tmp_path, capsys):
    status = recognize(
        *("--det", "--rec", f"--index={index}", f"--input={QUERIES}", f"--output={tmp_path}/out"),
        *(f"--json={tmp_path}/found.json", f"--csv={tmp_path}/found.csv", f"--save_crops={tmp_path}/crops"),
    )
    assert status == 0
    table = capsys.readouterr().out
    content = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    names = {Path(i["source"]).name: sorted(f["name"] for f in i["faces"]) for i in content["images"]}
    assert names == {
        "obama_speech_2009.jpg": ["Barack Obama"],
        "obama_blue_room.jpg": ["Barack Obama"],
        "biden_relit.jpg": ["Joe Biden"],
        "hopper_relit.jpg": ["Grace Hopper"],
        "stranger_collins.jpg": ["unknown"],
        "group.jpg": ["Barack Obama", "Grace Hopper", "Joe Biden", "unknown"],
    }
    assert content["failed"] == [] and 0 < content["rec_thresh"] < 1
    for image in content["images"]:
        for face in image["faces"]:
            assert face["similarity"] == face["candidates"][0]["similarity"] and len(face["candidates"]) == 3
            assert (face["similarity"] >= content["rec_thresh"]) == (face["name"] != "unknown")
            assert f"{face['similarity']:.4f}" in table and face["name"] in table
    assert files_below(tmp_path / "out") == sorted(path.name for path in QUERIES.iterdir())
    drawn, original = images.load_image(tmp_path / "out" / "group.jpg"), images.load_image(QUERIES / "group.jpg")
    assert drawn.shape == original.shape and (drawn != original).any()
    rows = list(csv.DictReader((tmp_path / "found.csv").open(encoding="utf-8")))
    assert len(rows) == 9 and {row["name"] for row in rows} == {name for found in names.values() for name in found}
    assert sorted({Path(path).parts[0] for path in files_below(tmp_path / "crops")}) == [
        "Barack Obama", "Grace Hopper", "Joe Biden", "unknown"]  # fmt: skip
    assert len(files_below(tmp_path / "crops")) == 9


def test_detection_alone_needs_no_gallery(tmp_path, capsys):
    picture = QUERIES / "group.jpg"
    assert recognize("--det", f"--input={picture}", f"--output={tmp_path}", f"--json={tmp_path}/f.json") == 0
    (image,) = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["images"]
    assert len(image["faces"]) == 4
    assert {(f["name"], f["similarity"]) for f in image["faces"]} == {(None, None)}
    assert "group.jpg" in capsys.readouterr().out and (tmp_path / "group.jpg").is_file()


def test_recognition_alone_takes_the_picture_for_one_face(index, tmp_path):
    """An aligned crop, a close portrait, and a picture in which no face can be found."""
    portrait = images.load_image(QUERIES / "obama_blue_room.jpg")
    [face] = build_detector().detect(portrait)
    images.write_image(tmp_path / "in" / "aligned.png", build_recognizer("MobileFace").align(portrait, [face])[0])
    images.write_image(tmp_path / "in" / "portrait.png", portrait)
    images.write_image(tmp_path / "in" / "wall.png", np.full((200, 150, 3), 128, np.uint8))
    found = tmp_path / "f.json"
    assert recognize("--rec", f"--index={index}", f"--input={tmp_path}/in", "--no_draw", f"--json={found}") == 0
    aligned, close, wall = (image["faces"] for image in json.loads(found.read_text(encoding="utf-8"))["images"])
    assert [len(aligned), len(close), len(wall)] == [1, 1, 1]
    assert aligned[0]["box"] == [0, 0, 112, 112] and wall[0]["box"] == [0, 0, 150, 200]
    assert close[0]["box"] == pytest.approx(face.box_xyxy.tolist(), abs=0.01)
    assert [f[0]["name"] for f in (aligned, close, wall)] == ["Barack Obama", "Barack Obama", "unknown"]
    assert aligned[0]["similarity"] == pytest.approx(close[0]["similarity"], abs=1e-3)


def test_thresholds(index, tmp_path):
    picture, found = QUERIES / "obama_speech_2009.jpg", tmp_path / "f.json"

    def name_with(*flags):
        status = recognize(
            "--det", "--rec", f"--index={index}", f"--input={picture}", "--no_draw", f"--json={found}", *flags
        )
        assert status == 0
        content = json.loads(found.read_text(encoding="utf-8"))
        return content["rec_thresh"], content["images"][0]["faces"][0]["name"]

    card = json.loads((ROOT / "inference_model" / "MobileFace" / "model.json").read_text(encoding="utf-8"))
    calibration = card["recognizer"]["calibration"]
    of_three = similarity_at(calibration["tail"], 1 - 0.99 ** (1 / 3))
    assert name_with() == (pytest.approx(of_three, abs=5.1e-5), "Barack Obama")
    assert name_with("--fpir=1e-4")[0] == pytest.approx(similarity_at(calibration["tail"], 1e-4 / 3), abs=1e-4)
    assert name_with("--far=1e-2") == (calibration["far_1e2"], "Barack Obama")
    assert name_with("--rec_thresh=0.999") == (0.999, "unknown")
    assert name_with("--rec_thresh=-1", "--cdd_num=500") == (-1.0, "Barack Obama")


def test_the_smallest_face_and_the_side_on_which_pictures_lie(tmp_path):
    upright = images.load_image(QUERIES / "group.jpg")
    images.write_image(tmp_path / "lying.png", np.ascontiguousarray(np.rot90(upright)))
    found = tmp_path / "found.json"

    def widths(*flags):
        command = ["--det", f"--input={tmp_path}/lying.png", "--no_draw", f"--json={found}", "--det_model=BlazeFace"]
        assert recognize(*command, *flags) == 0
        [content] = json.loads(found.read_text(encoding="utf-8"))["images"]
        assert (content["width"], content["height"]) == upright.shape[:2]
        assert all(face["landmark_doubt"] < 0.5 for face in content["faces"])
        return sorted(face["box"][2] - face["box"][0] for face in content["faces"])

    turned = widths()
    assert len(turned) == 4 and widths("--rotate=90") == turned and widths("--rotate=0") == []
    middle = (turned[1] + turned[2]) / 2  # the faces are turned, their longer side is across
    assert len(widths(f"--min_face={middle:.0f}")) == 2


def test_thresholds_that_a_card_does_not_have():
    card = read_card(ROOT / "inference_model" / "MobileFace" / "model.json")
    for calibration, message in (
        (None, "no calibrated threshold"),
        (dataclasses.replace(card.recognizer.calibration, far_1e4=None), "1e-4"),
    ):
        poor = dataclasses.replace(card, recognizer=dataclasses.replace(card.recognizer, calibration=calibration))
        assert opening.choose_threshold(poor, opening.ThresholdSettings(0.3)) == 0.3
        with pytest.raises(ConfigError, match=message):
            opening.choose_threshold(poor, opening.ThresholdSettings(far="1e-4"))


def test_build_and_recognise_in_one_run(tmp_path):
    status = recognize(
        *(f"--build_index={tmp_path}/g", f"--img_dir={PEOPLE}", "--det", "--rec", f"--input={QUERIES}/biden_relit.jpg"),
        *("--no_draw", f"--json={tmp_path}/f.json"),
    )
    assert status == 0
    content = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert content["gallery_build"]["people"] == 3
    assert content["images"][0]["faces"][0]["name"] == "Joe Biden"


def test_bad_files_of_a_folder_are_reported_and_the_rest_goes_on(index, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(QUERIES / "obama_speech_2009.jpg", folder / "good.jpg")
    (folder / "text.jpg").write_text("this is text")
    (folder / "zero.png").write_bytes(b"")
    images.write_image(folder / "dot.png", np.zeros((1, 1, 3), np.uint8))
    images.write_image(folder / "strip.png", np.zeros((20, 20000, 3), np.uint8))
    images.write_image(folder / "nobody.png", np.full((200, 200, 3), 128, np.uint8))
    out, found = tmp_path / "out", tmp_path / "f.json"
    status = recognize("--det", "--rec", f"--index={index}", f"--input={folder}", f"--output={out}", f"--json={found}")
    assert status == 1
    shown = capsys.readouterr()
    assert "text.jpg: not a picture" in shown.err and "zero.png" in shown.err and "2 of 6" in shown.err
    assert shown.out.count("no face found") == 3
    content = json.loads(found.read_text(encoding="utf-8"))
    assert [Path(item["source"]).name for item in content["failed"]] == ["text.jpg", "zero.png"]
    assert files_below(out) == ["dot.png", "good.jpg", "nobody.png", "strip.png"]


def test_the_source_is_never_overwritten(index, tmp_path):
    picture = tmp_path / "me.jpg"
    shutil.copy(QUERIES / "obama_speech_2009.jpg", picture)
    before = picture.read_bytes()
    assert recognize("--det", f"--input={picture}", f"--output={tmp_path}") == 0
    assert picture.read_bytes() == before and files_below(tmp_path) == ["me.jpg", "me_1.jpg"]


def test_names_of_results(tmp_path):
    names = OutputNames(str(tmp_path))
    given = [names.for_picture(Path(p)).name for p in ("a/x.jpg", "b/x.jpg", "x.PNG", "x.gif", "X.ppm", "x.jpg")]
    assert given == ["x.jpg", "x_1.jpg", "x.PNG", "x_1.png", "X_2.png", "x_2.jpg"]
    assert names.for_video("rtsp://user:secret@host/1").name == "stream.mp4"
    assert names.for_video("0").name == "camera0.mp4"


def copy_query(name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(QUERIES / name, target)


def test_several_inputs_and_folders_inside_of_folders(tmp_path, capsys):
    copy_query("biden_relit.jpg", tmp_path / "in" / "2019" / "a.jpg")
    copy_query("hopper_relit.jpg", tmp_path / "in" / "2020" / "a.jpg")
    copy_query("biden_relit.jpg", tmp_path / "in" / "2020" / "a_small.jpg")
    copy_query("biden_relit.jpg", tmp_path / "b.jfif")
    copy_query("biden_relit.jpg", tmp_path / "c.tiff")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    copy_query("group.jpg", tmp_path / "in" / "@eaDir" / "a.jpg")
    out, found = tmp_path / "in" / "output", tmp_path / "f.json"
    arguments = ["--det", "--input", tmp_path / "in", tmp_path / "b.jfif", "--input", tmp_path / "c.tiff",
                 "--exclude=*_small.jpg", f"--output={out}", f"--json={found}",
                 f"--save_crops={tmp_path}/crops"]  # fmt: skip
    for _ in range(2):  # the second time, the pictures of the first must not be taken for inputs
        assert recognize(*arguments) == 0
        assert files_below(out) == ["2019/a.jpg", "2020/a.jpg", "b.jfif", "c.tiff"]
    content = json.loads(found.read_text(encoding="utf-8"))
    assert [Path(image["source"]).name for image in content["images"]] == ["a.jpg", "a.jpg", "b.jfif", "c.tiff"]
    assert files_below(tmp_path / "crops") == [f"face/{name}_1.png" for name in ("2020_a", "a", "b", "c")]
    shown = capsys.readouterr().err.strip().splitlines()
    assert (
        shown[-1] == "1 file is no picture and was passed over: notes.txt; 2 folders were not searched: @eaDir, output"
    )
    assert content["not_looked_at"]["count"] == 1
    assert content["not_looked_at"]["files"][".txt"] == {"count": 1, "examples": [str(tmp_path / "in" / "notes.txt")]}
    assert recognize("--det", f"--input={tmp_path}/in", "--no_recursive", "--no_draw") == 2
    assert "holds no pictures" in capsys.readouterr().err


def test_a_copy_that_cannot_be_written_does_not_lose_the_faces(tmp_path, capsys):
    copy_query("biden_relit.jpg", tmp_path / "in" / "a" / "1.jpg")
    copy_query("biden_relit.jpg", tmp_path / "in" / "b" / "2.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file in the place of a folder")
    found, table = tmp_path / "f.json", tmp_path / "f.csv"
    arguments = [f"--input={tmp_path}/in", f"--output={tmp_path}/out", f"--json={found}", f"--csv={table}"]
    assert recognize("--det", *arguments) == 1
    content = json.loads(found.read_text(encoding="utf-8"))
    assert [len(image["faces"]) for image in content["images"]] == [1, 1]
    assert len(list(csv.DictReader(table.open(encoding="utf-8")))) == 2
    [failure] = content["failed"]
    assert failure["source"].endswith("1.jpg") and "cannot be written" in failure["error"]
    assert "cannot be written" in capsys.readouterr().err and (tmp_path / "out" / "b" / "2.jpg").is_file()


def test_json_that_cannot_be_written_does_not_lose_the_table(tmp_path, capsys, monkeypatch):
    """The places are checked before the work; this is a disk that became full during it."""
    read_image = images.decode_image

    def fill_the_disk(content, **options):
        (tmp_path / "later").write_text("a file in the place of a folder")
        return read_image(content, **options)

    monkeypatch.setattr(images, "decode_image", fill_the_disk)
    arguments = ["--det", PICTURE, "--no_draw", f"--json={tmp_path}/later/f.json", f"--csv={tmp_path}/f.csv"]
    assert recognize(*arguments) == 2
    shown = capsys.readouterr()
    assert "biden_relit.jpg" in shown.out and "--json" in shown.err and (tmp_path / "f.csv").is_file()


def test_the_first_frame_of_an_animation_counts_and_is_said(tmp_path, capsys):
    frames = [Image.open(QUERIES / "biden_relit.jpg").resize((200, 250)), Image.new("RGB", (200, 250))]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in" / "a.webp", save_all=True, append_images=frames[1:])
    found = tmp_path / "f.json"
    assert recognize("--det", f"--input={tmp_path}/in", "--no_draw", f"--json={found}") == 0
    assert "a.webp: first of 2 frames" in capsys.readouterr().err
    [image] = json.loads(found.read_text(encoding="utf-8"))["images"]
    assert image["note"] == "first of 2 frames" and len(image["faces"]) == 1


def test_pictures_above_the_limit(tmp_path, capsys):
    assert recognize("--det", PICTURE, "--no_draw", "--max_pixels=1000") == 2
    assert "more than 1,000 pixels" in error_line(capsys)
    assert recognize("--det", PICTURE, "--no_draw", "--max_pixels=0") == 2


def test_what_is_not_drawn_needs_no_folder(odd_files):
    with VideoWriter(odd_files / "film.mp4", fps=10) as writer:
        writer.write(np.full((64, 64, 3), 128, np.uint8))
    for source in (PICTURE, "--input=film.mp4"):
        assert recognize("--det", source, "--no_draw", "--output=a_file/x", "--font=none.ttf") == 0


# -- bad input: one line, exit code 2, nothing written


PICTURE = f"--input={QUERIES}/biden_relit.jpg"
NAMED = ["--det", "--rec", PICTURE]
BUILD = "--build_index=new.bin"
BAD_INPUTS = {
    "missing": (["--det", "--input=none.jpg"], "no such file"),
    "text": (["--det", "--input=text.jpg"], "not a picture"),
    "zero": (["--det", "--input=zero.jpg"], "empty"),
    "empty folder": (["--det", "--input=empty"], "no picture"),
    "no video": (["--det", "--input=video.mp4"], "not a video"),
    "nothing to do": ([], "nothing to do"),
    "neither": ([PICTURE], "--det"),
    "rec without index": (["--rec", PICTURE], "--index"),
    "missing index": ([*NAMED, "--index=none.bin"], "none.bin"),
    "damaged index": ([*NAMED, "--index=damaged.bin"], "damaged"),
    "text index": ([*NAMED, "--index=text.jpg"], "text.jpg"),
    "output is a file": (["--det", PICTURE, "--output=a_file"], "is a file"),
    "output below a file": (["--det", PICTURE, "--output=a_file/x"], "is a file"),
    "json is a folder": (["--det", PICTURE, "--json=empty"], "is a folder"),
    "csv below a file": (["--det", PICTURE, "--csv=a_file/x.csv"], "--csv a_file/x.csv: "),
    "font": (["--det", PICTURE, "--font=font.ttf"], "font.ttf"),
    "missing font": (["--det", PICTURE, "--font=none.ttf"], "no such file"),
    "cdd_num": (["--det", PICTURE, "--cdd_num=0"], "1 or more"),
    "det_thresh": (["--det", PICTURE, "--det_thresh=7"], "7"),
    "min_face": (["--det", PICTURE, "--min_face=0"], "min_face is 0"),
    "rotate": (["--det", PICTURE, "--rotate=45"], "90"),
    "model": (["--det", PICTURE, "--det_model=Nothing"], "Nothing"),
    "model of another task": (["--det", PICTURE, "--det_model=MobileFace"], "recognition"),
    "threads": (["--det", PICTURE, "--cpu_threads=0"], "threads"),
    "bool": (["--det", PICTURE, "--use_gpu=perhaps"], "true/t/1/yes"),
    "crops of a video": (["--det", "--input=video.mp4", "--save_crops=crops"], "--save_crops"),
    "two videos": (["--det", "--input", "video.mp4", "text.jpg"], "a run of its own"),
    "two thresholds": ([*NAMED, "--index={index}", "--far=1e-3", "--rec_thresh=0.5"], "give one"),
    "threshold": ([*NAMED, "--index={index}", "--rec_thresh=1.5"], "-1 to 1"),
    "no img_dir": ([BUILD], "--img_dir"),
    "missing img_dir": ([BUILD, "--img_dir=none"], "no such folder"),
    "empty img_dir": ([BUILD, "--img_dir=empty"], "no picture"),
    "missing label": ([BUILD, f"--img_dir={PEOPLE}", "--label=none.txt"], "none.txt"),
    "index is a folder": (["--build_index=empty", f"--img_dir={PEOPLE}"], "is a folder"),
}
"""Name -> arguments and a part of the message."""


@pytest.fixture
def odd_files(tmp_path, monkeypatch):
    (tmp_path / "text.jpg").write_text("this is text")
    (tmp_path / "zero.jpg").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "font.ttf").write_text("no font")
    (tmp_path / "a_file").write_text("x")
    (tmp_path / "video.mp4").write_text("no video")
    (tmp_path / "damaged.bin").write_bytes(b"PK\x03\x04 and then nothing of use")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", sorted(BAD_INPUTS))
def test_bad_input_is_one_line_and_nothing_is_written(odd_files, index, capsys, case):
    arguments, message = BAD_INPUTS[case]
    before = files_below(odd_files)
    assert recognize(*(argument.format(index=index) for argument in arguments)) == 2
    assert message in error_line(capsys)
    assert files_below(odd_files) == before and not (odd_files / "output").exists()


# -- galleries


def test_gallery_of_another_model_is_refused(index, tmp_path, capsys):
    gallery = Gallery.load(index)
    assert gallery.model is not None
    other = dataclasses.replace(gallery.model, name="OtherNet", weights_sha256="0" * 64)
    Gallery(gallery.entries, gallery.embeddings, model=other).save(tmp_path / "other.bin")
    assert recognize(*NAMED, f"--index={tmp_path}/other.bin", f"--output={tmp_path}/out") == 2
    assert "OtherNet" in error_line(capsys) and not (tmp_path / "out").exists()


def test_gallery_with_mirrored_average_is_followed(tmp_path):
    assert recognize(f"--build_index={tmp_path}/g", f"--img_dir={PEOPLE}", "--flip=yes") == 0
    assert recognize(*NAMED, f"--index={tmp_path}/g", "--no_draw", f"--json={tmp_path}/f.json") == 0
    assert json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["flip"] is True
    assert recognize(*NAMED, f"--index={tmp_path}/g", "--no_draw", "--flip=no") == 2


def test_decision_is_the_gallerys_unless_given(tmp_path):
    def decision_with(*flags):
        assert recognize(*NAMED, f"--index={tmp_path}/g", "--no_draw", f"--json={tmp_path}/f.json", *flags) == 0
        return json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["decision"]

    assert recognize(f"--build_index={tmp_path}/g", f"--img_dir={PEOPLE}", "--decision=mean") == 0
    assert (decision_with(), decision_with("--decision=best")) == ("mean", "best")


def test_published_index_works_with_a_caution(tmp_path, capsys):
    rows = [np.full((1, 192), 3.0, np.float32), np.eye(1, 192, dtype=np.float32) * 5]
    (tmp_path / "index.bin").write_bytes(pickle.dumps({"label": ["Joey", "Ross"], "feature": rows}, protocol=3))
    assert recognize(*NAMED, f"--index={tmp_path}/index.bin", "--no_draw", f"--json={tmp_path}/f.json") == 0
    assert "does not say which model" in capsys.readouterr().err
    (image,) = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["images"]
    assert image["faces"][0]["name"] == "unknown" and len(image["faces"][0]["candidates"]) == 2


def test_malicious_index_is_not_executed(tmp_path, capsys):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "index.bin").write_bytes(pickle.dumps(Payload(), protocol=3))
    assert recognize(*NAMED, f"--index={tmp_path}/index.bin", "--no_draw") == 2
    assert "open" in error_line(capsys) and not (tmp_path / "executed").exists()


def test_pictures_without_use_are_listed_and_the_rest_is_built(tmp_path, capsys):
    people = tmp_path / "people"
    shutil.copytree(PEOPLE, people)
    shutil.copy(QUERIES / "group.jpg", people / "Joe Biden" / "group.jpg")
    images.write_image(people / "Joe Biden" / "wall.png", np.full((200, 200, 3), 128, np.uint8))
    pictures = ("portrait_2013.jpg", "group.jpg", "wall.png", "none.jpg")
    lines = [*(f"Joe Biden/{picture}\tJoe Biden" for picture in pictures), "no tab in this line"]
    (people / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    target, report = tmp_path / "g", tmp_path / "report.json"
    arguments = [f"--build_index={target}", f"--img_dir={people}", f"--label={people}/list.txt", f"--json={report}"]
    assert recognize(*arguments) == 1
    shown = capsys.readouterr().err
    for part in ("group.jpg", "wall.png", "none.jpg", "list.txt:5"):
        assert part in shown
    built = json.loads(report.read_text(encoding="utf-8"))["gallery_build"]
    assert sorted(r["reason"] for r in built["rejected"]) == ["bad_line", "no_face", "several_faces", "unreadable"]
    assert built["faces"] == 1 and len(Gallery.load(target)) == 1
    recognize(*arguments, "--pick_largest")
    reasons = [r["reason"] for r in json.loads(report.read_text(encoding="utf-8"))["gallery_build"]["rejected"]]
    assert "several_faces" not in reasons and len(Gallery.load(target)) == 2


def test_no_usable_picture_writes_no_gallery(tmp_path, capsys):
    images.write_image(tmp_path / "p" / "Ada" / "wall.png", np.full((200, 200, 3), 128, np.uint8))
    assert recognize(f"--build_index={tmp_path}/g", f"--img_dir={tmp_path}/p") == 2
    assert "was not written" in capsys.readouterr().err and not (tmp_path / "g").exists()


# -- video


@pytest.fixture
def clip(tmp_path) -> Path:
    """Six frames: a portrait, moving."""
    portrait = images.resize(images.load_image(QUERIES / "biden_relit.jpg"), (240, 300))
    with VideoWriter(tmp_path / "clip.mp4", fps=12.5) as writer:
        for i in range(6):
            frame = np.full((320, 300, 3), 90, np.uint8)
            frame[10:310, 8 * i : 8 * i + 240] = portrait
            writer.write(frame)
    return tmp_path / "clip.mp4"


def test_video_is_annotated_with_a_time_line(index, clip, tmp_path, capsys):
    out, found = tmp_path / "out", tmp_path / "f.json"
    arguments = ["--det", "--rec", f"--index={index}", f"--input={clip}", f"--output={out}"]
    assert recognize(*arguments, f"--json={found}", f"--csv={tmp_path}/f.csv") == 0
    assert "Joe Biden" in capsys.readouterr().out
    content = json.loads(found.read_text(encoding="utf-8"))
    assert content["fps"] == 12.5 and len(content["frames"]) == 6
    assert [frame["time_s"] for frame in content["frames"]] == pytest.approx([i / 12.5 for i in range(6)], abs=2e-3)
    assert {face["name"] for frame in content["frames"] for face in frame["faces"]} == {"Joe Biden"}
    with VideoReader(str(out / "clip.mp4")) as reader:
        frames = list(reader)
        assert len(frames) == 6 and reader.fps == 12.5 and frames[0].image.shape == (320, 300, 3)
    assert files_below(out) == ["clip.mp4"]
    assert len(list(csv.DictReader((tmp_path / "f.csv").open(encoding="utf-8")))) == 6


def test_ctrl_c_keeps_the_video_and_the_time_line(index, clip, tmp_path, monkeypatch):
    decide, calls = EachFrameAlone.decide, []

    def interrupted(self, models, frame, found, *, source):
        calls.append(source)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return decide(self, models, frame, found, source=source)

    monkeypatch.setattr(EachFrameAlone, "decide", interrupted)
    out, found = tmp_path / "out", tmp_path / "f.json"
    flags = ("--det", "--rec", f"--index={index}", f"--input={clip}", f"--output={out}", f"--json={found}")
    assert recognize(*flags, "--no_tracks") == 130
    assert len(json.loads(found.read_text(encoding="utf-8"))["frames"]) == 3
    with VideoReader(str(out / "clip.mp4")) as reader:
        assert len(list(reader)) == 3


def test_ctrl_c_while_a_stream_is_opened(tmp_path, monkeypatch, capsys):
    def interrupted(self, source, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoReader, "__init__", interrupted)
    assert recognize("--det", "--input=rtsp://127.0.0.1:9/x", "--no_draw", f"--json={tmp_path}/f.json") == 130
    assert "interrupted" in error_line(capsys) and not (tmp_path / "f.json").exists()


def test_ctrl_c_in_a_folder_keeps_what_was_found(tmp_path, monkeypatch):
    analyze = Analyzer.analyze

    def interrupted(self, image, *, source):
        if source.endswith("group.jpg"):
            raise KeyboardInterrupt
        return analyze(self, image, source=source)

    monkeypatch.setattr(Analyzer, "analyze", interrupted)
    found = tmp_path / "f.json"
    assert recognize("--det", f"--input={QUERIES}", f"--output={tmp_path}/out", f"--json={found}") == 130
    assert len(json.loads(found.read_text(encoding="utf-8"))["images"]) == 1
    assert files_below(tmp_path / "out") == ["biden_relit.jpg"]


def test_a_stop_while_a_copy_is_written_keeps_its_result_too(tmp_path, monkeypatch):
    link_copies(tmp_path / "in", count=5)
    write = images.write_encoded

    def interrupted(path, content):
        if path.name == "0001.jpg":
            signal.raise_signal(signal.SIGTERM)
        write(path, content)

    monkeypatch.setattr(images, "write_encoded", interrupted)
    found = tmp_path / "f.json"
    command = ["--det", f"--input={tmp_path}/in", f"--output={tmp_path}/out", f"--json={found}", "--workers=2"]
    assert recognize(*command) == 130
    assert [Path(image["source"]).name for image in json.loads(found.read_text())["images"]] == ["0000.jpg", "0001.jpg"]
    assert files_below(tmp_path / "out") == ["0000.jpg", "0001.jpg"]


def stop_when(begun, command: list[str], *, number: int) -> subprocess.CompletedProcess:
    """Run a command, send it a signal as soon as ``begun()`` is true, and return how it ended."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not begun() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


COMMAND = [sys.executable, "-m", "arcface_paddle", "recognize", "--det"]


def link_copies(folder: Path, *, count: int) -> None:
    copy_query("biden_relit.jpg", folder / "0000.jpg")
    for number in range(1, count):
        os.link(folder / "0000.jpg", folder / f"{number:04}.jpg")


@pytest.mark.parametrize(("name", "workers"), [("SIGINT", 1), ("SIGINT", 2), ("SIGTERM", 2), ("SIGHUP", 2)])
def test_a_folder_that_is_stopped_keeps_what_was_found(tmp_path, name, workers):
    link_copies(tmp_path / "in", count=2000)
    out, found, table = tmp_path / "out", tmp_path / "f.json", tmp_path / "f.csv"
    command = [*COMMAND, f"--input={tmp_path}/in", f"--output={out}", f"--json={found}", f"--csv={table}"]
    command += [f"--workers={workers}"]
    done = stop_when(lambda: (out / "0002.jpg").exists(), command, number=getattr(signal, name))
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1].endswith("interrupted") and "Traceback" not in done.stderr
    count = len(json.loads(found.read_text(encoding="utf-8"))["images"])
    assert 3 <= count < 2000
    assert len(list(csv.DictReader(table.open(encoding="utf-8")))) == count
    assert files_below(out) == [f"{number:04}.jpg" for number in range(count)]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_run_that_is_killed_leaves_no_process(tmp_path):
    link_copies(tmp_path / "in", count=2000)
    out = tmp_path / "out"
    command = [*COMMAND, f"--input={tmp_path}/in", f"--output={out}", "--workers=2", "--threads=2"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (out / "0002.jpg").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() is None and process.pid in session_members(process.pid)
    finally:
        process.kill()
        process.wait()
    time.sleep(0.5)
    assert session_members(process.pid) == []


def session_members(session: int) -> list[int]:
    """Return the processes of a session, as /proc/PID/stat names it behind the command in brackets."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[3] == str(session):
                members.append(int(path.parent.name))
    return members


def test_files_of_results_do_not_tell_how_many_workers_there_were(index, tmp_path):
    written = {}
    for workers in (1, 2):
        found, table = tmp_path / f"{workers}.json", tmp_path / f"{workers}.csv"
        arguments = ("--det", "--rec", f"--index={index}", f"--input={QUERIES}", f"--output={tmp_path}/out")
        results = (f"--json={found}", f"--csv={table}")
        assert recognize(*arguments, *results, f"--workers={workers}", f"--threads={workers}") == 0
        written[workers] = found.read_bytes(), table.read_bytes()
    assert written[1] == written[2] and b"Joe Biden" in written[1][0]


@pytest.mark.parametrize("workers", ["0", "-1", "two", "65"])
def test_numbers_of_workers_that_are_refused(tmp_path, capsys, workers):
    assert recognize("--det", f"--input={QUERIES}", f"--output={tmp_path}/out", f"--workers={workers}") == 2
    assert workers in error_line(capsys) and not (tmp_path / "out").exists()


def test_a_video_that_is_stopped_is_whole(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), dtype=np.uint8)  # flat frames leave no bytes
    with VideoWriter(tmp_path / "clip.mp4", fps=25) as writer:
        for i in range(1000):
            writer.write(noise[i % 8])
    out, found, table = tmp_path / "out", tmp_path / "f.json", tmp_path / "f.csv"
    command = [*COMMAND, f"--input={tmp_path}/clip.mp4", f"--output={out}", f"--json={found}", f"--csv={table}"]

    def frames_are_in_it() -> bool:  # the file is there before its first frame
        return out.is_dir() and any(path.stat().st_size > 1024 for path in out.iterdir())

    done = stop_when(frames_are_in_it, command, number=signal.SIGTERM)
    assert done.returncode == 130, done.stderr
    count = len(json.loads(found.read_text(encoding="utf-8"))["frames"])
    assert 1 <= count < 1000 and table.is_file()
    with VideoReader(str(out / "clip.mp4")) as reader:
        assert count <= len(list(reader)) <= count + 1
    assert files_below(out) == ["clip.mp4"]


def test_names_on_a_terminal_that_knows_ascii_only(index, tmp_path):
    Gallery.load(index).renamed("Joe Biden", "拜登").save(tmp_path / "g")
    command = [sys.executable, "-m", "arcface_paddle", "recognize", *NAMED, f"--index={tmp_path}/g", "--no_draw"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "??" in done.stdout and done.stderr == ""


def test_help_says_the_exit_codes(capsys):
    assert recognize("--help") == 0
    shown = capsys.readouterr().out
    assert "exit codes" in shown and "130" in shown
    for flag in ("det", "rec", "det_model", "rec_model", "use_gpu", "enable_mkldnn", "cpu_threads", "input", "output",
                 "det_thresh", "index", "cdd_num", "rec_thresh", "max_batch_size", "build_index", "img_dir",
                 "label"):  # fmt: skip
        assert f"--{flag}" in shown


def test_a_threshold_that_nobody_measured_is_said() -> None:
    from arcface_paddle.pipeline.model_files import open_model, preset_card
    from arcface_paddle.pipeline.opening import ThresholdSettings
    from arcface_paddle.pipeline.thresholds import caution_about, search_threshold

    def caution(card: ModelCard, settings: ThresholdSettings) -> str:
        return caution_about(card, search_threshold(card, settings, comparisons=3))

    assert "not measured" in caution(preset_card("aligned-112"), ThresholdSettings())
    assert caution(preset_card("aligned-112"), ThresholdSettings(0.5)) == ""
    assert caution(open_model("MobileFace").card, ThresholdSettings()) == ""
