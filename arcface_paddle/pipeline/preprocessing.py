"""From RGB pictures to a network's input, by the card's ``InputSpec``."""

from __future__ import annotations

from typing import Optional, Sequence

import cv2
import numpy as np

from arcface_paddle.pipeline.cards import InputSpec

_WORTH_PARTING = 128 * 128  # pixels from which on it is faster to part the channels first
_LARGEST_OVERSAMPLING = 16  # a face of 1800 pixels for a crop of 112


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
        parted = (
            cv2.split(picture) if picture.shape[0] * picture.shape[1] > _WORTH_PARTING else picture.transpose(2, 0, 1)
        )
        for channel, source in enumerate(source_of):
            np.multiply(parted[source], np.float32(factor[channel]), out=planes[channel])
            if offset[channel]:
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

    The centre is in continuous coordinates: the first pixel reaches from 0 to 1.
    """
    scale = size / side
    shift_x, shift_y = (size - 1) / 2 - scale * (center_xy - 0.5)
    return warp(picture, np.array([[scale, 0.0, shift_x], [0.0, scale, shift_y]]), size_wh=(size, size))


def warp(picture: np.ndarray, transform: np.ndarray, *, size_wh: tuple[int, int]) -> np.ndarray:
    """Apply a similarity transform to a picture: bilinear, black outside, without aliasing when it shrinks.

    Bilinear sampling looks at 2x2 pixels only. A transform that shrinks by 1.5 or more therefore samples k times as
    densely, k being the shrinkage, and averages blocks of k x k.

    Args:
        picture: (H, W, 3) uint8.
        transform: (2, 3), from the picture's pixel indices to the result's.
        size_wh: width and height of the result.

    Returns:
        (height, width, 3) uint8.
    """
    scale = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    k = int(np.clip(round(1 / max(scale, 1e-6)), 1, _LARGEST_OVERSAMPLING))
    if k == 1:
        return cv2.warpAffine(picture, transform, size_wh, flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    dense_transform = k * transform
    dense_transform[:, 2] += (k - 1) / 2  # centres of pixels, not their corners, coincide
    dense_size = (size_wh[0] * k, size_wh[1] * k)
    dense = cv2.warpAffine(picture, dense_transform, dense_size, flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    return cv2.resize(dense, size_wh, interpolation=cv2.INTER_AREA)
