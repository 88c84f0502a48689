"""From photographs to names and back: the page, corrections, XMP, a gallery, and finding, by the commands."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from arcface_paddle import files, images
from arcface_paddle.cli.main import main
from arcface_paddle.library.documents import read_people
from arcface_paddle.library.xmp import read_regions
from arcface_paddle.pipeline.gallery import Gallery

DEMO = Path(__file__).parents[2] / "demo"
PHOTOGRAPHS = (
    *("queries/obama_speech_2009.jpg", "queries/obama_blue_room.jpg", "queries/group.jpg"),
    "gallery/Barack Obama/portrait_2012.jpg",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A folder that has been looked through: three photographs of Barack Obama, and a group."""
    folder = tmp_path_factory.mktemp("album") / "photos"
    for number, name in enumerate(PHOTOGRAPHS):
        image = images.read_image(DEMO / name, longest_side=600)
        images.write_image(folder / f"{number} 相.jpg", image)
    assert main(["people", str(folder), "--tree", "none"]) == 0
    return folder


@pytest.fixture
def photos(library, tmp_path) -> Path:
    """A copy of it with its results, to be changed."""
    shutil.copytree(library, tmp_path / "photos")
    shutil.copytree(library.with_name("photos-people"), tmp_path / "photos-people")
    document = tmp_path / "photos-people" / "people.json"
    document.write_text(document.read_text(encoding="utf-8").replace(str(library.parent), str(tmp_path)), "utf-8")
    return tmp_path / "photos"


def people_in(photos: Path) -> Any:
    return read_people(results(photos) / "people.json")


def results(photos: Path) -> Path:
    return photos.with_name("photos-people")


def correct(photos: Path, *actions: dict[str, Any], extra: tuple[str, ...] = ()) -> int:
    """Apply actions as a file, as somebody does who has saved it from the page."""
    document = {"format": "arcface-paddle-corrections", "version": 1, "actions": list(actions)}
    target = photos.with_name("corrections.json")
    target.write_text(json.dumps(document), encoding="utf-8")
    return main(["people", str(photos), "--tree", "none", "--corrections", str(target), *extra])


def portrait(photos: Path) -> str:
    """Return the face of the picture that shows him alone."""
    people = people_in(photos)
    [face_id] = [face.face_id for face in people.faces if face.picture == _sha(people, "0 相.jpg")]
    return face_id


def obama(photos: Path) -> str:
    """Return the id of his group."""
    return people_in(photos).grouping.group_of()[portrait(photos)]


def _sha(people: Any, name: str) -> str:
    [sha256] = [picture.sha256 for picture in people.pictures if picture.path == name]
    return sha256


def names(photos: Path) -> dict[str, int]:
    return {group.name: len(group.face_ids) for group in people_in(photos).grouping.groups if group.name}


def test_names_merges_and_splits_last_and_can_be_taken_back(photos):
    group = obama(photos)
    count = len(next(one for one in people_in(photos).grouping.groups if one.group_id == group).face_ids)
    assert correct(photos, {"do": "name", "group": group, "name": "Barack Obama"}) == 0
    assert names(photos) == {"Barack Obama": count}
    assert main(["people", str(photos), "--tree", "none", "--no_page"]) == 0
    assert names(photos) == {"Barack Obama": count}  # remembered
    faces = next(one for one in people_in(photos).grouping.groups if one.name).face_ids
    group, other = obama(photos), next(face_id for face_id in faces if face_id != portrait(photos))
    assert correct(photos, {"do": "not_person", "faces": [other], "group": group}, extra=("--no_page",)) == 0
    assert names(photos) == {"Barack Obama": count - 1}
    back = {"do": "move", "faces": [other], "to": group}
    assert correct(photos, back, extra=("--no_page",)) == 0
    assert names(photos) == {"Barack Obama": count}
    for expected in (count - 1, count):  # the last file is taken back, then the one before it
        assert main(["people", str(photos), "--tree", "none", "--no_page", "--undo_corrections"]) == 0
        assert names(photos) == {"Barack Obama": expected}


def test_a_stranger_is_left_alone(photos):
    people = people_in(photos)
    strangers = [face.face_id for face in people.faces if face.picture == _sha(people, "2 相.jpg")][:2]
    assert correct(photos, {"do": "unknown", "faces": strangers}, extra=("--no_page",)) == 0
    grouping = people_in(photos).grouping
    assert set(strangers) <= set(grouping.alone)
    assert grouping.facts.counts["alone"] == len(grouping.alone)


def test_names_go_into_xmp_and_come_back(photos, capsys):
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    named = {"do": "name", "group": obama(photos), "name": "Barack Obama"}
    assert correct(photos, named, extra=("--xmp", "--no_page")) == 0
    sidecar = photos / "0 相.jpg.xmp"
    [region] = read_regions(sidecar.read_bytes(), name="a").faces
    assert region.name == "Barack Obama"
    assert {path.name: path.read_bytes() for path in photos.glob("*.jpg")} == before
    sidecar.write_bytes(sidecar.read_bytes().replace(b'mwg-rs:Name="Barack Obama"', b'mwg-rs:Name="Barack"'))
    capsys.readouterr()
    assert main(["people", str(photos), "--tree", "none", "--xmp", "--no_page"]) == 0
    assert "called otherwise by another program" in capsys.readouterr().out
    assert main(["people", str(photos), "--tree", "none", "--undo_corrections", "--read_xmp", "--no_page"]) == 0
    assert set(names(photos)) == {"Barack"}
    assert main(["people", str(photos), "--tree", "none", "--no_page"]) == 0
    assert set(names(photos)) == {"Barack"}  # remembered, too


