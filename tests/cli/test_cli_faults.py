"""Commands on closed and full folders, pipes, devices, links in a circle and closed output; see ``fault_matrix``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli.main import main
from arcface_paddle.cli.writable import (
    require_writable_file,
    require_writable_folder,
    require_writable_picture,
    require_writable_text,
    require_writable_texts,
)
from arcface_paddle.data.difficulty import read_ladder
from arcface_paddle.data.writing import place_file
from arcface_paddle.errors import ArcfaceError, ConfigError
from arcface_paddle.library.documents import read_people
from arcface_paddle.library.record_log import read_records

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="gives up privileges as Linux does")
MATRIX = Path(__file__).with_name("fault_matrix.py")


def assert_all_end_well(*flags: str) -> None:
    ended = subprocess.run([sys.executable, str(MATRIX), *flags], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    assert ended.stdout.rstrip().endswith("cases end badly")
    assert int(ended.stdout.split()[-4]) > 20  # "0 of N cases end badly"


def test_a_link_that_leads_nowhere_is_refused_before_the_work(tmp_path: Path) -> None:
    for name, target in (("circle", "circle"), ("nowhere", "gone")):
        (tmp_path / name).symlink_to(tmp_path / target)
        with pytest.raises(ConfigError, match=f"^--output .*{name} is a link that leads nowhere"):
            require_writable_folder(str(tmp_path / name / "new"), option="--output")


def test_a_path_that_the_system_will_not_look_at_is_told_by_its_option() -> None:
    for check in (require_writable_folder, require_writable_file):
        with pytest.raises(ConfigError, match=r"^--json x{300}: File name too long; name another place"):
            check("x" * 300, option="--json")


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.webp", "film.mp4", "film.avi"])
def test_no_result_takes_the_place_of_a_photograph_or_film(name, tmp_path) -> None:
    path = tmp_path / name
    if path.suffix in (".mp4", ".avi"):
        code = cv2.VideoWriter_fourcc(*("mp4v" if path.suffix == ".mp4" else "MJPG"))
        film = cv2.VideoWriter(str(path), code, 5, (64, 64))
        film.write(np.zeros((64, 64, 3), np.uint8))
        film.release()
    else:
        images.write_image(path, np.zeros((8, 8, 3), np.uint8))
    require_writable_picture(str(path), option="--contact_sheet")
    with pytest.raises(ConfigError, match=r"^--json .*: holds a picture or film, which would be gone; name"):
        require_writable_file(str(path), option="--json")
    path.write_bytes(b"\x80\x04K\x00.")
    require_writable_file(str(path), option="--json")
    with pytest.raises(ConfigError, match=r"^--json .*: holds no text, and would be gone"):
        require_writable_text(str(path), option="--json")
    path.write_text("李雷 " * 2000)
    require_writable_text(str(path), option="--json")
    with pytest.raises(ConfigError, match=r"^gallery build .*: holds text, which would be gone"):
        require_writable_file(str(path), option="gallery build")
    path.write_bytes(b"")
    require_writable_text(str(path), option="--json")
    require_writable_file(str(path), option="gallery build")


def test_two_results_do_not_share_a_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    require_writable_texts({"--json": "a", "--csv": "b", "--html": None, "--fix": None})
    require_writable_texts({"--json": "/dev/stdout", "--csv": "/dev/stdout"})
    with pytest.raises(ConfigError, match=r"^--json and --csv both name .*a; give each"):
        require_writable_texts({"--json": "a", "--csv": str(tmp_path / "a")})


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("export --pretrained_model none", "--output"),
        ("import none", "--output"),
        ("quantize --model none --images none --pairs none", "--output"),
        ("embed .", "--output"),
        ("synth . --identities 2", "--contact_sheet"),
    ],
)
def test_where_results_cannot_go_is_told_before_inputs_are_looked_at(command, option, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main([*command.split(), option, str(tmp_path / "file" / "out.png")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"error: {option} {tmp_path / 'file' / 'out.png'}: {tmp_path / 'file'} is a file, not a folder" in line


def _read_ladder(path: Path) -> None:
    (path.parent / "metadata.jsonl").symlink_to(path)
    read_ladder(path.parent, None)


@pytest.mark.parametrize(
    "read",
    [
        read_people,
        images.read_header,
        _read_ladder,
        lambda path: place_file(path, b""),
        lambda path: list(read_records(path)),
    ],
    ids=["people", "facts", "ladder", "place", "store"],
)
def test_nobody_waits_for_the_writer_of_a_pipe(read, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(5)
    try:
        with pytest.raises((ArcfaceError, OSError), match="Not a regular file"):
            read(tmp_path / "pipe")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_looking_at_datasets_survives_every_fault() -> None:
    assert_all_end_well("--only", "data info")


@pytest.mark.long
def test_a_sample_of_all_commands_survives_every_fault() -> None:
    assert_all_end_well("--share", "37", "--first", "5")


@pytest.mark.long
@pytest.mark.skipif(shutil.which("gcc") is None, reason="builds a library that lets calls fail")
def test_a_gallery_survives_calls_that_fail() -> None:
    command = [sys.executable, str(MATRIX.with_name("failing_calls.py")), "--only", "gallery rename", "--most", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    assert ended.stdout.startswith("  ") and int(ended.stdout.split()[-4]) > 20  # "0 of N cases end badly"
