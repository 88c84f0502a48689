"""Closed, full and cut-off output, control characters in names, and files that are none: one line and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arcface_paddle import files
from arcface_paddle.cli import terminal

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


def test_printed_control_characters_are_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.safe_streams():
        print("name \x1b]0;title\x07 甲\tb")
    assert capsys.readouterr().out == "name \\x1b]0;title\\x07 甲\tb\n"
