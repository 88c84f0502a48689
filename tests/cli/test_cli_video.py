"""The flags of videos and streams on the command line, and a stream that a service manager ends."""

from __future__ import annotations

import csv
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli import main
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.session import VideoSession
from arcface_paddle.video.writing import VideoWriter

QUERIES = Path(__file__).parents[2] / "demo" / "queries"


def recognize(*arguments: str) -> int:
    return main.main(["recognize", "--det", *map(str, arguments)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    picture = images.resize(images.read_image(QUERIES / "biden_relit.jpg"), (120, 150))
    with VideoWriter(path, fps=10) as writer:
        for _ in range(20):
            writer.write(picture)
    return path


@pytest.mark.parametrize(
    ("flags", "times"),
    [
        (("--every=5",), ["0.0", "0.5", "1.0", "1.5"]),
        (("--fps=2", "--start=0:01"), ["1.0", "1.5"]),
        (("--start=0.5", "--end=0.8", "--frame_batch=2", "--video_engine=opencv"), ["0.5", "0.6", "0.7"]),
    ],
)
def test_which_frames_are_looked_at(clip: Path, tmp_path: Path, flags: tuple[str, ...], times: list[str]) -> None:
    found = tmp_path / "f.csv"
    assert recognize(f"--input={clip}", f"--output={tmp_path / 'out'}", f"--csv={found}", *flags) == 0
    rows = list(csv.DictReader(found.open(encoding="utf-8")))
    assert [row["time_s"] for row in rows] == times
    with VideoReader(str(tmp_path / "out" / "clip.mp4")) as reader:
        assert len(list(reader)) == len(times)


def test_a_folder_of_frames(tmp_path: Path) -> None:
    for number in range(3):
        images.write_image(tmp_path / "shots" / f"{number}.png", np.full((40, 60, 3), 50 * number, np.uint8))
    assert recognize(f"--input={tmp_path / 'shots'}", "--sequence=5", f"--output={tmp_path / 'out'}") == 0
    assert recognize(f"--input={tmp_path / 'shots' / '%d.png'}", f"--output={tmp_path / 'out2'}") == 0
    for made in (tmp_path / "out" / "shots.mp4", tmp_path / "out2" / "shots.mp4"):
        with VideoReader(str(made)) as reader:
            assert [round(frame.image.mean(), -1) for frame in reader] == [0, 50, 100]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--start=99",), "no frame lies between 99 s and the end"),
        (("--start=x",), "no time of a video"),
        (("--every=0",), "every is 0"),
        (("--every=2", "--fps=1"), "give one"),
        (("--preview=70000",), "--preview is 70000"),
    ],
)
def test_what_cannot_work_is_one_clear_line(
    clip: Path, tmp_path: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recognize(f"--input={clip}", f"--output={tmp_path / 'out'}", *flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("flag", ["--every=2", "--fps=1", "--start=1", "--preview=0", "--video_engine=auto"])
def test_flags_that_pictures_would_ignore_are_refused(
    tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recognize(f"--input={QUERIES}", f"--output={tmp_path}", flag) == 2
    assert "is for a video, camera or stream" in capsys.readouterr().err


def serve_pictures(listener: socket.socket) -> None:
    """Send each connection JPEGs for as long as it takes them, as network cameras do."""
    picture = images.encode_image(np.full((48, 64, 3), 90, np.uint8), suffix=".jpg")
    part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture)
    while True:
        try:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n")
                while True:
                    connection.sendall(part)
                    time.sleep(0.02)
        except OSError:
            if listener.fileno() < 0:
                return


def test_sigterm_ends_a_stream_and_leaves_a_whole_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    out = tmp_path / "out"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_pictures, args=(listener,), daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/live"
        process = subprocess.Popen(
            [sys.executable, "-m", "arcface_paddle", "recognize", "--det", f"--input={address}", f"--output={out}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until and not out.is_dir():
            time.sleep(0.05)
        time.sleep(1.0)  # some frames
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "interrupted" in error, error
    assert time.monotonic() - began < 20 and [path.name for path in out.iterdir()] == ["stream.mp4"]
    with VideoReader(str(out / "stream.mp4")) as reader:
        assert len(list(reader)) >= 1


def test_a_stop_while_the_film_is_closed_costs_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = VideoSession._close_writer

    def close_and_stop(self: VideoSession, *, keep: bool) -> None:
        signal.raise_signal(signal.SIGTERM)
        close(self, keep=keep)

    monkeypatch.setattr(VideoSession, "_close_writer", close_and_stop)
    found = tmp_path / "f.csv"
    assert recognize(f"--input={clip}", f"--output={tmp_path / 'out'}", f"--csv={found}") == 130
    assert len(list(csv.DictReader(found.open(encoding="utf-8")))) == 20
    with VideoReader(str(tmp_path / "out" / "clip.mp4")) as reader:
        assert len(list(reader)) == 20
