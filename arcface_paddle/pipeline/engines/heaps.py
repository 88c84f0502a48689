"""What glibc's malloc keeps: how many heaps the threads of a process share, and how much freed memory stays.

glibc gives every thread a heap of its own, up to eight a core, and a heap keeps what was large in it once: pictures and
what networks compute between their layers. A service with a gallery of 10,000 faces grew from 367 to 433 MiB in 550
mixed requests, and went on; with two heaps it stayed at 338. Networks of Paddle ask for what is freed to be kept, which
glibc then does in each heap: what many requests took at the same moment once stays, and every such peak that is higher
than those before adds to it. ``give_back_freed_memory`` ends that.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Callable, Optional

# Options of glibc's mallopt(3), and the largest threshold of mmap that it accepts.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
_LARGEST_MMAP_THRESHOLD = 32 << 20
_KEPT_BYTES = 256 << 20
_NEVER = 2**31 - 1
_HEAPS = 2

_all_is_kept = False


@functools.lru_cache(maxsize=1)
def limit_heaps() -> None:
    """Let all threads that come later share two heaps; call it before there are many.

    Those that have a heap already keep it. Where the user has told glibc a number, or the C library is another one,
    nothing is done.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        _set({_ARENA_MAX: _HEAPS})


def keep_freed_memory() -> None:
    """Keep up to 256 MB of freed memory in this process, unless all of it is kept already."""
    if not _all_is_kept:
        _set({_MMAP_THRESHOLD: _LARGEST_MMAP_THRESHOLD, _TRIM_THRESHOLD: _KEPT_BYTES})


def keep_all_freed_memory() -> None:
    """Give no block back to the system from here on, however large."""
    global _all_is_kept
    _all_is_kept = True
    _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER})


def give_back_freed_memory() -> None:
    """Give the system the pages back that are free in all heaps, unless all of them are to be kept."""
    if not _all_is_kept:
        empty_heaps()


def empty_heaps() -> None:
    """Give the system the pages back that are free in all heaps.

    All heaps are gone through, one after the other, while the threads that share one wait for memory; what is asked for
    next costs a page fault for each 4 KiB again.
    """
    trim = _function("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _set(options: dict[int, int]) -> None:
    """Set options of malloc; with another C library than glibc nothing is done."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)


def _function(name: str) -> Optional[Callable[..., int]]:
    """Return a function of glibc; None where the C library has none of that name (musl, macOS)."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
