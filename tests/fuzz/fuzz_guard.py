"""What a parser may not do while it reads a hostile input, and how it is noticed.

Allowed: an answer, or an error of ``arcface_paddle.errors`` that says something. Not allowed: any other exception, more
than two seconds, more than 512 MiB, a file written, a process, a socket, a name looked up, code found by a pickle.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Optional

from arcface_paddle.errors import ArcfaceError

LONGEST_S = 2.0
MOST_MEMORY_BYTES = 512 << 20
_MOST_PATIENCE = 10
_KILL_AFTER_S = 20.0  # a hang is told with its stack instead of waiting for ever
_PEAK = Path("/proc/self/clear_refs")

_FORBIDDEN = (
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn",
    "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request",
    "pickle.find_class", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
    "os.truncate", "os.chmod", "shutil.rmtree", "shutil.move", "ctypes.dlopen",
)  # fmt: skip
_OWN_CACHE = ("os.rename", "os.remove", "os.mkdir", "os.chmod")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ViolationError(AssertionError):
    """A parser did what it may not."""


class _Watch:
    """The audit hook; a process cannot remove one, so that there is one, which is switched on and off."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen: list[str] = []
        self.may_write = ""
        self.may_do: tuple[str, ...] = ()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event == "open":
            allowed = isinstance(arguments[0], int) or (self.may_write and self.may_write in str(arguments[0]))
            if isinstance(arguments[2], int) and arguments[2] & _WRITES and not allowed:
                self.seen.append(f"wrote a file: {arguments[0]!r}")
        elif event in _FORBIDDEN and event not in self.may_do and not (self.may_write and event in _OWN_CACHE):
            self.seen.append(f"{event} {arguments!r:.200}")


_watch: Optional[_Watch] = None


def check(parse: Callable[[], object], *, may_write: str = "", may_do: tuple[str, ...] = ()) -> Optional[str]:
    """Call ``parse`` under watch and return None, or the error that it gave, in words.

    Args:
        parse: the call.
        may_write: part of the name of a file that it makes by design, its cache; empty for none.
        may_do: audit events of what else it does by design.

    Raises:
        ViolationError: it did what it may not.
    """
    global _watch
    if _watch is None:
        _watch = _Watch()
    _forget_peak()
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    _watch.seen.clear()
    _watch.may_write, _watch.may_do = may_write, may_do
    said = None
    try:
        with _alarm():
            _watch.is_on = True
            parse()
    except ArcfaceError as error:
        said = str(error)
    except ViolationError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ViolationError(f"{type(error).__module__}.{type(error).__name__}: {error!s:.200}") from error
    finally:
        _watch.is_on = False
    _complain(said, time.process_time() - begin, before_kib)
    return said


def _forget_peak() -> None:
    """Let the largest memory of this process be today's: what it once had would hide what a parser takes."""
    with contextlib.suppress(OSError):  # not Linux, or closed
        _PEAK.write_text("5")


def _complain(said: Optional[str], cpu_s: float, before_kib: int) -> None:
    assert _watch is not None
    if _watch.seen:
        raise ViolationError(_watch.seen[0])
    if cpu_s > LONGEST_S:
        raise ViolationError(f"took {cpu_s:.1f} s of CPU time; allowed: {LONGEST_S}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) << 10
    if grown > MOST_MEMORY_BYTES:
        raise ViolationError(f"took {grown / 1e6:,.0f} MB of memory; allowed: {MOST_MEMORY_BYTES / 1e6:,.0f}")
    if said is not None and not said.strip():
        raise ViolationError("an error that says nothing")


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    begin, begin_cpu = time.monotonic(), time.process_time()

    def ring(_number: int, _frame: Optional[FrameType]) -> None:
        waited = time.monotonic() - begin
        if waited < _MOST_PATIENCE * _KILL_AFTER_S and time.process_time() - begin_cpu < LONGEST_S:
            signal.setitimer(signal.ITIMER_REAL, _KILL_AFTER_S)  # the machine is busy with something else
            return
        raise ViolationError(f"hangs: not done after {waited:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _KILL_AFTER_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
