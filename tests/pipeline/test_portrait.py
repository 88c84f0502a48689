"""One face per picture: aligned crops go in as they are, portraits through detection and alignment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.builders import build_detector, build_recognizer
from arcface_paddle.pipeline.portrait import PortraitAnalyzer

QUERIES = Path(__file__).parents[2] / "demo" / "queries"


@pytest.fixture(scope="module")
def analyzer() -> PortraitAnalyzer:
    return PortraitAnalyzer(build_detector(), build_recognizer())


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
