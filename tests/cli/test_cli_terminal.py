"""Closed, full and cut-off output, control characters in names, and files that are none: one line and an exit code."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arcface_paddle import files
from arcface_paddle.cli import main, terminal
from arcface_paddle.cli.data_flags import report_bad
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery.entries import clean_name

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
PROGRAM = f"{sys.executable} -m arcface_paddle"


def shell(command: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60)


def assert_one_line(ended: subprocess.CompletedProcess[str], code: int, text: str) -> None:
    assert ended.returncode == code, ended.stderr
    assert text in ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


def test_closed_streams_end_no_command(tmp_path: Path) -> None:
    ended = shell(f"{PROGRAM} models backbones >&-", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    ended = shell(f"{PROGRAM} models backbones 2>&-", folder=tmp_path)
    assert ended.returncode == 0 and "MobileFaceNet" in ended.stdout
    ended = shell(f"{PROGRAM} models show nothing >&- 2>&-", folder=tmp_path)
    assert ended.returncode == 2


@needs_full
def test_a_full_disk_behind_the_output_is_told_in_one_line(tmp_path: Path) -> None:
    assert_one_line(shell(f"{PROGRAM} models backbones >/dev/full", folder=tmp_path), 2, "No space left on device")


@needs_pipes
@pytest.mark.parametrize(
    "command",
    [
        "recognize --det --rec --input pipe.jpg --no_draw --index pipe",
        "recognize --det --input pipe.jpg --no_draw",
        "gallery list pipe",
        "train --config pipe",
        "compare pipe.jpg pipe.jpg",
    ],
)
def test_a_pipe_without_a_writer_is_refused_and_not_waited_for(tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert_one_line(shell(f"{PROGRAM} {command}", folder=tmp_path), 2, "Not a regular file, but a pipe")


@needs_pipes
def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name, message in (("pipe", "Not a regular file"), ("endless", "Not a regular file"), (".", "Is a directory")):
        with pytest.raises(OSError, match=message):
            files.read_bytes(tmp_path / name)
    (tmp_path / "link").symlink_to("file")
    files.write_bytes(tmp_path / "file", b"content")
    assert files.read_bytes(tmp_path / "link") == b"content"


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    name = "a\x1b[2J\x9b1m\u202ereversed"
    ended = subprocess.run(
        [sys.executable, "-m", "arcface_paddle", "recognize", "--det", "--input", name, "--no_draw"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert_one_line(ended, 2, r"a\x1b[2J\x9b1m\u202ereversed: no such file")


def test_what_was_left_out_is_named_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [("a\x1b]0;t\x07.jpg", "no picture"), ("b\nleft out: nothing.jpg", "\x9b\u202e")]
    assert report_bad(bad, tmp_path / "all.txt") == main.EXIT_PARTIAL
    assert capsys.readouterr().err.splitlines() == [
        r"left out: a\x1b]0;t\x07.jpg: no picture", r"left out: b left out: nothing.jpg: \x9b\u202e",
    ]  # fmt: skip


def test_no_command_prints_to_standard_error_past_the_function_that_spells_out() -> None:
    found = []
    for path in sorted(Path(main.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and any(ast.unparse(one) == "file=sys.stderr" for one in node.keywords):
                found.append(ast.unparse(node))
    unchecked = [call for call in found if "one_line(" not in call and "note: {note}" not in call]
    assert len(found) >= 3 and unchecked == []


def test_printed_control_characters_are_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.safe_streams():
        print("name \x1b]0;title\x07 甲\tb")
    assert capsys.readouterr().out == "name \\x1b]0;title\\x07 甲\tb\n"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are UTF-8 there")
@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_a_python_that_cannot_read_names_says_so_once(tmp_path: Path, locale: str) -> None:
    (tmp_path / "人").mkdir()
    narrow = f"LC_ALL={locale} PYTHONCOERCECLOCALE=0 PYTHONUTF8=0"
    ended = shell(f"{narrow} {PROGRAM} data info 人", folder=tmp_path)
    note, error = ended.stderr.splitlines()
    assert note == (
        "arcface-paddle: note: names of files are read as ascii; set PYTHONUTF8=1 for those with other characters"
    )
    assert ended.returncode == 2 and "error:" in error
    usual = shell(f"LC_ALL={locale} PYTHONCOERCECLOCALE=0 {PROGRAM} data info 人", folder=tmp_path)
    assert_one_line(usual, 2, "人")
    with pytest.raises(GalleryError, match="is not text in UTF-8"):
        clean_name(os.fsdecode(b"\xff"))
