"""Pictures on their side: found, and told in coordinates of the picture as it was given."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.detection.turning import _is_among, find_turned, points_turned_back
from arcface_paddle.pipeline.settings import ROTATIONS, DetectionSettings
from arcface_paddle.types import Detection

SPOT = np.array([255, 0, 0], np.uint8)


def find_spot(image: np.ndarray) -> list[Detection]:
    """Find the red spot of a picture that is taller than wide: a detector for whom pictures must stand upright."""
    ys, xs = np.nonzero((image[:, :, 0] > 127) & (image[:, :, 1] < 128))
    if image.shape[1] > image.shape[0] or not len(ys):
        return []
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)
    return [Detection(box, 0.9, np.tile(box[:2], (5, 1)), landmark_doubt=0.1)]


def lying_picture() -> np.ndarray:
    picture = np.full((120, 300, 3), 200, np.uint8)
    picture[20:40, 50:80] = SPOT
    return picture


@pytest.mark.parametrize("rotate", ["auto", "90", "270"])
def test_faces_are_told_in_the_picture_as_it_was_given(rotate: str) -> None:
    [face] = find_turned(find_spot, lying_picture(), glance=find_spot, rotate=rotate, plausible=0.5)
    np.testing.assert_array_equal(face.box_xyxy, [50, 20, 80, 40])
    assert face.landmark_doubt == 0.1 and face.landmarks is not None
    # The point was the box's left top corner in the turned picture; it is another corner of the same box here.
    assert face.landmarks[0].tolist() in [[50, 40], [80, 20]]


@pytest.mark.parametrize("rotate", ["0", "180"])
def test_a_turn_that_does_not_make_it_stand_finds_nothing(rotate: str) -> None:
    assert find_turned(find_spot, lying_picture(), glance=find_spot, rotate=rotate, plausible=0.5) == []


def test_the_small_copy_of_a_large_picture_keeps_its_proportions() -> None:
    seen = []

    def glance(image: np.ndarray) -> list[Detection]:
        seen.append(image.shape)
        return find_spot(image)

    large = np.repeat(np.repeat(lying_picture(), 4, axis=0), 4, axis=1)
    [face] = find_turned(find_spot, large, glance=glance, rotate="auto", plausible=0.5)
    np.testing.assert_array_equal(face.box_xyxy, [200, 80, 320, 160])
    assert seen == [(480, 192, 3), (480, 192, 3), (192, 480, 3)]


def test_a_plausible_face_ends_the_search() -> None:
    looks = []

    def find(image: np.ndarray) -> list[Detection]:
        looks.append(image.shape)
        return [Detection(np.array([0, 0, 9, 9], np.float32), 0.7)]

    [face] = find_turned(find, lying_picture(), glance=find, rotate="auto", plausible=0.5)
    assert looks == [(120, 300, 3)] and face.score == 0.7


def test_a_weak_face_gives_way_to_the_same_one_after_a_turn_and_stays_elsewhere() -> None:
    def find(image: np.ndarray) -> list[Detection]:
        weak = [Detection(np.array(box, np.float32), 0.3) for box in ([52, 22, 78, 38], [200, 60, 220, 80])]
        return weak if image.shape[1] > image.shape[0] else find_spot(image)

    found = find_turned(find, lying_picture(), glance=find, rotate="auto", plausible=0.5)
    assert [face.score for face in found] == [0.9, 0.3]
    np.testing.assert_array_equal(found[1].box_xyxy, [200, 60, 220, 80])


@pytest.mark.parametrize(
    ("box", "same"),
    [
        ([52.5, 0, 152.5, 10], True),  # .31 of what both cover, .47 of each
        ([55.0, 0, 155.0, 10], False),
        ([85.5, 0, 105.5, 10], True),  # .72 of the smaller one, .14 of what both cover
        ([86.5, 0, 106.5, 10], False),
    ],
)
def test_which_boxes_are_the_same_face(box: list[float], same: bool) -> None:
    found = Detection(np.array([0, 0, 100, 10], np.float32), 0.9)
    assert _is_among(Detection(np.array(box, np.float32), 0.3), [found]) is same
    assert not _is_among(found, [])


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_points_turn_back_as_pixels_do(turn: int) -> None:
    rng = np.random.default_rng(0)
    picture = np.arange(35).reshape(5, 7)
    turned = np.rot90(picture, -(turn // 90))
    for _ in range(10):
        y, x = rng.integers(0, turned.shape)
        [[back_x, back_y]] = points_turned_back(np.array([[x + 0.5, y + 0.5]]), turn, (7, 5)) - 0.5
        assert picture[int(back_y), int(back_x)] == turned[y, x]


def test_settings_refuse_what_cannot_be() -> None:
    assert [DetectionSettings(rotate=rotate).rotate for rotate in ROTATIONS] == list(ROTATIONS)
    with pytest.raises(ConfigError, match="rotate is '45'; allowed: auto, 0, 90, 180, 270"):
        DetectionSettings(rotate="45")
    with pytest.raises(ConfigError, match="min_face is 0; allowed: 1 to"):
        DetectionSettings(min_face=0)
