"""Kernels over vertices against NumPy: subdivision products, targets, normals, turning, the sky that a vertex sees."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.synthetic.kernels import mesh_kernels
from arcface_paddle.synthetic.kernels.raster_kernels import FARTHEST
from arcface_paddle.synthetic.person.head import INNER_MOUTH, SKIN
from arcface_paddle.synthetic.person.pose import PIVOT
from arcface_paddle.synthetic.person.posing import turn
from arcface_paddle.synthetic.projection import project_orthographic, rotation, view_axes


def random_points(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def test_sparse_product_equals_the_dense_one():
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(9, 7)) * (rng.random((9, 7)) < 0.4)
    dense[4] = 0  # a row without entries is a zero and shifts no other row
    rows, columns = np.nonzero(dense)
    pointers = np.searchsorted(rows, np.arange(10)).astype(np.int32)
    points, out = random_points(7), np.full((9, 3), 9, dtype=np.float32)
    mesh_kernels.multiply_sparse(
        dense[rows, columns].astype(np.float32), columns.astype(np.int32), pointers, points, out
    )
    np.testing.assert_allclose(out, dense @ points, atol=1e-5)
    assert (out[4] == 0).all()


def test_targets_that_share_a_vertex_add_up():
    points, before = random_points(5), random_points(5)
    indices = np.array([0, 3, 3, 4, 1], dtype=np.int32)
    offsets = random_points(5, seed=2)
    pointers = np.array([0, 2, 4, 5], dtype=np.int32)
    mesh_kernels.add_targets(
        points, indices, offsets, pointers, np.array([0, 1], dtype=np.int64), np.array([2.0, -0.5], dtype=np.float32)
    )
    expected = before.copy()
    np.add.at(expected, indices[:2], 2.0 * offsets[:2])
    np.add.at(expected, indices[2:4], -0.5 * offsets[2:4])
    np.testing.assert_allclose(points, expected, atol=1e-6)
    np.testing.assert_array_equal(points[[1, 2]], before[[1, 2]])


def octahedron():
    points = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], dtype=np.float32)
    triangles = []
    for x in (0, 1):
        for y in (2, 3):
            for z in (4, 5):
                flipped = (x == 1) ^ (y == 3) ^ (z == 5)
                triangles.append((x, z, y) if flipped else (x, y, z))
    return points, np.array(triangles, dtype=np.int32)


def test_normals_point_outward_and_are_weighted_by_area():
    points, triangles = octahedron()
    normals = np.empty_like(points)
    mesh_kernels.vertex_normals(points, triangles, normals)
    np.testing.assert_allclose(normals, points, atol=1e-6)
    points = random_points(12)
    triangles = np.random.default_rng(3).integers(0, 12, (20, 3)).astype(np.int32)
    normals = np.empty_like(points)
    mesh_kernels.vertex_normals(points, triangles, normals)
    expected = np.zeros((12, 3))
    for corners in triangles:
        a, b, c = points[corners].astype(np.float64)
        for corner in corners:
            expected[corner] += np.cross(b - a, c - a)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True) + 1e-12
    np.testing.assert_allclose(normals, expected, atol=1e-4)


def test_points_turn_about_the_pivot_with_head_or_body():
    points = random_points(6) + np.array([0, 7, 0], dtype=np.float32)
    weights = np.array([0, 0.25, 0.5, 0.75, 1, 1], dtype=np.float32)
    by_head, by_body = rotation(yaw_rad=0.8, roll_rad=0.3), rotation(yaw_rad=0.2)
    out = np.empty_like(points)
    mesh_kernels.blend_rotations(points, weights, by_head, by_body, PIVOT, out)
    offset = points - PIVOT
    expected = weights[:, None] * (offset @ by_head.T) + (1 - weights[:, None]) * (offset @ by_body.T)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_turning_keeps_shape_and_distances():
    points = random_points(24).reshape(4, 6, 3)
    turned = turn(points, rotation(yaw_rad=0.4, pitch_rad=-0.2))
    assert turned.shape == points.shape and turned.dtype == np.float32
    np.testing.assert_allclose(
        np.linalg.norm(turned[0, 0] - turned[3, 5]), np.linalg.norm(points[0, 0] - points[3, 5]), rtol=1e-5
    )
    np.testing.assert_allclose(turn(PIVOT[None], rotation(yaw_rad=1.0)), 0, atol=1e-6)


def slow_visibility(projected, normals, direction, depth, bias):
    visible, total = np.zeros(len(projected)), np.zeros(len(projected))
    for number, ((x, y, z), normal) in enumerate(zip(projected, normals)):
        cosine = float(normal @ direction)
        if cosine <= 0:
            continue
        total[number] = cosine
        column, row = int(x), int(y)
        if not (0 <= row < depth.shape[0] and 0 <= column < depth.shape[1]) or z >= depth[row, column] - bias:
            visible[number] = cosine
    return visible, total


def test_share_of_the_sky_equals_its_slow_twin():
    rng = np.random.default_rng(4)
    projected = np.concatenate([rng.uniform(1, 15, (80, 2)), rng.normal(size=(80, 1))], axis=1).astype(np.float32)
    projected[:5, 0] = [20, 40, 17, 16, 30]  # beside the map: nothing hides them
    normals = random_points(80, seed=5)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    depth = rng.normal(size=(16, 16)).astype(np.float32)
    direction = np.array([0.6, 0, 0.8], dtype=np.float32)
    visible, total = np.zeros(80, np.float32), np.zeros(80, np.float32)
    mesh_kernels.accumulate_visibility(projected, normals, direction, depth, 0.07, visible, total)
    expected = slow_visibility(projected, normals, direction, depth, 0.07)
    np.testing.assert_allclose(visible, expected[0], atol=1e-5)
    np.testing.assert_allclose(total, expected[1], atol=1e-5)
    assert 0 < visible.sum() < total.sum()


def test_hollows_of_the_head_see_less_sky(head, people):
    occlusion = people[0].occlusion
    assert occlusion.min() >= np.float32(0.03) and occlusion.max() <= 1
    skin = np.unique(head.mesh.triangles[head.mesh.materials == SKIN])
    inner = skin[head.masks[skin, INNER_MOUTH] > 0.9]
    forehead = skin[(np.abs(head.neutral[skin] - [0, 7.8, 1.4]) < [0.3, 0.15, 0.4]).all(axis=1)]
    assert len(inner) > 20 and len(forehead) > 20
    assert occlusion[inner].mean() < 0.5 * occlusion[forehead].mean()
    assert occlusion[forehead].mean() > 0.85


@pytest.mark.parametrize("towards", [(0, 0, 1), (1, 0, 0), (0.3, 0.99, 0.1), (0, -1, 0), (-2, 1, 3)])
def test_views_from_far_away_are_rotations_that_look_along_their_direction(towards):
    axes = view_axes(np.array(towards, dtype=np.float64))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1, abs=1e-5)
    unit = np.array(towards) / np.linalg.norm(towards)
    np.testing.assert_allclose(axes @ unit, [0, 0, 1], atol=1e-6)


def test_orthographic_projection_has_its_middle_in_the_middle_and_y_down():
    axes = view_axes(np.array([0.0, 0, 1]))
    screen = project_orthographic(np.array([(0, 0, 0), (1, 2, 3)], dtype=np.float32), axes, 10.0, 100)
    np.testing.assert_allclose(screen, [(50, 50, 0), (60, 30, 3)], atol=1e-5)
    assert screen[:, 2].min() > FARTHEST
