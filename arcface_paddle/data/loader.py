"""Batches for training: decoded, mirrored and normalised by worker threads ahead of time.

Threads, not processes: decoding, colour conversion, normalising and reading release Python's lock, so two threads
decode nearly twice as fast as one (``tools/benchmark.py loader`` measures it), nothing has to be pickled or copied
between processes, a label index of gigabytes is not duplicated, and Ctrl-C or an error ends everything at once.

Which sample is in which batch, and whether it is mirrored, follows from (seed, epoch, position) alone, see
``order``. The number of workers changes nothing.

A bad sample (missing, damaged, not a picture) stops the run with its path, or is skipped: counted and reported with
its path, and its place in the batch is taken by the sample that stands one global batch later in the order, under
that sample's own label. So batches keep their size, and this too is a function of the position alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Iterator, Optional

import numpy as np

from arcface_paddle.data.base import FaceDataset, normalize_into
from arcface_paddle.data.order import BatchOrder, epoch_order, mirrored
from arcface_paddle.errors import ConfigError, DataError, ImageError

MAX_SUBSTITUTES = 100
"""After so many bad samples in a row the dataset as a whole is unreadable, and the loader says so."""

_CHUNK_SAMPLES = 16
"""Samples that a worker takes at once: few enough to share a batch evenly, many enough to make hand-over cheap."""

_BAD_SAMPLE_ERRORS = (DataError, ImageError, OSError)


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made.

    Attributes:
        batch_size: samples per batch of one rank.
        workers: threads; 0 decodes in the calling thread.
        prefetch_batches: batches prepared ahead of the consumer.
        seed: of shuffle and mirror.
        shuffle: False keeps the order of the dataset.
        mirror: mirror half of the samples at random.
        drop_last: leave out samples that do not fill a global batch.
        on_bad_sample: ``"skip"`` (count, report, take the next) or ``"raise"``.
    """

    batch_size: int
    workers: int = 2
    prefetch_batches: int = 4
    seed: int = 0
    shuffle: bool = True
    mirror: bool = True
    drop_last: bool = True
    on_bad_sample: str = "skip"

    def __post_init__(self) -> None:
        if self.on_bad_sample not in ("skip", "raise"):
            raise ConfigError(f"on_bad_sample is {self.on_bad_sample!r}; allowed: 'skip', 'raise'")
        if self.workers < 0 or self.prefetch_batches < 1:
            raise ConfigError(
                f"workers {self.workers}, prefetch_batches {self.prefetch_batches}; allowed: from 0 and from 1"
            )


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of one rank.

    Attributes:
        images: (B, 3, H, W) float32 RGB, -1 to 1.
        labels: (B,) int64.
        indices: (B,) int64 indices into the dataset, those of the samples really used.
        wait_s: seconds that the consumer stood still for this batch.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    wait_s: float


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
        order: which samples come when.
        bad_samples: the distinct samples skipped so far, in the order in which they were met.
        wait_s: seconds that the consumer has waited for data in total.
    """

    def __init__(self, dataset: FaceDataset, options: LoaderOptions, *, rank: int = 0, world_size: int = 1) -> None:
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
        shape = (options.batch_size, 3, dataset.image_size, dataset.image_size)
        # Those ahead, the one with the consumer, and the one before it that the consumer has not yet let go.
        self._buffers = _BufferPool(shape, capacity=options.prefetch_batches + 2)
        self._bad: dict[int, BadSample] = {}
        self._lock = threading.Lock()
        self._pool: Optional[ThreadPoolExecutor] = None

    @property
    def bad_samples(self) -> list[BadSample]:
        """The distinct samples skipped so far."""
        with self._lock:
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
        """Stop the workers; batches under way are dropped. The loader can be used again afterwards."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def epoch(self, epoch: int, *, start_sample: int = 0) -> Iterator[Batch]:
        """Give the batches of an epoch, from a position on.

        Args:
            epoch: from 0.
            start_sample: positions already consumed by all ranks together, see ``BatchOrder.batches``.

        Raises:
            DataError: a bad sample under ``"raise"``, or ``MAX_SUBSTITUTES`` bad ones in a row.
            ImageError: the same for pictures.
            ConfigError: ``start_sample`` is out of range.
        """
        jobs = self._jobs(epoch, start_sample)
        if self.options.workers == 0:
            yield from self._run_here(jobs)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.options.workers, thread_name_prefix="loader")
        yield from self._run_in_pool(jobs, self._pool)

    def _jobs(self, epoch: int, start_sample: int) -> Iterator[_BatchJob]:
        plan = _EpochPlan(self, epoch)
        positions = self.order.positions(start_sample=start_sample)
        return (_BatchJob(plan, span) for span in positions)

    def _run_here(self, jobs: Iterator[_BatchJob]) -> Iterator[Batch]:
        for job in jobs:
            begin = time.perf_counter()
            job.fill(0, len(job))
            yield self._finish(job, begin)

    def _run_in_pool(self, jobs: Iterator[_BatchJob], pool: ThreadPoolExecutor) -> Iterator[Batch]:
        pending: deque[tuple[_BatchJob, list[Future[None]]]] = deque()
        try:
            while True:
                while len(pending) < self.options.prefetch_batches and (job := next(jobs, None)) is not None:
                    starts = range(0, len(job), _CHUNK_SAMPLES)
                    pending.append((job, [pool.submit(job.fill, start, start + _CHUNK_SAMPLES) for start in starts]))
                if not pending:
                    return
                begin = time.perf_counter()
                job, futures = pending[0]
                # One wake-up per batch; to wait for each future in turn is three context switches per chunk.
                wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    future.result()
                pending.popleft()
                yield self._finish(job, begin)
        finally:
            # An error, Ctrl-C or a consumer that stops early: what has not begun is not begun any more.
            for _, futures in pending:
                for future in futures:
                    future.cancel()

    def _finish(self, job: _BatchJob, begin: float) -> Batch:
        wait_s = time.perf_counter() - begin
        self.wait_s += wait_s
        return Batch(job.images, self.dataset.labels[job.indices], job.indices, wait_s)

    def _note_bad(self, index: int, error: Exception) -> None:
        with self._lock:
            if index not in self._bad:
                self._bad[index] = BadSample(index, self.dataset.path_of(index), str(error))


