"""Batches for training: decoded, changed at random, mirrored and normalised by workers ahead of time.

Workers are threads or processes, see ``workers``. Threads start at once and suit every dataset and script. Processes
scale further, because reading a picture takes Python's lock many times for a moment, and they do not share it with the
training step either; they take half a second to start and need a dataset that can be pickled.

Which sample is in which batch, whether it is mirrored and how it is changed, follows from (seed, epoch, position)
alone, see ``epoch_order``. Kind and number of the workers change nothing.

A bad sample (missing, damaged, not a picture) stops the run with its path, or is skipped: counted and reported with
its path, and its place in the batch is taken by the sample that stands one global batch later in the order, under
that sample's own label. So batches keep their size, and this too is a function of the position alone.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass
from typing import Iterator, Optional

import numpy as np

from arcface_paddle.data.augment_settings import Step, refuse_two_crops
from arcface_paddle.data.augmentation import Augmentation
from arcface_paddle.data.batches import PLAIN_LESSON, BatchJob, EpochPlan, Lessons, RowError
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.difficulty import Ladder
from arcface_paddle.data.epoch_order import BatchOrder
from arcface_paddle.data.workers import WORKER_KINDS, Inline, Workers
from arcface_paddle.errors import ConfigError


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made.

    Attributes:
        batch_size: samples per batch of one rank.
        workers: number of workers; 0 decodes in the calling thread.
        worker_kind: ``"thread"``, or ``"process"``: faster, but the program's main module must then do its work under
            ``if __name__ == "__main__"``, because it is imported by each of them.
        prefetch_batches: batches prepared ahead of the consumer.
        seed: the number from which shuffle and mirror follow.
        shuffle: False keeps the order of the dataset.
        mirror: mirror half of the samples at random.
        drop_last: leave out samples that do not fill a global batch.
        on_bad_sample: ``"skip"`` (count, report, take the next) or ``"raise"``.
        ccrop: take the middle of every picture, see ``augmentation.centre_crop``, before anything random is done.
        augment: random changes of the pictures, see ``augment_settings``.
        pixels: ``"float32"``: pictures are mirrored and normalised; ``"uint8"``: they are neither, for a device that
            does both faster than a quarter of the bytes is copied to it, see ``Batch``.
    """

    batch_size: int
    workers: int = 2
    worker_kind: str = "thread"
    prefetch_batches: int = 4
    seed: int = 0
    shuffle: bool = True
    mirror: bool = True
    drop_last: bool = True
    on_bad_sample: str = "skip"
    ccrop: bool = False
    augment: tuple[Step, ...] = ()
    pixels: str = "float32"

    def __post_init__(self) -> None:
        refuse_two_crops(self.augment, ccrop=self.ccrop)
        if self.on_bad_sample not in ("skip", "raise"):
            raise ConfigError(f"on_bad_sample is {self.on_bad_sample!r}; allowed: 'skip', 'raise'")
        if self.worker_kind not in WORKER_KINDS:
            raise ConfigError(f"worker_kind is {self.worker_kind!r}; allowed: {', '.join(map(repr, WORKER_KINDS))}")
        if self.pixels not in ("float32", "uint8"):
            raise ConfigError(f"pixels is {self.pixels!r}; allowed: 'float32', 'uint8'")
        if self.workers < 0 or self.prefetch_batches < 1:
            raise ConfigError(
                f"workers {self.workers}, prefetch_batches {self.prefetch_batches}; allowed: from 0 and from 1"
            )


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of one rank.

    Attributes:
        images: (B, 3, H, W) RGB; float32 from -1 to 1, or uint8 from 0 to 255, see ``LoaderOptions.pixels``.
        labels: (B,) int64.
        indices: (B,) int64 indices into the dataset, those of the samples really used.
        wait_s: seconds that the consumer stood still for this batch.
        mirrors: (B,) bool, whose left and right are still to be swapped; None where that has been done.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    wait_s: float
    mirrors: Optional[np.ndarray] = None


@dataclass(frozen=True)
class BadSample:
    """A sample that was skipped."""

    index: int
    path: str
    reason: str


