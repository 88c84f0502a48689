"""A person: what stays the same in all of their pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from arcface_paddle.synthetic import projection
from arcface_paddle.synthetic.kernels import mesh_kernels, raster_kernels
from arcface_paddle.synthetic.person.head import INNER_MOUTH, SKIN, Head
from arcface_paddle.synthetic.person.shape import draw_shape, shaped_positions
from arcface_paddle.synthetic.person.skin import Skin, paint_skin
from arcface_paddle.synthetic.person.traits import Traits, draw_traits
from arcface_paddle.synthetic.random_streams import stream

SKULL_CENTRE = np.array([0.0, 7.35, 0.15])
"""From here every part of the skull is seen; hair keeps outside of the radius map about it."""

# The sky is sampled by depth maps of the rough mesh from 40 directions. 112 pixels at 26 per dm show 4.3 dm, the whole
# bust; a point counts as seen within the bias of 1.8 pixels, since the smooth surface lies inside of the rough one.
_OCCLUSION_DIRECTIONS = 40
_OCCLUSION_SIZE = 112
_OCCLUSION_SCALE = 26.0  # pixels per dm
_OCCLUSION_BIAS_DM = 0.07
_RADIUS_MAP_SHAPE = (48, 96)  # polar angle, azimuth: cells of about 3.8 degrees
_GOLDEN_ANGLE_RAD = 2.399963


@dataclass(frozen=True, eq=False)
class Identity:
    """One person.

    Attributes:
        number: index in the dataset.
        traits: sex, age, colours.
        positions: (V, 3) float32 rough positions with a neutral expression.
        surface: (S, 3) float32 fine surface of them.
        normals: (S, 3) float32.
        occlusion: (S,) float32 share of the sky that each vertex sees, 0 to 1.
        skull_radius: (48, 96) float32 distance of the skin from ``SKULL_CENTRE`` by polar angle and azimuth.
        skin: painted maps.
        iris_radius: angle that the iris takes on the eyeball from its middle, radians.
        iris_ring: strength of the light ring about the pupil.
        lashes: opacity of the eyelashes.
        teeth: brightness of the teeth.
    """

    number: int
    traits: Traits
    positions: np.ndarray
    surface: np.ndarray
    normals: np.ndarray
    occlusion: np.ndarray
    skull_radius: np.ndarray
    skin: Skin
    iris_radius: float
    iris_ring: float
    lashes: float
    teeth: float


def build_identity(head: Head, *, seed: int, number: int) -> Identity:
    """Draw and build person ``number`` of the dataset with ``seed``."""
    traits = draw_traits(stream(seed, "traits", number))
    positions = shaped_positions(head, draw_shape(stream(seed, "shape", number), traits))
    surface = head.mesh.surface(positions)
    normals = head.mesh.normals(surface)
    rng = stream(seed, "details", number)
    return Identity(
        number=number,
        traits=traits,
        positions=positions,
        surface=surface,
        normals=normals,
        occlusion=_measure_occlusion(head, positions, surface, normals),
        skull_radius=_measure_skull(head, surface),
        skin=paint_skin(stream(seed, "skin", number), head.painting, traits),
        iris_radius=float(rng.uniform(0.40, 0.47)),
        iris_ring=float(rng.uniform(0, 0.25)),
        lashes=float(rng.uniform(0.5, 1)) * (0.7 if traits.is_male else 1),
        teeth=float(rng.uniform(0.55, 0.8)),
    )


def _measure_occlusion(head: Head, positions: np.ndarray, surface: np.ndarray, normals: np.ndarray) -> np.ndarray:
    visible = np.zeros(len(surface), dtype=np.float32)
    total = np.full(len(surface), 1e-6, dtype=np.float32)
    centre = np.array([0, 7.2, 0.4], dtype=np.float32)
    rough = head.mesh.with_garment(positions) - centre
    centred = surface - centre
    for number in range(_OCCLUSION_DIRECTIONS):
        towards = _spiral_direction(number, _OCCLUSION_DIRECTIONS)
        if towards[1] < -0.75:
            continue  # the trunk, of which only the rim is modelled, hides the ground
        axes = projection.view_axes(towards)
        depth = np.full((_OCCLUSION_SIZE, _OCCLUSION_SIZE), raster_kernels.FARTHEST, dtype=np.float32)
        projected = projection.project_orthographic(rough, axes, _OCCLUSION_SCALE, _OCCLUSION_SIZE)
        raster_kernels.rasterize_depth(projected, head.mesh.rough_triangles, depth)
        projected = projection.project_orthographic(centred, axes, _OCCLUSION_SCALE, _OCCLUSION_SIZE)
        mesh_kernels.accumulate_visibility(
            projected, normals, towards.astype(np.float32), depth, _OCCLUSION_BIAS_DM, visible, total
        )
    return np.clip(visible / total, 0.03, 1).astype(np.float32)


def _spiral_direction(number: int, count: int) -> np.ndarray:
    """Return one of ``count`` directions spread evenly over the sphere (golden angle spiral)."""
    height = 1 - 2 * (number + 0.5) / count
    azimuth = number * _GOLDEN_ANGLE_RAD
    flat = math.sqrt(1 - height * height)
    return np.array([flat * math.cos(azimuth), height, flat * math.sin(azimuth)])


def _measure_skull(head: Head, surface: np.ndarray) -> np.ndarray:
    skin = np.unique(head.mesh.triangles[head.mesh.materials == SKIN])
    outer = skin[head.masks[skin, INNER_MOUTH] < 0.3]
    offsets = surface[outer] - SKULL_CENTRE
    radius = np.sqrt((offsets**2).sum(axis=1))
    rows, columns = _RADIUS_MAP_SHAPE
    polar = np.arccos(np.clip(offsets[:, 1] / radius, -1, 1)) / np.pi * (rows - 1)
    azimuth = (np.arctan2(offsets[:, 0], offsets[:, 2]) / (2 * np.pi) + 0.5) * columns
    largest = np.zeros(_RADIUS_MAP_SHAPE, dtype=np.float32)
    row = np.clip(np.rint(polar).astype(int), 0, rows - 1)
    np.maximum.at(largest, (row, azimuth.astype(int) % columns), radius)
    return _smooth_around(_spread_into_gaps(largest))


def _spread_into_gaps(values: np.ndarray) -> np.ndarray:
    """Fill zeros (cells without a vertex) from their neighbours, ring by ring; columns wrap around."""
    kernel = np.ones((3, 3), dtype=np.float32)
    for _ in range(max(values.shape)):
        known = (values > 0).astype(np.float32)
        if known.all():
            break
        wrapped = np.concatenate([values[:, -2:], values, values[:, :2]], axis=1)
        wrapped_known = np.concatenate([known[:, -2:], known, known[:, :2]], axis=1)
        total = cv2.filter2D(wrapped, -1, kernel)[:, 2:-2]
        count = cv2.filter2D(wrapped_known, -1, kernel)[:, 2:-2]
        fillable = (known == 0) & (count > 0.5)
        values = np.where(fillable, total / np.maximum(count, 1), values)
    return values


def _smooth_around(values: np.ndarray) -> np.ndarray:
    wrapped = np.concatenate([values[:, -4:], values, values[:, :4]], axis=1)
    return np.ascontiguousarray(cv2.GaussianBlur(wrapped, (0, 0), 0.8)[:, 4:-4])
