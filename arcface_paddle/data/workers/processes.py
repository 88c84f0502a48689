"""Worker processes: they share neither Python's lock with each other nor with the training step."""

from __future__ import annotations

import ctypes
from typing import Iterable, Optional

import numpy as np

from arcface_paddle.data.batches import BatchJob, RowError
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.workers.buffers import FixedPool
from arcface_paddle.data.workers.child import Reply, Request, SharedState
from arcface_paddle.data.workers.contract import Change, Workers
from arcface_paddle.data.workers.shared import SharedBatches, SharedDataset
from arcface_paddle.data.workers.worker_pool import CONTEXT, WorkerPool


class Processes(Workers):
    """Processes that write into shared memory; they see the dataset as it was when they were started."""

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
        """Take the settings, see ``Workers``; ``change`` must be such that it can be pickled."""
        super().__init__(dataset, shape, count=count, ahead=ahead, change=change, dtype=dtype)
        self._side: Optional[_ParentSide] = None

    def prepare(self) -> None:
        """Start the processes, or wait until they have let go of an epoch that was cancelled.

        Raises:
            ConfigError: the dataset cannot be sent to processes.
        """
        if self._side is None:
            batches = SharedBatches.allocate(self._shape, self._buffer_count, CONTEXT, dtype=self._dtype)
            self._side = _ParentSide(self._dataset, batches, workers=self._count, ahead=self.ahead, change=self._change)
        self._side.settle()

    def take_buffer(self, rows: int) -> np.ndarray:
        """Return shared memory, (rows, 3, H, W), that neither the consumer nor a worker uses."""
        return self._started.pool.take(rows)

    def begin(self, job: BatchJob, spans: Iterable[range]) -> None:
        """Send the rows to the workers."""
        self._started.begin(job, spans)

    def wait(self, job: BatchJob) -> list[RowError]:
        """Take the workers' replies until this batch is complete.

        Raises:
            DataError: a worker has ended.
        """
        return self._started.wait(job)

    def hand_out(self, job: BatchJob) -> np.ndarray:
        """Return the pictures, or a copy of them for a consumer that keeps batches."""
        return self._started.pool.hand_out(job.images)

    def cancel(self) -> None:
        """Tell the workers to skip what they have not begun."""
        if self._side is not None:
            self._side.cancel()

    def close(self) -> None:
        """End the processes; the memory lives on under batches that the consumer keeps."""
        side, self._side = self._side, None
        if side is not None:
            side.cancel()
            side.workers.close()

    @property
    def _started(self) -> _ParentSide:
        assert self._side is not None, "used before prepare"
        return self._side


class _ParentSide:
    """The parent's side of one set of processes: which rows are under way, and what came back."""

    def __init__(
        self, dataset: FaceDataset, batches: SharedBatches, *, workers: int, ahead: int, change: Optional[Change]
    ) -> None:
        self._dataset = dataset
        self._run = CONTEXT.RawValue(ctypes.c_int64, 0)
        self._orders = batches.row_views()
        self._unanswered = [0] * batches.count
        self._errors: list[list[RowError]] = [[] for _ in range(batches.count)]
        self.pool = FixedPool(batches.image_views(), reserved=ahead)
        state = SharedState(SharedDataset.of(dataset, CONTEXT), batches, self._run, change)
        self.workers = WorkerPool(state, workers)

    def begin(self, job: BatchJob, spans: Iterable[range]) -> None:
        place, rows = self.pool.place_of(job.images), len(job.indices)
        for shared, column in zip(self._orders, job.orders):
            shared[place, :rows] = column
        for span in spans:
            self._unanswered[place] += 1
            self.workers.submit(Request(self._run.value, place, span.start, span.stop))

    def wait(self, job: BatchJob) -> list[RowError]:
        place = self.pool.place_of(job.images)
        while self._unanswered[place]:
            self._note(self.workers.receive())
        errors, self._errors[place] = self._errors[place], []
        return errors

    def cancel(self) -> None:
        self._run.value += 1

    def settle(self) -> None:
        """Wait until no worker writes for a cancelled run any more."""
        self._note(self.workers.settle())
        self._unanswered = [0] * len(self._unanswered)
        self._errors = [[] for _ in self._errors]
        self.pool.reset()

    def _note(self, replies: list[Reply]) -> None:
        for reply in replies:
            self._dataset.count_resized(reply.resized)
            if reply.run == self._run.value:
                self._unanswered[reply.batch] -= 1
                self._errors[reply.batch] += reply.errors
