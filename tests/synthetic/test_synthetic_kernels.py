"""Rasteriser, projection and colour against slow or exact twins."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.synthetic import projection
from arcface_paddle.synthetic.color import linear_from_srgb, srgb_from_linear
from arcface_paddle.synthetic.kernels import raster_kernels
from arcface_paddle.synthetic.kernels.hair_kernels import draw_strands
from arcface_paddle.synthetic.person.pose import Pose, head_rotation
from arcface_paddle.synthetic.random_streams import stream
from arcface_paddle.synthetic.scene.camera import aligned_view, face_template, frame_view


def random_triangles(count, size):
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.uniform(-8, size + 8, (3 * count, 2)), rng.uniform(-1, 1, (3 * count, 1))], axis=1)
    return points.astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def slow_raster(points, triangles, size, *, two_sided):
    depth = np.full((size, size), raster_kernels.FARTHEST)
    numbers = np.full((size, size), -1)
    for number, (a, b, c) in enumerate(points[triangles].astype(np.float64)):
        edges = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
        area = np.linalg.det(edges)
        if area > 0 and not two_sided:
            continue
        inverse = np.linalg.inv(edges)
        for row in range(size):
            for column in range(size):
                weights = inverse @ [column + 0.5, row + 0.5, 1]
                z = weights @ [a[2], b[2], c[2]]
                if weights.min() >= 0 and z > depth[row, column]:
                    depth[row, column], numbers[row, column] = z, number
    return depth, numbers


@pytest.mark.parametrize("two_sided", [False, True])
def test_rasterizer_equals_its_slow_twin(two_sided):
    size = 24
    points, triangles = random_triangles(12, size)
    depth = np.full((size, size), raster_kernels.FARTHEST, dtype=np.float32)
    numbers = np.full((size, size), -1, dtype=np.int32)
    barycentric = np.zeros((size, size, 2), dtype=np.float32)
    raster_kernels.rasterize(points, triangles, two_sided, depth, numbers, barycentric)
    expected_depth, expected_numbers = slow_raster(points, triangles, size, two_sided=two_sided)
    np.testing.assert_array_equal(numbers, expected_numbers)
    drawn = numbers >= 0
    assert 0 < drawn.sum() < size * size
    np.testing.assert_allclose(depth[drawn], expected_depth[drawn], atol=1e-4)
    _, columns = np.nonzero(drawn)
    corners = points[triangles[numbers[drawn]]]
    a, b = barycentric[drawn].T
    x = a * corners[:, 0, 0] + b * corners[:, 1, 0] + (1 - a - b) * corners[:, 2, 0]
    np.testing.assert_allclose(x, columns + 0.5, atol=1e-3)


def test_depth_rasterizer_agrees_with_the_full_one():
    size = 24
    points, triangles = random_triangles(12, size)
    depth = np.full((size, size), raster_kernels.FARTHEST, dtype=np.float32)
    raster_kernels.rasterize_depth(points, triangles, depth)
    expected, _ = slow_raster(points, triangles, size, two_sided=True)
    np.testing.assert_allclose(depth, expected, atol=1e-4)


def test_rotation_is_orthonormal_and_turns_as_documented():
    matrix = projection.rotation(yaw_rad=0.3, pitch_rad=0.2, roll_rad=-0.5)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    front = np.array([0, 0, 1.0])
    assert (projection.rotation(yaw_rad=0.3) @ front)[0] > 0, "positive yaw: to the right of the picture"
    assert (projection.rotation(pitch_rad=0.3) @ front)[1] < 0, "positive pitch: down"
    assert (projection.rotation(roll_rad=0.3) @ np.array([1, 0, 0]))[1] > 0, "positive roll: counter-clockwise"


def test_frontal_landmarks_land_on_the_template():
    landmarks = np.array(
        [[-0.31, 0.28, 1.1], [0.31, 0.28, 1.1], [0, -0.06, 1.2], [-0.25, -0.4, 1.0], [0.25, -0.4, 1.0]]
    )
    view = aligned_view(stream(0, "test"), Pose(0, 0, 0, 2.0), landmarks, 112)
    placed = view.project(landmarks)[:, :2]
    assert np.linalg.norm(placed - face_template(), axis=1).max() < 6
    twice = view.scaled(2).project(landmarks)
    np.testing.assert_allclose(twice[:, :2], 2 * placed, rtol=1e-5)
    np.testing.assert_allclose(twice[:, 2], landmarks[:, 2])
    framed = frame_view(stream(0, "test"), Pose(0, 0, 0, 2.0), 300).project(landmarks)
    assert framed[0, 0] < framed[1, 0]
    assert framed[0, 1] < framed[3, 1], "y points down"
    assert head_rotation(Pose(20, 0, 0, 1))[0, 2] > 0


def test_srgb_there_and_back():
    values = np.arange(256, dtype=np.float64)
    back = srgb_from_linear(linear_from_srgb(values)) * 255
    np.testing.assert_allclose(back, values, atol=0.35)
    np.testing.assert_allclose(linear_from_srgb(np.array([255.0, 0.0])), [1, 0])


def test_strands_respect_depth_and_coverage():
    size = 40
    points = np.stack([np.full(200, 20.5), np.linspace(2, 38, 200), np.zeros(200)], axis=1)
    strands = np.repeat(points[None, ::40], 3, axis=0).astype(np.float32)
    strands[:, :, 0] += np.array([-8, 0, 8])[:, None]
    drawn = []
    for coverage in (1.0, 0.4):
        depth = np.full((size, size), -1.0, dtype=np.float32)
        depth[:, 20:] = 5.0  # something stands before the right half
        image, alpha = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
        draw_strands(strands, np.ones_like(strands), 2.0, coverage, 0.0, depth, image, alpha)
        assert alpha[:, 24:].sum() == 0, "hidden"
        drawn.append(alpha.sum())
    assert 0.2 * drawn[0] < drawn[1] < 0.7 * drawn[0]
