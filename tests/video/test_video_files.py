"""Video: colours, frame rate, sizes, and files that are damaged, missing or left half-way."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.video_names import is_video_source
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.sources.base import FALLBACK_FPS, plausible_fps
from arcface_paddle.video.writing import VideoWriter


def write_video(path, *, frames=12, fps=12.5, size=(96, 64)):
    """Write frames that are red, green, blue, red, ... (RGB)."""
    with VideoWriter(path, fps=fps) as writer:
        for i in range(frames):
            image = np.zeros((size[1], size[0], 3), np.uint8)
            image[:, :, i % 3] = 220
            writer.write(image)
    return path


@pytest.mark.parametrize(("fps", "size"), [(12.5, (96, 64)), (29.97, (97, 65)), (60.0, (640, 360))])
def test_colours_rate_and_size_survive(tmp_path, fps, size):
    path = write_video(tmp_path / "a.mp4", fps=fps, size=size)
    with VideoReader(str(path)) as reader:
        assert reader.fps == pytest.approx(fps, rel=1e-3)
        frames = list(reader)
    assert [f.index for f in frames] == list(range(12)) == list(range(reader.frames_read))
    for frame in frames:
        assert frame.image.shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
        assert int(frame.image.reshape(-1, 3).mean(axis=0).argmax()) == frame.index % 3, "RGB order"
        assert frame.time_s == pytest.approx(frame.index / fps, abs=2e-3)
    assert not reader.ended_early and reader.frame_count == 12 and not reader.is_live


def test_other_containers_are_read(tmp_path):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), (0, 0, 250), np.uint8))
    writer.release()
    with VideoReader(str(path)) as reader:
        frames = list(reader)
    assert len(frames) == 5 and frames[0].image[20, 20, 0] > 200 > 60 > frames[0].image[20, 20, 2]


@pytest.mark.parametrize("content", [b"", b"this is no video at all" * 40])
def test_what_is_no_video(tmp_path, content, capfd):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="not a video"):
        VideoReader(str(path))
    assert capfd.readouterr().err == "", "only our own line may reach the terminal"


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        VideoReader(str(tmp_path / "none.mp4"))


def test_camera_that_is_not_there(capfd):
    with pytest.raises(ImageError, match="no such camera"):
        VideoReader("77")
    assert capfd.readouterr().err == ""


def test_stream_that_does_not_answer_is_an_error_of_ours():
    with pytest.raises(ImageError, match="stream"):
        VideoReader("rtsp://127.0.0.1:9/nothing")


def test_truncated_file_is_noticed(tmp_path):
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
    for frame in noise:
        writer.write(frame)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with VideoReader(str(path)) as reader:
        list(reader)
    assert reader.frame_count == 40 and 0 < reader.frames_read < 20 and reader.ended_early


def test_ctrl_c_keeps_what_is_there_and_other_errors_do_not(tmp_path):
    for error, kept in ((KeyboardInterrupt, True), (ImageError, False)):
        path = tmp_path / f"{error.__name__}.mp4"
        with pytest.raises(error), VideoWriter(path, fps=10) as writer:
            for _ in range(4):
                writer.write(np.zeros((48, 64, 3), np.uint8))
            assert not path.exists(), "nothing may stand under the name before the end"
            raise error
        assert path.exists() == kept
    with VideoReader(str(tmp_path / "KeyboardInterrupt.mp4")) as reader:
        assert len(list(reader)) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["KeyboardInterrupt.mp4"], "no temporary file may stay"


def test_no_frames_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=10):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frame_of_another_size_is_resized(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=10) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.write(np.zeros((24, 32, 3), np.uint8))
    with VideoReader(str(tmp_path / "a.mp4")) as reader:
        assert [f.image.shape for f in reader] == [(48, 64, 3)] * 2


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(ImageError, match="cannot be written"),
        VideoWriter(tmp_path / "file" / "a.mp4", fps=10) as writer,
    ):
        writer.write(np.zeros((48, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("source", "expected"),
    [("a.mp4", True), ("A.MKV", True), ("0", True), ("rtsp://cam/1", True), ("RTSP://cam", True), ("a.jpg", False),
     ("folder", False), ("²", False), ("1a", False)],
)  # fmt: skip
def test_is_video_source(source, expected):
    assert is_video_source(source) is expected


def test_a_folder_named_like_a_number_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    assert not is_video_source("7") and is_video_source("8")


@pytest.mark.parametrize("fps", [float("nan"), 0.0, 90_000.0])
def test_implausible_frame_rate_falls_back(fps):
    assert plausible_fps(fps) == FALLBACK_FPS and plausible_fps(29.97) == 29.97


WRITE_BEYOND_A_LIMIT = """
import resource, sys
import numpy as np
from arcface_paddle.errors import ImageError
from arcface_paddle.video.video_settings import VideoSettings
from arcface_paddle.video.writing import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))  # Python ignores SIGXFSZ: EFBIG
generator = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1], fps=10, settings=VideoSettings(engine=sys.argv[3])) as writer:
        for _ in range(60):
            writer.write(generator.integers(0, 256, (96, 128, 3), dtype=np.uint8))
except ImageError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
@pytest.mark.parametrize(
    ("limit", "engine"),
    [
        *((limit, "pyav") for limit in (100_000, 40, 0)),
        (0, "opencv"),
        pytest.param(100_000, "opencv", marks=pytest.mark.long),
    ],
)
def test_a_full_disk_is_an_error_and_the_old_video_stays(tmp_path, limit, engine):
    path = write_video(tmp_path / "a.mp4")
    before = path.read_bytes()
    command = [sys.executable, "-c", WRITE_BEYOND_A_LIMIT, str(path), str(limit), engine]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"{path}: "), done.stderr
    assert "frames could not be written completely" in done.stderr or "the disk is full" in done.stderr
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("frames", [1, 2, 13, 250])
def test_videos_of_any_length_pass_the_look_at_them(tmp_path, frames):
    with VideoReader(str(write_video(tmp_path / "a.mp4", frames=frames, fps=29.97))) as reader:
        assert len(list(reader)) == frames


def test_a_video_that_lists_fewer_frames_is_not_kept(tmp_path):
    path = write_video(tmp_path / "old.mp4")
    writer = VideoWriter(tmp_path / "old.mp4", fps=10)
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.frames_written += 5
    before = path.read_bytes()
    with pytest.raises(ImageError, match="could not be written completely"):
        writer.close()
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
