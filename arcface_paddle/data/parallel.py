"""Run one function over many items in threads: results come in the order of the items, few are held at a time."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Generator, Iterable, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD_PER_WORKER = 16
"""Items begun or done before the first result is taken: enough to bridge an item that takes long."""


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Generator[Result, None, None]:
    """Give ``function(item)`` for each item in order, computed ahead by ``workers`` threads.

    An error of the function is raised where its result would have come; what has not begun is then dropped.
    """
    pool = ThreadPoolExecutor(max(1, workers))
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= _AHEAD_PER_WORKER * max(1, workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
