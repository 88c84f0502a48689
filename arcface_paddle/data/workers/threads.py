"""Worker threads: cheap to start, nothing is copied, any dataset will do.

Decoding, normalising and reading release Python's lock, so two threads do nearly twice the work of one. The rest, a
few calls per picture, does not: threads wait for each other there, and for a training step that runs Python code.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Iterable, Optional

import numpy as np

from arcface_paddle.data.batches import BatchJob, RowError
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.workers.buffers import BufferPool
from arcface_paddle.data.workers.contract import Change, Workers, fill_rows


class Threads(Workers):
    """Threads of this process."""

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
        """Take the settings, see ``Workers``."""
        super().__init__(dataset, shape, count=count, ahead=ahead, change=change, dtype=dtype)
        self._buffers = BufferPool(shape, capacity=self._buffer_count, dtype=self._dtype)
        self._pool: Optional[ThreadPoolExecutor] = None
        self._futures: dict[BatchJob, list[Future[list[RowError]]]] = {}

    def prepare(self) -> None:
        """Make the pool; it starts its threads as work comes."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="loader")

    def take_buffer(self, rows: int) -> np.ndarray:
        """Return memory that neither the consumer nor a thread holds."""
        return self._buffers.take(rows)

    def begin(self, job: BatchJob, spans: Iterable[range]) -> None:
        """Queue the rows."""
        assert self._pool is not None, "begin before prepare"
        self._futures[job] = [
            self._pool.submit(fill_rows, self._dataset, job.images, job.orders, span, change=self._change)
            for span in spans
        ]

    def wait(self, job: BatchJob) -> list[RowError]:
        """Wait for the threads; an error that is no bad sample's is raised as it is."""
        futures = self._futures.pop(job)
        # One wake-up per batch; to wait for each future in turn is three context switches per span.
        wait(futures)
        return [error for future in futures for error in future.result()]

    def hand_out(self, job: BatchJob) -> np.ndarray:
        """Return the pictures; new memory replaces what the consumer keeps."""
        return job.images

    def cancel(self) -> None:
        """Drop what has not begun; threads at work keep the memory that they write to."""
        for futures in self._futures.values():
            for future in futures:
                future.cancel()
        self._futures.clear()

    def close(self) -> None:
        """Wait for the spans at work and end the threads."""
        self.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
