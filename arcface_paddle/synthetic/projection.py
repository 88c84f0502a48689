"""Rotations, directions, and views from far away (orthographic), which lamps and occlusion are measured by."""

from __future__ import annotations

import math

import numpy as np


def rotation(*, yaw_rad: float = 0.0, pitch_rad: float = 0.0, roll_rad: float = 0.0) -> np.ndarray:
    """Return the (3, 3) rotation that turns by yaw (about y), then pitch (about x), then roll (about z).

    Positive yaw turns the face to the right of the picture, positive pitch bends it down, positive roll turns the
    picture counter-clockwise.
    """
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = math.cos(pitch_rad), math.sin(pitch_rad)
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def direction(azimuth_rad: float, elevation_rad: float) -> np.ndarray:
    """Return the (3,) unit vector towards a direction; azimuth 0, elevation 0 is the viewer."""
    return np.array(
        [
            math.sin(azimuth_rad) * math.cos(elevation_rad),
            math.sin(elevation_rad),
            math.cos(azimuth_rad) * math.cos(elevation_rad),
        ]
    )


def view_axes(towards: np.ndarray) -> np.ndarray:
    """Return (3, 3) float32 whose rows are right, up and ``towards``: the view from a far point in that direction."""
    towards = np.asarray(towards, dtype=np.float64)
    towards = towards / np.linalg.norm(towards)
    up = np.array([0.0, 1.0, 0.0]) if abs(towards[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(up, towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards]).astype(np.float32)


def project_orthographic(points: np.ndarray, axes: np.ndarray, scale: float, size: int) -> np.ndarray:
    """Project points (..., 3) onto a square picture of ``size`` pixels, ``scale`` pixels per dm, with depth."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    out = np.empty(points.shape, dtype=np.float32)
    out[..., 0] = (axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) * scale + size / 2
    out[..., 1] = (axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) * -scale + size / 2
    out[..., 2] = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z
    return out
