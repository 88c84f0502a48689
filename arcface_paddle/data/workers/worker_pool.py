"""Worker processes and the conversation with them, seen from the parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Iterator

from arcface_paddle.data.workers.child import Reply, Request, SharedState, work
from arcface_paddle.errors import DataError

CONTEXT = multiprocessing.get_context("spawn")
"""Not "fork": a forked copy of a process with threads, of Paddle and of CUDA, is not safe to use."""

_MAX_UNANSWERED = 64
"""Requests under way to one worker. Few enough to fit into the pipe, so that the parent never waits while it sends:
it could wait for a worker that waits for the parent to read."""

_PATIENCE_S = 5.0
"""Seconds that workers are given to finish the rows at hand before they are killed."""

_ADVICE = {
    "SIGKILL": "the system has probably run out of memory: use fewer workers or a smaller batch_size, or close others",
    "SIGBUS": "shared memory has run full: enlarge /dev/shm (docker run --shm-size) or use worker_kind 'thread'",
}


@dataclass(eq=False)
class _Member:
    """A worker process.

    Attributes:
        process: the process.
        connection: to it.
        unanswered: requests that it has not answered yet.
        has_answered: whether it ever did.
    """

    process: SpawnProcess
    connection: Connection
    unanswered: int = 0
    has_answered: bool = False


class WorkerPool:
    """A number of worker processes. They end with ``close``, with this object, and with this process."""

    def __init__(self, state: SharedState, count: int) -> None:
        """Start the processes, which takes them about half a second; they are not waited for."""
        # Kept as long as the workers use it: RawArray gives memory that nobody in this process refers to any more
        # to the next one who asks for some.
        self._state = state
        self._waiting: deque[Request] = deque()
        self._members: list[_Member] = []
        # The processes are no daemons: Python ends those by SIGTERM, which our workers ignore. This finalizer runs at
        # exit before Python waits for the children.
        self.close = util.Finalize(self, _end, args=(self._members,), exitpriority=100)
        with _signals_blocked():
            for number in range(count):
                self._members.append(_start(state, f"loader-{number}"))

    def submit(self, request: Request) -> None:
        """Send a request to the worker with the least to do, as soon as one has room."""
        self._waiting.append(request)
        self._send_waiting()

    def receive(self) -> list[Reply]:
        """Wait for replies.

        Raises:
            DataError: a worker has ended.
        """
        busy = [member for member in self._members if member.unanswered]
        ready = multiprocessing.connection.wait([member.connection for member in busy])
        replies = [self._receive_from(member) for member in busy if member.connection in ready]
        self._send_waiting()
        return replies

    def settle(self) -> list[Reply]:
        """Drop the requests not sent yet, and wait for the answers to the others."""
        self._waiting.clear()
        replies = []
        while any(member.unanswered for member in self._members):
            replies += self.receive()
        return replies

    def _send_waiting(self) -> None:
        while self._waiting:
            member = min(self._members, key=lambda member: member.unanswered)
            if member.unanswered >= _MAX_UNANSWERED:
                return
            try:
                member.connection.send(tuple(self._waiting.popleft()))
            except OSError:
                raise self._loss_of(member) from None
            member.unanswered += 1

    def _receive_from(self, member: _Member) -> Reply:
        try:
            reply = Reply(*member.connection.recv())
        except (EOFError, OSError):
            raise self._loss_of(member) from None
        member.unanswered -= 1
        member.has_answered = True
        return reply

    def _loss_of(self, member: _Member) -> DataError:
        member.process.join(_PATIENCE_S)
        name, code = f"data loader process {member.process.pid}", member.process.exitcode
        if code is not None and code < 0:
            killer = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
            advice = _ADVICE.get(killer, "see the system's log")
            return DataError(f"{name} was ended by {killer}; {advice}, and start again (training: with --resume 1)")
        if not member.has_answered:
            return DataError(
                f"{name} could not start, its own message stands above; the program's main module must do its work "
                "under if __name__ == '__main__', the dataset's class must be importable; or use worker_kind 'thread'"
            )
        return DataError(f"{name} ended with exit code {code}; its own message stands above")


def _start(state: SharedState, name: str) -> _Member:
    connection, theirs = CONTEXT.Pipe(duplex=True)
    with theirs:  # once the worker alone holds its end, either side learns of the other's death
        process = CONTEXT.Process(target=work, args=(state, theirs), name=name)
        process.start()
    return _Member(process, connection)


def _end(members: list[_Member]) -> None:
    for member in members:
        member.connection.close()
    deadline = time.monotonic() + _PATIENCE_S
    for member in members:
        member.process.join(max(0.0, deadline - time.monotonic()))
        if member.process.is_alive():
            member.process.kill()
            member.process.join()


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Have children start with Ctrl-C and SIGTERM blocked, until they say themselves what they do about them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Python starts it with the first process, and it unblocks what is blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
