"""Where each part of the quality begins and ends to count, as the module says; what is measured, by slow formulas."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from arcface_paddle.pipeline import quality
from arcface_paddle.pipeline.alignment import COMMON_TEMPLATE
from arcface_paddle.pipeline.quality import measure_quality, sharpness_of
from arcface_paddle.types import Detection

NOISE = np.random.default_rng(0).integers(60, 200, (112, 112, 3), dtype=np.uint8)


def box(width: float) -> np.ndarray:
    return np.array([10, 20, 10 + width, 20 + width], np.float32)


def points(yaw: float, pitch: float) -> np.ndarray:
    """The five points of the mean face, turned to the side and then up, from far away."""
    a, b = np.radians([yaw, pitch])
    about_y = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    return (quality._MEAN_FACE @ (about_y @ about_x).T)[:, :2] * 2 + 100


@pytest.mark.parametrize(
    ("eyes_px", "part"), [(2, 0.02), (4, 0.02), (128**0.5, 0.5), (32, 1.0), (31, 0.985), (99, 1.0)]
)
def test_size_counts_from_4_pixels_to_32(eyes_px: float, part: float) -> None:
    found = measure_quality(NOISE, Detection(box(eyes_px / 0.4), 1.0))
    assert found.eye_distance_px == pytest.approx(eyes_px, rel=1e-5)
    assert found.parts["size"] == pytest.approx(part, abs=1e-3)


def test_the_eye_distance_of_a_crop_is_that_of_the_template() -> None:
    eyes = np.linalg.norm(COMMON_TEMPLATE[1] - COMMON_TEMPLATE[0])
    assert measure_quality(NOISE, Detection(box(112), 1.0, is_crop=True)).eye_distance_px == pytest.approx(eyes)
    assert measure_quality(NOISE, Detection(box(56), 1.0, is_crop=True)).eye_distance_px == pytest.approx(eyes / 2)


@pytest.mark.parametrize("scale", [0.25, 1.0, 6.0])
def test_the_eye_distance_of_points_is_by_all_five(scale: float) -> None:
    eyes = np.linalg.norm(COMMON_TEMPLATE[1] - COMMON_TEMPLATE[0])
    landmarks = COMMON_TEMPLATE @ [[0.8, 0.6], [-0.6, 0.8]] * scale + 30
    found = measure_quality(NOISE, Detection(box(90), 1.0, landmarks))
    assert found.eye_distance_px == pytest.approx(eyes * scale, rel=1e-6)


def test_points_that_coincide_have_no_size_and_no_pose() -> None:
    found = measure_quality(NOISE, Detection(box(90), 1.0, np.full((5, 2), 7.0)))
    assert (found.eye_distance_px, found.yaw_deg, found.pitch_deg, found.roll_deg) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (14.9, 0), (15.1, 0), (-45, 0), (30, 40), (79, 0), (81, 0)])
def test_pose_counts_from_80_degrees_to_15(yaw: float, pitch: float) -> None:
    found = measure_quality(NOISE, Detection(box(90), 1.0, points(yaw, pitch)))
    away = math.cos(math.radians(found.yaw_deg)) * math.cos(math.radians(found.pitch_deg))
    least, most = math.cos(math.radians(80)), math.cos(math.radians(15))
    assert found.parts["pose"] == pytest.approx(np.clip((away - least) / (most - least), 0.02, 1.0))
    assert away == pytest.approx(math.cos(math.radians(yaw)) * math.cos(math.radians(pitch)), abs=1e-6)


@pytest.mark.parametrize(("doubt", "part"), [(0.0, 1.0), (0.1, 1.0), (0.2, 0.5), (0.3, 0.02), (0.5, 0.02)])
def test_landmarks_count_up_to_a_doubt_of_three_tenths(doubt: float, part: float) -> None:
    detection = Detection(box(90), 1.0, points(0, 0), landmark_doubt=doubt)
    assert measure_quality(NOISE, detection).parts["landmarks"] == pytest.approx(part)


@pytest.mark.parametrize(
    ("measured", "part"),
    [
        ((50, 25, 0.05), 1.0),
        ((200, 25, 0.05), 1.0),
        ((25, 99, 0), 0.5),
        ((227.5, 99, 0), 0.5),
        ((0, 99, 0), 0.02),
        ((255, 99, 0), 0.02),
        ((100, 12.5, 0), 0.5),
        ((100, 99, 0.525), 0.5),
        ((100, 99, 1), 0.02),
        ((25, 5, 0.525), 0.2),
    ],
)
def test_exposure_is_the_worst_of_three(measured: tuple[float, float, float], part: float) -> None:
    assert quality._exposure(*measured) == pytest.approx(part)


def test_sharpness_by_its_formula_and_where_it_counts() -> None:
    parts = set()
    for blur in (0.6, 1.5, 3.0, 6.0):
        picture = cv2.GaussianBlur(NOISE, (0, 0), blur)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        smooth = cv2.GaussianBlur(grey.astype(np.float64), (0, 0), 1.5)
        around = smooth[:-2, 1:-1] + smooth[2:, 1:-1] + smooth[1:-1, :-2] + smooth[1:-1, 2:]
        detail = np.pad(around - 4 * smooth[1:-1, 1:-1], 1)
        sharpness = detail[20:100, 20:92].var() / (smooth[20:100, 20:92].var() + 25)
        assert sharpness_of(grey) == pytest.approx(sharpness, rel=1e-3)
        share = np.log(sharpness / 0.0005) / np.log(0.006 / 0.0005)
        found = measure_quality(picture, Detection(box(90), 1.0)).parts["sharpness"]
        assert found == pytest.approx(np.clip(share, 0.02, 1.0), abs=1e-3)
        parts.add("all" if found == 1 else "nothing" if found == 0.02 else "some")
    assert parts >= {"all", "some"}


def test_light_is_measured_on_the_skin() -> None:
    picture = np.full((112, 112, 3), 255, np.uint8)
    picture[20:100, 20:92] = 100
    picture[20:60, 20:92] = 140
    picture[20:28, 20:92] = 250  # not blown out yet
    picture[92:100, 20:92] = 251
    found = measure_quality(picture, Detection(box(90), 1.0))
    skin = np.repeat([250.0, 140.0, 100.0, 251.0], [8, 32, 32, 8])
    assert found.brightness == pytest.approx(skin.mean()) and found.contrast == pytest.approx(skin.std(), rel=1e-5)
    assert found.blown_out == pytest.approx(0.1)
    assert measure_quality(cv2.resize(picture, (224, 224)), Detection(box(90), 1.0)).blown_out == pytest.approx(
        0.1, abs=0.03
    )


def test_the_score_is_the_geometric_mean_of_the_parts() -> None:
    found = measure_quality(NOISE, Detection(box(28), 1.0, points(50, 0), landmark_doubt=0.2))
    assert set(found.parts) == {"size", "sharpness", "exposure", "pose", "landmarks"}
    assert found.score == pytest.approx(math.prod(found.parts.values()) ** (1 / 5))


def test_a_part_is_named_below_seven_tenths() -> None:
    assert quality._weakness({"size": 0.7, "pose": 0.9}) == "" == quality._weakness({"size": 1.0, "strength": 0.7})
    assert quality._weakness({"size": 0.69, "pose": 0.68, "strength": 0.1}) == "turned away"
    assert quality._weakness({"size": 0.7, "strength": 0.69}) == "hard to recognise"


def test_the_mean_face_is_the_template_made_symmetric_with_a_nose_of_half_an_eye_distance() -> None:
    left_eye, right_eye, nose, left_mouth, right_mouth = COMMON_TEMPLATE
    eyes, mouth = (right_eye - left_eye) / 2, (right_mouth - left_mouth) / 2
    across = [-eyes[0], eyes[0], 0.0, -mouth[0], mouth[0]]
    down = [left_eye[1] + eyes[1]] * 2 + [nose[1]] + [left_mouth[1] + mouth[1]] * 2
    expected = np.column_stack([across, down - np.mean(down), np.array([0, 0, -18, 2, 2]) + 2.8])
    np.testing.assert_allclose(quality._MEAN_FACE, expected, atol=0.05)
    assert np.linalg.norm(right_eye - left_eye) / 2 == pytest.approx(18, abs=0.5)
