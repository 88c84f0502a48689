"""The pictures of a batch on the device, as the network takes them."""

from __future__ import annotations

from typing import Optional

import numpy as np
import paddle

from arcface_paddle import devices
from arcface_paddle.data import Batch
from arcface_paddle.errors import ConfigError


def pixels_of_loader() -> str:
    """Return what the loader has to give: pixels as they are, where the device normalises faster than it is fed."""
    return "uint8" if devices.is_accelerator() else "float32"


class Upload:
    """Brings pictures to the device in the queue of its computations: a copy waits for the step before it."""

    def begin(self, images: np.ndarray) -> paddle.Tensor:
        """Return the pictures on the device, same shape and dtype, without waiting."""
        return devices.to_device(images)

    def read(self) -> None:
        """Note that all has been queued that reads the pictures of the last ``begin``."""


class StreamUpload(Upload):
    """The same in a queue of its own, so that the device copies the next pictures while it computes.

    Two places on the device take turns. A copy waits for what has read its place the last time, two batches ago, and
    what is to read it waits for the copy; both in the device's queues, and never on the host.
    """

    def __init__(self) -> None:
        """Open the queue.

        Raises:
            ConfigError: the device is the CPU.
        """
        if not devices.is_accelerator():
            raise ConfigError("copy_stream is for GPUs, the device is the CPU; leave it out")
        self._stream = paddle.device.Stream()
        self._places: list[Optional[paddle.Tensor]] = [None, None]
        self._was_read: list[Optional[paddle.device.Event]] = [None, None]
        self._turn = 0
        self._under_way: list[tuple[paddle.device.Event, paddle.Tensor]] = []

    def begin(self, images: np.ndarray) -> paddle.Tensor:
        """Return the pictures on the device, same shape and dtype, without waiting; valid until the next but one."""
        self._turn = 1 - self._turn
        place, was_read = self._places[self._turn], self._was_read[self._turn]
        if place is None or was_read is None or not _fits(place, images):
            self._places[self._turn] = devices.to_device(images)
            return self._places[self._turn]
        self._stream.wait_event(was_read)
        staged = devices.staged(images)
        with paddle.device.stream_guard(self._stream):
            place.copy_(staged, False)
        arrived = self._stream.record_event()
        paddle.device.current_stream().wait_event(arrived)
        # What is copied from must not be freed before.
        self._under_way = [pair for pair in self._under_way if not pair[0].query()] + [(arrived, staged)]
        return place

    def read(self) -> None:
        """Note that all has been queued that reads the pictures of the last ``begin``."""
        self._was_read[self._turn] = paddle.device.current_stream().record_event()


def _fits(place: paddle.Tensor, images: np.ndarray) -> bool:
    return tuple(place.shape) == images.shape and place.dtype == paddle.uint8 and images.dtype == np.uint8


def on_device(batch: Batch, upload: Upload) -> paddle.Tensor:
    """Return (B, 3, H, W) float32 RGB on the device, -1 to 1, mirrored where the batch says so, without waiting."""
    images = upload.begin(batch.images)
    if batch.images.dtype == np.float32:
        return images
    images = normalised(images)
    upload.read()
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
