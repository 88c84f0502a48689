"""Findings as JSON values and as CSV; a spreadsheet must not run what a file is called."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from arcface_paddle.pipeline.drawing import LabelStyle
from arcface_paddle.pipeline.results import (
    CSV_COLUMNS,
    RunRecord,
    SourceRecord,
    VideoSummary,
    _restyle,
    picture_rows,
    result_to_json,
    to_csv,
)
from arcface_paddle.types import Detection, Face, ImageResult


def result(source="a.jpg", name="Ada", similarity=-0.25) -> ImageResult:
    face = Face(Detection(np.array([-4.5, 2, 30, 40], np.float32), 0.75), name=name, similarity=similarity)
    return ImageResult(source, (60, 40), (face,))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
def test_cells_that_a_spreadsheet_would_run_are_text(start):
    text = to_csv([result_to_json(result(f"{start}HYPERLINK(1).jpg", f"{start}cmd|' /C calc'!A0"))])
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    shown = f"'{start}".replace("\r", " ")  # which readers would take for the end of a line
    assert row["source"] == f"{shown}HYPERLINK(1).jpg" and row["name"] == f"{shown}cmd|' /C calc'!A0"


def test_numbers_stay_numbers_and_other_text_as_it_is():
    text = to_csv([result_to_json(result("a=b.jpg", "O'Brien-Smith"), time_s=1.5)])
    assert text.splitlines() == [
        ",".join(CSV_COLUMNS), "a=b.jpg,1.5,1,-4.5,2.0,30.0,40.0,0.75,O'Brien-Smith,-0.25"]  # fmt: skip
    assert ",,1,-4.5," in to_csv([result_to_json(result(name=None, similarity=None))])


def test_a_record_is_complete_at_any_moment():
    record = RunRecord()
    record.add(SourceRecord("a.gif", result("a.gif"), note="first of 12 frames"))
    record.add(SourceRecord("b.jpg", result("b.jpg"), ("out/b.jpg: cannot be written: No space left on device",)))
    record.add(SourceRecord("c.jpg", None, ("c.jpg: not a picture",)))
    assert [(image["source"], image.get("note")) for image in record.found] == [
        ("a.gif", "first of 12 frames"), ("b.jpg", None)]  # fmt: skip
    assert [failure["source"] for failure in record.failed] == ["b.jpg", "c.jpg"] and record.unreadable == 1
    json.dumps([record.found, record.failed], allow_nan=False)


@pytest.mark.parametrize("keep", [True, False])
def test_frames_are_kept_if_wanted_and_always_summed_up(keep):
    record = RunRecord(keep_frames=keep)
    for number in range(3):
        record.add(SourceRecord(f"v.mp4#{number}", result(similarity=0.1 * number), time_s=0.5 * number))
    assert len(record.found) == (3 if keep else 0)
    assert record.summary.rows() == [["Ada", 3, "0.00", "1.00", "0.2000"]]


def test_the_best_similarity_of_a_person_stays_whatever_follows():
    record = RunRecord(keep_frames=False)
    for number, similarity in enumerate([None, 0.2, 0.4, None, 0.1]):
        record.add(SourceRecord(f"v.mp4#{number}", result(similarity=similarity), time_s=0.5 * number))
    assert record.summary.rows() == [["Ada", 5, "0.00", "2.00", "0.4000"]]


def test_tracks_of_one_person_are_one_line_in_the_end():
    summary = VideoSummary()

    def see(time_s, *faces):
        shown = [{"name": name, "track": track, "similarity": similarity} for track, name, similarity in faces]
        summary.add({"time_s": time_s, "faces": shown})

    see(1.0, (1, None, None), (2, "Ada", 0.5))
    see(2.0, (1, "Grace", 0.3), (2, "Ada", 0.4))
    see(3.0, (3, None, None))
    assert summary.rows() == [
        ["Ada", 2, "1.00", "2.00", "0.5000"], ["Grace", 2, "1.00", "2.00", "0.3000"], ["face", 1, "3.00", "3.00", "-"]
    ]  # fmt: skip
    summary.rename_tracks({1: (7, "Ada"), 2: (7, "Ada"), 9: (8, "Mary")})
    assert summary.rows() == [["Ada", 4, "1.00", "2.00", "0.5000"], ["face", 1, "3.00", "3.00", "-"]]
    summary.rename_tracks({2: (7, None)})
    assert summary.rows() == [["Ada", 2, "1.00", "2.00", "0.3000"], ["face", 3, "1.00", "3.00", "0.5000"]]


def test_a_stranger_is_called_and_measured_as_the_style_says():
    style = LabelStyle(unknown="stranger", distance=lambda similarity: 1 - similarity)
    faces = [{"name": "unknown", "similarity": 0.25}, {"name": "Ada", "similarity": None}]
    for face in faces:
        _restyle(face, style)
    assert faces[0] == {"name": "stranger", "similarity": 0.25, "distance": 0.75}
    assert faces[1] == {"name": "Ada", "similarity": None}
    _restyle(faces[0], LabelStyle())
    assert faces[0]["name"] == "stranger" and faces[0]["distance"] == 0.75


def test_a_row_for_each_face_and_for_a_picture_without_one():
    found = [result_to_json(result("a.jpg", similarity=0.5)), result_to_json(result("b.jpg", None, None))]
    nobody = {"source": "c.jpg", "faces": []}
    assert picture_rows([*found, nobody]) == [
        ["a.jpg", 1, "-4, 2, 30, 40", "Ada", "0.5000", "0.7500"],
        ["b.jpg", 1, "-4, 2, 30, 40", "-", "-", "0.7500"],
        ["c.jpg", "-", "-", "no face found", "-", "-"],
    ]
