"""How many heaps the threads of a process share, so that more threads do not keep more memory.

glibc gives every thread a heap of its own, up to eight a core, and a heap keeps what was large in it once: pictures and
what networks compute between their layers. A service with a gallery of 10,000 faces grew from 367 to 433 MiB in 550
mixed requests, and went on; with two heaps it stayed at 338. Networks of Paddle ask for what is freed to be kept, which
glibc then does in each heap.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys

_M_ARENA_MAX = -8  # of glibc's malloc.h
_HEAPS = 2


@functools.lru_cache(maxsize=1)
def limit_heaps() -> None:
    """Let all threads that come later share two heaps; call it before there are many.

    Those that have a heap already keep it. Where the user has told glibc a number, or the C library is another one,
    nothing is done.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)