class _BufferPool:
    """Memory for batches, used again once nobody holds it.

    A fresh array of a batch's size is fresh memory from the system, and touching its pages for the first time costs
    as much as writing the normalised pictures. Every array or tensor that shares the memory of a batch keeps a
    reference to its buffer, so the reference count tells whether the consumer has let go of it; a consumer that
    keeps batches simply gets new memory for the next ones.
    """

    def __init__(self, shape: tuple[int, ...], *, capacity: int) -> None:
        self._shape = shape
        self._capacity = capacity
        self._buffers: list[np.ndarray] = []

    def take(self, count: int) -> np.ndarray:
        """Return (count, ...) float32 of undefined content."""
        for place in range(len(self._buffers)):
            if sys.getrefcount(self._buffers[place]) == _REFERENCES_WHEN_FREE:
                return self._buffers[place][:count]
        buffer = np.empty(self._shape, dtype=np.float32)
        if len(self._buffers) < self._capacity:
            self._buffers.append(buffer)
        return buffer[:count]


def _references_when_free() -> int:
    """Return what ``sys.getrefcount`` says of a list's item that nothing else holds (it differs between Pythons)."""
    items = [object()]
    return sys.getrefcount(items[0])


_REFERENCES_WHEN_FREE = _references_when_free()


class _EpochPlan:
    """The order of one epoch and how a position of it becomes a sample."""

    def __init__(self, loader: BatchLoader, epoch: int) -> None:
        options = loader.options
        self.loader = loader
        self.epoch = epoch
        self.buffers = loader._buffers
        self.order = epoch_order(len(loader.dataset), seed=options.seed, epoch=epoch, shuffle=options.shuffle)

    def mirrors(self, indices: np.ndarray) -> np.ndarray:
        options = self.loader.options
        if not options.mirror:
            return np.zeros(len(indices), dtype=bool)
        return mirrored(indices, seed=options.seed, epoch=self.epoch)

    def substitute(self, position: int, error: Exception) -> tuple[int, np.ndarray]:
        """Return index and picture of the sample that takes the place of a bad one."""
        loader = self.loader
        for tries in range(1, MAX_SUBSTITUTES + 1):
            index = int(self.order[(position + tries * loader.order.global_batch) % len(self.order)])
            try:
                return index, loader.dataset.read_image(index)
            except _BAD_SAMPLE_ERRORS as next_error:
                loader._note_bad(index, next_error)
        raise DataError(
            f"{MAX_SUBSTITUTES} samples in a row cannot be read, the first because of: {error}; "
            "check the dataset's folder, or run the dataset doctor"
        )


class _BatchJob:
    """One batch under construction; several workers fill disjoint parts of it."""

    def __init__(self, plan: _EpochPlan, positions: range) -> None:
        self._plan = plan
        self._positions = positions
        self.indices = plan.order[positions.start : positions.stop].copy()
        self.images = plan.buffers.take(len(positions))
        self._mirrors = plan.mirrors(self.indices).tolist()

    def __len__(self) -> int:
        return len(self.indices)

    def fill(self, start: int, stop: int) -> None:
        """Read the samples of rows ``start`` to ``stop``."""
        loader = self._plan.loader
        dataset, images, mirrors = loader.dataset, self.images, self._mirrors
        for row in range(start, min(stop, len(self))):
            index = int(self.indices[row])
            try:
                image = dataset.read_image(index)
            except _BAD_SAMPLE_ERRORS as error:
                if loader.options.on_bad_sample == "raise":
                    raise
                image = self._take_substitute(row, index, error)
            normalize_into(images[row], image, mirror=mirrors[row])

    def _take_substitute(self, row: int, index: int, error: Exception) -> np.ndarray:
        self._plan.loader._note_bad(index, error)
        self.indices[row], image = self._plan.substitute(self._positions[row], error)
        self._mirrors[row] = bool(self._plan.mirrors(self.indices[row : row + 1])[0])
        return image


def default_workers() -> int:
    """Return the number of worker threads that suits this machine: the cores this process may use, at most 8."""
    with contextlib.suppress(AttributeError):  # not on Windows and macOS
        return min(8, len(os.sched_getaffinity(0)))
    return min(8, os.cpu_count() or 1)
