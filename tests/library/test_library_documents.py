"""``people.json`` keeps what is known, and is refused when it is damaged."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.library.documents import read_people, write_people
from arcface_paddle.library.records import (
    Group,
    GroupCandidate,
    Grouping,
    GroupingFacts,
    Library,
    LibraryFace,
    LibraryPicture,
    UncertainFace,
    face_id_of,
)

ONE, OTHER = "ab" * 32, "cd" * 32


def face(picture: str, number: int, row: int) -> LibraryFace:
    points = np.arange(10, dtype=np.float32).reshape(5, 2) if number == 0 else None
    return LibraryFace(face_id_of(picture, number), picture, np.float32([1, 2, 31, 42]), points, 0.9, 0.5, 40.0, row)


def small_library() -> tuple[Library, Grouping]:
    pictures = (
        LibraryPicture(ONE, "2019/käse.jpg", (640, 480), datetime(2019, 7, 1, 12), None, ("copy.jpg",)),
        LibraryPicture(OTHER, "b.jpg", (64, 48), duplicate_of=ONE),
    )
    faces = (face(ONE, 0, 0), face(ONE, 1, 1), face(ONE, 2, 2), face(OTHER, 0, 3))
    ids = [one.face_id for one in faces]
    grouping = Grouping(
        (Group("g-1", (ids[0], ids[3]), "Ann", 0.75),),
        (UncertainFace(ids[1], (GroupCandidate("g-1", 0.4),)),),
        (ids[2],),
        GroupingFacts("M sha256:00", "average linkage", 0.52, "because", {"faces": 4}),
    )
    return Library("/photos", pictures, faces, np.eye(4, dtype=np.float32)), grouping


def test_what_was_written_is_read_back(tmp_path):
    library, grouping = small_library()
    write_people(tmp_path / "people.json", library, grouping=grouping, store=tmp_path / "store")
    people = read_people(tmp_path / "people.json")
    assert people.pictures == library.pictures
    assert people.grouping == grouping
    assert (people.root, people.store) == ("/photos", str(tmp_path / "store"))
    for read, written in zip(people.faces, library.faces):
        assert (read.face_id, read.picture, read.row) == (written.face_id, written.picture, written.row)
        np.testing.assert_array_equal(read.box_xyxy, written.box_xyxy)
        np.testing.assert_array_equal(read.landmarks, written.landmarks)


def test_no_pictures_make_a_valid_file(tmp_path):
    facts = GroupingFacts("M", "none", 0.5, "none")
    library = Library("/photos", (), (), np.empty((0, 8), np.float32))
    write_people(tmp_path / "people.json", library, grouping=Grouping((), (), (), facts), store="s")
    assert read_people(tmp_path / "people.json").faces == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.update(format=9), "format is 9"),
        (lambda document: document.pop("faces"), "damaged"),
        (lambda document: document["faces"][0].update(box=[1, 2]), "damaged"),
        (lambda document: document["alone"].append(document["groups"][0]["faces"][0]), "each face has one place"),
        (lambda document: document["alone"].clear(), "each face has one place"),
        (lambda document: document["pictures"].pop(), "is not listed"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    library, grouping = small_library()
    path = tmp_path / "people.json"
    write_people(path, library, grouping=grouping, store="s")
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_people(path)
