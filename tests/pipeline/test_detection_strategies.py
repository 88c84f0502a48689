"""One face per picture: aligned crops go in as they are, portraits through detection and alignment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline import preprocessing
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.builders import DETECTORS, build_detector, build_recognizer
from arcface_paddle.pipeline.cards import DECODERS
from arcface_paddle.pipeline.detection.strategies import PortraitDetector, WholePicture

QUERIES = Path(__file__).parents[2] / "demo" / "queries"


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    recognizer = build_recognizer("MobileFace")
    return Analyzer(PortraitDetector(build_detector(), crop_size_wh=recognizer.card.input.size_wh), recognizer)


def test_crop_and_portrait_give_the_same_embedding(analyzer):
    portrait = images.load_image(QUERIES / "hopper_relit.jpg")
    close = analyzer.analyze(portrait, source="close")
    crop = analyzer.recognizer.align(portrait, [close.faces[0].detection])[0]
    aligned = analyzer.analyze(crop)
    assert (close.source, len(close.faces), len(aligned.faces)) == ("close", 1, 1)
    assert float(close.faces[0].embedding @ aligned.faces[0].embedding) > 0.9999
    np.testing.assert_array_equal(aligned.faces[0].detection.box_xyxy, [0, 0, 112, 112])


def test_of_several_faces_the_largest_counts(analyzer):
    group = images.load_image(QUERIES / "group.jpg")
    (face,) = analyzer.analyze(group).faces
    largest = build_detector().detect(group)[0]
    np.testing.assert_allclose(face.detection.box_xyxy, largest.box_xyxy, atol=1e-3)


def test_without_a_face_the_whole_picture_counts(analyzer):
    wall = np.full((60, 90, 3), 128, np.uint8)
    first, second = analyzer.analyze_many([wall, wall], sources=["a", "b"])
    assert (first.source, second.source) == ("a", "b")
    np.testing.assert_array_equal(first.faces[0].detection.box_xyxy, [0, 0, 90, 60])


def test_what_is_no_picture_is_refused(analyzer):
    with pytest.raises(ImageError):
        analyzer.analyze(np.zeros((112, 112), np.uint8))


def test_a_crop_of_another_size_is_scaled_and_not_warped():
    recognizer = build_recognizer("MobileFace", mirrored=False)
    portrait = images.load_image(QUERIES / "hopper_relit.jpg")
    card = recognizer.card
    scaled = preprocessing.resize(portrait, card.input.size_wh, card.input)
    whole = Analyzer(None, recognizer).analyze(portrait).faces[0]
    np.testing.assert_array_equal(whole.embedding, recognizer.embed([scaled]).vectors[0])
    assert whole.detection.is_crop and whole.detection.landmarks is None


def test_every_decoder_that_a_card_may_name_can_be_built():
    assert set(DETECTORS) == set(DECODERS)


def test_sources_and_pictures_must_be_as_many(analyzer):
    wall = np.full((60, 90, 3), 128, np.uint8)
    with pytest.raises(ConfigError, match="3 pictures but 1 sources"):
        analyzer.analyze_many([wall, wall, wall], sources=["a"])


def test_a_crop_is_one_face_of_full_score():
    (face,) = WholePicture().detect(np.zeros((30, 40, 3), np.uint8))
    assert face.score == 1.0 and face.is_crop and face.box_xyxy.tolist() == [0, 0, 40, 30]
