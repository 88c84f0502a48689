"""Memory that was freed and that glibc keeps, for tests of what gives it back."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Callable, Iterator

import pytest

glibc = pytest.mark.skipif(
    not hasattr(os, "confstr") or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="glibc"
)

_BLOCKS, _BLOCK_BYTES = 4000, 16 * 1024
KEPT_MB = _BLOCKS * _BLOCK_BYTES / 1e6


@contextlib.contextmanager
def kept_by_malloc() -> Iterator[Callable[[], float]]:
    """Leave a hole of ``KEPT_MB`` in a heap; gives a function that says how much smaller the process is since."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    blocks = [libc.malloc(_BLOCK_BYTES) for _ in range(_BLOCKS)]
    for block in blocks:
        libc.memset(block, 1, _BLOCK_BYTES)
    before = _resident_mb()
    for block in blocks[:-1]:  # above the last one nothing is free, so that glibc gives nothing back by itself
        libc.free(block)
    try:
        yield lambda: before - _resident_mb()
    finally:
        libc.free(blocks[-1])


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
