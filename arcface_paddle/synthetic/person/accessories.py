"""Things worn on the head, as geometry in the head's own frame: hats, face masks and glasses."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from arcface_paddle.synthetic.person.head import INNER_MOUTH, SKIN, Head
from arcface_paddle.synthetic.person.identity import SKULL_CENTRE, Identity
from arcface_paddle.synthetic.person.painting import AXIS_Z
from arcface_paddle.synthetic.person.session import Glasses, Hat

_HAT_ROWS, _HAT_COLUMNS = 14, 180  # four columns for a rib, so that its cosine is sampled
_RIBS, _RIB_DEPTH = 45, 0.012  # number about the head; dm
_PANELS, _SEAM_DEPTH = 6, 0.020
_TURN_UP_ROWS, _TURN_UP_THICKNESS = 7, 0.07
_HAT_GAP = 0.06  # dm between skull and cloth, where the hair is
_PEAK_COLUMNS, _PEAK_ROWS = 24, 6
_PEAK_HALF_ANGLE = np.radians(52)

_MASK_ROWS, _MASK_COLUMNS = 16, 28
_MASK_HALF_ANGLE_DEG = 56.0
_MASK_BOTTOM_Y, _MASK_TOP_Y = 6.14, 7.06  # below the chin (6.15) to the bridge of the nose (its tip lies at 6.94)
_MASK_GAP = 0.035  # dm between skin and cloth

_RIM_POINTS = 32  # of every wire, so that rims, temples and bridge make one array


@dataclass(frozen=True, eq=False)
class Cloth:
    """A piece of cloth.

    Attributes:
        points: (V, 3) float32 in the head's frame.
        triangles: (T, 3) int32.
        color: (3,) linear RGB.
    """

    points: np.ndarray
    triangles: np.ndarray
    color: np.ndarray


@dataclass(frozen=True, eq=False)
class GlassesGeometry:
    """Glasses on a face.

    Attributes:
        wires: (N, 32, 3) float32 polylines of rims, bridge and temples.
        lenses: (V, 3) float32 points of both lenses.
        lens_triangles: (T, 3) int32.
    """

    wires: np.ndarray
    lenses: np.ndarray
    lens_triangles: np.ndarray


def hat_cloths(identity: Identity, hat: Hat) -> list[Cloth]:
    """Stretch a cap over the skull; its peak or turn-up is a piece of its own."""
    azimuth = np.linspace(-np.pi, np.pi, _HAT_COLUMNS + 1)
    crown = _crown_points(identity, hat, azimuth)
    pieces = [_grid_cloth(crown, hat.color)]
    if hat.peak:
        pieces.append(_grid_cloth(_peak_points(crown[-1], azimuth, hat.peak), hat.trim))
    if hat.turn_up:
        pieces.append(_grid_cloth(_turn_up_points(crown, azimuth, hat.turn_up), hat.trim))
    return pieces


def _crown_points(identity: Identity, hat: Hat, azimuth: np.ndarray) -> np.ndarray:
    """Return (rows, columns, 3) float64 the crown from its top to its edge, with ribs or the seams of its panels."""
    rows, columns = identity.skull_radius.shape
    column = ((azimuth / (2 * np.pi) + 0.5) * columns).astype(int) % columns
    edge_height = hat.edge_at(azimuth) - SKULL_CENTRE[1]
    typical = identity.skull_radius[rows // 3, column] + _HAT_GAP
    edge_polar = np.arccos(np.clip(edge_height / typical, -0.9, 0.95))
    share = np.linspace(0, 1, _HAT_ROWS)[:, None]
    polar = share * edge_polar[None, :]
    row = np.clip(np.rint(polar / np.pi * (rows - 1)).astype(int), 0, rows - 1)
    radius = identity.skull_radius[row, column[None, :]] + _HAT_GAP
    # A knitted cap is slack at the top; the front panels of a peaked cap stand up steeply above the peak.
    stand = 1 - share**2 if hat.peak == 0 else (1 - share**4) * (0.6 + 0.4 * np.cos(azimuth))
    radius = cv2.GaussianBlur((radius + hat.puff * stand).astype(np.float32), (0, 0), 1.5)
    radius = radius + (_seams(azimuth) if hat.peak else _ribs(azimuth)) * np.minimum(share * 3, 1)
    return SKULL_CENTRE + radius[:, :, None] * np.stack(
        [np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth, np.sin(polar) * np.cos(azimuth)], axis=2
    )


def _ribs(azimuth: np.ndarray) -> np.ndarray:
    return _RIB_DEPTH * np.cos(_RIBS * azimuth)


def _seams(azimuth: np.ndarray) -> np.ndarray:
    from_seam = np.abs((azimuth / (2 * np.pi) * _PANELS + 0.5) % 1 - 0.5)
    return -_SEAM_DEPTH * np.exp(-((from_seam / 0.05) ** 2))


def _turn_up_points(crown: np.ndarray, azimuth: np.ndarray, height: float) -> np.ndarray:
    """Return (rows, columns, 3) a band of double cloth about the edge of a knitted cap."""
    edge = crown[-1]
    outward = np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], axis=1)
    rows = []
    for share in np.linspace(0, 1, _TURN_UP_ROWS):
        up = (1 - share) * height - 0.04
        bulge = _TURN_UP_THICKNESS * np.sqrt(max(0.0, 1 - (2 * share - 1) ** 4)) + _ribs(azimuth) - 0.10 * up
        rows.append(edge + [0, up, 0] + outward * bulge[:, None])
    return np.stack(rows)


def _grid_cloth(points: np.ndarray, color: np.ndarray) -> Cloth:
    """Make cloth of a grid of points (rows, columns, 3)."""
    rows, columns = points.shape[:2]
    triangles = _grid_triangles(rows, columns).astype(np.int32)
    return Cloth(np.ascontiguousarray(points.reshape(-1, 3), dtype=np.float32), triangles, color)


def mask_cloth(head: Head, surface: np.ndarray, color: np.ndarray) -> Cloth:
    """Lay a mask over mouth and nose of the (S, 3) ``surface`` of a face with its expression."""
    angle_deg = np.linspace(-_MASK_HALF_ANGLE_DEG, _MASK_HALF_ANGLE_DEG, _MASK_COLUMNS)
    share_up = np.linspace(0, 1, _MASK_ROWS)[::-1, None]
    aside = np.abs(angle_deg) / _MASK_HALF_ANGLE_DEG
    top = _MASK_TOP_Y - 0.22 * aside**1.5
    bottom = _MASK_BOTTOM_Y + 0.50 * aside**2
    y = bottom + share_up * (top - bottom)
    radius = _hull_radius(head, surface, angle_deg, y)
    angle = np.radians(angle_deg)
    points = np.stack([radius * np.sin(angle), y, AXIS_Z + radius * np.cos(angle)], axis=2)
    return _grid_cloth(points, color)


def mask_loops(mask: Cloth) -> np.ndarray:
    """Return (4, 32, 3) float32 the bands from the corners of a mask to the ears, both in the head's own frame."""
    grid = mask.points.reshape(_MASK_ROWS, _MASK_COLUMNS, 3)
    share = np.linspace(0, 1, _RIM_POINTS)[:, None]
    bands = []
    for column, side in ((0, -1), (-1, 1)):
        ear = np.array([side * 0.80, 7.05, 0.32])
        for row in (1, -2):
            middle = (grid[row, column] + ear) / 2 + np.array([side * 0.06, 0, 0])
            start = grid[row, column]
            bands.append(start * (1 - share) ** 2 + 2 * middle * share * (1 - share) + ear * share**2)
    return np.array(bands, dtype=np.float32)


