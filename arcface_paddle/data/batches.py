"""Which sample stands in which row of a batch, the substitutes of bad samples included; nothing here reads a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arcface_paddle.data.epoch_order import BatchOrder, epoch_order, mirrored
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

    def substitute(self, position: int, tries: int) -> int:
        """Return the sample that takes the place of a bad one, after ``tries - 1`` others that were bad as well."""
        return int(self.samples[(position + tries * self._order.global_batch) % len(self.samples)])


class BatchJob:
    """One batch under construction; several workers fill disjoint rows of it.

    Attributes:
        images: (B, 3, H, W) float32, to be filled.
        indices: (B,) int64, the samples of the rows.
        mirrors: (B,) bool.
    """

    def __init__(self, plan: EpochPlan, positions: range, images: np.ndarray) -> None:
        """Take the positions of the epoch and memory for as many pictures."""
        self.images = images
        self.indices = plan.samples[positions.start : positions.stop].copy()
        self.mirrors = plan.mirrors(self.indices)
        self._plan = plan
        self._positions = positions
        self._errors: dict[int, list[Exception]] = {}

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
        self.indices[row] = self._plan.substitute(self._positions[row], len(errors))
        self.mirrors[row] = self._plan.mirrors(self.indices[row : row + 1])[0]
