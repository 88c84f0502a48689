"""Ranks that are threads of this process: what each would get of the others, without a process and without Gloo."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, TypeVar

import numpy as np
import paddle
import pytest

from arcface_paddle import distributed

Result = TypeVar("Result")


class RankThreads:
    """Stands in for the collectives that the heads use."""

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._own = threading.local()
        self._barrier = threading.Barrier(ranks, timeout=60)
        self._brought: list[Any] = [None] * ranks

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the collectives until the test ends."""
        monkeypatch.setattr(distributed, "rank", lambda: self._own.rank)
        monkeypatch.setattr(distributed, "world_size", lambda: self._ranks)
        for name in ("all_reduce_sum", "all_reduce_max", "all_gather", "own_part_of_sum", "gather_rows"):
            monkeypatch.setattr(distributed, name, getattr(self, name))

    def run(self, work: Callable[[], Result]) -> list[Result]:
        """Do the work as every rank at the same time, and return what each has got."""

        def of_rank(rank: int) -> Result:
            self._own.rank = rank
            return work()

        with ThreadPoolExecutor(self._ranks) as threads:
            results = [threads.submit(of_rank, rank) for rank in range(self._ranks)]
            for result in results:
                result.add_done_callback(self._let_nobody_wait_for)
        return [result.result() for result in results]

    def _let_nobody_wait_for(self, result: Future[Result]) -> None:
        if result.exception() is not None:
            self._barrier.abort()

    def all_reduce_sum(self, tensor: paddle.Tensor) -> paddle.Tensor:
        return paddle.to_tensor(np.sum(self._exchange(tensor.numpy()), axis=0))

    def all_reduce_max(self, tensor: paddle.Tensor) -> paddle.Tensor:
        return paddle.to_tensor(np.max(self._exchange(tensor.numpy()), axis=0))

    def all_gather(self, tensor: paddle.Tensor) -> paddle.Tensor:
        return paddle.to_tensor(np.concatenate(self._exchange(tensor.numpy())))

    def own_part_of_sum(self, tensor: paddle.Tensor) -> paddle.Tensor:
        return paddle.to_tensor(np.split(np.sum(self._exchange(tensor.numpy()), axis=0), self._ranks)[self._own.rank])

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        return np.concatenate(self._exchange(array))

    def _exchange(self, array: np.ndarray) -> list[np.ndarray]:
        self._brought[self._own.rank] = array
        self._barrier.wait()
        brought = list(self._brought)
        self._barrier.wait()  # nobody brings the next one before everybody has this one
        return brought
