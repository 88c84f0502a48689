"""What a loader shares with its worker processes: the dataset and the memory of the batches, one copy for all.

Memory comes from ``RawArray``: an unnamed mapping, in /dev/shm or, where that is too small (64 MB in a Docker container
by default), in the temporary folder. It has no name that could stay behind, and ends with the last process that uses
it, however that ends.
"""

from __future__ import annotations

import ctypes
import math
import pickle
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np

from arcface_paddle.data.batches import RowOrders
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.errors import ConfigError

_ALIGNMENT = 64
"""Arrays begin at multiples of this many bytes, a line of the processor's cache."""


@dataclass(frozen=True, eq=False)
class SharedDataset:
    """A dataset in shared memory: ``open`` gives one whose arrays are views of that memory.

    Attributes:
        memory: bytes of the pickle, then of every array.
        spans: where each of them lies, (begin, end).
    """

    memory: Any
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, dataset: FaceDataset, context: SpawnContext) -> SharedDataset:
        """Put a dataset into shared memory.

        Raises:
            ConfigError: it cannot be pickled.
        """
        arrays: list[pickle.PickleBuffer] = []
        try:
            head = pickle.dumps(dataset, protocol=5, buffer_callback=arrays.append)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{dataset.name}: this {type(dataset).__name__} cannot be sent to worker processes ({error}); "
                "use worker_kind 'thread', or give the class __getstate__ and define it in a module"
            ) from None
        parts = [memoryview(head), *(array.raw() for array in arrays)]
        spans, end = [], 0
        for part in parts:
            begin = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = begin + part.nbytes
            spans.append((begin, end))
        memory = context.RawArray(ctypes.c_uint8, end)
        view = memoryview(memory).cast("B")
        for (begin, stop), part in zip(spans, parts):
            view[begin:stop] = part
        return cls(memory, tuple(spans))

    def open(self) -> FaceDataset:
        """Return the dataset; its arrays are read-only, because every worker sees the same memory."""
        view = memoryview(self.memory).cast("B").toreadonly()
        head, *arrays = (view[begin:end] for begin, end in self.spans)
        # Not a file from elsewhere: our parent process pickled its own object into memory that only its workers have.
        dataset = pickle.loads(head, buffers=arrays)
        assert isinstance(dataset, FaceDataset)
        return dataset


@dataclass(frozen=True, eq=False)
class SharedBatches:
    """Batches in shared memory: pictures to be written, and what each row is to hold, see ``RowOrders``.

    Attributes:
        shape: (B, 3, H, W) of a batch.
        count: number of batches.
        dtype: of the pictures.
        images: count x B x 3 x H x W values of that type.
        indices: count x B int64.
        mirrors: count x B bool.
        keys: count x B uint64.
        strengths: count x B float32.
    """

    shape: tuple[int, ...]
    count: int
    dtype: np.dtype
    images: Any
    indices: Any
    mirrors: Any
    keys: Any
    strengths: Any

    @classmethod
    def allocate(cls, shape: tuple[int, ...], count: int, context: SpawnContext, *, dtype: np.dtype) -> SharedBatches:
        """Get the memory."""
        rows = count * shape[0]
        return cls(
            shape,
            count,
            dtype,
            context.RawArray(ctypes.c_uint8, count * math.prod(shape) * dtype.itemsize),
            context.RawArray(ctypes.c_int64, rows),
            context.RawArray(ctypes.c_bool, rows),
            context.RawArray(ctypes.c_uint64, rows),
            context.RawArray(ctypes.c_float, rows),
        )

    def image_views(self) -> list[np.ndarray]:
        """Return an array (B, 3, H, W) per batch; none is a view of another array."""
        size = math.prod(self.shape) * self.dtype.itemsize
        return [
            np.ndarray(self.shape, self.dtype, buffer=self.images, offset=number * size) for number in range(self.count)
        ]

    def row_views(self) -> RowOrders:
        """Return what the rows are to hold; the arrays are (count, B) here."""
        shape = (self.count, self.shape[0])
        return RowOrders(
            np.ndarray(shape, np.int64, buffer=self.indices),
            np.ndarray(shape, np.bool_, buffer=self.mirrors),
            np.ndarray(shape, np.uint64, buffer=self.keys),
            np.ndarray(shape, np.float32, buffer=self.strengths),
        )
