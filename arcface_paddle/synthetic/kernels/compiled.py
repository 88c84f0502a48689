"""The one way in which this package compiles loops: numba, with its machine code cached on disk."""

from __future__ import annotations

from typing import Callable, TypeVar

from arcface_paddle.errors import MissingDependencyError

try:
    import numba
except ImportError:
    raise MissingDependencyError("numba", extra="synthetic", purpose="rendering synthetic faces") from None

# Fast mathematics may reorder sums, in the same way each time, and takes it that nothing is infinite or NaN.
_OPTIONS = {"fastmath": True, "nogil": True}

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile ``function`` at its first call; the machine code is kept on disk for later processes.

    numba keeps it in ``NUMBA_CACHE_DIR`` if that is set, else in ``__pycache__`` beside the source, else in the user's
    cache folder. It replaces the files atomically, so several processes may share them. Where no such folder can be
    written the code is compiled anew by each process.
    """
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba: no folder for its cache
        return numba.njit(**_OPTIONS)(function)


def inlined(function: Function) -> Function:
    """Copy ``function`` into each compiled function of its own file that calls it.

    For pieces of inner loops with many arguments, which LLVM leaves as calls: shading took 1.6 times as long. Only
    within one file, because the cache of a caller notices changes of its own file alone.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)
