"""A session: every picture gives a finding, whatever happens to it or to what is written beside it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, GalleryError
from arcface_paddle.pipeline import drawing
from arcface_paddle.pipeline.gallery import Gallery, collect_faces, list_from_tree
from arcface_paddle.pipeline.inputs import find_pictures
from arcface_paddle.pipeline.opening import open_pipeline
from arcface_paddle.pipeline.picture_workers import share_out
from arcface_paddle.pipeline.recognition_session import RecognitionSession
from arcface_paddle.pipeline.results import RunRecord
from arcface_paddle.pipeline.settings import OutputSettings, PipelineSettings, RuntimeOptions, SessionSettings

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


def results_of(session: RecognitionSession, folder: Path, *, into: Path) -> tuple[bytes, dict[str, bytes]]:
    """Return everything that was found in a folder as bytes of JSON, and every file that was written."""
    record = RunRecord()
    for finding in session.with_outputs(OutputSettings(drawn=into, crops=into / "crops")).pictures(
        find_pictures([folder]).pictures
    ):
        record.add(finding)
    content = json.dumps([record.found, record.failed], ensure_ascii=False, allow_nan=False).encode()
    files = {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}
    return content, files


def test_two_workers_give_what_one_gives_byte_for_byte(index, tmp_path):
    folder = tmp_path / "in"
    for number, name in enumerate(["group.jpg", "biden_relit.jpg", "obama_speech_2009.jpg", "hopper_relit.jpg"] * 2):
        image = images.read_image(QUERIES / name)
        smaller = images.resize(image, (image.shape[1] * (9 - number) // 9, image.shape[0] * (9 - number) // 9))
        images.write_image(folder / ("a" if number % 2 else "b") / f"{number // 2}.jpg", smaller)
    (folder / "a" / "1_broken.jpg").write_bytes((QUERIES / "group.jpg").read_bytes()[:500])
    (folder / "b" / "0_text.jpg").write_text("no picture")
    images.write_image(folder / "grey.png", np.full((50, 50, 3), 128, np.uint8))
    sessions = {}
    for workers in (1, 2):
        count, runtime = share_out(RuntimeOptions(threads=2), pictures=11, workers=workers)
        assert (count, runtime.threads) == (workers, 2 // workers)
        settings = SessionSettings(PipelineSettings(runtime=runtime), index=index, workers=count)
        sessions[workers] = RecognitionSession.open(settings)
    one, files_of_one = results_of(sessions[1], folder, into=tmp_path / "one")
    two, files_of_two = results_of(sessions[2], folder, into=tmp_path / "two")
    assert one == two and files_of_one == files_of_two
    found, failed = json.loads(one)
    assert [Path(item["source"]).relative_to(folder).as_posix() for item in found] == [
        *("a/0.jpg", "a/1.jpg", "a/2.jpg", "a/3.jpg", "b/0.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg", "grey.png")
    ]
    assert [Path(item["source"]).name for item in failed] == ["1_broken.jpg", "0_text.jpg"]
    assert {face["name"] for item in found for face in item["faces"]} >= {"Joe Biden", "Grace Hopper", "Barack Obama"}


def test_a_run_with_workers_that_is_left_has_written_what_it_has_told(index, tmp_path):
    for number in range(12):
        images.write_image(tmp_path / "in" / f"{number:02}.jpg", picture_of("biden_relit.jpg"))
    settings = SessionSettings(PipelineSettings(runtime=RuntimeOptions(threads=1)), index=index, workers=3)
    session = RecognitionSession.open(settings).with_outputs(OutputSettings(drawn=tmp_path / "out"))
    findings = session.pictures(find_pictures([tmp_path / "in"]).pictures)
    told = [Path(next(findings).source).name for _ in range(4)]
    findings.close()
    assert (
        told == sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00.jpg", "01.jpg", "02.jpg", "03.jpg"]
    )
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


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


def test_nothing_is_written_without_outputs(loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded.array(picture_of("biden_relit.jpg"), source="x.png")
    assert [path.name for path in tmp_path.iterdir()] == []


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


@pytest.mark.parametrize("detector", ["CenterFace", "BlazeFace", "MTCNN"])
def test_detection_alone_says_what_runs_it(detector: str) -> None:
    from arcface_paddle.pipeline.opening import open_detection
    from arcface_paddle.pipeline.settings import PipelineSettings, RuntimeOptions

    runtime = RuntimeOptions(engine="openvino", threads=1, precision="fp32")
    facts = open_detection(PipelineSettings(det_model=detector, runtime=runtime)).facts
    assert (facts["det_model"], facts["engine"], facts["precision"], facts["threads"]) == (
        *(detector, "openvino", "fp32"),
        1,
    )
