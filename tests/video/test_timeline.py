"""Timeline, attendance, events, page: what is left of tracks, as files that are whole."""

from __future__ import annotations

import csv
import doctest
import errno
import importlib
import io
import json
import os

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError
from arcface_paddle.types import UNKNOWN
from arcface_paddle.video.changes import JOINED, NAMED, Change
from arcface_paddle.video.events import EventFile, event_of
from arcface_paddle.video.timeline import (
    ATTENDANCE_COLUMNS,
    TIMELINE_COLUMNS,
    BestView,
    TimelineEntry,
    attendance,
    attendance_to_csv,
    timeline_to_csv,
)
from arcface_paddle.video.track_outputs import EventOutputs, named_crops, writings
from arcface_paddle.video.track_settings import TrackOutputs, TrackSettings
from arcface_paddle.video.track_sheet import write_track_sheet


def jpeg(grey: int) -> bytes:
    return images.encode_image(np.full((40, 30, 3), grey, np.uint8), suffix=".jpg")


def entry(track: int, person, *spans, crop=None) -> TimelineEntry:
    best = BestView(spans[0][0], 0.8, np.array([1.0, 2.0, 31.0, 42.0]), crop)
    return TimelineEntry(track, person, spans[0][0], spans[-1][1], 50, 5, 0.7, 0.99, best, tuple(spans))


ENTRIES = [
    entry(1, "Ann", (0.0, 2.0), (4.0, 6.0), crop=jpeg(200)),
    entry(2, "=Bob", (1.0, 3.0)),
    entry(3, UNKNOWN, (2.0, 2.5), crop=jpeg(90)),
    entry(4, "Ann", (5.0, 9.0)),
    entry(5, UNKNOWN, (7.0, 8.0)),
]


def test_attendance_counts_time_in_sight_once():
    people = attendance(ENTRIES)
    assert [one.person for one in people] == ["=Bob", "Ann", UNKNOWN], "strangers last"
    ann = people[1]
    assert (ann.first_s, ann.last_s, ann.seconds, ann.tracks, ann.appearances) == (0.0, 9.0, 7.0, 2, 100)
    assert attendance([entry(1, None, (0.0, 1.0))]) == [], "nobody was asked who they are"


def test_tables_have_their_columns_and_no_formulas():
    rows = list(csv.DictReader(io.StringIO(timeline_to_csv(named_crops(ENTRIES)))))
    assert tuple(rows[0]) == TIMELINE_COLUMNS and rows[0]["crop"] == "track_00001.jpg" and rows[1]["crop"] == ""
    assert rows[1]["person"] == "'=Bob" and (rows[0]["seconds"], rows[0]["last_s"]) == ("4.0", "6.0")
    assert (rows[0]["left"], rows[0]["bottom"], rows[0]["quality"]) == ("1.0", "42.0", "0.8")
    assert attendance_to_csv([]).strip() == ",".join(ATTENDANCE_COLUMNS)


def test_everything_asked_for_is_written_and_one_failure_keeps_the_rest(tmp_path):
    outputs = TrackOutputs(
        timeline=tmp_path / "t.json", attendance=tmp_path / "a.CSV", crops=tmp_path / "crops", sheet=tmp_path / "s.html"
    )
    for writing in writings(outputs, named_crops(ENTRIES), source="film.mp4", unknown="nobody"):
        writing.run()
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["source"] == "film.mp4" and content["tracks"][2]["person"] == "nobody"
    assert content["tracks"][0]["spans"] == [[0.0, 2.0], [4.0, 6.0]] and content["attendance"][1]["seconds"] == 7.0
    assert content["tracks"][0]["best"]["crop"] == "track_00001.jpg"
    assert "nobody,2.0,8.0" in (tmp_path / "a.CSV").read_text()
    crops = sorted((tmp_path / "crops").iterdir())
    assert [path.name for path in crops] == ["track_00001.jpg", "track_00003.jpg"]
    assert images.read_image(crops[0]).shape == (40, 30, 3)
    (tmp_path / "taken").write_text("a file")
    bad, *_ = writings(TrackOutputs(timeline=tmp_path / "taken" / "t.json"), ENTRIES, source="film.mp4")
    with pytest.raises(ConfigError, match=r"--timeline .*cannot be written"):
        bad.run()


def test_the_page_carries_its_pictures_and_escapes_names(tmp_path):
    entries = [*ENTRIES, entry(6, "<script>", (0.0, 1.0)), entry(7, None, (0.0, 1.0))]
    write_track_sheet(tmp_path / "s.html", entries, source="<film>.mp4")
    page = (tmp_path / "s.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 and "<script>" not in page and "&lt;film&gt;" in page
    assert "http" not in page.replace("http-equiv", ""), "it needs no network"
    assert page.count('class="bar"') == 5 and page.count('class="bar stranger"') == 2
    write_track_sheet(tmp_path / "none.html", [], source="film.mp4")
    assert "No face was seen" in (tmp_path / "none.html").read_text()


def test_events_are_lines_and_say_what_was_before(tmp_path):
    outputs = TrackOutputs(events=tmp_path / "new" / "e.jsonl")
    with EventOutputs(outputs, source="film.mp4", unknown="nobody") as events:
        events.tell(Change(NAMED, 4, 1.23456, "Ann", 0.71239, before="Bob"))
        assert len((tmp_path / "new" / "e.jsonl").read_text().splitlines()) == 1, "while the video runs"
        events.tell(Change(JOINED, 4, 2.0, None, None, was=9))
    named, joined = map(json.loads, (tmp_path / "new" / "e.jsonl").read_text().splitlines())
    assert (named["event"], named["time_s"], named["person"], named["previous"]) == ("named", 1.235, "Ann", "Bob")
    assert (joined["event"], joined["person"], joined["was"], joined["similarity"]) == ("joined", "nobody", 9, None)
    assert named["source"] == "film.mp4" and named["told_at"].endswith("+00:00") and events.problems == []


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    file = EventFile(tmp_path / "e.jsonl")
    event = event_of(Change(NAMED, 1, 0.0, "Ann", 0.7), source="film.mp4")
    file.write(event)
    write = os.write

    def half(descriptor, content):
        if len(content) < 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content[: len(content) - 5])

    monkeypatch.setattr(os, "write", half)
    file.write(event)
    file.write(event)
    file.close()
    assert [json.loads(line)["track"] for line in (tmp_path / "e.jsonl").read_text().splitlines()] == [1]
    assert "No space left" in file.problem
    with pytest.raises(ConfigError, match="cannot be written"):
        EventFile(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows names no pipes in folders")
def test_a_reader_of_events_may_go(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    file = EventFile(tmp_path / "pipe")
    event = event_of(Change(NAMED, 1, 0.0, "Ann", 0.7), source="film.mp4")
    file.write(event)
    assert json.loads(os.read(reader, 10_000))["person"] == "Ann"
    os.close(reader)
    file.write(event)
    file.write(event)
    assert file.problem.endswith("no more events could be written: Broken pipe")


@pytest.mark.parametrize("wrong", [{"keep_s": 0}, {"keep_s": 1e9}, {"weak_share": 0}, {"look_share": 1.5}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match="allowed"):
        TrackSettings(**wrong)


@pytest.mark.parametrize("name", ["assignment", "evidence", "looking", "track_sheet", "tracks", "webhook"])
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"arcface_paddle.video.{name}")).failed == 0
