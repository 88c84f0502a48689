"""From RGB pictures to a network's input, by the card's ``InputSpec``."""

from __future__ import annotations

from typing import Optional, Sequence

import cv2
import numpy as np

from arcface_paddle.pipeline.cards import InputSpec


def to_blob(pictures: Sequence[np.ndarray], spec: InputSpec, *, out: Optional[np.ndarray] = None) -> np.ndarray:
    """Normalise pictures of one size and stack them channels first.

    Args:
        pictures: N arrays (H, W, 3) uint8 RGB.
        spec: colour order, scale, mean and standard deviation.
        out: (N, 3, H, W) float32 to write into; a new array when None.

    Returns:
        (N, 3, H, W) float32 = (pixel * scale - mean) / std.
    """
    height, width = pictures[0].shape[:2]
    blob = np.empty((len(pictures), 3, height, width), np.float32) if out is None else out
    factor = np.asarray(spec.scale, np.float64) / np.asarray(spec.std)
    offset = -np.asarray(spec.mean) / np.asarray(spec.std)
    source_of = (0, 1, 2) if spec.color_order == "RGB" else (2, 1, 0)
    for picture, planes in zip(pictures, blob):
        for channel, source in enumerate(source_of):
            np.multiply(picture[:, :, source], np.float32(factor[channel]), out=planes[channel])
            planes[channel] += np.float32(offset[channel])
    return blob


def resize(picture: np.ndarray, size_wh: tuple[int, int], spec: InputSpec) -> np.ndarray:
    """Resize by the card's interpolation: area average only when both sides shrink."""
    if picture.shape[1::-1] == tuple(size_wh):
        return picture
    shrinks = size_wh[0] < picture.shape[1] and size_wh[1] < picture.shape[0]
    area = shrinks and spec.interpolation == "area"
    return cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)


def crop_square(picture: np.ndarray, center_xy: np.ndarray, side: float, size: int) -> np.ndarray:
    """Cut out a square around a centre and scale it to size x size; outside of the picture it is black.

    Coordinates follow the convention of the alignment: the centre of the first pixel is at (0, 0). Shrinking averages
    over the pixels that fall together.
    """
    scale = size / side
    transform = np.array([[scale, 0.0, size / 2 - scale * center_xy[0]], [0.0, scale, size / 2 - scale * center_xy[1]]])
    return warp(picture, transform, size_wh=(size, size))


def warp(picture: np.ndarray, transform: np.ndarray, *, size_wh: tuple[int, int]) -> np.ndarray:
    """Apply a similarity transform to a picture: bilinear, black outside, without aliasing when it shrinks.

    Bilinear sampling looks at 2x2 pixels only; a transform that shrinks by more than two therefore samples a picture
    that was shrunk before by averaging whole blocks.

    Args:
        picture: (H, W, 3) uint8.
        transform: (2, 3), from the picture's pixels to the result's.
        size_wh: width and height of the result.

    Returns:
        (height, width, 3) uint8.
    """
    scale = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    factor = int(1 / scale) if scale > 0 else 1
    if factor >= 2:
        picture, transform = _shrunk(picture, transform, factor=factor, size_wh=size_wh)
    return cv2.warpAffine(picture, transform, size_wh, flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))


def _shrunk(
    picture: np.ndarray, transform: np.ndarray, *, factor: int, size_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Average blocks of factor x factor pixels in the part of the picture that the result shows."""
    left, top, right, bottom = _visible_part(picture, transform, size_wh=size_wh)
    part = picture[top:bottom, left:right]
    pad_y, pad_x = -part.shape[0] % factor, -part.shape[1] % factor
    if pad_y or pad_x:
        part = cv2.copyMakeBorder(part, 0, pad_y, 0, pad_x, cv2.BORDER_CONSTANT)
    small = cv2.resize(part, (part.shape[1] // factor, part.shape[0] // factor), interpolation=cv2.INTER_AREA)
    # Pixel (u, v) of the small picture has its centre at left + (u + 0.5) * factor - 0.5.
    inner = transform[:, :2]
    origin = np.array([left, top]) + (factor - 1) / 2
    return small, np.column_stack([inner * factor, transform[:, 2] + inner @ origin])


def _visible_part(picture: np.ndarray, transform: np.ndarray, *, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size_wh
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    seen = (corners - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    margin = 2 + 2 / np.sqrt(abs(np.linalg.det(transform[:, :2])))
    low = np.floor(seen.min(axis=0) - margin)
    high = np.ceil(seen.max(axis=0) + margin)
    left, top = (int(np.clip(value, 0, size - 1)) for value, size in zip(low, picture.shape[1::-1]))
    right, bottom = (int(np.clip(value, 1, size)) for value, size in zip(high, picture.shape[1::-1]))
    return left, top, max(right, left + 1), max(bottom, top + 1)
