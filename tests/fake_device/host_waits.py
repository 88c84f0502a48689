"""Counts how often the host waits for its device: for a number from there, or for one on its way to it."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import paddle

from arcface_paddle.training.config import TrainConfig, config_from
from arcface_paddle.training.trainer import _Loop, train

_FETCHES = (
    *("numpy", "item", "tolist", "cpu", "__array__"),
    *("__bool__", "__nonzero__", "__float__", "__int__", "__index__", "__long__"),
)


class HostWaits:
    """What was waited for.

    Attributes:
        places: for each time the line of the package that did it.
    """

    def __init__(self) -> None:
        self.places: list[str] = []
        self._depth = 0

    @contextlib.contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """Count what runs inside as one wait, whatever else it calls."""
        if self._depth == 0:
            own = [frame for frame in traceback.extract_stack() if "arcface_paddle/" in frame.filename]
            self.places.append(f"{name} at {own[-1].filename}:{own[-1].lineno}" if own else name)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1


@contextlib.contextmanager
def counted() -> Iterator[HostWaits]:
    """Count the waits of the main thread inside."""
    waits = HostWaits()
    before: list[tuple[Any, str, Callable[..., Any]]] = []

    def replace(owner: Any, name: str, waiting: Callable[..., bool]) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            if not waiting(*args, **options):
                return real(*args, **options)
            with waits.noted(name):
                return real(*args, **options)

        before.append((owner, name, real))
        setattr(owner, name, call)

    for name in _FETCHES:
        if hasattr(paddle.Tensor, name):
            replace(paddle.Tensor, name, lambda tensor, *_, **__: not tensor.place.is_cpu_place())
    replace(paddle.Tensor, "_copy_to", lambda tensor, place, blocking: blocking)
    replace(paddle, "to_tensor", _sends_at_once)
    replace(paddle.device, "synchronize", lambda *_, **__: True)
    try:
        yield waits
    finally:
        for owner, name, real in before:
            setattr(owner, name, real)


def _sends_at_once(data: Any, *_: Any, place: Any = None, **__: Any) -> bool:
    on_host = isinstance(place, paddle.CPUPlace) or (place is None and paddle.get_device() == "cpu")
    return not on_host and not isinstance(data, paddle.Tensor) and np.size(data) > 0


def settings(folder: Path, **changes: Any) -> TrainConfig:
    """Return those of a tiny run on ``folder/data``."""
    values = {
        "data_dir": str(folder / "data"), "output": str(folder / "run"), "logdir": "", "val_targets": "",
        "width": 0.125, "embedding_size": 8, "batch_size": 4, "steps": 6, "warmup_steps": 2, "log_every": 3,
        "save_every": 1000, "num_workers": 1, "worker_kind": "thread",
    }  # fmt: skip
    return config_from({**values, **changes})


def waits_of_steps(config: TrainConfig) -> list[list[str]]:
    """Train, and return what each step has waited for; logging and the agreement on stopping count as part of it."""
    of_steps: list[list[str]] = []
    names = "_step", "_after_step", "_asked_to_stop"
    before = {name: getattr(_Loop, name) for name in names}

    def counting(name: str) -> Callable[..., Any]:
        def call(loop: _Loop, *arguments: Any) -> Any:
            with counted() as waits:
                result = before[name](loop, *arguments)
            if name == "_step":
                of_steps.append([])
            of_steps[-1] += waits.places
            return result

        return call

    for name in names:
        setattr(_Loop, name, counting(name))
    try:
        train(config, say=lambda _: None)
    finally:
        for name, function in before.items():
            setattr(_Loop, name, function)
    return of_steps
