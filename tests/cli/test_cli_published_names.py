"""Flags of other published programs: distances, names of strangers, size of labels, video and camera."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli import main
from arcface_paddle.video.writing import VideoWriter

ROOT = Path(__file__).parents[2]
GROUP, BLUE_ROOM, SPEECH = (
    str(ROOT / "demo" / "queries" / name) for name in ("group.jpg", "obama_blue_room.jpg", "obama_speech_2009.jpg")
)

pytestmark = pytest.mark.usefixtures("models_loaded_once")


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("gallery") / "people.index"
    assert main.main(["gallery", "build", str(path), f"--img_dir={ROOT}/demo/gallery", "--rec_model=MobileFace"]) == 0
    return str(path)


def command(*arguments: object) -> int:
    try:
        return main.main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return int(leaving.code or 0)


def recognized(tmp_path: Path, index: str, *arguments: object) -> dict[str, dict]:
    """Return the faces of the group by name."""
    found = tmp_path / "found.json"
    assert command("recognize", "--det", "--rec", "--index", index, "--input", GROUP, "--json", found, *arguments) == 0
    document = json.loads(found.read_text(encoding="utf-8"))
    return {face["name"]: face for face in document["images"][0]["faces"]}


def test_strangers_are_called_as_asked_everywhere(tmp_path, index, capsys) -> None:
    listed = tmp_path / "found.csv"
    faces = recognized(tmp_path, index, "--unknown_face", "Nobody", "--no_draw", f"--csv={listed}")
    assert set(faces) == {"Barack Obama", "Grace Hopper", "Joe Biden", "Nobody"}
    assert "Nobody" in capsys.readouterr().out
    with listed.open(encoding="utf-8") as stream:
        assert sorted(row["name"] for row in csv.DictReader(stream)) == sorted(faces)
    for bad, message in (("Joe Biden", "a person of the gallery is"), (" ", "allowed: a printable text")):
        arguments = ("--det", "--rec", "--index", index, "--input", GROUP, "--no_draw", "--unknown_face", bad)
        assert command("recognize", *arguments) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), lambda cosine: 2 - 2 * cosine),
        (("--distance_metric", "1"), lambda cosine: float(np.arccos(cosine) / np.pi)),
        (("--sim", "cos"), lambda cosine: 1 - cosine),
        (("--sim", "diff"), lambda cosine: 2 - 2 * cosine),
    ],
)
def test_distances_are_shown_and_decide(tmp_path, index, flags, expected) -> None:
    faces = recognized(tmp_path, index, "--show_distance", "--no_draw", *flags)
    assert len(faces) == 4
    for face in faces.values():
        assert face["distance"] == pytest.approx(expected(face["similarity"]), abs=2e-4)
    farthest = max(face["distance"] for name, face in faces.items() if name != "unknown")
    stricter = recognized(tmp_path, index, "--max_threshold", farthest - 0.001, "--no_draw", *flags)
    looser = recognized(tmp_path, index, "--max_threshold", farthest + 0.001, "--no_draw", *flags)
    assert set(looser) == set(faces) and len(stricter) == 3  # one more is unknown


def test_labels_say_the_distance_in_the_size_asked_for(tmp_path, index) -> None:
    drawn = {}
    for name, flags in (
        ("usual", ()),
        ("distance", ("--show_distance",)),
        ("small", ("--font_size", 6)),
        ("large", ("--font_size", 40)),
    ):
        recognized(tmp_path, index, "--output", tmp_path / name, *flags)
        drawn[name] = images.load_image(tmp_path / name / "group.jpg").astype(int)
    original = images.load_image(GROUP).astype(int)
    changed = {name: int((np.abs(picture - original) > 60).any(axis=2).sum()) for name, picture in drawn.items()}
    assert changed["small"] < changed["usual"] < changed["large"]
    assert (np.abs(drawn["distance"] - drawn["usual"]) > 60).any()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--distance_metric", "1"), "give --max_threshold or --show_distance"),
        (("--max_threshold", "1.5", "--distance_metric", "arccos"), "--max_threshold is 1.5; allowed: 0 to 1"),
        (("--max_threshold", "0.9", "--rec_thresh", "0.5"), "--rec_thresh and --max_threshold both set the threshold"),
        (("--sim", "ssim"), "allowed: diff, cos"),
        (("--font_size", "2"), "allowed: 4 to 1000"),
        (("--write_video", "--no_draw"), "--write_video contradicts --no_draw"),
    ],
)
def test_what_cannot_be_meant_is_one_line(index, capsys, flags, message) -> None:
    output = () if "--no_draw" in flags else ("--no_draw",)
    assert command("recognize", "--det", "--rec", "--index", index, "--input", GROUP, *output, *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_two_pictures_by_distance(capsys) -> None:
    same, pair = ("--rec_model=MobileFace", "--show_distance"), (BLUE_ROOM, SPEECH)
    assert command("compare", *pair, *same, "--max_threshold=0.9") == 0
    line = capsys.readouterr().out
    distance = float(line.split()[1])
    assert line.startswith("distance ") and "(squared_l2)" in line and "squared_l2 0.9" in line
    assert command("compare", *pair, *same, f"--max_threshold={distance - 0.01}", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["distance"] == pytest.approx(2 - 2 * document["similarity"], abs=2e-4)
    assert document["threshold"] == pytest.approx(1 - (distance - 0.01) / 2)


def test_a_video_by_its_published_flag(tmp_path, index) -> None:
    clip = tmp_path / "clip.mp4"
    with VideoWriter(clip, fps=10) as writer:
        for _ in range(2):
            writer.write(images.load_image(BLUE_ROOM)[:640, :640])
    output, found = tmp_path / "output", tmp_path / "found.json"
    arguments = ("--det", "--rec", "--index", index, "--output", output, "--json", found)
    assert command("recognize", "--video", clip, "--write_video", *arguments) == 0
    assert (output / "clip.mp4").is_file()
    assert len(json.loads(found.read_text(encoding="utf-8"))["frames"]) == 2
    assert command("recognize", "--cam", "93", *arguments) == 2  # no such camera
