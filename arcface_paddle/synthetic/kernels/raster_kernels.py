"""Compiled triangle rasterisers with a depth buffer. Screen y points down, depth grows towards the viewer.

A pixel's centre lies at (column + 0.5, row + 0.5). Triangles that face the viewer have a negative signed area.
"""

from __future__ import annotations

import math

import numpy as np

from arcface_paddle.synthetic.kernels.compiled import compiled

FARTHEST = -1e9
"""What a depth buffer holds where nothing was drawn."""


@compiled
def signed_area(x0: float, y0: float, x1: float, y1: float, x2: float, y2: float) -> float:
    """Return twice the signed area of a triangle on the screen."""
    return (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)


@compiled
def pixel_range(first: float, second: float, third: float, size: int) -> tuple[int, int]:
    """Return the first and last pixel whose centre lies within three coordinates and within the picture."""
    low = max(0, math.ceil(min(first, second, third) - 0.5))
    high = min(size - 1, math.floor(max(first, second, third) - 0.5))
    return low, high


@compiled
def rasterize(
    screen: np.ndarray,
    triangles: np.ndarray,
    two_sided: bool,
    depth: np.ndarray,
    numbers: np.ndarray,
    barycentric: np.ndarray,
) -> None:
    """Draw triangles into a depth buffer and note which one is seen where.

    Args:
        screen: (V, 3) float32 x, y in pixels and depth.
        triangles: (T, 3) int32.
        two_sided: draw triangles that face away, too.
        depth: (H, W) float32, updated.
        numbers: (H, W) int32, number of the triangle in front, updated.
        barycentric: (H, W, 2) float32, weights of its first two corners, updated.
    """
    height, width = depth.shape
    for triangle in range(triangles.shape[0]):
        i = triangles[triangle, 0]
        j = triangles[triangle, 1]
        k = triangles[triangle, 2]
        x0, y0, x1, y1, x2, y2 = screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1], screen[k, 0], screen[k, 1]
        area = signed_area(x0, y0, x1, y1, x2, y2)
        if abs(area) < 1e-9 or (area > 0 and not two_sided):
            continue
        left, right = pixel_range(x0, x1, x2, width)
        top, bottom = pixel_range(y0, y1, y2, height)
        inverse = 1.0 / area
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                a = signed_area(x, y, x1, y1, x2, y2) * inverse
                b = signed_area(x0, y0, x, y, x2, y2) * inverse
                c = 1.0 - a - b
                # A pixel on the edge that two triangles share must belong to one of them in spite of rounding.
                if a < -1e-6 or b < -1e-6 or c < -1e-6:
                    continue
                z = a * screen[i, 2] + b * screen[j, 2] + c * screen[k, 2]
                if z > depth[row, column]:
                    depth[row, column] = z
                    numbers[row, column] = triangle
                    barycentric[row, column, 0] = a
                    barycentric[row, column, 1] = b


@compiled
def rasterize_depth(screen: np.ndarray, triangles: np.ndarray, depth: np.ndarray) -> None:
    """Draw both sides of triangles into a depth buffer (H, W) only, for shadow maps and occlusion."""
    height, width = depth.shape
    for triangle in range(triangles.shape[0]):
        i = triangles[triangle, 0]
        j = triangles[triangle, 1]
        k = triangles[triangle, 2]
        x0, y0, x1, y1, x2, y2 = screen[i, 0], screen[i, 1], screen[j, 0], screen[j, 1], screen[k, 0], screen[k, 1]
        area = signed_area(x0, y0, x1, y1, x2, y2)
        if abs(area) < 1e-9:
            continue
        left, right = pixel_range(x0, x1, x2, width)
        top, bottom = pixel_range(y0, y1, y2, height)
        inverse = 1.0 / area
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                a = signed_area(x, y, x1, y1, x2, y2) * inverse
                b = signed_area(x0, y0, x, y, x2, y2) * inverse
                c = 1.0 - a - b
                if a >= 0 and b >= 0 and c >= 0:
                    z = a * screen[i, 2] + b * screen[j, 2] + c * screen[k, 2]
                    depth[row, column] = max(depth[row, column], z)
