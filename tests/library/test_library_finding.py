"""All pictures of somebody: by name, by gallery, by picture; together, without; and groups that become a gallery."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from library_making import face_of, people_of, picture_of, write_library, write_picture

from arcface_paddle import files
from arcface_paddle.cli.main import main
from arcface_paddle.errors import ConfigError, DataError, GalleryError
from arcface_paddle.library.documents import read_people
from arcface_paddle.library.embedded import EmbeddedPeople, load_embedded
from arcface_paddle.library.enrolling import FACES_PER_PERSON, enrol_groups, gallery_of_groups
from arcface_paddle.library.finding import (
    BY_TIME,
    FaceFilter,
    faces_called,
    faces_in_gallery,
    faces_like,
    find_pictures_of,
    require_name,
)
from arcface_paddle.library.locating import locate_people
from arcface_paddle.library.store import ScanIdentity
from arcface_paddle.pipeline.gallery import Gallery

MODEL = ScanIdentity("net", "ab" * 32, "cd" * 32, True, 16, "detector", "default")
ANYBODY = FaceFilter()


def direction(person: int, doubt: float = 0.0) -> np.ndarray:
    """Return the embedding of a person, some way towards another direction of its own."""
    vector = np.zeros(16, np.float32)
    vector[person], vector[8 + person] = 1.0, doubt
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory) -> EmbeddedPeople:
    """Ada alone on 1 and 2, with Grace on 3, as a small face on 4; Grace on 5; a stranger on 3 and 6."""
    root = tmp_path_factory.mktemp("library") / "photos"
    pictures = []
    for number in range(1, 7):
        name = f"{'-=' if number == 5 else ''}{number}.jpg"
        write_picture(root / name, size_wh=(200, 100))
        captured = datetime(2020, 1, 10 - number) if number != 2 else None
        pictures.append(picture_of(root, name, size_wh=(200, 100), captured=captured))
    who = [(0, 0, 0.1), (1, 0, 0.5), (2, 0, 0.2), (2, 1, 0.1), (3, 0, 0.3), (4, 1, 0.2), (2, 2, 0.0), (5, 2, 0.1)]
    faces, vectors, counts = [], [], [0] * 6
    for row, (picture, person, doubt) in enumerate(who):
        size = 12 if picture == 3 else 40
        left = 50 * counts[picture]
        faces.append(face_of(pictures[picture], counts[picture], (left, 10, left + size, 10 + size), row=row))
        counts[picture] += 1
        vectors.append(direction(person, doubt))
    faces[4] = dataclasses.replace(faces[4], quality=0.3)
    ada, grace = [faces[0], faces[1], faces[2], faces[4]], [faces[3], faces[5]]
    people = people_of(root, pictures, faces, groups=[("g1", "Ada", ada), ("g2", "Grace Hopper", grace)])
    path = write_library(root.with_name("photos-people"), people, np.array(vectors), model=MODEL)
    return load_embedded(read_people(path))


def numbers(found) -> str:
    return "".join(Path(one.picture.path).stem[-1] for one in found)


def search(embedded, *names, without=(), faces=ANYBODY, **more) -> str:
    own = [faces_called(name, embedded) for name in names]
    out = [faces_called(name, embedded) for name in without]
    return numbers(find_pictures_of(own, out, embedded.people, faces=faces, **more))


def test_one_person_several_and_one_without_another(embedded):
    assert search(embedded, "Ada") == "4312"
    assert search(embedded, "Grace Hopper", order=BY_TIME) == "53"
    assert search(embedded, "Ada", order=BY_TIME)[-1] == "2"  # has no time
    assert search(embedded, "Ada", "Grace Hopper") == "3"
    assert search(embedded, "Ada", without=["Grace Hopper"]) == "412"
    assert search(embedded, "Grace Hopper", without=["Ada"]) == "5"
    assert search(embedded, "Ada", faces=FaceFilter(min_face_px=20)) == "312"
    assert search(embedded, "Ada", faces=FaceFilter(min_quality=0.5)) == "312"
    with pytest.raises(ConfigError, match="allowed: similarity, time"):
        search(embedded, "Ada", order="size")


def test_near_duplicates_count_once(embedded):
    first, *others = embedded.people.pictures
    pictures = (first, dataclasses.replace(others[0], duplicate_of=first.sha256), *others[1:])
    people = dataclasses.replace(embedded.people, pictures=pictures)
    own = [faces_called("Ada", embedded)]
    found = find_pictures_of(own, [], people, faces=ANYBODY)
    assert numbers(found) == "431"
    assert [one.path for one in found[-1].duplicates] == ["2.jpg"]
    without_original = [[face for face in own[0] if face.face.picture != first.sha256]]
    assert numbers(find_pictures_of(without_original, [], people, faces=ANYBODY)) == "432"


def test_similarity_is_to_the_others_of_the_group(embedded):
    found = {face.face.row: face.similarity for face in faces_called("Ada", embedded)}
    rows = [0, 1, 2, 4]
    for row in rows:
        others = np.mean([embedded.embeddings[other] for other in rows if other != row], axis=0)
        assert found[row] == pytest.approx(float(others @ embedded.embeddings[row] / np.linalg.norm(others)), abs=1e-5)


def test_a_picture_finds_the_group_as_a_whole_and_single_faces(embedded):
    like_ada = faces_like("x.jpg", embedded, direction(0), threshold=0.95)
    assert sorted(face.face.row for face in like_ada) == [0, 1, 2, 4]  # that with .89 is in the group
    like_stranger = faces_like("x.jpg", embedded, direction(2), threshold=0.95)
    assert [face.face.row for face in like_stranger] == [6, 7]
    between = direction(0) + direction(2)  # like one face of the group, unlike the group
    assert faces_like("x.jpg", embedded, between / np.linalg.norm(between), threshold=0.72) == []


def test_a_gallery_names_faces_of_the_library(embedded):
    gallery = gallery_of_groups(embedded)
    found = faces_in_gallery("Grace Hopper", embedded, gallery, threshold=0.9)
    assert [face.face.row for face in found] == [3, 5]
    assert faces_in_gallery("unknown", embedded, gallery, threshold=0.9) == []


def test_named_groups_become_a_gallery_from_what_is_stored(embedded, tmp_path):
    target = tmp_path / "people.index"
    enrol_groups(target, embedded)
    gallery = Gallery.load(target)
    assert gallery.faces_by_person() == {"Ada": 4, "Grace Hopper": 2}
    assert (gallery.decision, gallery.model) == ("mean", embedded.model)
    assert [one.name for one in gallery.identify(direction(1)[None], top_k=1, threshold=0.9)] == ["Grace Hopper"]
    groups = tuple(dataclasses.replace(g, name="Ada") for g in embedded.people.grouping.groups)
    merged = dataclasses.replace(embedded.people, grouping=dataclasses.replace(embedded.people.grouping, groups=groups))
    after = enrol_groups(target, dataclasses.replace(embedded, people=merged))
    assert after.faces_by_person() == {"Ada": 6}  # nobody is left of whom nothing is left


def test_a_gallery_of_another_model_is_refused(embedded, tmp_path):
    target = tmp_path / "people.index"
    other = dataclasses.replace(embedded, model=dataclasses.replace(embedded.model, weights_sha256="ef" * 32))
    enrol_groups(target, other)
    before = target.read_bytes()
    with pytest.raises(GalleryError, match="made with the model net"):
        enrol_groups(target, embedded)
    assert target.read_bytes() == before
    with pytest.raises(GalleryError, match="written into a gallery file"):
        enrol_groups("faiss:people", embedded)
    nameless = tuple(dataclasses.replace(g, name=None) for g in embedded.people.grouping.groups)
    people = dataclasses.replace(
        embedded.people, grouping=dataclasses.replace(embedded.people.grouping, groups=nameless)
    )
    with pytest.raises(GalleryError, match="no group has a name"):
        gallery_of_groups(dataclasses.replace(embedded, people=people))


def test_of_a_large_group_the_best_faces_are_enrolled(tmp_path):
    write_picture(tmp_path / "a.jpg", size_wh=(99, 99))
    picture = picture_of(tmp_path, "a.jpg", size_wh=(99, 99))
    faces = [face_of(picture, i, (i, 0, i + 10, 10), row=i) for i in range(FACES_PER_PERSON + 9)]
    faces = [dataclasses.replace(face, quality=face.row / 100) for face in faces]
    people = people_of(tmp_path, [picture], faces, groups=[("g", "Ada", faces)])
    vectors = np.tile(direction(0), (len(faces), 1))
    embedded = EmbeddedPeople(people, vectors, gallery_model())
    gallery = gallery_of_groups(embedded)
    assert len(gallery) == FACES_PER_PERSON
    assert min(entry.box_xyxy[0] for entry in gallery.entries) == 9


def gallery_model():
    from arcface_paddle.pipeline.gallery import ModelIdentity

    return ModelIdentity("net", 16, "ab" * 32, "cd" * 32, True)


def test_a_store_that_does_not_hold_the_faces_is_said(embedded, tmp_path):
    people = embedded.people
    moved = dataclasses.replace(people.faces[0], box_xyxy=people.faces[0].box_xyxy + 5)
    other = dataclasses.replace(people, faces=(moved, *people.faces[1:]))
    with pytest.raises(DataError, match="does not hold the face"):
        load_embedded(other)
    with pytest.raises(DataError, match="run 'arcface-paddle people' again"):
        load_embedded(dataclasses.replace(people, store=str(tmp_path / "gone")))


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("ada", ["Ada", "Eve"], "did you mean Ada?"),
        ("Ana", ["Ada", "Anna"], "did you mean Anna, Ada?"),
        ("Hopper", ["Ada", "Grace Hopper"], "did you mean Grace Hopper?"),
        ("Zoë", ["Ada", "Eve"], "there are Ada, Eve"),
        ("Ada", [], "nobody has a name yet"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, known, hint):
    with pytest.raises(ConfigError) as refused:
        require_name(name, known, where="people.json")
    assert f"nobody in people.json is called {name!r}" in str(refused.value)
    assert hint in str(refused.value)


def photos(embedded) -> str:
    return embedded.people.root


def test_the_people_file_is_found_beside_the_pictures_wherever_they_have_moved(embedded, tmp_path):
    people, path = locate_people(photos(embedded))
    assert path == Path(photos(embedded) + "-people/people.json")
    assert locate_people(path.parent)[0].root == people.root
    (tmp_path / "moved").mkdir()
    assert locate_people(tmp_path / "moved", people=path)[0].root == str(tmp_path / "moved")
    with pytest.raises(DataError, match=r"there is no .*moved-people/people\.json yet; run 'arcface-paddle people"):
        locate_people(tmp_path / "moved")
    with pytest.raises(DataError, match="no such folder"):
        locate_people(tmp_path / "gone")
    (tmp_path / "moved" / "people.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        locate_people(tmp_path / "moved")


def test_find_prints_and_writes(embedded, tmp_path, capsys):
    folder = photos(embedded)
    assert main(["find", "Ada", folder, "--sort", "time", "--format", "paths"]) == 0
    printed = capsys.readouterr()
    assert [Path(line).name for line in printed.out.splitlines()] == ["4.jpg", "3.jpg", "1.jpg", "2.jpg"]
    assert "4 pictures" in printed.err
    assert main(["find", "Ada", folder, "--with", "Grace Hopper"]) == 0
    assert capsys.readouterr().out.split()[2:] == ["2020-01-07", "00:00", f"{folder}/3.jpg"]
    target = tmp_path / "found.json"
    assert main(["find", "Ada", folder, "--format", "json", "--output", str(target), "--top", "1"]) == 0
    [picture] = json.loads(target.read_text())["pictures"]
    assert picture["path"] == f"{folder}/4.jpg"
    assert picture["faces"][0]["person"] == "Ada"
    assert picture["faces"][0]["box"] == [0, 10, 12, 22]
    capsys.readouterr()
    assert main(["find", "Ada", folder, "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["person"] for row in rows] == ["Ada"] * 4
    assert main(["find", "Ada", folder, "--min_face", "500"]) == 0
    assert capsys.readouterr() == ("", "0 pictures\n")


@pytest.mark.parametrize("root", ["=1+1", "＝1+1", "\n=1+1", "\r=1+1", "@SUM(A1)"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(embedded, root):
    from arcface_paddle.library.find_results import listed

    people = dataclasses.replace(embedded.people, root=root)
    found = find_pictures_of([faces_called("Grace Hopper", embedded)], [], people, faces=ANYBODY)
    rows = list(csv.DictReader(io.StringIO(listed(found, people, form="csv"), newline="")))
    assert rows[0]["path"].startswith("'") and rows[0]["path"].endswith(".jpg")


def test_links_and_copies(embedded, tmp_path, capsys):
    folder, target = photos(embedded), tmp_path / "ada"
    for name, expected in (("Ada", 4), ("Grace Hopper", 2)):  # the second takes the place of the first
        assert main(["find", name, folder, "--links", str(target)]) == 0
        assert len(list(target.iterdir())) == expected
    link = min(target.iterdir())
    assert link.is_symlink()
    assert link.name in ("0001 -=5.jpg", "0001 3.jpg")
    assert link.read_bytes().startswith(b"\xff\xd8")
    assert main(["find", "Ada", folder, "--links", str(target), "--copies"]) == 0
    assert not any(path.is_symlink() for path in target.iterdir())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    capsys.readouterr()
    assert main(["find", "Ada", folder, "--links", str(tmp_path / "other")]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "other" / "thesis.txt").exists()


def test_a_page_of_what_was_found(embedded, tmp_path, capsys):
    target = tmp_path / "page" / "found.html"
    assert main(["find", "Ada", photos(embedded), "--without", "Grace Hopper", "--html", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    assert text.count("<figure") == 3
    relative = os.path.relpath(f"{photos(embedded)}/1.jpg", target.parent)
    assert f'href="{relative}"' in text
    assert "<title>Ada − Grace Hopper</title>" in text
    gone = Path(photos(embedded)) / "2.jpg"
    content = gone.read_bytes()
    gone.unlink()
    try:
        assert main(["find", "Ada", photos(embedded), "--html", str(target)]) == 1
    finally:
        gone.write_bytes(content)
    assert "2.jpg: no such file" in capsys.readouterr().err


def test_find_by_gallery(embedded, tmp_path, capsys):
    enrol_groups(tmp_path / "people.index", embedded)
    command = ["find", "Ada", photos(embedded), "--gallery", str(tmp_path / "people.index"), "--format", "paths"]
    assert main([*command, "--rec_thresh", "0.985"]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == ["4.jpg", "3.jpg", "1.jpg"]
    assert main(command) == 2
    assert "--rec_model is none of the known ones on this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (["--min_quality", "2"], "--min_quality is 2"),
        (["--min_face", "-1"], "--min_face is -1"),
        (["--copies"], "give --links DIR"),
        (["--with", "Eve"], "nobody in the people file is called 'Eve'"),
        (["--without", "grace hopper"], "did you mean Grace Hopper?"),
        (["--people", "gone.json"], "there is no gone.json yet"),
        (["--gallery", "gone.index"], "gone.index"),
    ],
)
def test_what_makes_no_sense_is_one_line(embedded, capsys, extra, reason):
    assert main(["find", "Ada", photos(embedded), *extra]) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_full_disk_is_one_line(embedded, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    command = ["find", "Ada", photos(embedded)]
    for option in ("--html", "--output"):
        assert main([*command, option, str(tmp_path / "x")]) == 2
        assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
