"""The one way in which this package compiles loops: numba, with its machine code cached on disk."""

from __future__ import annotations

from typing import Callable, TypeVar

from arcface_paddle.errors import MissingDependencyError

try:
    import numba
except ImportError:
    raise MissingDependencyError("numba", extra="synthetic", purpose="rendering synthetic faces") from None

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile ``function`` at its first call; the machine code is kept on disk for later processes.

    numba keeps it in ``NUMBA_CACHE_DIR`` if that is set, else in ``__pycache__`` beside the source, else in the user's
    cache folder. It replaces the files atomically, so several processes may share them. Where no such folder can be
    written the code is compiled anew by each process.
    """
    options = {"fastmath": True, "nogil": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba: no folder for its cache
        return numba.njit(**options)(function)
