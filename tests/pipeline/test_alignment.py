from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.alignment import align_face, estimate_similarity
from arcface_paddle.pipeline.cards import InputSpec
from arcface_paddle.pipeline.model_files import preset_card
from arcface_paddle.pipeline.preprocessing import crop_square, resize, to_blob, warp
from arcface_paddle.types import Detection

CARD = preset_card("aligned-112")
assert CARD.recognizer is not None
TEMPLATE = np.array(CARD.recognizer.template)


def lstsq_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The same least-squares problem as four unknowns in a plain linear system."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


@pytest.mark.parametrize("seed", range(20))
def test_similarity_equals_the_linear_least_squares_solution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(int(rng.integers(2, 8)), 2)) * 100
    target = rng.normal(size=source.shape) * 50
    np.testing.assert_allclose(estimate_similarity(source, target), lstsq_similarity(source, target), atol=1e-8)


def test_similarity_recovers_a_known_transform_and_never_mirrors() -> None:
    angle, scale = 0.7, 3.0
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = estimate_similarity(TEMPLATE, TEMPLATE @ rotation.T + [5, -9])
    np.testing.assert_allclose(found, np.column_stack([rotation, [5, -9]]), atol=1e-9)
    mirrored = TEMPLATE * [-1, 1]
    assert np.linalg.det(estimate_similarity(TEMPLATE, mirrored)[:, :2]) > 0


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), 7.0)])
def test_landmarks_that_coincide_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ImageError, match="cannot be aligned"):
        estimate_similarity(points, TEMPLATE)


