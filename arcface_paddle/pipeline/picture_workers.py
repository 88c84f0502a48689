"""Several pictures at once: one thread a worker, each with loaded models of its own.

    count, runtime = share_out(RuntimeOptions(), pictures=len(pictures))
    workers = PictureWorkers(open_analyzer(runtime), reopen=lambda: open_analyzer(runtime), count=count)
    for result in workers.map(lambda analyzer, path: analyzer.analyze(path), pictures):
        ...

Threads do, because decoding, networks and drawing run outside of Python's lock: two workers take hardly more CPU time
for a picture than one (OpenVINO 67 and 63 ms, Paddle 132 and 131, ``tools/benchmark.py folder``), so that free cores
would give 1.9 to 2 times as many pictures. One worker whose network has two threads takes 64 and 184 ms: what lies
between the networks runs on one core, and Paddle's second thread waits for it in a busy loop. Threads also share one
gallery, and end with their process however it ends.

The faces of several pictures do not go through the recogniser together: on one thread that gains nothing (12 to 13 ms a
face, mirrored, in batches of 2 to 16), and each picture's results would wait for those of others.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Generator, Generic, Iterable, Optional, TypeVar

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.settings import RuntimeOptions

Models = TypeVar("Models")
Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 64
"""Each has models and a decoded picture in memory."""
_MOST_BY_DEFAULT = 16  # more wait for each other, as between the networks all of them need Python's lock
_AHEAD_PER_WORKER = 2  # begun or done before the first is taken: bridges a large picture, and bounds the memory


def share_out(runtime: RuntimeOptions, *, pictures: int, workers: Optional[int] = None) -> tuple[int, RuntimeOptions]:
    """Return how many workers there are for some pictures, and how the networks of each run.

    The threads of ``runtime`` are those of all workers together. Without a number of workers there is one for each of
    them, but no more than pictures; on a GPU there is one.

    Args:
        runtime: what was asked for.
        pictures: how many there are.
        workers: how many workers were asked for; None to choose.

    Raises:
        ConfigError: ``workers`` is not 1 to ``MOST_WORKERS``.

    Example:
        >>> count, runtime = share_out(RuntimeOptions(threads=4), pictures=2)
        >>> count, runtime.threads
        (2, 2)
    """
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise ConfigError(f"workers is {workers}; allowed: 1 to {MOST_WORKERS}")
    if workers is None:
        workers = min(runtime.thread_count, _MOST_BY_DEFAULT) if runtime.device == "cpu" else 1
    count = max(1, min(workers, pictures))
    if count == 1:
        return 1, runtime
    return count, dataclasses.replace(runtime, threads=max(1, runtime.thread_count // count))


class PictureWorkers(Generic[Models]):
    """Loaded models, once for each worker; those of the second and later ones are loaded when they are needed.

    Attributes:
        count: how many workers there are.
    """

    def __init__(self, models: Models, *, reopen: Optional[Callable[[], Models]] = None, count: int = 1) -> None:
        """Take the models of the first worker.

        Args:
            models: for the first worker; the only one without ``reopen``.
            reopen: loads the same models for another worker. It is called in the thread that runs ``map``, while the
                workers that have theirs are at work: Paddle's converter ends the process in any but the main thread.
            count: how many workers there are.
        """
        if count < 1:
            raise ConfigError(f"count of workers is {count}; allowed: 1 or more")
        self.count = 1 if reopen is None else count
        self._models = models
        self._reopen = reopen
        self._idle = [models]
        self._loaded = 1
        self._at_work = False

    def map(self, work: Callable[[Models, Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Give ``work(models, item)`` for each item, in the order of the items.

        A few items are worked on ahead. An error of ``work`` is raised where its result would have come. Who leaves the
        generator waits for the items that have been begun; the others are dropped.

        Raises:
            ConfigError: another run of these workers has not been taken to its end.
        """
        if self.count == 1:
            for item in items:
                yield work(self._models, item)
            return
        if self._at_work:
            raise ConfigError("these workers are at work already; take all results of that run first, or close it")
        run = _Run(self)
        self._at_work = True
        try:
            yield from self._in_threads(run, work, items)
        finally:
            self._idle += run.taken
            self._at_work = False

    def _in_threads(
        self, run: _Run[Models], work: Callable[[Models, Item], Result], items: Iterable[Item]
    ) -> Generator[Result, None, None]:
        with ThreadPoolExecutor(self.count, thread_name_prefix="pictures") as pool:
            pending: deque[Future[Result]] = deque()
            submitted = 0
            try:
                for item in items:
                    self._load_another(submitted)
                    submitted += 1
                    pending.append(pool.submit(run.work_on, work, item))
                    if len(pending) >= _AHEAD_PER_WORKER * self.count:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def _load_another(self, submitted: int) -> None:
        """Load models for one more worker when there are items for all that are loaded, and workers without."""
        if self._reopen is not None and submitted >= self._loaded < self.count:
            self._idle.append(self._reopen())
            self._loaded += 1

    def take(self) -> Models:
        """Return models that nobody uses; from several threads, as taking from a list is one step."""
        return self._idle.pop()


class _Run(Generic[Models]):
    """The threads of one run, each of which keeps its models: engines prepare a network for the thread that runs it.

    Attributes:
        taken: the models in use.
    """

    def __init__(self, workers: PictureWorkers[Models]) -> None:
        self.taken: list[Models] = []
        self._workers = workers
        self._of_thread = threading.local()

    def work_on(self, work: Callable[[Models, Item], Result], item: Item) -> Result:
        models: Optional[Models] = getattr(self._of_thread, "models", None)
        if models is None:
            models = self._workers.take()
            self._of_thread.models = models
            self.taken.append(models)
        return work(models, item)
