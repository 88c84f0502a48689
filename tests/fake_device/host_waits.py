"""Counts how often the host waits for its device: every way in which a number comes from there, or is sent at once."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any, Callable, Iterator

import numpy as np
import paddle

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
