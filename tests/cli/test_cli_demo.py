"""The demonstration: what it leaves in the folder, and what it leaves alone."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from pathlib import Path

import pytest

from arcface_paddle import images
from arcface_paddle.cli.commands import recognize
from arcface_paddle.cli.main import main
from arcface_paddle.cli.notebook_parser import NotebookParser
from arcface_paddle.errors import DataError
from arcface_paddle.pipeline import demo_photographs
from arcface_paddle.pipeline.gallery import Gallery

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Path, str]:
    """Run the demonstration in an empty folder; return the folder and what was printed."""
    folder = tmp_path_factory.mktemp("demonstration")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        assert main(["demo"]) == 0
    return folder, printed.getvalue()


def test_it_builds_recognises_and_says_how_to_go_on(shown):
    folder, printed = shown
    demo = folder / "arcface_demo"
    assert len(Gallery.load(demo / "gallery.index").names) == 3
    found = json.loads((demo / "recognised.json").read_text(encoding="utf-8"))["images"]
    names = {Path(image["source"]).name: sorted(face["name"] for face in image["faces"]) for image in found}
    assert names["group.jpg"] == ["Barack Obama", "Grace Hopper", "Joe Biden", "unknown"]
    assert names["stranger_collins.jpg"] == ["unknown"]
    annotated = sorted(path.name for path in (demo / "recognised").iterdir())
    assert annotated == sorted(path.name for path in (ROOT / "demo" / "queries").iterdir())
    before, after = (images.load_image(demo / part / "group.jpg") for part in ("queries", "recognised"))
    assert before.shape == after.shape and (before != after).any()
    assert "Grace Hopper" in printed and "arcface_demo/recognised" in printed and "DEMO_PHOTOS.md" in printed


def test_every_command_that_it_prints_is_understood(shown):
    commands = [line.lstrip("$ ") for line in shown[1].splitlines() if "test_recognition --" in line]
    assert len(commands) == 4
    parser = NotebookParser()
    recognize.configure(parser)
    built, recognised, build, recognise = (parser.parse_args(shlex.split(line)[1:]) for line in commands)
    assert built.build_index == recognised.index == "arcface_demo/gallery.index"
    assert build.build_index == recognise.index == "people.index"
    assert (build.img_dir, recognise.input) == ("PEOPLE", ["PICTURES"])


def test_what_is_there_already_is_left_alone(tmp_path, capsys):
    own = tmp_path / "gallery.index"
    own.write_text("mine")
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert own.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["gallery.index"]
    assert main(["demo", "--output", str(own)]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err


def test_an_earlier_demonstration_is_replaced_when_that_is_wanted(shown, capsys):
    demo = shown[0] / "arcface_demo"
    picture, own = demo / "queries" / "group.jpg", demo / "own.txt"
    picture.write_bytes(b"")
    own.write_text("mine")
    assert main(["demo", "--output", str(demo), "--overwrite"]) == 0
    assert picture.read_bytes() == (ROOT / "demo" / "queries" / "group.jpg").read_bytes()
    assert own.read_text() == "mine" and "Joe Biden" in capsys.readouterr().out
    own.unlink()


def test_copies_are_the_photographs(tmp_path):
    copies = demo_photographs.copy_photographs(tmp_path)
    source = demo_photographs.photographs_folder()
    relative = {copy.relative_to(tmp_path).as_posix() for copy in copies}
    assert {"DEMO_PHOTOS.md", "gallery/label.txt", "queries/group.jpg"} <= relative
    assert not any(path.endswith(".py") for path in relative)
    assert all(copy.read_bytes() == (source / copy.relative_to(tmp_path)).read_bytes() for copy in copies)
    listed = [line.split("\t")[0] for line in (tmp_path / "gallery/label.txt").read_text("utf-8").splitlines() if line]
    assert {f"gallery/{path}" for path in listed} <= relative
    assert sum(copy.stat().st_size for copy in copies) < 2e6, "they are packed into the wheel"


def test_an_incomplete_installation_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_photographs, "_PACKAGE", tmp_path / "arcface_paddle")
    with pytest.raises(DataError, match="install arcface-paddle again"):
        demo_photographs.copy_photographs(tmp_path / "target")


def test_a_disk_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "queries").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        demo_photographs.copy_photographs(tmp_path)
