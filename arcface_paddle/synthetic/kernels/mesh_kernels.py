"""Compiled loops over the vertices of the head: subdivision, shape targets, pose, normals."""

from __future__ import annotations

import math

import numpy as np

from arcface_paddle.synthetic.kernels.compiled import compiled


@compiled
def multiply_sparse(
    values: np.ndarray, columns: np.ndarray, pointers: np.ndarray, points: np.ndarray, out: np.ndarray
) -> None:
    """Write the product of a sparse matrix in row form with ``points`` (V, 3) into ``out`` (rows, 3)."""
    for row in range(pointers.shape[0] - 1):
        x = 0.0
        y = 0.0
        z = 0.0
        for entry in range(pointers[row], pointers[row + 1]):
            weight = values[entry]
            vertex = columns[entry]
            x += weight * points[vertex, 0]
            y += weight * points[vertex, 1]
            z += weight * points[vertex, 2]
        out[row, 0] = x
        out[row, 1] = y
        out[row, 2] = z


@compiled
def add_targets(
    points: np.ndarray,
    indices: np.ndarray,
    offsets: np.ndarray,
    pointers: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Move ``points`` (V, 3) by the chosen targets; target t owns ``indices[pointers[t]:pointers[t + 1]]``."""
    for choice in range(targets.shape[0]):
        target = targets[choice]
        weight = weights[choice]
        for entry in range(pointers[target], pointers[target + 1]):
            vertex = indices[entry]
            points[vertex, 0] += weight * offsets[entry, 0]
            points[vertex, 1] += weight * offsets[entry, 1]
            points[vertex, 2] += weight * offsets[entry, 2]


@compiled
def vertex_normals(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> None:
    """Write the area-weighted unit normals of the vertices into ``normals`` (V, 3)."""
    normals[:] = 0
    for triangle in range(triangles.shape[0]):
        i = triangles[triangle, 0]
        j = triangles[triangle, 1]
        k = triangles[triangle, 2]
        ax = points[j, 0] - points[i, 0]
        ay = points[j, 1] - points[i, 1]
        az = points[j, 2] - points[i, 2]
        bx = points[k, 0] - points[i, 0]
        by = points[k, 1] - points[i, 1]
        bz = points[k, 2] - points[i, 2]
        nx = ay * bz - az * by
        ny = az * bx - ax * bz
        nz = ax * by - ay * bx
        for vertex in (i, j, k):
            normals[vertex, 0] += nx
            normals[vertex, 1] += ny
            normals[vertex, 2] += nz
    for vertex in range(normals.shape[0]):
        x = normals[vertex, 0]
        y = normals[vertex, 1]
        z = normals[vertex, 2]
        scale = 1.0 / (math.sqrt(x * x + y * y + z * z) + 1e-12)
        normals[vertex, 0] = x * scale
        normals[vertex, 1] = y * scale
        normals[vertex, 2] = z * scale


@compiled
def blend_rotations(
    points: np.ndarray,
    weights: np.ndarray,
    head: np.ndarray,
    body: np.ndarray,
    pivot: np.ndarray,
    out: np.ndarray,
) -> None:
    """Turn ``points`` (V, 3) about ``pivot``: by ``head`` (3, 3) where the weight is 1, by ``body`` where it is 0."""
    for vertex in range(points.shape[0]):
        x = points[vertex, 0] - pivot[0]
        y = points[vertex, 1] - pivot[1]
        z = points[vertex, 2] - pivot[2]
        weight = weights[vertex]
        for axis in range(3):
            of_head = head[axis, 0] * x + head[axis, 1] * y + head[axis, 2] * z
            of_body = body[axis, 0] * x + body[axis, 1] * y + body[axis, 2] * z
            out[vertex, axis] = weight * of_head + (1 - weight) * of_body


@compiled
def accumulate_visibility(
    projected: np.ndarray,
    normals: np.ndarray,
    direction: np.ndarray,
    depth: np.ndarray,
    bias: float,
    visible: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add one direction of the sky to the cosine-weighted share of it that each vertex sees."""
    height, width = depth.shape
    for vertex in range(projected.shape[0]):
        cosine = (
            normals[vertex, 0] * direction[0] + normals[vertex, 1] * direction[1] + normals[vertex, 2] * direction[2]
        )
        if cosine <= 0:
            continue
        x = int(projected[vertex, 0])
        y = int(projected[vertex, 1])
        total[vertex] += cosine
        outside = x < 0 or y < 0 or x >= width or y >= height
        if outside or projected[vertex, 2] >= depth[y, x] - bias:
            visible[vertex] += cosine
