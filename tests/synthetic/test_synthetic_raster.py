"""The triangle rasterisers: which pixels belong to a triangle, what is in front, what is interpolated."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.synthetic.kernels import raster_kernels
from arcface_paddle.synthetic.kernels.raster_kernels import FARTHEST, pixel_range, rasterize, rasterize_depth

SIZE = 20


class Canvas:
    """The buffers of one drawing."""

    def __init__(self) -> None:
        self.depth = np.full((SIZE, SIZE), FARTHEST, dtype=np.float32)
        self.numbers = np.full((SIZE, SIZE), -1, dtype=np.int32)
        self.barycentric = np.zeros((SIZE, SIZE, 2), dtype=np.float32)

    def draw(self, points, triangles, *, two_sided=False):
        triangles = np.array(triangles, dtype=np.int32)
        screen = np.array(points, dtype=np.float32)
        rasterize(screen, triangles, two_sided, self.depth, self.numbers, self.barycentric)
        return self


def square(corners, z=0.0):
    """Return the points of a quadrilateral, whose corners run clockwise on the screen."""
    return [(x, y, z) for x, y in corners]


FRONT = [(0, 2, 1), (0, 3, 2)]
"""The two triangles of such a quadrilateral that face the viewer: against the clock, with negative signed area."""


def turned_square(angle, half=7.3, centre=(10.2, 9.7)):
    corner_angles = angle + np.pi / 4 + np.arange(4) * np.pi / 2
    radius = half * np.sqrt(2)
    return [(centre[0] + radius * np.cos(a), centre[1] + radius * np.sin(a)) for a in corner_angles]


def inside_square(corners):
    """Return (SIZE, SIZE) bool: the pixel's centre lies on the inner side of all four edges."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    inside = np.ones((SIZE, SIZE), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
        inside &= (x1 - x0) * (rows - y0) - (y1 - y0) * (columns - x0) >= 0
    return inside


@pytest.mark.parametrize("angle", np.linspace(0, 1.5, 7))
def test_two_triangles_of_a_square_leave_no_gap(angle):
    """Catches a tolerance below zero along the shared edge, and a half pixel of offset."""
    corners = turned_square(angle)
    canvas = Canvas().draw(square(corners), FRONT)
    np.testing.assert_array_equal(canvas.numbers >= 0, inside_square(corners))


def test_whole_pixels_of_a_square_are_drawn_once_and_its_diagonal_by_the_first_triangle():
    canvas = Canvas().draw(square([(2, 2), (10, 2), (10, 10), (2, 10)]), FRONT)
    assert (canvas.numbers >= 0).sum() == 64
    assert canvas.numbers[5, 5] == 0, "equal depth does not replace what is there"
    assert set(canvas.numbers[3, 6:10]) == {0} and set(canvas.numbers[8, 2:8]) == {1}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nearer_triangle_wins_in_any_order(order):
    corners = [(1, 1), (18, 1), (18, 18), (1, 18)]
    points = square(corners, z=1.0) + square(corners, z=2.0)
    groups = [FRONT, [(a + 4, b + 4, c + 4) for a, b, c in FRONT]]
    canvas = Canvas().draw(points, groups[order[0]] + groups[order[1]])
    drawn = canvas.numbers >= 0
    assert (canvas.depth[drawn] == 2.0).all()
    nearer = 2 * order.index(1)
    assert set(np.unique(canvas.numbers[drawn])) == {nearer, nearer + 1}


def test_back_faces_are_left_out_unless_both_sides_are_drawn():
    points = square([(1, 1), (18, 1), (18, 18), (1, 18)])
    back = [(a, c, b) for a, b, c in FRONT]
    assert (Canvas().draw(points, back).numbers < 0).all()
    assert (Canvas().draw(points, back, two_sided=True).numbers >= 0).sum() == 17 * 17


@pytest.mark.parametrize(
    "points",
    [
        [(3, 3, 0), (12, 12, 0), (7, 7, 0)],
        [(3, 3, 0), (3, 3, 0), (9, 4, 0)],
        [(30, 3, 0), (40, 3, 0), (35, 9, 0)],
        [(3, -9, 0), (9, -1, 0), (12, -8, 0)],
        [(5.6, 5.6, 0), (5.9, 5.6, 0), (5.9, 5.9, 0)],
    ],
    ids=["line", "double point", "right of it", "above it", "between the centres"],
)
def test_what_covers_no_pixel_draws_nothing(points):
    for triangle in ((0, 1, 2), (0, 2, 1)):
        assert (Canvas().draw(points, [triangle], two_sided=True).numbers < 0).all()


def test_triangle_larger_than_the_picture_fills_it_with_a_plane():
    def plane(x, y):
        return 0.3 * x - 0.2 * y + 4

    corners = [(-60, -60), (-60, 90), (120, -60)]
    canvas = Canvas().draw([(x, y, plane(x, y)) for x, y in corners], [(0, 1, 2)])
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    np.testing.assert_allclose(canvas.depth, plane(columns, rows), atol=1e-4)


def test_barycentric_weights_belong_to_the_first_two_corners():
    corners = np.array([(1.0, 1.0, 0), (2.0, 18.0, 0), (19.0, 3.0, 0)])
    canvas = Canvas().draw(corners, [(0, 1, 2)])
    rows, columns = np.nonzero(canvas.numbers == 0)
    first, second = canvas.barycentric[rows, columns].T
    weights = np.stack([first, second, 1 - first - second], axis=1)
    np.testing.assert_allclose(weights @ corners[:, 0], columns + 0.5, atol=1e-4)
    np.testing.assert_allclose(weights @ corners[:, 1], rows + 0.5, atol=1e-4)
    assert weights.min() > -1e-5 and len(rows) > 50


def test_depth_map_keeps_the_nearest_of_both_sides_and_what_was_there():
    points = np.array(square([(1, 1), (18, 1), (18, 18), (1, 18)], z=3.0), dtype=np.float32)
    depth = np.full((SIZE, SIZE), FARTHEST, dtype=np.float32)
    depth[:, :9] = 5.0
    for triangles in (FRONT, [(a, c, b) for a, b, c in FRONT]):
        target = depth.copy()
        rasterize_depth(points, np.array(triangles, dtype=np.int32), target)
        assert (target[:, :9] == 5.0).all()
        assert (target[1:18, 9:18] == 3.0).all()
        assert (target[0, 9:] == np.float32(FARTHEST)).all()


def test_pixel_range_is_that_of_an_enumeration():
    rng = np.random.default_rng(2)
    for _ in range(60):
        values = rng.uniform(-4, SIZE + 4, 3).round(rng.integers(0, 2)).tolist()
        low, high = pixel_range(*values, SIZE)
        expected = [p for p in range(SIZE) if min(values) <= p + 0.5 <= max(values)]
        assert list(range(low, high + 1)) == expected, values


def test_signed_area_is_negative_for_what_faces_the_viewer():
    clockwise = [(0, 0), (4, 0), (4, 3)]
    area = raster_kernels.signed_area(*(float(value) for corner in clockwise for value in corner))
    assert area == 12.0, "twice the area; clockwise on the screen is a back face"
    assert raster_kernels.signed_area(0.0, 0.0, 4.0, 3.0, 4.0, 0.0) == -12.0
