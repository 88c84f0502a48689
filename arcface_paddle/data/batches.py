"""Which sample stands in which row of a batch, the substitutes of bad samples included; nothing here reads a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from arcface_paddle.data.epoch_order import BatchOrder, augment_keys, epoch_order, mirrored
from arcface_paddle.errors import DataError

MAX_SUBSTITUTES = 100
"""After so many bad samples in a row the dataset as a whole is unreadable, and the loader says so."""

_MIN_SPAN, _SPANS_PER_BATCH = 32, 32
"""A span is few enough rows to share a batch evenly, and many enough to make hand-over cheap."""


@dataclass(frozen=True)
class RowError:
    """A row whose sample cannot be read, and why."""

    row: int
    error: Exception


class RowOrders(NamedTuple):
    """What is to stand in the rows of a batch.

    Attributes:
        indices: (B,) int64, the samples.
        mirrors: (B,) bool, whether left and right are swapped.
        keys: (B,) uint64, the numbers from which the random changes of the pictures follow.
    """

    indices: np.ndarray
    mirrors: np.ndarray
    keys: np.ndarray


class EpochPlan:
    """The samples of one epoch by position, and which of them are mirrored.

    Attributes:
        samples: (N,) int64, the index of the sample at each position.
    """

    def __init__(self, order: BatchOrder, epoch: int, *, mirror: bool) -> None:
        """Shuffle the epoch."""
        self.samples = epoch_order(order.num_samples, seed=order.seed, epoch=epoch, shuffle=order.shuffle)
        self._order = order
        self._epoch = epoch
        self._mirror = mirror

    def mirrors(self, indices: np.ndarray) -> np.ndarray:
        """Return (n,) bool for (n,) indices of samples."""
        if not self._mirror:
            return np.zeros(len(indices), dtype=bool)
        return mirrored(indices, seed=self._order.seed, epoch=self._epoch)

    def orders(self, indices: np.ndarray) -> RowOrders:
        """Return what is to be done for (n,) indices of samples."""
        keys = augment_keys(indices, seed=self._order.seed, epoch=self._epoch)
        return RowOrders(indices, self.mirrors(indices), keys)

    def substitute(self, position: int, tries: int) -> int:
        """Return the sample that takes the place of a bad one, after ``tries - 1`` others that were bad as well."""
        return int(self.samples[(position + tries * self._order.global_batch) % len(self.samples)])


class BatchJob:
    """One batch under construction; several workers fill disjoint rows of it.

    Attributes:
        images: (B, 3, H, W) float32, to be filled.
        orders: what the rows are to hold.
    """

    def __init__(self, plan: EpochPlan, positions: range, images: np.ndarray) -> None:
        """Take the positions of the epoch and memory for as many pictures."""
        self.images = images
        self.orders = plan.orders(plan.samples[positions.start : positions.stop].copy())
        self._plan = plan
        self._positions = positions
        self._errors: dict[int, list[Exception]] = {}

    @property
    def indices(self) -> np.ndarray:
        """The samples of the rows, (B,) int64."""
        return self.orders.indices

    @property
    def mirrors(self) -> np.ndarray:
        """Which rows are mirrored, (B,) bool."""
        return self.orders.mirrors

    def spans(self) -> list[range]:
        """Cut the rows into portions for workers."""
        rows = len(self.indices)
        step = max(_MIN_SPAN, rows // _SPANS_PER_BATCH)
        return [range(start, min(start + step, rows)) for start in range(0, rows, step)]

    def substitute(self, failure: RowError) -> None:
        """Put the next sample into a row whose sample cannot be read; the row has to be filled again.

        Raises:
            DataError: ``MAX_SUBSTITUTES`` in a row were bad.
        """
        row = failure.row
        errors = self._errors.setdefault(row, [])
        errors.append(failure.error)
        if len(errors) > MAX_SUBSTITUTES:
            raise DataError(
                f"{MAX_SUBSTITUTES} samples in a row cannot be read, the first because of: {errors[0]}; "
                "check the dataset's folder, or run the dataset doctor"
            )
        sample = self._plan.substitute(self._positions[row], len(errors))
        for column, value in zip(self.orders, self._plan.orders(np.array([sample]))):
            column[row] = value[0]
