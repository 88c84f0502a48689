"""A run over a video: a finding for every frame, whatever happens to the annotated copy."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline.recognition_session import RecognitionSession
from arcface_paddle.pipeline.results import result_to_json
from arcface_paddle.pipeline.settings import OutputSettings, PipelineSettings, RuntimeOptions, SessionSettings
from arcface_paddle.types import Face, ImageResult
from arcface_paddle.video.analysis import EachFrameAlone
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.session import VideoSession
from arcface_paddle.video.track_settings import TrackSettings
from arcface_paddle.video.tracking import FaceTracks
from arcface_paddle.video.video_settings import VideoSettings
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


def test_several_workers_give_what_one_gives_in_order(tmp_path):
    clip, picture = tmp_path / "clip.mp4", picture_of("biden_relit.jpg")
    with VideoWriter(clip, fps=10) as writer:
        for shift in range(7):
            writer.write(np.roll(picture, 4 * shift, axis=1))
    one, three = (
        RecognitionSession.open(
            SessionSettings(PipelineSettings(runtime=RuntimeOptions(threads=1)), workers=workers)
        ).with_outputs(OutputSettings(drawn=tmp_path / str(workers)))
        for workers in (1, 3)
    )
    findings, drawn = [], []
    for session in (one, three):
        drawn.append([])
        with VideoSession(session, str(clip), watch=drawn[-1].append) as video:
            findings.append([result_to_json(finding.result, time_s=finding.time_s) for finding in video])
    assert findings[0] == findings[1] and len(findings[0]) == 7
    assert len({tuple(frame["faces"][0]["box"]) for frame in findings[0]}) == 7, "the face moves"
    np.testing.assert_array_equal(drawn[0], drawn[1])
    with VideoSession(three, str(clip), settings=VideoSettings(frame_batch=3)) as video:
        together = [result_to_json(finding.result, time_s=finding.time_s) for finding in video]
    assert [frame["time_s"] for frame in together] == [frame["time_s"] for frame in findings[0]]
    for one_frame, same_frame in zip(together, findings[0]):
        np.testing.assert_allclose(one_frame["faces"][0]["box"], same_frame["faces"][0]["box"], atol=0.5)
    for folder in ("1", "3"):
        with VideoReader(str(tmp_path / folder / "clip.mp4")) as reader:
            assert len(list(reader)) == 7


class Remembering:
    """Counts the faces from the first frame on: something that only frames in order can give."""

    def __init__(self):
        self.seen = []
        self.threads = set()

    def find(self, models, frames):
        self.threads.add(threading.current_thread().name)
        return [models.find(frame.image) for frame in frames]

    def decide(self, models, frame, found, *, source):
        self.seen.append(frame.index)
        faces = models.embed([found]) if frame.index == 0 else [Face(detection) for detection in found.detections]
        return ImageResult(source, found.size_wh, tuple(faces))

    def renamed(self, result):
        return result


def test_detection_of_every_frame_and_recognition_on_demand_are_separable(tmp_path):
    session = RecognitionSession.open(SessionSettings(PipelineSettings(runtime=RuntimeOptions(threads=1)), workers=2))
    analyzer = Remembering()
    with VideoSession(session, str(write_clip(tmp_path / "clip.mp4", frames=6)), analyzer=analyzer) as video:
        findings = list(video)
    assert analyzer.seen == list(range(6)) and len(analyzer.threads) == 2
    assert [len(finding.result.faces) for finding in findings] == [1] * 6


def test_faces_are_tracked_unless_each_frame_is_to_stand_alone(loaded, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    for analyzer, track in ((None, 1), (EachFrameAlone(), None)):
        with VideoSession(loaded, str(clip), analyzer=analyzer) as video:
            faces = [face for finding in video for face in finding.result.faces]
        assert [face.track for face in faces] == [track] * 4


def test_nothing_is_written_without_outputs(loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", frames=1)
    with VideoSession(loaded, str(clip)) as video:
        assert len(list(video)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_file_is_searched_once_in_a_while_and_in_every_frame_on_request(loaded, tmp_path, monkeypatch):
    """The faces are the same ones, in all frames; the session gives the tracks as many frames as they ask for."""
    clip, picture = tmp_path / "clip.mp4", picture_of("biden_relit.jpg")
    with VideoWriter(clip, fps=25) as writer:
        for shift in range(10):
            writer.write(np.roll(picture, 3 * shift, axis=1))
    searches = []
    detector = loaded.pipeline.analyzer.detector
    search = detector.search
    monkeypatch.setattr(detector, "search", lambda image, **rest: searches.append(1) or search(image, **rest))
    boxes = []
    for search_s, expected in ((0.2, 2), (0.0, 10)):
        searches.clear()
        tracks = FaceTracks(loaded.pipeline.analyzer, TrackSettings(search_s=search_s))
        one_worker = RecognitionSession(loaded.pipeline)
        with VideoSession(one_worker, str(clip), analyzer=tracks) as video:
            found = [finding.result.faces for finding in video]
        assert len(searches) == expected and [[face.track for face in faces] for faces in found] == [[1]] * 10
        boxes.append([faces[0].detection.box_xyxy for faces in found])
    np.testing.assert_allclose(boxes[0], boxes[1], atol=6)  # of a face of 70 by 90
