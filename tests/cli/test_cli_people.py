"""``arcface-paddle people``: the demo photographs as a library, twice, moved, deleted, interrupted, and bad ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_paddle.cli.commands import people as command
from arcface_paddle.cli.main import main
from arcface_paddle.library import folder_run
from arcface_paddle.library.documents import read_people
from arcface_paddle.library.folder_run import PeopleSettings, update_library
from arcface_paddle.library.person_tree import TREES
from arcface_paddle.pipeline.opening import PipelineSettings, open_pipeline
from arcface_paddle.pipeline.picture_workers import PictureWorkers

DEMO = Path(__file__).parents[2] / "demo"
MODELS = PipelineSettings(rec_model="FaceFusion")


def make_folder(folder: Path) -> Path:
    """Copy the photographs; one twice, one smaller (a near duplicate), and a file that is damaged."""
    shutil.copytree(DEMO / "queries", folder / "2020")
    shutil.copytree(DEMO / "gallery", folder / "gallery")
    shutil.copy(folder / "2020" / "obama_speech_2009.jpg", folder / "again.jpg")
    group = cv2.imread(str(folder / "2020" / "group.jpg"))
    cv2.imwrite(str(folder / "small.jpg"), cv2.resize(group, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA))
    (folder / "broken.jpg").write_bytes((folder / "again.jpg").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def first_run(tmp_path_factory) -> tuple[Path, Path]:
    """Photographs and results of a run by the command line."""
    photos = make_folder(tmp_path_factory.mktemp("library") / "photos")
    assert main(["people", str(photos)]) == 1  # the damaged file is reported
    return photos, photos.with_name("photos-people")


@pytest.fixture
def library(first_run, tmp_path) -> tuple[Path, Path]:
    """A copy of both, to be changed; the photographs stay where they were, so that paths in the store hold."""
    photos, results = first_run
    backup = tmp_path / "backup"
    shutil.copytree(photos, backup, copy_function=shutil.copy2)
    shutil.copytree(results, tmp_path / "results", symlinks=True)
    yield photos, tmp_path / "results"
    shutil.rmtree(photos)
    shutil.copytree(backup, photos, copy_function=shutil.copy2)


def nobody_opens(count: int):
    raise AssertionError(f"models are loaded for {count} pictures")


def run_again(photos: Path, results: Path, open_workers=nobody_opens, **changed):
    settings = PeopleSettings(photos, results, **changed)
    return update_library(settings, MODELS, open_workers=open_workers)


def open_workers(count: int) -> PictureWorkers:
    return PictureWorkers(open_pipeline(MODELS).analyzer)


def test_the_people_of_the_demo_photographs_are_told_apart(first_run):
    _, results = first_run
    people = read_people(results / "people.json")
    paths = {picture.sha256: picture.path for picture in people.pictures}
    picture_of = {face.face_id: paths[face.picture] for face in people.faces}
    groups = [sorted({picture_of[face_id] for face_id in group.face_ids}) for group in people.grouping.groups]
    assert len(groups) == 4
    assert all("2020/group.jpg" in group and "small.jpg" in group for group in groups)
    assert ["2020/group.jpg", "2020/stranger_collins.jpg", "small.jpg"] in groups
    obama = next(group for group in groups if "2020/obama_blue_room.jpg" in group)
    assert "gallery/Barack Obama/portrait_2012.jpg" in obama
    twice = next(picture for picture in people.pictures if picture.copies)
    assert {twice.path, *twice.copies} == {"again.jpg", "2020/obama_speech_2009.jpg"}
    duplicates = {picture.path for picture in people.pictures if picture.duplicate_of}
    assert "small.jpg" in duplicates
    assert people.grouping.facts.counts["duplicates"] == len(duplicates)
    assert Path(people.store) == results / "store"


def test_the_tree_links_to_the_pictures(first_run):
    photos, results = first_run
    people = read_people(results / "people.json")
    linked = {path.resolve() for path in (results / "people").glob("*/*.jpg")}
    assert all(path.is_symlink() for path in (results / "people").glob("*/*.jpg"))
    wanted = {(photos / p.path).resolve() for p in people.pictures if p.duplicate_of is None}
    assert linked == wanted
    assert {path.name for path in (results / "people").iterdir() if path.is_dir()} == {
        group.group_id for group in people.grouping.groups
    }


def test_an_unchanged_folder_costs_nothing(library):
    photos, results = library
    before = (results / "people.json").read_text(encoding="utf-8")
    result = run_again(photos, results)
    assert (result.report.unchanged, result.report.looked_at) == (len(result.listing.pictures), 0)
    assert len(result.report.problems) == 1  # it is told again, and the file is not opened again
    after = json.loads((results / "people.json").read_text(encoding="utf-8"))
    assert after == {**json.loads(before), "store": after["store"]}


def test_a_moved_picture_is_known_and_a_deleted_one_forgotten(library):
    photos, results = library
    (photos / "new folder").mkdir()
    (photos / "2020" / "group.jpg").rename(photos / "new folder" / "us.jpg")
    (photos / "2020" / "obama_blue_room.jpg").unlink()
    (photos / "broken.jpg").unlink()
    before = read_people(results / "people.json").grouping
    result = run_again(photos, results)
    assert (result.report.recognised, result.report.looked_at, result.report.forgotten) == (1, 0, 2)
    assert "new folder/us.jpg" in {picture.path for picture in result.people.pictures}
    places = result.people.grouping.group_of()
    assert places.items() <= before.group_of().items()  # who is left is where they were, under the same ids
    assert len(before.group_of()) - len(places) == 1


def test_new_pictures_join_known_groups(library):
    photos, results = library
    before = read_people(results / "people.json").grouping
    image = cv2.imread(str(photos / "2020" / "obama_speech_2009.jpg"))
    height, width = image.shape[:2]
    cv2.imwrite(str(photos / "cropped.jpg"), cv2.flip(image[height // 20 :, width // 12 :], 1))
    result = run_again(photos, results, open_workers)
    assert result.report.looked_at == 1
    added = next(picture for picture in result.people.pictures if picture.path == "cropped.jpg")
    [face] = [face for face in result.people.faces if face.picture == added.sha256]
    obama = next(face for face in result.people.faces if face.face_id in before.group_of())
    place = result.people.grouping.group_of()
    assert place[face.face_id] in {group.group_id for group in before.groups}
    assert place[obama.face_id] == before.group_of()[obama.face_id]


def test_what_was_looked_at_before_an_interruption_is_kept(first_run, tmp_path):
    photos, _ = first_run

    def interrupted(pictures):
        for number, picture in enumerate(pictures):
            if number == 4:
                raise KeyboardInterrupt
            yield picture

    settings = PeopleSettings(photos, tmp_path / "results")
    with pytest.raises(KeyboardInterrupt):
        update_library(settings, MODELS, open_workers=open_workers, show=interrupted)
    assert not (tmp_path / "results" / "people.json").exists()
    result = update_library(settings, MODELS, open_workers=open_workers)
    known = result.report.unchanged + result.report.recognised
    assert known >= 2  # results of the last pictures begun are dropped
    assert known + result.report.looked_at == len(result.listing.pictures)


def test_copies_in_place_of_links_and_none(library):
    photos, results = library
    result = run_again(photos, results, tree="copies")
    copied = list((results / "people").glob("*/*.jpg"))
    assert len(copied) == result.linked > 0
    assert not any(path.is_symlink() for path in copied)
    assert copied[0].read_bytes() in [path.read_bytes() for path in photos.rglob("*.jpg")]
    shutil.rmtree(results / "people")
    assert run_again(photos, results, tree="none").linked == 0
    assert not (results / "people").exists()


def test_a_folder_of_somebody_else_is_not_replaced(library):
    photos, results = library
    shutil.rmtree(results / "people")
    (results / "people").mkdir()
    (results / "people" / "diary.txt").write_text("mine")
    with pytest.raises(folder_run.DataError, match="was not made by"):
        run_again(photos, results)
    assert (results / "people" / "diary.txt").read_text() == "mine"


def test_the_results_may_lie_inside_of_the_folder(library):
    photos, results = library
    shutil.copytree(results / "store", photos / "album" / "store")
    result = run_again(photos, photos / "album", tree="copies")
    again = run_again(photos, photos / "album", tree="copies")
    assert len(again.listing.pictures) == len(result.listing.pictures)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such file or folder"),
        (lambda folder: folder.write_text("x"), "is a file; name the folder"),
        (lambda folder: folder.mkdir(), "no picture"),
    ],
)
def test_bad_folders_are_told_in_a_line(tmp_path, capsys, make, message):
    make(tmp_path / "photos")
    assert main(["people", str(tmp_path / "photos")]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not (tmp_path / "photos-people" / "people.json").exists()


def test_a_folder_without_faces(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "wall.png"), np.full((80, 80, 3), 120, np.uint8))
    assert main(["people", str(tmp_path / "photos"), "--rec_model", "MobileFace"]) == 2
    assert "no face found in 1 picture" in capsys.readouterr().err
    (tmp_path / "photos" / "wall.png").write_bytes(b"")
    assert main(["people", str(tmp_path / "photos"), "--rec_model", "MobileFace"]) == 2
    assert "1 of which cannot be read (" in (error := capsys.readouterr().err) and "wall.png: " in error
    assert not (tmp_path / "photos-people" / "people.json").exists()


def test_a_damaged_store_and_people_file_are_told(library):
    photos, results = library
    (results / "people.json").write_text("{")
    with pytest.raises(folder_run.DataError, match="not valid JSON"):
        run_again(photos, results)
    (results / "people.json").unlink()
    log = next((results / "store").glob("*/faces.log"))
    content = bytearray(log.read_bytes())
    content[200] ^= 255
    log.write_bytes(content)
    with pytest.raises(folder_run.DataError, match="damaged at byte"):
        run_again(photos, results)


def test_the_command_offers_the_trees_that_there_are():
    assert command.TREES == TREES
