"""Work that is done in a fork of this process, within limits."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional

_MEMORY = 6 << 30
"""Bytes that a child may have: what loses its bound must not take the machine with it."""
_LOOK_S = 2.0
_ASLEEP_S = 30.0
_AWAKE_SHARE = 0.01
"""CPU seconds a second; what waits and looks up now and then uses less."""
_TOO_LONG = (signal.SIGXCPU, signal.SIGPROF)


def in_child(work: Callable[[], dict[str, Any]], *, wall_s: float, cpu_s: float) -> dict[str, Any]:
    """Run something in a fork of this process.

    Returns:
        What it returned; ``{"timeout": True}`` where it took too long or slept, ``{"died": status}`` where it ended
        otherwise.
    """
    reading, writing = os.pipe()
    # Whoever ends this process before it knows its child would leave that behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_child(work, writing, int(cpu_s))
    os.close(writing)
    before = signal.signal(signal.SIGTERM, functools.partial(_end_with, child))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    with os.fdopen(reading) as answers:
        answered = _answer(answers, child, wall_s)
    _end(child)
    signal.signal(signal.SIGTERM, before)
    _, status = os.waitpid(child, 0)
    if answered is None:
        return {"timeout": True}
    if answered:
        return json.loads(answered)
    too_long = os.WIFSIGNALED(status) and os.WTERMSIG(status) in _TOO_LONG
    return {"timeout": True} if too_long else {"died": status}


@contextlib.contextmanager
def limited(cpu_s: float) -> Any:
    """End this process, as too slow, where the block takes more CPU seconds."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _end_with(child: int, *_: object) -> NoReturn:
    """End this process and its child, which leads a session of its own that does not end with ours."""
    _end(child)
    os.waitpid(child, 0)
    os._exit(1)


def _end(child: int) -> None:
    """End a child and what it has started."""
    for end in (os.killpg, os.kill):  # it may not lead its session yet
        with contextlib.suppress(ProcessLookupError):
            end(child, signal.SIGKILL)


def _answer(answers: Any, child: int, wall_s: float) -> Optional[str]:
    until = time.monotonic() + wall_s
    since, used = time.monotonic(), 0.0
    while time.monotonic() < until:
        ready, _, _ = select.select([answers], [], [], min(_LOOK_S, max(0.0, until - time.monotonic())))
        if ready:
            return answers.readline()
        runs, used_now = _activity(child)
        slept_s = time.monotonic() - since
        if runs or used_now - used > _AWAKE_SHARE * max(slept_s, _LOOK_S):
            since, used = time.monotonic(), used_now
        elif slept_s > _ASLEEP_S:
            return None
    return None


def _activity(session: int) -> tuple[bool, float]:
    """Tell whether a thread of a session would run or reads the disk, and the CPU seconds of its processes.

    A busy machine lets a process wait for its turn; that one is not asleep. Without Linux' ``/proc`` only the wall
    clock ends what sleeps.
    """
    if not sys.platform.startswith("linux"):
        return True, 0.0
    runs, ticks = False, 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            values = _stat(process)
            if int(values[3]) == session:
                ticks += int(values[11]) + int(values[12])
                runs = runs or any(_stat(thread)[0] in "RD" for thread in (process / "task").iterdir())
    return runs, ticks / os.sysconf("SC_CLK_TCK")


def _stat(folder: Path) -> list[str]:
    """Return what follows the name, which may hold blanks: state, parent, group, session …"""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _be_child(work: Callable[[], dict[str, Any]], writing: int, cpu_s: int) -> None:
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answer = json.dumps(work()) + "\n"
        os.write(writing, answer.encode())
        status = 0
    finally:
        os._exit(status)
