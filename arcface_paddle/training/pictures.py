"""The pictures of a batch on the device, as the network takes them."""

from __future__ import annotations

import numpy as np
import paddle

from arcface_paddle import devices
from arcface_paddle.data import Batch


def pixels_of_loader() -> str:
    """Return what the loader has to give: pixels as they are, where the device normalises faster than it is fed."""
    return "uint8" if devices.is_accelerator() else "float32"


def on_device(batch: Batch) -> paddle.Tensor:
    """Return (B, 3, H, W) float32 RGB on the device, -1 to 1, mirrored where the batch says so, without waiting."""
    images = devices.to_device(batch.images)
    if batch.images.dtype == np.float32:
        return images
    images = normalised(images)
    if batch.mirrors is None:
        return images
    mirrors = devices.to_device(batch.mirrors).reshape([-1, 1, 1, 1])
    return paddle.where(mirrors, images.flip(axis=3), images)  # in float32, whose kernels are everywhere


def normalised(pixels: paddle.Tensor) -> paddle.Tensor:
    """Return (x/255 - 0.5)/0.5 of uint8, bit for bit what ``data.dataset.normalize_into`` writes.

    It is (2 x - 255)/255, of which float32 holds the numerator exactly and rounds the quotient once. A tensor divides:
    whether Paddle divides by a number, or multiplies with its inverse, which rounds twice, depends on its version.
    """
    numerator = pixels.astype("float32") * 2.0 - 255.0
    return paddle.divide(numerator, paddle.full([1], 255.0))
