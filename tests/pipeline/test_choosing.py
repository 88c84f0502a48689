"""Which face of a picture is meant."""

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.choosing import FACE_CHOICES, choose_faces, is_minor, pick, without_minor
from arcface_paddle.types import Detection, Face, ImageResult

BYSTANDER = [0, 20, 90, 110]
"""Larger, at the edge."""
SITTER = [70, 60, 140, 130]
SPECK = [98, 98, 102, 102]
"""In the very middle, but tiny: a face on a poster."""


def slow_centre(boxes, size_wh):
    """FaceNet's rule, a face at a time."""
    best, best_value = -1, -float("inf")
    for index, (left, top, right, bottom) in enumerate(boxes):
        x, y = (left + right) / 2 - size_wh[0] / 2, (top + bottom) / 2 - size_wh[1] / 2
        value = (right - left) * (bottom - top) - (x**2 + y**2) * 2.0
        if value > best_value:
            best, best_value = index, value
    return best


def test_each_choice():
    boxes = np.array([BYSTANDER, SPECK, SITTER], np.float32)
    assert pick(boxes, (200, 200), "largest") == [0]
    assert pick(boxes, (200, 200), "centre") == [2]
    assert pick(boxes, (200, 200), "one") == []
    assert pick(boxes, (200, 200), "all") == [0, 1, 2]
    assert pick(boxes[:1], (200, 200), "one") == [0]


def test_size_counts_beside_the_centre():
    assert pick(np.array([SPECK, SITTER]), (200, 200), "centre") == [1]
    # Width and height are not to be confused: the same two boxes in pictures of 400 x 100 and of 100 x 400.
    boxes = np.array([[180, 30, 220, 70], [30, 180, 70, 220]])
    assert pick(boxes, (400, 100), "centre") == [0]
    assert pick(boxes, (100, 400), "centre") == [1]


def test_centre_is_the_published_rule():
    generator = np.random.default_rng(0)
    for _ in range(200):
        corner = generator.uniform(-20, 280, (generator.integers(1, 9), 2))
        boxes = np.hstack([corner, corner + generator.uniform(5, 120, corner.shape)])
        assert pick(boxes, (320, 240), "centre") == [slow_centre(boxes, (320, 240))]


@pytest.mark.parametrize("how", FACE_CHOICES)
def test_no_face(how):
    assert pick(np.zeros((0, 4), np.float32), (200, 200), how) == []
    assert pick(np.array([]), (200, 200), how) == []


def test_of_equals_the_first():
    assert pick(np.array([SITTER, SITTER]), (200, 200), "centre") == [0]
    assert pick(np.array([SITTER, SITTER]), (200, 200), "largest") == [0]


def test_a_box_turned_inside_out_has_no_area():
    assert pick(np.array([[90, 90, 10, 10], SPECK]), (200, 200), "largest") == [1]


def test_unknown_choice():
    with pytest.raises(ConfigError, match="faces 'center'; allowed: one, centre, largest, all"):
        pick(np.array([SITTER]), (200, 200), "center")


def face(side, score):
    return Detection(np.array([5, 5, 5 + side, 5 + 1.2 * side], np.float32), score)


@pytest.mark.parametrize(("side", "score", "minor"), [(40, 0.6, True), (60, 0.6, False), (40, 0.8, False)])
def test_a_minor_face_is_weak_and_far_smaller(side, score, minor):
    assert is_minor(face(side, score), face(100, 0.9)) == minor


def test_the_main_face_stays_whatever_its_score():
    main, behind, pattern = face(100, 0.55), face(40, 0.9), face(30, 0.6)
    assert without_minor([behind, main, pattern]) == [behind, main]
    assert without_minor([]) == []


@pytest.mark.parametrize(("score", "chosen"), [(0.6, 1), (0.8, 0)])
def test_a_minor_face_is_no_second_one(score, chosen):
    faces = (Face(face(100, 0.9)), Face(face(30, score)))
    found = choose_faces(ImageResult("picture", (300, 200), faces), "one")
    assert len(found) == chosen and all(one is faces[0] for one in found)
    assert len(choose_faces(ImageResult("picture", (300, 200), faces), "all")) == 2
