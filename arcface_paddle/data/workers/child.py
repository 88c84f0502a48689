"""The program of a worker process."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Optional

import cv2

from arcface_paddle import errors
from arcface_paddle.data.batches import RowError, RowOrders
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.workers.contract import BAD_SAMPLE_ERRORS, Change, fill_rows
from arcface_paddle.data.workers.shared import SharedBatches, SharedDataset


class Request(NamedTuple):
    """Rows ``start`` to ``stop`` of a shared batch are to be filled, unless the run has been cancelled since."""

    run: int
    batch: int
    start: int
    stop: int


class Reply(NamedTuple):
    """A request has been dealt with.

    Attributes:
        run: the run that the request belongs to.
        batch: the batch that the request is about.
        errors: the rows whose sample cannot be read.
        resized: pictures that had another size.
    """

    run: int
    batch: int
    errors: list[RowError]
    resized: int


@dataclass(frozen=True, eq=False)
class SharedState:
    """What all workers of a loader share.

    Attributes:
        dataset: where the samples come from.
        batches: where they go.
        run: a number in shared memory; requests of another run have been cancelled.
        change: what is done to each picture; every worker gets a copy.
    """

    dataset: SharedDataset
    batches: SharedBatches
    run: Any
    change: Optional[Change] = None


def work(state: SharedState, connection: Connection) -> None:
    """Answer requests until the parent closes its end of the connection or is no more."""
    _leave_signals_to_the_parent()
    cv2.setNumThreads(1)
    worker = _Worker(state)
    while True:
        try:
            request = Request(*connection.recv())
        except (EOFError, OSError):
            return
        reply = worker.answer(request)
        try:
            connection.send(tuple(reply))
        except OSError:
            return


def _leave_signals_to_the_parent() -> None:
    """Go on when Ctrl-C or the scheduler's SIGTERM reaches the whole group: the trainer saves first, then closes."""
    stopping = signal.SIGINT, signal.SIGTERM
    for number in stopping:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping)  # blocked by the parent, for the time until here


class _Worker:
    """Fills rows of shared batches."""

    def __init__(self, state: SharedState) -> None:
        self._run = state.run
        self._dataset: FaceDataset = state.dataset.open()
        self._images = state.batches.image_views()
        self._orders = state.batches.row_views()
        self._change = state.change

    def answer(self, request: Request) -> Reply:
        """Do what is asked for, or nothing if it has been cancelled."""
        if request.run != self._run.value:
            return Reply(request.run, request.batch, [], 0)
        before = self._dataset.resized_count
        batch = request.batch
        rows = range(request.start, request.stop)
        orders = RowOrders(*(column[batch] for column in self._orders))
        failures = fill_rows(self._dataset, self._images[batch], orders, rows, change=self._change)
        sent = [RowError(failure.row, _portable(failure.error)) for failure in failures]
        return Reply(request.run, batch, sent, self._dataset.resized_count - before)


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled: of a class of somebody else's only its base class and its text."""
    if type(error).__module__ in ("builtins", errors.__name__):
        return error
    base = next(kind for kind in BAD_SAMPLE_ERRORS if isinstance(error, kind))
    return base(str(error))
