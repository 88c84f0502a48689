"""Coordinates in which skin is painted: a cylinder about the head's axis, and the face seen from the front.

Frontal places (x, y in dm) on the neutral head, by which the constants of skin, make-up and accessories can be read:
eyes (+-0.31, 7.28), lids 7.22 to 7.35, nose tip (0, 6.94), lips 6.49 to 6.72, mouth corners (+-0.25, 6.62), chin 6.15,
ears |x| .88 and y 6.83 to 7.34, crown 8.48. Everybody is painted on the neutral head, and the shape carries the paint.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from arcface_paddle.synthetic.kernels import raster_kernels

TEXTURE_WH = (768, 576)
"""Size of the painted skin, 360 degrees wide: about a texel for each pixel that is drawn for a crop of 112."""

TEXTURE_TOP_Y, TEXTURE_BOTTOM_Y = 8.6, 5.0
"""Height of its first and last row in dm."""

AXIS_Z = 0.25
"""Where the cylinder's axis stands, in dm."""

_FRONTAL_WH = (240, 360)
_FRONTAL_HALF_WIDTH = 1.2


@dataclass(frozen=True, eq=False)
class Painting:
    """Where the texels of the skin lie on the neutral head.

    Attributes:
        x: (H, W) float32 x of each texel in dm.
        y: (H, W) float32 y of each texel in dm.
        angle_deg: (H, W) float32 angle about the axis, 0 in front, positive to the person's left.
        radius: (H, W) float32 distance from the axis in dm.
        frontal_z: (360, 240) float32 depth of the head seen from the front, x -1.2..1.2, y as the texture.
    """

    x: np.ndarray
    y: np.ndarray
    angle_deg: np.ndarray
    radius: np.ndarray
    frontal_z: np.ndarray

    def texels(self, points_xy: np.ndarray) -> np.ndarray:
        """Return the texture pixel (N, 2) float64 at which frontal points (N, 2) in dm are painted."""
        points_xy = np.asarray(points_xy, dtype=np.float64)
        rows, columns = self.frontal_z.shape
        share_down = (TEXTURE_TOP_Y - points_xy[:, 1]) / (TEXTURE_TOP_Y - TEXTURE_BOTTOM_Y)
        share_right = (points_xy[:, 0] + _FRONTAL_HALF_WIDTH) / (2 * _FRONTAL_HALF_WIDTH)
        row = np.clip((share_down * rows).astype(int), 0, rows - 1)
        column = np.clip((share_right * columns).astype(int), 0, columns - 1)
        angle = np.arctan2(points_xy[:, 0], self.frontal_z[row, column] - AXIS_Z)
        return np.stack([(angle / (2 * np.pi) + 0.5) * TEXTURE_WH[0], share_down * TEXTURE_WH[1]], axis=1)

    def spot(
        self, centre_xy: tuple[float, float], radius_xy: tuple[float, float], *, mirrored: bool = True
    ) -> np.ndarray:
        """Return a Gaussian spot (H, W) float32 of height 1 on the front, by default with its mirror image."""
        spot = np.exp(-(((self.x - centre_xy[0]) / radius_xy[0]) ** 2))
        if mirrored and centre_xy[0]:
            spot = spot + np.exp(-(((self.x + centre_xy[0]) / radius_xy[0]) ** 2))
        return spot * np.exp(-(((self.y - centre_xy[1]) / radius_xy[1]) ** 2)) * (np.abs(self.angle_deg) < 110)


def build_painting(surface: np.ndarray, uv: np.ndarray, triangles: np.ndarray) -> Painting:
    """Measure the neutral ``surface`` (S, 3) with texture coordinates ``uv`` along the skin ``triangles``."""
    width, height = TEXTURE_WH
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    angle = ((u - 0.5) * 2 * np.pi).astype(np.float32)
    radius = _radius_map(surface, uv, triangles)
    return Painting(
        x=(radius * np.sin(angle)).astype(np.float32),
        y=(TEXTURE_TOP_Y - v * (TEXTURE_TOP_Y - TEXTURE_BOTTOM_Y)).astype(np.float32),
        angle_deg=np.degrees(angle),
        radius=radius,
        frontal_z=_frontal_depth(surface, triangles),
    )


def _radius_map(surface: np.ndarray, uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (H, W) the distance of the outermost skin from the axis, by angle and height."""
    width, height = TEXTURE_WH
    radius = np.hypot(surface[:, 0], surface[:, 2] - AXIS_Z)
    screen = np.stack([uv[:, 0] * width, uv[:, 1] * height, radius], axis=1).astype(np.float32)
    u = uv[triangles, 0]
    whole = triangles[(u.max(axis=1) - u.min(axis=1)) < 0.5]  # not across the seam at the back
    depth = np.full((height, width), raster_kernels.FARTHEST, dtype=np.float32)
    raster_kernels.rasterize_depth(screen, np.ascontiguousarray(whole), depth)
    return _fill_holes(depth)


def _frontal_depth(surface: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    width, height = _FRONTAL_WH
    screen = np.stack(
        [
            (surface[:, 0] + _FRONTAL_HALF_WIDTH) / (2 * _FRONTAL_HALF_WIDTH) * width,
            (TEXTURE_TOP_Y - surface[:, 1]) / (TEXTURE_TOP_Y - TEXTURE_BOTTOM_Y) * height,
            surface[:, 2],
        ],
        axis=1,
    ).astype(np.float32)
    depth = np.full((height, width), raster_kernels.FARTHEST, dtype=np.float32)
    raster_kernels.rasterize_depth(screen, triangles, depth)
    return cv2.GaussianBlur(_fill_holes(depth), (0, 0), 1.5)


def _fill_holes(depth: np.ndarray) -> np.ndarray:
    """Give every pixel where nothing was drawn the value of the nearest pixel that was drawn."""
    empty = (depth <= raster_kernels.FARTHEST).astype(np.uint8)
    if not empty.any():
        return depth
    _, labels = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    value_of_label = np.zeros(labels.max() + 1, dtype=np.float32)
    drawn = empty == 0
    value_of_label[labels[drawn]] = depth[drawn]
    return value_of_label[labels]
