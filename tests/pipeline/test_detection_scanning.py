"""Which passes a picture takes: never larger than itself, every face whole in one of them, at the same resolution."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.card_parsing import parse_dataclass
from arcface_paddle.pipeline.cards import ScanSpec
from arcface_paddle.pipeline.detection.scanning import Piece, is_calm, levels, pieces, shrink
from arcface_paddle.pipeline.detection.second_look import Window, whole_steps

SPEC = ScanSpec()
SIZES = [(1, 1), (96, 81), (640, 480), (1280, 720), (1920, 1080), (5000, 1), (1, 5000), (16000, 4000), (300, 40000)]


def passes(size_wh: tuple[int, int], *, min_face: int = 16) -> list[Piece]:
    factors = levels(max(size_wh), min_face=min_face, spec=SPEC)
    return [piece for factor in factors for piece in pieces(size_wh, factor=factor, spec=SPEC)]


def pixels(found: list[Piece]) -> int:
    return sum((piece.size_wh[0] + 2 * piece.border) * (piece.size_wh[1] + 2 * piece.border) for piece in found)


@pytest.mark.parametrize("size_wh", SIZES)
def test_no_pass_enlarges_and_none_is_larger_than_a_tile(size_wh: tuple[int, int]) -> None:
    for piece in passes(size_wh):
        left, top, right, bottom = piece.part_xyxy
        assert 0 <= left < right <= size_wh[0] and 0 <= top < bottom <= size_wh[1]
        assert piece.size_wh[0] <= right - left and piece.size_wh[1] <= bottom - top
        assert max(piece.size_wh) <= SPEC.tile + 1
        assert piece.seams == (left > 0, top > 0, right < size_wh[0], bottom < size_wh[1])
        is_small = max(piece.size_wh) <= SPEC.single_pass and piece.part_xyxy == (0, 0, *size_wh)
        assert piece.border == (min(24, round(0.12 * max(piece.size_wh))) if is_small else 0)


def test_a_small_portrait_is_one_small_pass() -> None:
    [piece] = passes((96, 81))
    assert piece.canvas(np.zeros((81, 96, 3), np.uint8)).shape == (128, 128, 3)


def test_a_piece_lies_on_black_with_its_border() -> None:
    picture = np.full((50, 90, 3), 200, np.uint8)
    canvas = Piece((10, 0, 90, 40), (40, 20), 6, (False,) * 4).canvas(picture)
    assert canvas.shape == (32, 64, 3) and Piece((10, 0, 90, 40), (40, 20), 6, (False,) * 4).factor == 0.5
    expected = np.zeros_like(canvas)
    expected[6:26, 6:46] = 200
    np.testing.assert_array_equal(canvas, expected)


@pytest.mark.parametrize("size_wh", [(640, 480), (900, 700)])
def test_what_fits_into_one_pass_takes_one(size_wh: tuple[int, int]) -> None:
    assert len(passes(size_wh)) == 1


@pytest.mark.parametrize("size_wh", SIZES)
def test_every_level_covers_the_picture_and_the_coarsest_is_whole(size_wh: tuple[int, int]) -> None:
    factors = levels(max(size_wh), min_face=16, spec=SPEC)
    assert next(pieces(size_wh, factor=factors[-1], spec=SPEC)).part_xyxy == (0, 0, *size_wh)
    for factor in factors:
        found = list(pieces(size_wh, factor=factor, spec=SPEC))
        for axis in (0, 1):
            ends = sorted({(piece.part_xyxy[axis], piece.part_xyxy[axis + 2]) for piece in found})
            assert ends[0][0] == 0 and ends[-1][1] == size_wh[axis]
            for (_, end), (start, _) in zip(ends, ends[1:]):
                assert (end - start) * factor >= SPEC.overlap - 1


def test_the_finest_resolution_does_not_depend_on_the_size_of_the_picture() -> None:
    assert {levels(side, min_face=16, spec=SPEC)[0] for side in (640, 1920, 5000, 16000, 100_000)} == {10 / 16}


@pytest.mark.parametrize("longer_side", [1000, 1920, 5000, 16000, 200_000])
def test_what_is_too_large_for_an_overlap_is_noticed_on_the_next_level(longer_side: int) -> None:
    factors = levels(longer_side, min_face=16, spec=SPEC)
    for fine, coarse in zip(factors, factors[1:]):
        assert SPEC.overlap / fine * coarse >= 1.49 * SPEC.face_in_input
    assert factors[-1] * longer_side <= SPEC.single_pass


def test_a_larger_smallest_face_makes_fewer_and_smaller_passes() -> None:
    costs = [pixels(passes((4000, 3000), min_face=min_face)) for min_face in (16, 24, 32, 64, 128)]
    assert costs == sorted(costs, reverse=True) and costs[-1] < costs[0] / 20
    assert len(passes((4000, 3000), min_face=128)) == 1


def test_a_smaller_smallest_face_than_the_network_sees_does_not_enlarge() -> None:
    assert levels(800, min_face=4, spec=SPEC)[0] == 1.0


def test_points_come_back_to_the_picture() -> None:
    for piece in passes((3000, 2000)):
        left, top, right, bottom = piece.part_xyxy
        corners = np.array([[0, 0], piece.size_wh], float) + piece.border
        np.testing.assert_allclose(piece.to_picture(corners), [[left, top], [right, bottom]])


def test_boxes_that_a_seam_cuts_off() -> None:
    piece = Piece((100, 0, 300, 200), (200, 200), 0, (True, False, True, False))
    boxes = np.array([[101, 50, 130, 90], [150, 0, 180, 40], [280, 50, 300, 90], [150, 50, 180, 90]], float)
    assert piece.is_cut(boxes).tolist() == [True, False, True, False]


def test_a_calm_piece_shows_nothing_and_a_face_is_not_calm() -> None:
    rng = np.random.default_rng(0)
    wall = np.clip(rng.normal(120, 6, (400, 600, 3)), 0, 255).astype(np.uint8)
    [piece] = pieces((600, 400), factor=1.0, spec=SPEC)
    assert is_calm(wall, piece)
    wall[200:210, 300:310] = 160  # a face of ten pixels
    assert not is_calm(wall, piece)


@pytest.mark.parametrize(("contrast", "calm"), [(13, True), (14, False)])
def test_a_piece_with_the_contrast_of_a_face_in_deep_shadow_is_not_calm(contrast: int, calm: bool) -> None:
    picture = np.full((64, 64, 3), 30, np.uint8)
    picture[:, 20:, 1] += contrast
    for left, expected in ((0, calm), (20, True)):
        assert is_calm(picture, Piece((left, 10, 64, 50), (64 - left, 40), 0, (False,) * 4)) == expected


@pytest.mark.parametrize("factor", [0.9, 0.5, 0.2])
def test_shrinking_keeps_the_mean_and_loses_no_pixel(factor: float) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    shrunk = shrink(picture, (round(300 * factor), round(200 * factor)))
    assert abs(float(shrunk.mean()) - float(picture.mean())) < 2
    if factor <= 0.5:
        assert shrunk.std() < 0.75 * picture.std()  # averaged, not picked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tile": 150}, "tile > 2 overlap"),
        ({"overlap": 19}, "4 face_in_input"),
        ({"window": 100}, "multiple of 32"),
        ({"noticed": 0.0}, "noticed between"),
        ({"min_face": 0}, "above 0"),
    ],
)
def test_a_scan_that_cannot_work_is_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        parse_dataclass(ScanSpec, {**dataclasses.asdict(SPEC), **change}, name="model.json: scan")


@pytest.mark.parametrize("size_wh", [(640, 360), (641, 363), (400, 400)])
@pytest.mark.parametrize("factor", [0.5, 0.3125, 0.1])
def test_shrinking_in_halves_takes_every_pixel_into_account(size_wh: tuple[int, int], factor: float) -> None:
    """As the mean over areas does, but for rounding and the softer edges of bilinear sampling."""
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8), (0, 0), 2 / factor)
    small_wh = (round(size_wh[0] * factor), round(size_wh[1] * factor))
    found = shrink(picture, small_wh).astype(int)
    assert np.abs(found - cv2.resize(picture, small_wh, interpolation=cv2.INTER_AREA).astype(int)).max() <= 4
    noise = rng.integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    assert shrink(noise, small_wh).std() < min(0.6, 2.2 * factor) * noise.std()  # if pixels were left out, 1 times


@pytest.mark.parametrize(
    ("size_wh", "how"),
    [
        *(((270, 180), cv2.INTER_LINEAR), ((180, 120), cv2.INTER_LINEAR), ((179, 130), cv2.INTER_AREA)),
        *(((180, 119), cv2.INTER_AREA), ((151, 100), cv2.INTER_AREA), ((150, 101), cv2.INTER_AREA)),
    ],
)
def test_above_the_half_a_picture_is_shrunk_at_once(size_wh: tuple[int, int], how: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    np.testing.assert_array_equal(shrink(picture, size_wh), cv2.resize(picture, size_wh, interpolation=how))


def test_what_can_be_halved_is() -> None:
    """It takes a tenth of the time of other averages."""
    picture = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    half = cv2.resize(picture, (320, 180), interpolation=cv2.INTER_AREA)
    expected = cv2.resize(half, (200, 112), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(shrink(picture, (200, 112)), expected)
    np.testing.assert_array_equal(shrink(picture, (320, 180)), half)
    upright = picture.transpose(1, 0, 2)
    np.testing.assert_array_equal(shrink(upright, (180, 320)), half.transpose(1, 0, 2))


@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("part", [(0, 0, 7, 9), (20, 3, 31, 22), (90, 60, 100, 80), (3, 70, 99, 77)])
def test_windows_are_averaged_over_whole_steps_and_show_no_less(part: tuple[int, ...], step: int) -> None:
    size_wh = np.array([100, 80])
    low, high = np.array(part[:2]), np.array(part[2:])
    wider_low, wider_high = whole_steps(low, high, step, size_wh)
    assert (wider_low <= low).all() and (high <= wider_high).all()
    assert (wider_low >= 0).all() and (wider_high <= size_wh).all()
    sides = wider_high - wider_low
    assert ((sides % step == 0) | (sides == size_wh)).all() and (sides < high - low + step).all()


@pytest.mark.parametrize(
    ("width", "angle"), [(30, 0.0), (200, 0.0), (700, 0.0), (200, 0.8), (200, 2.4), (200, -0.8), (200, -2.4)]
)
def test_a_window_shows_the_place_that_it_stands_for(width: int, angle: float) -> None:
    """A gradient tells where a pixel came from."""
    columns, rows = np.meshgrid(np.arange(1001), np.arange(803))
    image = np.stack([columns / 4, rows / 4, 0 * rows], axis=-1).astype(np.uint8)
    scale = 44 / width
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    window = Window(np.column_stack([turn, 48 - turn @ [500, 400]]), angle)
    shown = window.cut(image, 96)[..., :2].astype(np.float64)
    places = np.stack(np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5), axis=-1)
    from_picture = window.to_picture(places)
    inside = ((from_picture > 1 / scale) & (from_picture < np.array([1001, 803]) - 1 / scale)).all(axis=-1)
    expected = (from_picture - 0.5) / 4 - 0.375  # quarters are cut off
    np.testing.assert_allclose(shown[inside], expected[inside], atol=1)
    outside = ((from_picture < -1 / scale) | (from_picture > np.array([1001, 803]) + 1 / scale)).any(axis=-1)
    assert inside.sum() > 2000 and not shown[outside].any()


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_window_at_a_corner_shows_the_picture_up_to_its_last_pixel(corner: tuple[int, int]) -> None:
    picture = np.full((60, 80, 3), 200, np.uint8)
    middle = np.array(corner) * [80, 60]
    shown = Window(np.column_stack([np.eye(2), 48 - middle]), 0.0).cut(picture, 96)[..., 0]
    rows, columns = np.nonzero(shown == 200)
    assert (columns.min(), columns.max()) == ((48, 95) if corner[0] == 0 else (0, 47))
    assert (rows.min(), rows.max()) == ((48, 95) if corner[1] == 0 else (0, 47))
