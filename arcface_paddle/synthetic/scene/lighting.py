"""The light of one picture: lamps with shadows and an ambient sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from arcface_paddle.synthetic import projection
from arcface_paddle.synthetic.kernels import hair_kernels, raster_kernels
from arcface_paddle.synthetic.kernels.light_kernels import Light

_SHADOWING_LAMPS = 2  # the third throws none: it is weak, and every map costs a pass over the mesh
_SHADOW_PIXELS_PER_DM = 48  # about that of a crop: 35 pixels between the eyes at .62 dm are 57 per dm
_STRANDS_FOR_ALL = 2500  # of more strands every third throws a shadow; a map's pixel is wider than they are


@dataclass(frozen=True, eq=False)
class Lamps:
    """What lights the scene, before shadows.

    Attributes:
        directions: (L, 3) float32 unit vectors towards the lamps.
        colors: (L, 3) float32.
        ambient: (3, 7) float32, see ``Light``.
    """

    directions: np.ndarray
    colors: np.ndarray
    ambient: np.ndarray

    @property
    def level(self) -> float:
        """A rough mean of the light, for the background."""
        return float(self.colors.mean() * 0.5 + self.ambient[:, 0].mean())


@dataclass(frozen=True, eq=False)
class ShadowCaster:
    """A mesh that throws a shadow: posed points (V, 3) float32 and triangles (T, 3) int32."""

    points: np.ndarray
    triangles: np.ndarray


def draw_lamps(rng: np.random.Generator) -> Lamps:
    """Draw one to three lamps, the first the strongest, and the sky."""
    count = int(rng.integers(1, 4))
    directions, colors = [], []
    for lamp in range(count):
        azimuth = np.radians(rng.normal(0, 45 if lamp == 0 else 60))
        elevation = np.radians(np.clip(rng.normal(30, 25), -25, 85))
        directions.append(projection.direction(float(azimuth), float(elevation)))
        colors.append(_warmth(rng.normal(0, 0.5)) * rng.uniform(0.4, 1.3) * (1 if lamp == 0 else 0.5))
    sky = _warmth(rng.normal(0, 0.45)) * rng.uniform(0.12, 0.5)
    ambient = np.empty((3, 7))
    ambient[:, 0] = sky
    # In the order of ``Light.ambient`` after the constant: y is always positive, since light comes from above.
    means = np.array([rng.uniform(0, 0.6), *rng.normal([0.1, 0, 0, 0, 0], [0.3, 0.45, 0.12, 0.08, 0.15])])
    ambient[:, 1:] = sky[:, None] * means * np.exp(rng.normal(0, 0.12, (3, 6)))
    return Lamps(*(np.asarray(part, dtype=np.float32) for part in (directions, colors, ambient)))


def cast_shadows(
    lamps: Lamps, meshes: Sequence[ShadowCaster], strands: Sequence[np.ndarray], *, width_dm: float
) -> Light:
    """Return the light with shadow maps, ``width_dm`` wide, of posed ``meshes`` and hair strands (N, K, 3)."""
    size, scale = round(width_dm * _SHADOW_PIXELS_PER_DM), float(_SHADOW_PIXELS_PER_DM)
    count = min(len(lamps.directions), _SHADOWING_LAMPS)
    axes = np.stack([projection.view_axes(lamps.directions[lamp]) for lamp in range(count)])
    depth = np.full((count, size, size), raster_kernels.FARTHEST, dtype=np.float32)
    for lamp in range(count):
        for mesh in meshes:
            projected = projection.project_orthographic(mesh.points, axes[lamp], scale, size)
            raster_kernels.rasterize_depth(projected, mesh.triangles, depth[lamp])
        for group in strands:
            some = group[:: 3 if len(group) > _STRANDS_FOR_ALL else 1]
            projected = projection.project_orthographic(some, axes[lamp], scale, size)
            hair_kernels.draw_strand_depth(projected, depth[lamp])
    return Light(lamps.directions, lamps.colors, lamps.ambient, depth, axes, scale)


def _warmth(amount: float) -> np.ndarray:
    """Return a light's colour: red up and blue down for warm light (amount > 0), the other way round for cold."""
    return np.array([1 + 0.22 * amount, 1.0, 1 - 0.28 * amount])
