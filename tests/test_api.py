"""The Python interface as somebody at a prompt or in a notebook meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.pipeline.results import face_to_json, result_to_json
from arcface_paddle.types import UNKNOWN, Candidate, Detection, Face, ImageResult

ROOT = Path(__file__).parents[1]
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
        "name": "Ada",
        "similarity": 0.7124,
        "candidates": [{"name": "Ada", "similarity": 0.7124}, {"name": "Grace", "similarity": -0.1}],
        "feature_norm": 17.25,
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
