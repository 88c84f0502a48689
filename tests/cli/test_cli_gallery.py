"""``arcface-paddle gallery``: every subcommand, and that a failed one leaves the file as it was."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli import main
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry

ROOT = Path(__file__).parents[2]
PEOPLE, QUERIES = ROOT / "demo" / "gallery", ROOT / "demo" / "queries"

pytestmark = pytest.mark.usefixtures("models_loaded_once")


def gallery_command(*arguments) -> int:
    try:
        return main.main(["gallery", *(str(argument) for argument in arguments)])
    except SystemExit as leaving:
        return int(leaving.code or 0)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "people.index"
    assert gallery_command("build", path, f"--img_dir={PEOPLE}", "--rec_model=MobileFace") == 0
    return path


@pytest.fixture
def people(built, tmp_path) -> Path:
    return Path(shutil.copy(built, tmp_path / "people.index"))


def simple_gallery(path: Path, names: str, *, seed: int) -> Path:
    rows = np.random.default_rng(seed).normal(size=(len(names), 192)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    Gallery([GalleryEntry(name, f"{name}{i}.jpg") for i, name in enumerate(names)], rows).save(path)
    return path


def write_published(path: Path, names: str, *, size: int) -> Path:
    rows = [3 * row[None] for row in np.random.default_rng(0).normal(size=(len(names), size)).astype(np.float32)]
    path.write_bytes(pickle.dumps({"label": list(names), "feature": rows}, protocol=3))
    return path


def test_build_twice_gives_the_same_bytes(people, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    for name in ("first", "second"):
        assert gallery_command("build", tmp_path / name, f"--img_dir={PEOPLE}", f"--label={PEOPLE}/label.txt") == 0
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_add_keeps_what_was_there_and_adds_once(people, tmp_path, capsys):
    more = tmp_path / "more"
    (more / "Eileen Collins").mkdir(parents=True)
    shutil.copy(QUERIES / "stranger_collins.jpg", more / "Eileen Collins")
    assert gallery_command("add", people, f"--img_dir={more}", f"--json={tmp_path}/report.json") == 0
    assert Gallery.load(people).names == ("Barack Obama", "Eileen Collins", "Grace Hopper", "Joe Biden")
    assert json.loads((tmp_path / "report.json").read_text())["added"] == 1
    before = people.read_bytes()
    assert gallery_command("add", people, f"--img_dir={more}") == 0
    assert "already" in capsys.readouterr().err
    assert people.read_bytes() == before


def test_add_reports_what_has_no_face(people, tmp_path, capsys):
    images.write_image(tmp_path / "more" / "Ada" / "wall.png", np.full((200, 200, 3), 128, np.uint8))
    assert gallery_command("add", people, f"--img_dir={tmp_path}/more") == 1
    assert "wall.png" in capsys.readouterr().err and len(Gallery.load(people)) == 3


def test_add_follows_the_gallery_and_refuses_another_model(people, tmp_path, capsys):
    simple_gallery(tmp_path / "imported", "ab", seed=0)
    assert gallery_command("add", tmp_path / "imported", f"--img_dir={PEOPLE}") == 2
    assert "does not say which model" in capsys.readouterr().err
    before = people.read_bytes()
    assert gallery_command("add", people, f"--img_dir={PEOPLE}", "--flip=false") == 2
    assert "mirrored" in capsys.readouterr().err and people.read_bytes() == before


def test_remove_rename_and_list(people, tmp_path, capsys):
    assert gallery_command("rename", people, "Joe Biden", "拜登") == 0
    assert gallery_command("remove", people, "Grace Hopper") == 0
    assert gallery_command("list", people, f"--json={tmp_path}/list.json") == 0
    shown = capsys.readouterr().out
    assert "拜登" in shown and "2 faces of 2 people" in shown and "MobileFace" in shown
    listed = json.loads((tmp_path / "list.json").read_text(encoding="utf-8"))
    assert listed["people"] == {"Barack Obama": 1, "拜登": 1} and len(listed["entries"][0]["sha256"]) == 64
    assert gallery_command("list", people, "--pictures") == 0
    assert "Barack Obama/portrait_2012.jpg" in capsys.readouterr().out
    assert gallery_command("remove", people, "--picture", "Barack Obama/portrait_2012.jpg") == 0
    assert Gallery.load(people).names == ("拜登",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove", "{g}", "Nobody"], "Barack Obama, Grace Hopper, Joe Biden"),
        (["remove", "{g}", "--picture", "none.jpg"], "none.jpg"),
        (["rename", "{g}", "Joe Biden", "Grace Hopper"], "--join"),
        (["rename", "{g}", "Joe Biden", "unknown"], "reserved"),
        (["list", "{g}.none"], "No such file"),
        (["add", "{g}"], "--img_dir"),
        (["build", "{g}"], "--img_dir"),
        (["check", "{g}", "--rec_model=None"], "None"),
        (["merge", "{g}.new", "{g}", "{g}.none"], "No such file"),
    ],
)
def test_refusals_leave_the_gallery(people, capsys, arguments, message):
    before = sorted(people.parent.iterdir()), people.read_bytes()
    assert gallery_command(*(argument.format(g=people) for argument in arguments)) == 2
    assert message in capsys.readouterr().err
    assert (sorted(people.parent.iterdir()), people.read_bytes()) == before


def test_no_subcommand_is_wrong_use(capsys):
    assert gallery_command() == 2


def test_merge(people, tmp_path):
    first = simple_gallery(tmp_path / "1", "ab", seed=1)
    second = simple_gallery(tmp_path / "2", "bc", seed=2)
    assert gallery_command("merge", tmp_path / "all", first, second) == 0
    assert Gallery.load(tmp_path / "all").names == ("a", "b", "c")
    assert gallery_command("merge", tmp_path / "none", first, people) == 2
    assert not (tmp_path / "none").exists()


def test_import_of_a_published_index(people, tmp_path, capsys):
    old = write_published(tmp_path / "old.bin", "xyx", size=192)
    assert gallery_command("import", tmp_path / "new", old) == 0
    assert "not known" in capsys.readouterr().out and Gallery.load(tmp_path / "new").model is None
    assert gallery_command("import", tmp_path / "new", old, "--rec_model=MobileFace", "--flip=true") == 0
    assert gallery_command("merge", tmp_path / "all", tmp_path / "new", people) == 0
    assert len(Gallery.load(tmp_path / "all").names) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["remove", "{old}", "x"],
        ["remove", "{old}", "--picture", "old.bin#0"],
        ["rename", "{old}", "x", "z"],
        ["add", "{old}", f"--img_dir={PEOPLE}"],
        ["import", "{old}", "{old}"],
        ["merge", "{old}", "{old}", "{old}"],
    ],
)
def test_a_published_index_is_never_rewritten_in_another_format(tmp_path, capsys, arguments):
    old = write_published(tmp_path / "old.bin", "xyx", size=192)
    before = old.read_bytes()
    assert gallery_command(*(argument.format(old=old) for argument in arguments)) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and f"arcface-paddle gallery import NEW {old}" in shown
    assert old.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["old.bin"]


@pytest.mark.parametrize(("size", "model"), [(128, "MobileFace-128"), (512, "ArcFace")])
def test_a_published_index_of_another_size_says_the_way_out(tmp_path, capsys, size, model):
    old = write_published(tmp_path / "old.bin", "xy", size=size)
    code = main.run_module(
        "recognize", ["--det", "--rec", f"--index={old}", f"--input={QUERIES}/group.jpg", f"--output={tmp_path}/out"]
    )
    shown = capsys.readouterr().err
    assert code == 2 and shown.count("\n") == 1
    for part in (str(size), "192", f"arcface-paddle models fetch {model}", f"--rec_model {model}", "gallery build"):
        assert part in shown


def test_build_takes_the_face_that_is_asked_for_and_says_what_it_passed_over(people, tmp_path, capsys):
    more = tmp_path / "more"
    (more / "Somebody").mkdir(parents=True)
    (more / "@eaDir" / "group.jpg").mkdir(parents=True)
    shutil.copy(QUERIES / "group.jpg", more / "Somebody")
    shutil.copy(QUERIES / "group.jpg", more / "@eaDir" / "group.jpg" / "SYNOPHOTO_THUMB_XL.jpg")
    shutil.copy(QUERIES / "stranger_collins.jpg", more / "Somebody" / "small_copy.jpg")
    (more / "Somebody" / "notes.txt").write_text("who this is")
    arguments = ["build", tmp_path / "new", f"--img_dir={more}", "--exclude=small_*", f"--json={tmp_path}/report.json"]
    assert gallery_command(*arguments) == 2  # four faces: nothing was taken
    shown = capsys.readouterr().err
    assert "group.jpg (Somebody): 4 faces were found" in shown and "--faces centre" in shown
    chosen = {}
    for flag in ("--faces=centre", "--faces=largest", "--pick_largest"):
        assert gallery_command(*arguments, flag) == 0
        [chosen[flag]] = [entry.box_xyxy for entry in Gallery.load(tmp_path / "new").entries]
    shown = capsys.readouterr().err
    assert "1 file is no picture and was passed over: notes.txt; 1 folder was not searched: @eaDir" in shown
    assert json.loads((tmp_path / "report.json").read_text())["not_looked_at"]["folders"] == {"@eaDir": 1}
    assert chosen["--pick_largest"] == chosen["--faces=largest"] != chosen["--faces=centre"]
    assert gallery_command(*arguments, "--pick_largest", "--faces=centre") == 2
    assert "contradicts" in capsys.readouterr().err


def test_a_folder_of_one_picture_a_person_is_taken_as_it_lies(tmp_path, capsys):
    known = tmp_path / "known"
    known.mkdir()
    shutil.copy(QUERIES / "obama_speech_2009.jpg", known / "Barack Obama.jpg")
    shutil.copy(QUERIES / "stranger_collins.jpg", known / "Eileen Collins.jpg")
    assert gallery_command("build", tmp_path / "new", f"--img_dir={known}") == 0
    shown = capsys.readouterr()
    assert f"{known}: has no folders of persons, so that each file is one, by its name: 2 people" in shown.err
    assert Gallery.load(tmp_path / "new").faces_by_person() == {"Barack Obama": 1, "Eileen Collins": 1}


def test_check_finds_a_person_under_two_names(people, tmp_path, capsys):
    assert gallery_command("check", people) == 0
    assert "nothing suspicious" in capsys.readouterr().out
    more = tmp_path / "more" / "B. Obama"
    more.mkdir(parents=True)
    shutil.copy(QUERIES / "obama_speech_2009.jpg", more)
    assert gallery_command("add", people, f"--img_dir={more.parent}") == 0
    assert gallery_command("check", people, f"--json={tmp_path}/check.json") == 1
    shown = capsys.readouterr().out
    assert "same_person" in shown and "B. Obama" in shown
    found = json.loads((tmp_path / "check.json").read_text())["suspicions"]
    assert {item["entry"]["name"] for item in found} == {"B. Obama", "Barack Obama"}
    assert gallery_command("check", people, "--threshold=0.99") == 0


@pytest.fixture
def engine(tmp_path) -> str:
    """A gallery that is kept by FAISS."""
    pytest.importorskip("faiss")
    return f"faiss:{tmp_path / 'engine'}"


def test_a_gallery_goes_into_an_engine_and_back(people, engine, tmp_path, capsys):
    assert gallery_command("convert", people, engine) == 0
    assert re.search(r"faces of 3 people, as in .*people\.index; (\d+) of \1 faces asked for", capsys.readouterr().out)
    assert gallery_command("convert", people, engine) == 2
    assert "exists already" in capsys.readouterr().err
    assert gallery_command("list", engine, "--json", tmp_path / "list.json") == 0
    assert json.loads((tmp_path / "list.json").read_text())["people"] == Gallery.load(people).faces_by_person()
    assert gallery_command("export", engine, tmp_path / "backup.index") == 0
    assert (tmp_path / "backup.index").read_bytes() == people.read_bytes()
    assert gallery_command("export", people, engine) == 2
    assert "gallery convert" in capsys.readouterr().err


def test_every_edit_works_on_an_engine(people, engine, tmp_path, capsys):
    assert gallery_command("convert", people, engine) == 0
    assert gallery_command("rename", engine, "Joe Biden", "Joseph Biden") == 0
    assert gallery_command("remove", engine, "Grace Hopper") == 0
    assert "people" in capsys.readouterr().out
    more = tmp_path / "more"
    (more / "Eileen Collins").mkdir(parents=True)
    shutil.copy(QUERIES / "stranger_collins.jpg", more / "Eileen Collins")
    assert gallery_command("add", engine, f"--img_dir={more}", f"--json={tmp_path}/report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["added"], report["already_there"], report["people"]) == (1, 0, 3)
    assert gallery_command("merge", tmp_path / "all.index", people, engine) == 0
    assert Gallery.load(tmp_path / "all.index").names == (
        "Barack Obama", "Eileen Collins", "Grace Hopper", "Joe Biden", "Joseph Biden",
    )  # fmt: skip
    assert gallery_command("check", engine) in (0, 1)
    assert gallery_command("remove", engine, "Nobody") == 2
    assert "no person 'Nobody'" in capsys.readouterr().err


def test_an_engine_names_faces_as_a_file_does(people, engine, tmp_path, capsys):
    assert gallery_command("build", engine, f"--img_dir={PEOPLE}", "--rec_model=MobileFace") == 0
    recognised = tmp_path / "found.json"
    question = ["--det", "--rec", f"--input={QUERIES / 'biden_relit.jpg'}", "--no_draw", f"--json={recognised}"]
    answers = []
    for index in (people, engine):
        assert main.run_module("recognize", [*question, f"--index={index}"], prog="test_recognition") == 0
        [result] = json.loads(recognised.read_text())["images"]
        answers.append([(face["name"], round(face["similarity"], 4)) for face in result["faces"]])
    assert answers[0] == answers[1] and answers[0][0][0] == "Joe Biden"
    missing = [*question, f"--index=faiss:{tmp_path / 'none'}"]
    assert main.run_module("recognize", missing, prog="test_recognition") == 2
    assert "no gallery.sqlite" in capsys.readouterr().err


@pytest.fixture
def key_file(tmp_path, monkeypatch, capsys) -> Path:
    pytest.importorskip("cryptography")
    path = tmp_path / "people.key"
    assert gallery_command("key", path) == 0
    said = capsys.readouterr().out
    assert path.read_text().strip() not in said and f"ARCFACE_PADDLE_GALLERY_KEY_FILE={path}" in said
    monkeypatch.setenv("ARCFACE_PADDLE_GALLERY_KEY_FILE", str(path))
    return path


def test_every_command_takes_an_encrypted_gallery(tmp_path, key_file, monkeypatch, capsys):
    """Built, extended, changed, united, looked at and searched; then without the key."""
    room = tmp_path / "room"
    room.mkdir()
    path, other = room / "people.index", room / "other.index"
    assert gallery_command("build", path, f"--img_dir={PEOPLE}", "--rec_model=MobileFace") == 0
    assert gallery_command("add", path, f"--img_dir={PEOPLE}", "--rec_model=MobileFace") in (0, 1)
    assert gallery_command("rename", path, "Joe Biden", "J. Biden") == 0
    assert gallery_command("merge", other, path) == 0 and gallery_command("remove", other, "J. Biden") == 0
    assert gallery_command("list", path) == 0 and gallery_command("check", path) in (0, 1)
    assert gallery_command("export", path, room / "backup.index") == 0
    content = b"".join(entry.read_bytes() for entry in room.iterdir())
    assert all(entry.read_bytes().startswith(b"AFPSEAL1") for entry in room.iterdir())
    assert not any(name in content for name in (b"Biden", b"Hopper", b"gallery.json"))
    assert not any(row.tobytes()[:16] in content for row in Gallery.load(path).embeddings)
    capsys.readouterr()
    query = f"--input={QUERIES / 'hopper_relit.jpg'}"
    assert main.main(["recognize", "--det", "--rec", f"--index={path}", query, f"--output={tmp_path}"]) == 0
    assert "Grace Hopper" in capsys.readouterr().out
    assert gallery_command("export", path, tmp_path / "people.npz") == 0
    assert f"{path} is encrypted; {tmp_path / 'people.npz'} is not" in capsys.readouterr().err
    monkeypatch.delenv("ARCFACE_PADDLE_GALLERY_KEY_FILE")
    commands = [("list", path), ("rename", path, "J. Biden", "X"), ("merge", room / "new.index", path)]
    for command in (*commands, ("convert", path, f"faiss:{tmp_path / 'engine'}")):
        assert gallery_command(*command) == 2
        [line] = capsys.readouterr().err.strip().splitlines()
        assert "is encrypted (key " in line and "no key is given" in line