class BatchLoader:
    """Gives the batches of one rank, epoch by epoch.

    Use it as a context manager, or call ``close``. One epoch runs at a time.

    Attributes:
        dataset: where the samples come from.
        options: how batches are made.
        order: which samples come when.
        wait_s: seconds that the consumer has waited for data in total.
    """

    def __init__(
        self,
        dataset: FaceDataset,
        options: LoaderOptions,
        *,
        rank: int = 0,
        world_size: int = 1,
        ladder: Optional[Ladder] = None,
    ) -> None:
        """Work out the order; workers are started by the first epoch.

        Args:
            dataset: where the samples come from.
            options: how batches are made.
            rank: this rank.
            world_size: number of ranks.
            ladder: knows the easier pictures of each identity, for lessons that show these only.

        Raises:
            ConfigError: rank, world size, batch size and dataset do not fit together.
        """
        self.dataset = dataset
        self.options = options
        self.order = BatchOrder(
            len(dataset),
            options.batch_size,
            rank=rank,
            world_size=world_size,
            seed=options.seed,
            shuffle=options.shuffle,
            drop_last=options.drop_last,
        )
        self.wait_s = 0.0
        self._ladder = ladder
        self._workers = _workers_for(dataset, options)
        self._begun: deque[BatchJob] = deque()
        self._run = 0
        self._bad: dict[int, BadSample] = {}

    @property
    def bad_samples(self) -> list[BadSample]:
        """The distinct samples skipped so far, in the order in which they were met."""
        return list(self._bad.values())

    @property
    def steps_per_epoch(self) -> int:
        """Batches of a whole epoch."""
        return self.order.steps_per_epoch

    def __enter__(self) -> BatchLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; batches under way are dropped. The loader can be used again afterwards."""
        self._cancel()
        self._workers.close()

    def epoch(self, epoch: int, *, start_sample: int = 0, lessons: Optional[Lessons] = None) -> Iterator[Batch]:
        """Give the batches of an epoch, from a position on.

        Args:
            epoch: from 0.
            start_sample: positions already consumed by all ranks together, see ``BatchOrder.positions``.
            lessons: what a curriculum says of each batch from there on; None is training without one.

        Raises:
            DataError: a bad sample under ``"raise"``, ``MAX_SUBSTITUTES`` bad ones in a row, or a worker process has
                ended.
            ImageError: a bad picture under ``"raise"``.
            ConfigError: ``start_sample`` is out of range, the dataset cannot be sent to worker processes, or the loader
                was closed or began another epoch before this one was over.
        """
        self._cancel()
        run = self._run
        plan = EpochPlan(self.order, epoch, mirror=self.options.mirror, ladder=self._ladder)
        positions = enumerate(self.order.positions(start_sample=start_sample))
        with self._closed_on_error():
            self._workers.prepare()
        try:
            while (batch := self._next_batch(plan, positions, lessons)) is not None:
                yield batch
                del batch  # or its memory could not be used for the next one
                if self._run != run:
                    raise ConfigError("the loader was closed, or began another epoch, before this epoch was over")
        finally:
            # A consumer that stops early: what has not begun is not begun any more.
            if self._run == run:
                self._cancel()

    def _cancel(self) -> None:
        self._run += 1
        self._begun.clear()
        self._workers.cancel()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """End the workers on an error or Ctrl-C, which may come in the middle of a message from one of them."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _next_batch(
        self, plan: EpochPlan, positions: Iterator[tuple[int, range]], lessons: Optional[Lessons]
    ) -> Optional[Batch]:
        begin = time.perf_counter()
        with self._closed_on_error():
            self._begin_batches(plan, positions, lessons)
            job = self._finish_first()
        if job is None:
            return None
        wait_s = time.perf_counter() - begin
        self.wait_s += wait_s
        mirrors = job.mirrors if self.options.pixels == "uint8" else None
        return Batch(self._workers.hand_out(job), self.dataset.labels[job.indices], job.indices, wait_s, mirrors)

    def _begin_batches(
        self, plan: EpochPlan, positions: Iterator[tuple[int, range]], lessons: Optional[Lessons]
    ) -> None:
        while len(self._begun) < self._workers.ahead and (following := next(positions, None)) is not None:
            number, span = following
            job = BatchJob(
                plan, span, self._workers.take_buffer(len(span)), lesson=lessons(number) if lessons else PLAIN_LESSON
            )
            self._workers.begin(job, job.spans())
            self._begun.append(job)

    def _finish_first(self) -> Optional[BatchJob]:
        if not self._begun:
            return None
        job = self._begun[0]
        while failures := self._workers.wait(job):
            failures.sort(key=lambda failure: failure.row)
            for failure in failures:
                self._replace(job, failure)
            self._workers.begin(job, [range(failure.row, failure.row + 1) for failure in failures])
        return self._begun.popleft()

    def _replace(self, job: BatchJob, failure: RowError) -> None:
        if self.options.on_bad_sample == "raise":
            raise failure.error
        index = int(job.indices[failure.row])
        if index not in self._bad:
            self._bad[index] = BadSample(index, self.dataset.path_of(index), str(failure.error))
        job.substitute(failure)


def _workers_for(dataset: FaceDataset, options: LoaderOptions) -> Workers:
    shape = (options.batch_size, 3, dataset.image_size, dataset.image_size)
    change = Augmentation(options.augment, ccrop=options.ccrop) if options.augment or options.ccrop else None
    if options.workers == 0:
        return Inline(dataset, shape, change=change, dtype=options.pixels)
    kind = WORKER_KINDS[options.worker_kind]
    return kind(
        dataset,
        shape,
        count=options.workers,
        ahead=options.prefetch_batches,
        change=change,
        dtype=options.pixels,
    )