def test_groups_become_a_gallery_that_recognises_and_finds(photos, tmp_path, capsys):
    name = {"do": "name", "group": obama(photos), "name": "Barack Obama"}
    gallery = tmp_path / "people.index"
    assert correct(photos, name, extra=("--to_gallery", str(gallery), "--no_page")) == 0
    assert Gallery.load(gallery).names == ("Barack Obama",)
    capsys.readouterr()
    for extra in ((), ("--gallery", str(gallery))):
        assert main(["find", "Barack Obama", str(photos), "--format", "paths", *extra]) == 0
        found = capsys.readouterr().out.splitlines()
        assert {Path(line).name for line in found} >= {"0 相.jpg", "1 相.jpg"}
    assert main(["find", str(DEMO / "queries/obama_speech_2009.jpg"), str(photos), "--format", "paths"]) == 0
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} >= {"0 相.jpg", "1 相.jpg"}
    assert (
        main(["people", str(photos), "--rec_model", "MobileFace", "--tree", "none", "--to_gallery", str(gallery)]) == 2
    )


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (["--corrections", "gone.json"], "--corrections gone.json: no such file"),
        (["--undo_corrections"], "there are no corrections to take back"),
        (["--xmp_names", "stem"], "give --xmp"),
        (["--to_gallery", "."], "--to_gallery .: is a folder"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_work(photos, capsys, extra, reason):
    before = (results(photos) / "people.json").read_bytes()
    assert main(["people", str(photos), *extra]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
    assert (results(photos) / "people.json").read_bytes() == before


def test_a_file_about_other_groups_changes_nothing(photos, capsys):
    before = {path: path.read_bytes() for path in results(photos).rglob("*.json")}
    assert correct(photos, {"do": "name", "group": "p-nobody", "name": "Eve"}) == 2
    assert "action 1 of 1: no group 'p-nobody' in the people file" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in results(photos).rglob("*.json")} == before
    shutil.rmtree(results(photos))
    assert correct(photos, {"do": "name", "group": "p-nobody", "name": "Eve"}) == 2
    assert "without --corrections first" in capsys.readouterr().err


@pytest.fixture
def fill_disk(monkeypatch):
    """Let the page meet a full disk, until the patch is undone."""
    write = files.write_text

    def full(path, content):
        if Path(path).name == "people.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    return lambda: monkeypatch.setattr(files, "write_text", full)


def test_a_disk_that_is_full_while_the_page_is_written_leaves_the_old_page(photos, capsys, fill_disk):
    page = results(photos) / "people.html"
    before = page.read_bytes()
    fill_disk()
    assert main(["people", str(photos), "--tree", "none"]) == 2
    assert "people.html: cannot be written: No space left on device" in capsys.readouterr().err
    assert page.read_bytes() == before


def test_the_same_command_after_a_full_disk_takes_back_the_same_file(photos, fill_disk, monkeypatch):
    for name in ("Barack", "Obama"):
        assert correct(photos, {"do": "name", "group": obama(photos), "name": name}, extra=("--no_page",)) == 0
    undo = ["people", str(photos), "--tree", "none", "--undo_corrections"]
    fill_disk()
    assert main(undo) == 2
    monkeypatch.undo()
    assert main(undo) == 0
    assert set(names(photos)) == {"Barack"}


def test_the_same_command_after_a_full_disk_means_the_groups_that_were_there(photos, fill_disk, monkeypatch, capsys):
    nobody = {"do": "unknown", "group": obama(photos)}  # after which there is no such group
    fill_disk()
    assert correct(photos, nobody) == 2
    monkeypatch.undo()
    assert (correct(photos, nobody), people_in(photos).grouping.groups) == (0, ())
    assert correct(photos, nobody, {"do": "name", "group": "p-nobody", "name": "Eve"}) == 2  # another file
    assert "no group" in capsys.readouterr().err


def test_the_page_and_the_command_take_turns(photos, driver, tmp_path):
    from chromium_page import Page

    address = (results(photos) / "people.html").as_uri()
    page = Page(driver, address, "")
    page.resize(1280, 800)
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    driver.get(address)
    group = obama(photos)
    page.one(f"[data-group='{group}'] input[type=text]").send_keys("贝拉克\n")
    page.one("#save").click()
    page.wait((tmp_path / "corrections.json").is_file, "the file")
    assert main(["people", str(photos), "--tree", "none", "--corrections", str(tmp_path / "corrections.json")]) == 0
    driver.get(address)
    field = page.one(f"[data-group='{group}'] input[type=text]")
    assert field.get_attribute("value") == "贝拉克"
    assert page.all("main p.empty") == []  # nothing of the last visit waits here: it has been taken
    face = page.one(f"[data-group='{group}'] .face")
    page.wait(lambda: face.value_of_css_property("background-image").startswith("url("))
    assert list(page.console()) == []
