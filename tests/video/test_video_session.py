"""A run over a video: a finding for every frame, whatever happens to the annotated copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline.recognition_session import RecognitionSession
from arcface_paddle.pipeline.settings import OutputSettings, SessionSettings
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.session import VideoSession
from arcface_paddle.video.writing import VideoWriter

QUERIES = Path(__file__).parents[2] / "demo" / "queries"


@pytest.fixture(scope="module")
def loaded() -> RecognitionSession:
    return RecognitionSession.open(SessionSettings())


def picture_of(name: str, size_wh=(240, 300)) -> np.ndarray:
    return images.resize(images.read_image(QUERIES / name), size_wh)


def write_clip(path: Path, *, frames: int = 4) -> Path:
    with VideoWriter(path, fps=10) as writer:
        for _ in range(frames):
            writer.write(picture_of("biden_relit.jpg"))
    return path


def test_a_video_that_cannot_be_written_keeps_its_findings(loaded, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    (tmp_path / "file").write_text("in the place of a folder")
    with VideoSession(loaded.with_outputs(OutputSettings(drawn=tmp_path / "file")), str(clip)) as video:
        findings = list(video)
    assert [len(finding.result.faces) for finding in findings] == [1] * 4
    assert "no annotated video is written" in findings[0].problems[0]
    assert [finding.problems for finding in findings[1:]] == [()] * 3 and video.problems == [] and video.undrawn


def test_a_video_that_is_left_is_whole(loaded, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    with VideoSession(loaded.with_outputs(OutputSettings(drawn=tmp_path / "out")), str(clip)) as video:
        for finding in video:
            if finding.time_s > 0.15:
                break
    assert video.frames_read == 3 and video.fps == 10 and video.problems == [], "nobody wanted the rest"
    with VideoReader(str(tmp_path / "out" / "clip.mp4")) as reader:
        assert len(list(reader)) == 3
    other = loaded.with_outputs(OutputSettings(drawn=tmp_path / "two"))
    with pytest.raises(ConfigError), VideoSession(other, str(clip)) as run:
        next(iter(run))
        raise ConfigError("an error of the caller")
    assert not any((tmp_path / "two").iterdir())


def test_a_video_without_frames(loaded, tmp_path):
    (tmp_path / "a.mp4").write_bytes(write_clip(tmp_path / "b.mp4").read_bytes()[:600])
    with pytest.raises(ImageError), VideoSession(loaded, str(tmp_path / "a.mp4")) as video:
        list(video)


def test_nothing_is_written_without_outputs(loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", frames=1)
    with VideoSession(loaded, str(clip)) as video:
        assert len(list(video)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
