"""The contract of every kind of worker, and the work itself, which is the same in all of them."""

from __future__ import annotations

import abc
from typing import Callable, Iterable, Optional

import numpy as np

from arcface_paddle.data.batches import BatchJob, RowError, RowOrders
from arcface_paddle.data.dataset import FaceDataset, normalize_into, planes_into
from arcface_paddle.data.workers.buffers import BufferPool
from arcface_paddle.errors import DataError, ImageError

BAD_SAMPLE_ERRORS = (DataError, ImageError, OSError)
"""What a sample that cannot be read raises; anything else is a mistake in a program and ends the run."""


Change = Callable[[np.ndarray, int, float], np.ndarray]
"""What is done to each picture before it is mirrored: (H, W, 3) uint8 RGB, its row's key and strength, to the same
shape."""


class Workers(abc.ABC):
    """Fills the rows of batches. All methods are called by one thread, the consumer's.

    Attributes:
        ahead: batches to begin before the first of them is waited for.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        shape: tuple[int, ...],
        *,
        count: int,
        ahead: int,
        change: Optional[Change] = None,
        dtype: str = "float32",
    ) -> None:
        """Take what all kinds need; nothing is started yet.

        Args:
            dataset: where the samples come from.
            shape: (B, 3, H, W) of a batch.
            count: number of workers.
            ahead: see the attribute.
            change: what is done to each picture; None leaves them as they are.
            dtype: of a batch, see ``fill_rows``.
        """
        self.ahead = ahead
        self._dataset = dataset
        self._shape = shape
        self._count = count
        self._change = change
        self._dtype = np.dtype(dtype)

    @property
    def _buffer_count(self) -> int:
        """Those ahead, the one with the consumer, and the one before it that the consumer has not yet let go."""
        return self.ahead + 2

    @abc.abstractmethod
    def prepare(self) -> None:
        """Get ready for an epoch; whatever was begun earlier has been cancelled."""

    @abc.abstractmethod
    def take_buffer(self, rows: int) -> np.ndarray:
        """Return memory for a batch, (rows, 3, H, W) of undefined content."""

    @abc.abstractmethod
    def begin(self, job: BatchJob, spans: Iterable[range]) -> None:
        """Have rows filled, possibly later."""

    @abc.abstractmethod
    def wait(self, job: BatchJob) -> list[RowError]:
        """Return, once every row that was begun is filled or given up, those that were given up."""

    @abc.abstractmethod
    def hand_out(self, job: BatchJob) -> np.ndarray:
        """Return the pictures of a finished job, for the consumer to keep as long as it likes."""

    @abc.abstractmethod
    def cancel(self) -> None:
        """Drop what was begun and is not done yet."""

    @abc.abstractmethod
    def close(self) -> None:
        """Cancel, and end the workers; ``prepare`` gets new ones."""


class Inline(Workers):
    """No workers: the calling thread does the work, when it needs it."""

    def __init__(
        self,
        dataset: FaceDataset,
        shape: tuple[int, ...],
        *,
        change: Optional[Change] = None,
        dtype: str = "float32",
    ) -> None:
        """Take the settings, see ``Workers``."""
        super().__init__(dataset, shape, count=0, ahead=1, change=change, dtype=dtype)
        self._buffers = BufferPool(shape, capacity=self._buffer_count, dtype=self._dtype)
        self._errors: list[RowError] = []

    def prepare(self) -> None:
        """Forget the errors of an epoch that was cancelled."""
        self.cancel()

    def take_buffer(self, rows: int) -> np.ndarray:
        """Return memory that nobody holds."""
        return self._buffers.take(rows)

    def begin(self, job: BatchJob, spans: Iterable[range]) -> None:
        """Fill the rows now."""
        for span in spans:
            self._errors += fill_rows(self._dataset, job.images, job.orders, span, change=self._change)

    def wait(self, job: BatchJob) -> list[RowError]:
        """Return what ``begin`` could not fill."""
        errors, self._errors = self._errors, []
        return errors

    def hand_out(self, job: BatchJob) -> np.ndarray:
        """Return the pictures."""
        return job.images

    def cancel(self) -> None:
        """Forget errors; nothing else is ever under way."""
        self._errors = []

    def close(self) -> None:
        """Nothing is to be ended."""
        self.cancel()


def fill_rows(
    dataset: FaceDataset, images: np.ndarray, orders: RowOrders, rows: range, *, change: Optional[Change] = None
) -> list[RowError]:
    """Read, change, mirror and normalise the samples of some rows of a batch.

    Args:
        dataset: where they come from.
        images: (B, 3, H, W), written to; float32, or uint8 for pixels as they are: whoever takes them has to mirror and
            to normalise.
        orders: what the rows are to hold.
        rows: the rows to fill.
        change: what is done to each picture; None leaves them as they are.

    Returns:
        The rows whose sample is missing or damaged.
    """
    span = slice(rows.start, rows.stop)
    errors = []
    for row, index, mirror, key, strength in zip(rows, *(column[span].tolist() for column in orders)):
        try:
            image = dataset.read_image(index)
        except BAD_SAMPLE_ERRORS as error:
            errors.append(RowError(row, error))
        else:
            image = image if change is None else change(image, key, strength)
            if images.dtype == np.uint8:
                planes_into(images[row], image)
            else:
                normalize_into(images[row], image, mirror=mirror)
    return errors