def gradient(height: int, width: int) -> np.ndarray:
    """A picture whose red grows with x and whose green grows with y, so that a pixel tells where it came from."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = np.linspace(0, 255, width)[None]
    image[:, :, 1] = np.linspace(0, 255, height)[:, None]
    return image


@pytest.mark.parametrize("size", [56, 112, 300, 1000])
def test_aligned_points_land_on_the_template(size: int) -> None:
    scale = size / 112
    image = gradient(size * 2, size * 2)
    points = TEMPLATE * scale + size / 2
    crop = align_face(image, Detection(np.zeros(4, np.float32), 1.0, points.astype(np.float32)), CARD)
    assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
    for (u, v), (x, y) in zip(TEMPLATE, points):
        assert abs(int(crop[round(v), round(u), 0]) - x / (size * 2 - 1) * 255) < 2.5
        assert abs(int(crop[round(v), round(u), 1]) - y / (size * 2 - 1) * 255) < 2.5


def test_outside_of_the_picture_is_black() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    points = (TEMPLATE - 30).astype(np.float32)
    crop = align_face(image, Detection(np.zeros(4, np.float32), 1.0, points), CARD)
    assert crop[:25].max() == 0 and crop[-25:].max() == 0 and crop[45, 45].tolist() == [200, 200, 200]


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    checkers = (np.indices((800, 800)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = warp(
        np.repeat(checkers[:, :, None], 3, axis=2), np.array([[0.125, 0, 0], [0, 0.125, 0]]), size_wh=(100, 100)
    )
    inner = crop[2:-2, 2:-2].astype(int)
    assert abs(inner - 127).max() <= 3


@pytest.mark.parametrize("scale", [0.9, 0.5, 0.26, 0.1, 0.03])
def test_shrinking_does_not_shift(scale: float) -> None:
    size = int(100 / scale)
    image = gradient(size, size)
    shift = (scale - 1) / 2  # so that the corners of both pictures coincide
    crop = warp(image, np.array([[scale, 0, shift], [0, scale, shift]]), size_wh=(100, 100))
    expected = cv2.resize(image, (100, 100), interpolation=cv2.INTER_AREA)
    assert abs(crop[3:-3, 3:-3].astype(int) - expected[3:-3, 3:-3]).max() <= 4


def test_a_picture_of_the_right_size_is_not_copied() -> None:
    picture = gradient(112, 112)
    assert resize(picture, (112, 112), CARD.input) is picture
    assert resize(picture, (56, 112), CARD.input).shape == (112, 56, 3)


def test_resizing_averages_where_the_card_says_so_and_both_sides_shrink() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 130, 3), dtype=np.uint8)
    cards = {kind: dataclasses.replace(CARD.input, interpolation=kind) for kind in ("area", "bilinear")}
    for size_wh, kind, used in (
        ((60, 50), "area", cv2.INTER_AREA),
        ((60, 50), "bilinear", cv2.INTER_LINEAR),
        ((130, 50), "area", cv2.INTER_LINEAR),
        ((60, 120), "area", cv2.INTER_LINEAR),
    ):
        np.testing.assert_array_equal(
            resize(picture, size_wh, cards[kind]), cv2.resize(picture, size_wh, interpolation=used)
        )


def test_shrinking_keeps_the_proportions_and_black_is_black() -> None:
    image = gradient(300, 500)
    crop = warp(image, np.array([[0.2, 0, -0.4], [0, 0.2, -0.4]]), size_wh=(150, 60))
    expected = cv2.resize(image, (100, 60), interpolation=cv2.INTER_AREA)
    assert abs(crop[3:-3, 3:97].astype(int) - expected[3:-3, 3:-3]).max() <= 4
    assert not crop[:, 102:].any()


def test_a_transform_that_leaves_nothing_is_no_error() -> None:
    assert warp(gradient(20, 20), np.zeros((2, 3)), size_wh=(4, 5)).shape == (5, 4, 3)


def test_a_crop_stays_as_it_is_and_another_size_is_scaled() -> None:
    whole = Detection(np.array([0, 0, 9, 9], np.float32), 1.0, is_crop=True)
    crop, large = gradient(112, 112), gradient(150, 140)
    assert align_face(crop, whole, CARD) is crop
    np.testing.assert_array_equal(align_face(large, whole, CARD), resize(large, (112, 112), CARD.input))


def test_crop_square_in_continuous_coordinates() -> None:
    image = gradient(64, 64)
    np.testing.assert_array_equal(crop_square(image, np.array([32.0, 24.0]), 48.0, 48), image[0:48, 8:56])


def test_a_box_without_landmarks_keeps_its_proportions() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(image, (150, 100), 30, (255, 255, 255), -1)
    tall = Detection(np.array([120, 60, 180, 140], np.float32), 0.9)
    crop = align_face(image, tall, CARD)[:, :, 0] > 127
    ys, xs = np.nonzero(crop)
    assert abs((np.ptp(xs) + 1) - (np.ptp(ys) + 1)) <= 2 and abs((np.ptp(xs) + 1) - 61 * 112 / 80) <= 2
    with pytest.raises(ImageError, match="is empty"):
        align_face(image, Detection(np.array([5, 5, 5, 5], np.float32), 0.9), CARD)


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_the_square_around_a_box_is_as_large_as_the_card_says(factor: float) -> None:
    assert CARD.recognizer is not None
    card = dataclasses.replace(CARD, recognizer=dataclasses.replace(CARD.recognizer, box_crop_factor=factor))
    image = gradient(300, 400)
    box = Detection(np.array([120, 100, 200, 160], np.float32), 0.9)
    expected = crop_square(image, np.array([160.0, 130.0]), 80 * factor, 112)
    np.testing.assert_array_equal(align_face(image, box, card), expected)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("size_hw", [(3, 4), (130, 150)], ids=["crop", "picture"])
def test_blob_follows_the_card(size_hw: tuple[int, int], order: str) -> None:
    spec = InputSpec(size_hw[::-1], order, (0.1, 0.2, 0.0), (0.5, 0.6, 0.7), scale=1 / 255)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *size_hw, 3), dtype=np.uint8)
    channels = pictures if order == "RGB" else pictures[:, :, :, ::-1]
    expected = ((channels / 255 - np.array(spec.mean)) / np.array(spec.std)).transpose(0, 3, 1, 2)
    blob = to_blob(list(pictures), spec)
    assert blob.dtype == np.float32 and blob.flags.c_contiguous
    np.testing.assert_allclose(blob, expected, atol=1e-5)
    again = np.full_like(blob, np.nan)
    assert to_blob(list(pictures), dataclasses.replace(spec), out=again) is again
    np.testing.assert_array_equal(again, blob)
