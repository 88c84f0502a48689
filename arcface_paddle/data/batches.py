"""Which sample stands in which row of a batch, the substitutes of bad samples included; nothing here reads a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional

import numpy as np

from arcface_paddle.data.difficulty import Ladder
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
        strengths: (B,) float32, factors on the probabilities of these changes.
    """

    indices: np.ndarray
    mirrors: np.ndarray
    keys: np.ndarray
    strengths: np.ndarray


class Lesson(NamedTuple):
    """What a curriculum says of one batch; the defaults are those of training without one.

    Attributes:
        augment: factor on the probability of every random change, 0 to 1.
        difficulty: share of the pictures of each identity, the easiest first, above 0.
    """

    augment: float = 1.0
    difficulty: float = 1.0


Lessons = Callable[[int], Lesson]
"""The lesson of each batch by its number, from 0 at the position at which the epoch is begun or gone on with."""

PLAIN_LESSON = Lesson()


class EpochPlan:
    """The samples of one epoch by position, and which of them are mirrored.

    Attributes:
        samples: (N,) int64, the index of the sample at each position.
    """

    def __init__(self, order: BatchOrder, epoch: int, *, mirror: bool, ladder: Optional[Ladder] = None) -> None:
        """Shuffle the epoch; ``ladder`` knows easier pictures for lessons that show these only."""
        self.samples = epoch_order(order.num_samples, seed=order.seed, epoch=epoch, shuffle=order.shuffle)
        self._order = order
        self._epoch = epoch
        self._mirror = mirror
        self._ladder = ladder

    def mirrors(self, indices: np.ndarray) -> np.ndarray:
        """Return (n,) bool for (n,) indices of samples."""
        if not self._mirror:
            return np.zeros(len(indices), dtype=bool)
        return mirrored(indices, seed=self._order.seed, epoch=self._epoch)

    def orders(self, indices: np.ndarray, lesson: Lesson = PLAIN_LESSON) -> RowOrders:
        """Return what is to be done for (n,) indices of samples.

        Mirroring and changes follow from the samples of the order, also where easier ones take their places: one that
        comes twice in an epoch is then changed in two ways.
        """
        keys = augment_keys(indices, seed=self._order.seed, epoch=self._epoch)
        shown = indices
        if self._ladder is not None and lesson.difficulty < 1:
            shown = self._ladder.eased(indices, lesson.difficulty)
        strengths = np.full(len(indices), lesson.augment, dtype=np.float32)
        return RowOrders(shown, self.mirrors(indices), keys, strengths)

    def substitute(self, position: int, tries: int) -> int:
        """Return the sample that takes the place of a bad one, after ``tries - 1`` others that were bad as well."""
        return int(self.samples[(position + tries * self._order.global_batch) % len(self.samples)])


class BatchJob:
    """One batch under construction; several workers fill disjoint rows of it.

    Attributes:
        images: (B, 3, H, W) float32, to be filled.
        orders: what the rows are to hold.
    """

    def __init__(self, plan: EpochPlan, positions: range, images: np.ndarray, *, lesson: Lesson = PLAIN_LESSON) -> None:
        """Take the positions of the epoch and memory for as many pictures."""
        self.images = images
        self.orders = plan.orders(plan.samples[positions.start : positions.stop].copy(), lesson)
        self._plan = plan
        self._lesson = lesson
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
        for column, value in zip(self.orders, self._plan.orders(np.array([sample]), self._lesson)):
            column[row] = value[0]
