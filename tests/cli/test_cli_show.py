"""``--show``: a window where there is a screen, and one clear line where there is none."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli import main, window
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.recognition_session import RecognitionSession
from arcface_paddle.pipeline.settings import OutputSettings, SessionSettings
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.session import VideoSession
from arcface_paddle.video.writing import VideoWriter

QUERIES = Path(__file__).parents[2] / "demo" / "queries"
HAS_WINDOWS = "GUI:                           NONE" not in cv2.getBuildInformation()


@pytest.mark.skipif(HAS_WINDOWS, reason="about OpenCV's headless build")
def test_the_headless_build_says_what_to_install_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["recognize", "--det", f"--input={QUERIES / 'group.jpg'}", "--no_draw", "--show"]
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "opencv-python" in error and "--show needs the build of OpenCV" in error


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ("import os; os.abort()", "no screen can be opened here"),  # as Qt does
        ("import sys; sys.exit('The function is not implemented. Rebuild the library')", "--show needs the build"),
        ("import time; time.sleep(60)", "does not answer"),
        ("pass", ""),
    ],
)
def test_a_screen_is_tried_in_another_process(monkeypatch: pytest.MonkeyPatch, probe: str, message: str) -> None:
    monkeypatch.setattr(window, "_PROBE", probe)
    monkeypatch.setattr(window, "_PROBE_TIMEOUT_S", 0.5 if "sleep" in probe else 30.0)
    if not message:
        return window.require_display()
    with pytest.raises(ConfigError, match=message):
        window.require_display()
    return None


def test_a_program_beside_the_pictures_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("open('was_run', 'w')")
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(ConfigError):  # there may be a screen or none
        window.require_display()
    assert not (tmp_path / "was_run").exists()


def test_show_needs_an_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["recognize", f"--build_index={tmp_path / 'a.index'}", f"--img_dir={QUERIES}", "--show"]
    assert main.main(arguments) == 2
    assert "--show needs --input" in capsys.readouterr().err


def test_every_annotated_frame_is_given_to_who_watches(tmp_path: Path) -> None:
    picture = images.load_image(QUERIES / "hopper_relit.jpg")[:320]
    with VideoWriter(tmp_path / "clip.mp4", fps=10) as writer:
        for _ in range(3):
            writer.write(picture)
    seen: list[np.ndarray] = []
    outputs = OutputSettings(drawn=tmp_path / "out")
    session = RecognitionSession.open(SessionSettings(outputs=outputs))
    with VideoSession(session, str(tmp_path / "clip.mp4"), watch=seen.append) as video:
        findings = list(video)
    with VideoReader(str(tmp_path / "clip.mp4")) as reader:
        drawn = [session.draw(frame.image, finding.result) for frame, finding in zip(reader, findings)]
    assert len(seen) == len(drawn) == 3
    np.testing.assert_array_equal(seen, drawn)


@pytest.mark.skipif(
    not HAS_WINDOWS or not shutil.which("Xvfb") or not shutil.which("xdotool"), reason="needs windows and a screen"
)
def test_a_key_goes_on_and_q_ends(tmp_path: Path) -> None:
    screen = subprocess.Popen(["Xvfb", ":78", "-screen", "0", "1800x1000x24"])
    environment = {**os.environ, "DISPLAY": ":78"}
    try:
        time.sleep(2)
        command = [sys.executable, "-m", "arcface_paddle", "recognize", "--det", f"--input={QUERIES}", "--no_draw"]
        run = subprocess.Popen([*command, "--show"], env=environment, stderr=subprocess.PIPE, text=True)
        find = "xdotool search --sync --name arcface-paddle key --window %1 space sleep 2 key --window %1 q"
        subprocess.run(find.split(), env=environment, check=True, timeout=60)
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 0 and "ended at the window after 2 of 6 pictures" in errors
    finally:
        screen.terminate()
        screen.wait()
