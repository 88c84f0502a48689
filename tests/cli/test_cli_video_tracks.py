"""The people of a video from the command line: timeline, attendance, events, crops, page, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli import main
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.tracker import Tracker
from arcface_paddle.video.webhook import SECRET_VARIABLE
from arcface_paddle.video.writing import VideoWriter

ROOT = Path(__file__).parents[2]
PEOPLE, QUERIES = ROOT / "demo" / "gallery", ROOT / "demo" / "queries"
FRAMES = 14

pytestmark = pytest.mark.usefixtures("models_loaded_once")


def recognize(*arguments) -> int:
    try:
        return main.run_module("recognize", [str(argument) for argument in arguments], prog="test_recognition")
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "people.index"
    made = (f"--build_index={path}", f"--img_dir={PEOPLE}", f"--label={PEOPLE}/label.txt", "--rec_model=MobileFace")
    assert recognize(*made) == 0
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two people who walk apart: one of the gallery, one stranger, for 1.12 seconds."""
    known = images.resize(images.load_image(QUERIES / "biden_relit.jpg"), (150, 188))
    stranger = images.resize(images.load_image(QUERIES / "stranger_collins.jpg"), (225, 282))[:, 20:190]
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, fps=12.5) as writer:
        for i in range(FRAMES):
            frame = np.full((300, 480, 3), 90, np.uint8)
            frame[40:228, 60 - 2 * i : 210 - 2 * i] = known
            frame[10:292, 260 + 2 * i : 430 + 2 * i] = stranger
            writer.write(frame)
    return path


def test_everything_about_the_people_of_a_video(index, clip, tmp_path, capsys):
    flags = ["--det", "--rec", f"--index={index}", f"--input={clip}", f"--output={tmp_path}/out"]
    flags += [f"--json={tmp_path}/f.json", f"--csv={tmp_path}/f.csv", f"--timeline={tmp_path}/t.csv"]
    flags += [f"--attendance={tmp_path}/a.json", f"--events={tmp_path}/e.jsonl", f"--save_tracks={tmp_path}/crops"]
    assert recognize(*flags, f"--track_sheet={tmp_path}/s.html", "--unknown_face=visitor") == 0
    assert "Joe Biden" in capsys.readouterr().out
    content = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert [len(frame["faces"]) for frame in content["frames"]] == [2] * FRAMES
    of_track = {face["track"]: face["name"] for frame in content["frames"] for face in frame["faces"]}
    assert sorted(of_track.values()) == ["Joe Biden", "visitor"] and len(of_track) == 2
    assert sum(face["feature_norm"] is not None for frame in content["frames"] for face in frame["faces"]) <= 10
    assert {entry["person"]: entry["appearances"] for entry in content["tracks"]} == dict.fromkeys(
        of_track.values(), FRAMES
    )
    rows = list(csv.DictReader((tmp_path / "f.csv").open(encoding="utf-8")))
    assert len(rows) == 2 * FRAMES and {row["track"] for row in rows} == {"1", "2"} and list(rows[0])[-1] == "track"
    timeline = {row["person"]: row for row in csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8"))}
    assert float(timeline["Joe Biden"]["last_s"]) == pytest.approx((FRAMES - 1) / 12.5, abs=0.01)
    assert float(timeline["Joe Biden"]["confidence"]) > 0.5
    people = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["attendance"]
    assert [one["person"] for one in people] == ["Joe Biden", "visitor"]
    events = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["event"] for one in events].count("entered") == 2 == [one["event"] for one in events].count("left")
    assert [one["person"] for one in events if one["event"] == "named"] == ["Joe Biden"]
    assert sorted(path.name for path in (tmp_path / "crops").iterdir()) == [row["crop"] for row in timeline.values()]
    assert (tmp_path / "s.html").read_text(encoding="utf-8").count("data:image/jpeg") == 2
    with VideoReader(str(tmp_path / "out" / "clip.mp4")) as reader:
        assert len(list(reader)) == FRAMES, "those that waited are drawn, too"


