"""Memory for batches that is used again once nobody holds it.

A fresh array of a batch's size is fresh memory from the system, and touching its pages for the first time costs as
much as writing the normalised pictures. Every array or tensor that shares the memory of a batch keeps a reference to
its buffer, so the reference count tells whether the consumer has let go of it.
"""

from __future__ import annotations

import sys
from typing import Optional

import numpy as np
from numpy.typing import DTypeLike


class BufferPool:
    """Private memory of this process; a consumer that keeps batches simply gets new memory for the next ones."""

    def __init__(self, shape: tuple[int, ...], *, capacity: int, dtype: DTypeLike = np.float32) -> None:
        """Take shape (B, 3, H, W) and type of a batch, and how many are kept; memory is allocated when it is needed."""
        self._shape = shape
        self._capacity = capacity
        self._dtype = np.dtype(dtype)
        self._buffers: list[np.ndarray] = []

    def take(self, rows: int) -> np.ndarray:
        """Return (rows, 3, H, W) of undefined content."""
        place = _find_free(self._buffers)
        if place is not None:
            return self._buffers[place][:rows]
        buffer = np.empty(self._shape, dtype=self._dtype)
        if len(self._buffers) < self._capacity:
            self._buffers.append(buffer)
        return buffer[:rows]


class FixedPool:
    """A fixed number of buffers; a consumer that keeps batches gets copies, so that the buffers never run out."""

    def __init__(self, buffers: list[np.ndarray], *, reserved: int) -> None:
        """Take the buffers.

        Args:
            buffers: (B, 3, H, W) arrays that nobody else holds, and that are no views of another array: numpy lets
                a view refer to the array that owns the memory, past those in between.
            reserved: how many of them the consumer must leave to the loader, the most that it has ahead.
        """
        self._buffers = buffers
        self._reserved = reserved
        self._ahead: set[int] = set()

    def take(self, rows: int) -> np.ndarray:
        """Return (rows, 3, H, W) of undefined content."""
        place = _find_free(self._buffers)
        assert place is not None, "more batches ahead than buffers are reserved"
        self._ahead.add(place)
        return self._buffers[place][:rows]

    def place_of(self, images: np.ndarray) -> int:
        """Return the number of the buffer that ``take`` gave."""
        return next(place for place, buffer in enumerate(self._buffers) if buffer is images.base)

    def hand_out(self, images: np.ndarray) -> np.ndarray:
        """Return a batch for the consumer: itself, or a copy if the consumer holds all that it may."""
        self._ahead.discard(self.place_of(images))
        places = range(len(self._buffers))
        held = sum(place not in self._ahead and not _is_free(self._buffers, place) for place in places)
        return images.copy() if held > len(self._buffers) - self._reserved else images

    def reset(self) -> None:
        """Forget the batches ahead; they were dropped."""
        self._ahead.clear()


def _find_free(buffers: list[np.ndarray]) -> Optional[int]:
    return next((place for place in range(len(buffers)) if _is_free(buffers, place)), None)


def _is_free(items: list[np.ndarray], place: int) -> bool:
    return sys.getrefcount(items[place]) == _REFERENCES_WHEN_FREE


def _references_when_free() -> int:
    """Return what ``sys.getrefcount`` says of a list's item that nothing else holds (it differs between Pythons)."""
    items = [object()]
    return sys.getrefcount(items[0])


_REFERENCES_WHEN_FREE = _references_when_free()