def glasses_geometry(eyes: np.ndarray, glasses: Glasses) -> GlassesGeometry:
    """Put glasses in front of the eyes' front poles (2, 3), image-left eye first."""
    half_distance = abs(eyes[1, 0] - eyes[0, 0]) / 2 * 1.04  # lenses are centred a little outside of the pupils
    height, depth = eyes[:, 1].mean() - 0.03, eyes[:, 2].max() + 0.10
    turn = np.linspace(0, 2 * np.pi, _RIM_POINTS)
    exponent = 2 / glasses.squareness
    x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** exponent * glasses.radius_xy[0]
    y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** exponent * glasses.radius_xy[1]
    share = np.linspace(0, 1, _RIM_POINTS)
    rims, wires = [], []
    for side in (-1, 1):
        across = side * half_distance + x
        rims.append(np.stack([across, height + y, depth - 0.25 * across**2], axis=1))
        hinge = side * (half_distance + glasses.radius_xy[0])
        reach = max(0.0, 0.78 - abs(hinge))
        temple_z = (depth - 0.25 * hinge**2) * (1 - share) + 0.35 * share
        wires.append(np.stack([hinge + side * share * reach, height + 0.08 - 0.05 * share, temple_z], axis=1))
    span = np.linspace(-1, 1, _RIM_POINTS)
    bridge_x = span * (half_distance - glasses.radius_xy[0])
    bridge_y = height + 0.06 + 0.03 * (1 - span**2)
    wires.append(np.stack([bridge_x, bridge_y, np.full(_RIM_POINTS, depth + 0.02)], axis=1))
    fan = np.stack([np.zeros(_RIM_POINTS - 2, int), np.arange(1, _RIM_POINTS - 1), np.arange(2, _RIM_POINTS)], axis=1)
    return GlassesGeometry(
        wires=np.array([*rims, *wires], dtype=np.float32),
        lenses=np.concatenate(rims).astype(np.float32),
        lens_triangles=np.concatenate([fan, fan + _RIM_POINTS]).astype(np.int32),
    )


