"""A session: every picture gives a finding, whatever happens to it or to what is written beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, GalleryError, ImageError
from arcface_paddle.pipeline import drawing
from arcface_paddle.pipeline.gallery import Gallery, collect_faces, list_from_tree
from arcface_paddle.pipeline.inputs import find_pictures
from arcface_paddle.pipeline.opening import open_pipeline
from arcface_paddle.pipeline.recognition_session import RecognitionSession
from arcface_paddle.pipeline.settings import OutputSettings, PipelineSettings, SessionSettings
from arcface_paddle.pipeline.video import VideoReader, VideoWriter

ROOT = Path(__file__).parents[2]
PEOPLE, QUERIES = ROOT / "demo" / "gallery", ROOT / "demo" / "queries"


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    pipeline = open_pipeline(PipelineSettings())
    pictures, _ = list_from_tree(PEOPLE)
    found = collect_faces(pictures, pipeline.analyzer, embedding_size=pipeline.model.embedding_size)
    path = tmp_path_factory.mktemp("gallery") / "people.index"
    Gallery.empty(pipeline.model).with_faces(found.entries, found.embeddings).save(path)
    return path


@pytest.fixture(scope="module")
def loaded(index) -> RecognitionSession:
    return RecognitionSession.open(SessionSettings(index=index))


def picture_of(name: str, size_wh=(240, 300)) -> np.ndarray:
    return images.resize(images.read_image(QUERIES / name), size_wh)


def write_clip(path: Path, *, frames: int = 4) -> Path:
    with VideoWriter(path, fps=10) as writer:
        for _ in range(frames):
            writer.write(picture_of("biden_relit.jpg"))
    return path


def test_a_finding_for_every_picture(loaded, tmp_path):
    images.write_image(tmp_path / "in" / "1.jpg", picture_of("biden_relit.jpg"))
    (tmp_path / "in" / "2.jpg").write_text("no picture")
    images.write_image(tmp_path / "in" / "sub" / "3.png", picture_of("hopper_relit.jpg"))
    session = loaded.with_outputs(OutputSettings(drawn=tmp_path / "out", crops=tmp_path / "crops"))
    first, second, third = session.pictures(find_pictures([tmp_path / "in"]).pictures)
    assert [face.name for face in first.result.faces] == ["Joe Biden"] and first.problems == () == third.problems
    assert second.result is None and "2.jpg: not a picture" in second.problems[0]
    assert [face.name for face in third.result.faces] == ["Grace Hopper"]
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert written == ["crops/Grace Hopper/3_1.png", "crops/Joe Biden/1_1.png", "in/1.jpg", "in/2.jpg",
                       "in/sub/3.png", "out/1.jpg", "out/sub/3.png"]  # fmt: skip


def test_a_person_has_one_colour_in_all_pictures_and_not_that_of_another(loaded):
    colors = {}
    for name in ("biden_relit.jpg", "hopper_relit.jpg", "obama_blue_room.jpg", "group.jpg", "stranger_collins.jpg"):
        image = images.read_image(QUERIES / name)
        finding = loaded.array(image, source=name)
        drawn = loaded.draw(image, finding.result)
        for face in finding.result.faces:
            left, _, _, bottom = np.round(face.detection.box_xyxy).astype(int)
            colors.setdefault(face.name, set()).add(tuple(drawn[bottom, left].tolist()))
    assert {name: len(seen) for name, seen in colors.items()} == dict.fromkeys(colors, 1)
    assert len(set.union(*colors.values())) == len(colors) == 4
    assert colors["unknown"] == {drawing.UNKNOWN_COLOR}


def test_what_cannot_be_written_is_a_problem_of_its_finding(loaded, tmp_path):
    (tmp_path / "file").write_text("in the place of a folder")
    session = loaded.with_outputs(OutputSettings(drawn=tmp_path / "file", crops=tmp_path / "file"))
    [finding] = session.pictures(find_pictures([QUERIES / "biden_relit.jpg"]).pictures)
    assert [face.name for face in finding.result.faces] == ["Joe Biden"]
    assert len(finding.problems) == 2 and all("cannot be written" in problem for problem in finding.problems)


def test_a_video_that_cannot_be_written_keeps_its_findings(loaded, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    (tmp_path / "file").write_text("in the place of a folder")
    with loaded.with_outputs(OutputSettings(drawn=tmp_path / "file")).video(str(clip)) as video:
        findings = list(video)
    assert [len(finding.result.faces) for finding in findings] == [1] * 4
    assert "no annotated video is written" in findings[0].problems[0]
    assert [finding.problems for finding in findings[1:]] == [()] * 3 and video.problems == [] and video.undrawn


def test_a_video_that_is_left_is_whole(loaded, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    with loaded.with_outputs(OutputSettings(drawn=tmp_path / "out")).video(str(clip)) as video:
        for finding in video:
            if finding.time_s > 0.15:
                break
    assert video.frames_read == 3 and video.fps == 10 and video.problems == [], "nobody wanted the rest"
    with VideoReader(str(tmp_path / "out" / "clip.mp4")) as reader:
        assert len(list(reader)) == 3
    other = loaded.with_outputs(OutputSettings(drawn=tmp_path / "two"))
    with pytest.raises(ConfigError), other.video(str(clip)) as run:
        next(iter(run))
        raise ConfigError("an error of the caller")
    assert not any((tmp_path / "two").iterdir())


def test_a_video_without_frames(loaded, tmp_path):
    (tmp_path / "a.mp4").write_bytes(write_clip(tmp_path / "b.mp4").read_bytes()[:600])
    with pytest.raises(ImageError), loaded.video(str(tmp_path / "a.mp4")) as video:
        list(video)


def test_nothing_is_written_without_outputs(loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", frames=1)
    with loaded.video(str(clip)) as video:
        assert len(list(video)) == 1
    loaded.array(picture_of("biden_relit.jpg"), source="x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_limit_of_pixels(index):
    session = RecognitionSession.open(SessionSettings(max_pixels=1000))
    [finding] = session.pictures(find_pictures([QUERIES / "biden_relit.jpg"]).pictures)
    assert finding.result is None and "more than 1,000 pixels" in finding.problems[0]


def test_settings_that_cannot_work(index, tmp_path):
    with pytest.raises(ConfigError, match="index"):
        RecognitionSession.open(SessionSettings(detect=False))
    with pytest.raises(GalleryError, match="none"):
        RecognitionSession.open(SessionSettings(index=tmp_path / "none.index"))
    assert RecognitionSession.open(SessionSettings(index=index, decision="mean")).facts["decision"] == "mean"
    assert RecognitionSession.open(SessionSettings(detect=True)).model is None
