"""Compiled pieces of lighting that skin, eyes, cloth and hair share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from arcface_paddle.synthetic.kernels.compiled import compiled


class Light(NamedTuple):
    """All light of one picture.

    Attributes:
        directions: (L, 3) float32 unit vectors towards the lamps.
        colors: (L, 3) float32 their light.
        ambient: (3, 7) float32 spherical harmonics per channel: 1, y, z, x, xy, 3 z^2 - 1, xz. Of the nine
            that irradiance needs (Ramamoorthi and Hanrahan 2001) yz and x^2 - y^2 are left out.
        shadow_depth: (K, S, S) float32 depth seen from the first K lamps.
        shadow_axes: (K, 3, 3) float32 rows right, up, towards the lamp.
        shadow_scale: pixels of a shadow map per dm.
    """

    directions: np.ndarray
    colors: np.ndarray
    ambient: np.ndarray
    shadow_depth: np.ndarray
    shadow_axes: np.ndarray
    shadow_scale: float


@compiled
def ambient_light(ambient: np.ndarray, channel: int, x: float, y: float, z: float) -> float:
    """Return the ambient light of one channel that a normal (x, y, z) receives."""
    c = ambient[channel]
    light = c[0] + c[1] * y + c[2] * z + c[3] * x + c[4] * x * y + c[5] * (3 * z * z - 1) + c[6] * x * z
    return max(light, 0.02)  # a sum of harmonics may fall below zero, light may not


@compiled
def surface_visibility(light: Light, lamp: int, x: float, y: float, z: float) -> float:
    """Return the share of a lamp, 0 to 1, that a point of a surface sees (four by four taps of its shadow map)."""
    if lamp >= light.shadow_depth.shape[0]:
        return 1.0
    axes = light.shadow_axes[lamp]
    size = light.shadow_depth.shape[1]
    u = (axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) * light.shadow_scale + size * 0.5
    v = -(axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) * light.shadow_scale + size * 0.5
    depth = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z + 0.02  # a pixel of the map: no shadow of the point itself
    column, row = int(u - 0.5), int(v - 0.5)
    if column < 1 or row < 1 or column >= size - 3 or row >= size - 3:
        return 1.0
    # A box of three by three pixels at a place between pixels: the outer taps share the weight of one, so all of them
    # sum to nine and a shadow's edge moves smoothly.
    right, down = u - 0.5 - column, v - 0.5 - row
    seen = 0.0
    for j in range(-1, 3):
        weight_y = 1 - down if j == -1 else (down if j == 2 else 1.0)
        for i in range(-1, 3):
            weight_x = 1 - right if i == -1 else (right if i == 2 else 1.0)
            if depth >= light.shadow_depth[lamp, row + j, column + i]:
                seen += weight_x * weight_y
    return seen / 9.0


@compiled
def strand_visibility(light: Light, lamp: int, x: float, y: float, z: float) -> float:
    """Return the share of a lamp that a hair sees; it fades with the depth of hair above."""
    if lamp >= light.shadow_depth.shape[0]:
        return 1.0
    axes = light.shadow_axes[lamp]
    size = light.shadow_depth.shape[1]
    column = int((axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) * light.shadow_scale + size * 0.5)
    row = int(-(axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) * light.shadow_scale + size * 0.5)
    if column < 0 or row < 0 or column >= size or row >= size:
        return 1.0
    own = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z
    above = light.shadow_depth[lamp, row, column] - own - 0.06
    # Hair is half transparent: two tenths of a dm of it take nearly all light, some comes through any depth.
    return 1.0 if above <= 0 else max(0.15, 1.0 - above * 5)