def _peak_points(edge: np.ndarray, azimuth: np.ndarray, length: float) -> np.ndarray:
    angles = np.linspace(-_PEAK_HALF_ANGLE, _PEAK_HALF_ANGLE, _PEAK_COLUMNS)
    root = np.stack([np.interp(angles, azimuth, edge[:, axis]) for axis in range(3)], axis=1)
    reach = length * np.cos(angles / _PEAK_HALF_ANGLE * np.pi / 2) ** 0.6
    rows = []
    for share in np.linspace(0, 1, _PEAK_ROWS):
        row = root.copy()
        row[:, 0] += np.sin(angles) * 0.35 * reach * share
        row[:, 1] -= 0.16 * reach * share**2 + 0.10 * share * (angles / _PEAK_HALF_ANGLE) ** 2
        row[:, 2] += reach * share
        rows.append(row)
    return np.stack(rows)


def _hull_radius(head: Head, surface: np.ndarray, angle_deg: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (rows, columns) the distance from the axis at which cloth spans the face without dents."""
    skin = np.unique(head.mesh.triangles[head.mesh.materials == SKIN])
    skin = skin[head.masks[skin, INNER_MOUTH] < 0.3]
    points = surface[skin]
    angle = np.degrees(np.arctan2(points[:, 0], points[:, 2] - AXIS_Z))
    step = angle_deg[1] - angle_deg[0]
    column = np.rint((angle - angle_deg[0]) / step).astype(int)
    inside = (column >= 0) & (column < len(angle_deg))
    points, column = points[inside], column[inside]
    height = y[0, column] - y[-1, column]
    row = np.rint((y[0, column] - points[:, 1]) / height * (len(y) - 1)).astype(int)
    inside = (row >= 0) & (row < len(y))
    radius = np.zeros(y.shape, dtype=np.float32)
    outer = np.hypot(points[inside, 0], points[inside, 2] - AXIS_Z)
    np.maximum.at(radius, (row[inside], column[inside]), outer)
    radius = cv2.dilate(radius, np.ones((5, 3), np.uint8))
    return cv2.GaussianBlur(cv2.dilate(radius, np.ones((3, 3), np.uint8)), (0, 0), 1.6) + _MASK_GAP


def _grid_triangles(rows: int, columns: int) -> np.ndarray:
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    first = np.stack([corner, corner + columns, corner + 1], axis=1)
    second = np.stack([corner + 1, corner + columns, corner + columns + 1], axis=1)
    return np.concatenate([first, second])
