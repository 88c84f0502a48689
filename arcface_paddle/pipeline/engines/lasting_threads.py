"""Threads that never end, for libraries that keep things by thread and fail when a thread has ended.

Whoever is alone gets the same thread each time, so that what is kept by thread is found again; several at once get one
each. There are as many threads as there ever were calls at the same time.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, TypeVar

Result = TypeVar("Result")


class LastingThreads:
    """Runs what it is given in one of its threads, while the caller waits."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[ThreadPoolExecutor] = []
        self._process = os.getpid()

    def call(self, action: Callable[[], Result]) -> Result:
        """Return what ``action`` returns, or raise what it raises."""
        thread = self._take()
        try:
            return thread.submit(action).result()
        finally:
            with self._lock:
                self._idle.append(thread)

    def _take(self) -> ThreadPoolExecutor:
        """Return the thread that was used last, of those that are idle."""
        with self._lock:
            if self._process != os.getpid():  # a forked process has the list, but not the threads
                self._idle, self._process = [], os.getpid()
            return self._idle.pop() if self._idle else ThreadPoolExecutor(1, thread_name_prefix=self._name)
