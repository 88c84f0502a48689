"""Comparing two pictures: which face counts, which threshold decides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline import Analyzer, RuntimeOptions, build_detector, build_recognizer
from arcface_paddle.pipeline.comparison import compare_faces
from arcface_paddle.pipeline.opening import ThresholdSettings
from arcface_paddle.pipeline.probability import same_person_probability

DEMO = Path(__file__).parents[2] / "demo"
WALL = np.full((200, 200, 3), 128, np.uint8)


def picture(name: str, height: int) -> np.ndarray:
    """Return a demonstration photograph scaled to a height in pixels."""
    found = images.read_image(DEMO / name)
    return images.resize(found, (round(found.shape[1] * height / found.shape[0]), height))


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    options = RuntimeOptions(threads=1)
    return Analyzer(build_detector(options=options), build_recognizer("MobileFace", options=options))


@pytest.fixture(scope="module")
def obama() -> np.ndarray:
    return picture("gallery/Barack Obama/portrait_2012.jpg", 400)


@pytest.fixture(scope="module")
def speech_with_a_bystander() -> np.ndarray:
    """Obama in the middle; at the left edge, and much larger, somebody else."""
    canvas = np.full((700, 1500, 3), 128, np.uint8)
    speaker, bystander = picture("queries/obama_speech_2009.jpg", 380), picture("queries/stranger_collins.jpg", 690)
    left = 750 - speaker.shape[1] // 2
    canvas[:690, : bystander.shape[1]] = bystander
    canvas[160:540, left : left + speaker.shape[1]] = speaker
    return canvas


def test_the_face_in_the_middle_counts_and_all_are_counted(analyzer, obama, speech_with_a_bystander):
    centre = compare_faces(analyzer, obama, speech_with_a_bystander)
    assert centre.same_person and centre.faces_found == (1, 2)
    largest = compare_faces(analyzer, obama, speech_with_a_bystander, faces="largest")
    assert not largest.same_person and largest.faces_found == (1, 2)
    assert largest.similarity < centre.similarity


def test_one_face_is_asked_for_where_several_are(analyzer, obama, speech_with_a_bystander):
    with pytest.raises(ImageError, match=r"^b\.jpg: 2 faces found.*--faces"):
        compare_faces(analyzer, obama, speech_with_a_bystander, faces="one", sources=("a.jpg", "b.jpg"))


def test_a_picture_without_a_face_is_named(analyzer, obama):
    with pytest.raises(ImageError, match=r"^first picture: no face found"):
        compare_faces(analyzer, WALL, obama)


def test_the_card_decides_at_far_1e3_and_settings_go_first(analyzer, obama):
    calibration = analyzer.recognizer.card.recognizer.calibration
    found = compare_faces(analyzer, obama, obama)
    assert (found.threshold, found.far) == (calibration.far_1e3, "1e-3")
    assert found.similarity == pytest.approx(1.0, abs=1e-5) and found.similarity <= 1.0
    assert found.probability == same_person_probability(analyzer.recognizer.card, found.similarity)
    strict = compare_faces(analyzer, obama, obama, threshold_settings=ThresholdSettings(far="1e-4"))
    assert (strict.threshold, strict.far) == (calibration.far_1e4, "1e-4")
    given = compare_faces(analyzer, obama, obama, threshold_settings=ThresholdSettings(similarity=0.25))
    assert (given.threshold, given.far) == (0.25, None)


@pytest.mark.parametrize("faces", ["all", "left"])
def test_a_pair_has_one_face_a_picture(analyzer, obama, faces):
    with pytest.raises(ConfigError, match="one, centre, largest"):
        compare_faces(analyzer, obama, obama, faces=faces)


def test_an_analyzer_without_recogniser_is_refused(analyzer, obama):
    with pytest.raises(ConfigError, match="no recogniser"):
        compare_faces(Analyzer(analyzer.detector, None), obama, obama)
