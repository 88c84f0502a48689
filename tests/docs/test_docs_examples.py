"""The programs of examples/ do what their docstrings say, called as these say."""

from __future__ import annotations

import ast
import csv
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.cli.main import main
from arcface_paddle.images import load_image
from arcface_paddle.video.writing import VideoWriter

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINKED = ("demo", "examples")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def run(workplace, monkeypatch, capsys):
    """Give a function that runs what a docstring says in this process, and returns what it prints."""
    monkeypatch.chdir(workplace)

    def run_line(line: str) -> str:
        capsys.readouterr()
        _, program, *words = shlex.split(line)
        monkeypatch.setattr(sys, "argv", [program, *words])
        try:
            runpy.run_path(program, run_name="__main__")
        except SystemExit as end:
            assert not end.code, end.code
        return capsys.readouterr().out

    return run_line


def commands_of(name: str) -> list[str]:
    """Return the commands of a program's docstring, which stand in lines of their own."""
    said = ast.get_docstring(ast.parse((ROOT / "examples" / name).read_text(encoding="utf-8"))) or ""
    return re.findall(r"^    (\S.+)$", said, re.MULTILINE)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_small_and_says_how_it_is_run(path):
    assert 20 <= len(path.read_text(encoding="utf-8").splitlines()) <= 55
    assert f"python examples/{path.name} " in "\n".join(commands_of(path.name))


def test_all_programs_are_run_here_and_shown_to_readers():
    here = Path(__file__).read_text(encoding="utf-8")
    assert len(EXAMPLES) == 8
    for path in EXAMPLES:
        assert f'commands_of("{path.name}")' in here, path.name
        for language in ("en", "zh"):
            shown = (ROOT / "docs" / "site" / language / "howto" / "examples.md").read_text(encoding="utf-8")
            assert path.name in shown, path.name


def test_name_faces(run, workplace):
    (command,) = commands_of("name_faces.py")
    said = run(command)
    assert "3 people" in said and "Barack Obama" in said and "unknown" in said
    assert load_image(workplace / "output" / "named" / "group.png").shape == (502, 1400, 3)


def test_gallery_search(run, workplace):
    enrol, search = commands_of("gallery_search.py")
    assert "1 people, 1 faces" in run(enrol)
    assert "1 people, 1 faces" in run(enrol), "the same face is not there twice"
    assert re.search(r"face \d: Eileen Collins; most like Eileen Collins 0\.[5-9]", run(search))


def test_film_timeline(run, workplace):
    build, command = commands_of("film_timeline.py")
    assert main(shlex.split(build)[1:]) == 0
    picture = load_image("demo/queries/obama_blue_room.jpg")
    with VideoWriter("film.mp4", fps=5) as film:
        for _ in range(6):
            film.write(np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]))
    assert "Barack Obama: 1." in run(command)
    with open("timeline.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["person"] == "Barack Obama" and float(row["first_s"]) == 0


def test_compare_pictures(run, workplace):
    (command,) = commands_of("compare_pictures.py")
    assert run(command).startswith("the same person: similarity 0.8")


def test_group_album(run, workplace):
    (command,) = commands_of("group_album.py")
    said = run(command)
    assert len(re.findall("^group p-.* faces$", said, re.MULTILINE)) == 4
    found = re.findall(r"^(\S+\.jpg) \(\d", said, re.MULTILINE)
    assert sorted(found) == ["group.jpg", "obama_blue_room.jpg", "obama_speech_2009.jpg"]


def test_encode_folder(run, workplace):
    (command,) = commands_of("encode_folder.py")
    assert "9 faces of 192 numbers" in run(command)
    with np.load(workplace / "output" / "faces.npz") as table:
        assert table["embeddings"].shape == (9, 192)


@pytest.mark.long
def test_train_and_export(run, workplace):
    (command,) = commands_of("train_and_export.py")
    said = run(command)
    assert "smallest cosine to the network 1.0" in said and "similarity" in said.splitlines()[-1]


@pytest.mark.long
def test_service_client(run, workplace):
    (command,) = commands_of("service_client.py")
    serve = [sys.executable, "-m", "arcface_paddle", "serve", "--demo", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as service:
        try:
            lines = iter(service.stdout.readline, "")
            address = next(found[0] for line in lines if (found := re.search(r"http://[\d.:]+", line)))
            said = run(command.replace("http://127.0.0.1:8080", address))
        finally:
            service.terminate()
    counts = re.findall(r"(\d+) people are known", said)
    assert int(counts[0]) == int(counts[1]) + 1
    assert "Eileen Collins" in said and "Barack Obama" in said