def test_ctrl_c_keeps_what_waited_and_writes_every_file(index, clip, tmp_path, monkeypatch):
    take, taken = Tracker.take, []

    def interrupted(self, image, time_s, detections):
        taken.append(time_s)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return take(self, image, time_s, detections)

    monkeypatch.setattr(Tracker, "take", interrupted)
    flags = ["--det", "--rec", f"--index={index}", f"--input={clip}", f"--output={tmp_path}/out"]
    flags += [f"--json={tmp_path}/f.json", f"--timeline={tmp_path}/t.json", f"--events={tmp_path}/e.jsonl"]
    assert recognize(*flags) == 130
    assert len(json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["frames"]) == 5
    assert len(json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["tracks"]) == 2
    events = [json.loads(line)["event"] for line in (tmp_path / "e.jsonl").read_text(encoding="utf-8").splitlines()]
    assert events.count("left") == 2
    with VideoReader(str(tmp_path / "out" / "clip.mp4")) as reader:
        assert len(list(reader)) == 5


def test_without_tracks_each_frame_is_decided_alone(index, clip, tmp_path):
    flags = ["--det", "--rec", f"--index={index}", f"--input={clip}", "--no_draw", "--no_tracks"]
    assert recognize(*flags, f"--json={tmp_path}/f.json", f"--csv={tmp_path}/f.csv") == 0
    content = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    faces = [face for frame in content["frames"] for face in frame["faces"]]
    assert len(faces) == 2 * FRAMES and "tracks" not in content
    assert all("track" not in face and face["feature_norm"] is not None for face in faces)
    assert "track" not in (tmp_path / "f.csv").read_text(encoding="utf-8").splitlines()[0]


def test_faces_without_names_have_tracks(clip, tmp_path):
    assert recognize("--det", f"--input={clip}", "--no_draw", f"--timeline={tmp_path}/t.json") == 0
    content = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert [(one["track"], one["person"], one["looks"]) for one in content["tracks"]] == [(1, None, 0), (2, None, 0)]
    assert content["attendance"] == []


def error_line(capsys) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--timeline=t.json", "--no_tracks"], "--timeline needs tracks"),
        (["--delay=11"], "--delay is 11.0; allowed: 0 to 10"),
        (["--track_memory=0"], "allowed: above 0"),
        (["--search_interval=2"], "frames are searched every 2.0 s; allowed: 0 to 1"),
        (["--search_interval=.1", "--no_tracks"], "--search_interval needs tracks"),
        (["--webhook=ftp://host/x"], "allowed: an address that begins with http"),
        (["--webhook=https://host/x"], SECRET_VARIABLE),
        (["--timeline=."], "is a folder"),
    ],
)
def test_flags_that_cannot_work(clip, tmp_path, capsys, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    assert recognize("--det", f"--input={clip}", "--no_draw", *flags) == 2
    assert said in error_line(capsys) and list(tmp_path.iterdir()) == []


def test_a_slip_in_the_name_of_the_film_leaves_the_events_of_an_earlier_run_alone(tmp_path, capsys):
    earlier = tmp_path / "e.jsonl"
    earlier.write_text('{"event": "entered"}\n', encoding="utf-8")
    assert recognize("--det", f"--input={tmp_path}/fllm.mp4", "--no_draw", f"--events={earlier}") == 2
    assert "no such file" in error_line(capsys)
    assert earlier.read_text(encoding="utf-8") == '{"event": "entered"}\n'


def test_pictures_have_no_tracks(tmp_path, capsys):
    picture = QUERIES / "group.jpg"
    assert recognize("--det", f"--input={picture}", "--no_draw", f"--events={tmp_path}/e.jsonl") == 2
    assert "--events is about a video" in error_line(capsys) and not (tmp_path / "e.jsonl").exists()
