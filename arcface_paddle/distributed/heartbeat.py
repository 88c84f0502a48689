"""A small TCP channel between the ranks of a run: heartbeats that notice a dead rank, and a patient barrier.

Gloo gives up after 30 seconds without being asked, whatever the reason, and NCCL waits for half an hour. This channel
separates the two cases that both mistake for each other: a rank that is *slow* (it saves, validates, waits for its
disk) keeps sending heartbeats and is waited for; a rank that is *dead* (killed, crashed, its machine or process
frozen) stops sending them, and then every rank ends with one line on stderr instead of hanging.

Rank 0 listens, the others connect to it (``addresses``, ``admission``). A message is five bytes: a letter and an
unsigned integer. The channel carries no data of the run.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from typing import Callable, Optional

from arcface_paddle.distributed.addresses import listen
from arcface_paddle.distributed.admission import TOKEN_BYTES, accept_peers, connect

__all__ = ["EXIT_PEER_LOST", "TOKEN_BYTES", "Heartbeat", "accept_peers", "connect", "end_process", "listen"]

_MESSAGE = struct.Struct("!cI")
_ALIVE, _ARRIVED, _GO, _LEAVE, _LOST = b"+", b"a", b"g", b"q", b"x"
EXIT_PEER_LOST = 2

LostHandler = Callable[[str], None]


def end_process(message: str) -> None:
    """Write one line to stderr and end this process at once; other threads may hang in a collective for ever."""
    os.write(2, f"arcface_paddle: error: {message}\n".encode())
    os._exit(EXIT_PEER_LOST)


class _Peer:
    """The connection to one other rank."""

    def __init__(self, rank: int, connection: socket.socket) -> None:
        self.rank = rank
        self.connection = connection
        self.last_heard = time.monotonic()
        self.buffer = b""
        self.left = False

    def send(self, kind: bytes, value: int) -> None:
        # A full or broken connection shows on the receiving side; nothing may block or raise here.
        with contextlib.suppress(OSError):
            self.connection.sendall(_MESSAGE.pack(kind, value))

    def receive(self) -> Optional[list[tuple[bytes, int]]]:
        """Return the complete messages that have arrived, or None when the connection has ended."""
        try:
            block = self.connection.recv(4096)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not block:
            return None
        self.buffer += block
        complete = len(self.buffer) // _MESSAGE.size * _MESSAGE.size
        messages = list(_MESSAGE.iter_unpack(self.buffer[:complete]))
        self.buffer = self.buffer[complete:]
        return messages


class Heartbeat:
    """Watch the other ranks from a thread of its own, and meet them at barriers.

    Args:
        rank: this process.
        connections: sockets to the ranks watched, by rank: on rank 0 all others, on the others rank 0.
        timeout_s: silence after which a rank counts as dead.
        on_lost: called once, in the thread, with a sentence that names the dead rank.
    """

    def __init__(
        self,
        rank: int,
        connections: dict[int, socket.socket],
        *,
        timeout_s: float,
        on_lost: LostHandler = end_process,
    ) -> None:
        self._rank = rank
        self._peers = [_Peer(other, connection) for other, connection in sorted(connections.items())]
        self._timeout_s = timeout_s
        self._interval_s = min(2.0, timeout_s / 5)  # several beats may be late or lost before a rank counts as dead
        self._on_lost = on_lost
        self._stopping = threading.Event()
        self._condition = threading.Condition()
        self._arrivals = 0  # how many barriers this rank has come to
        self._released = 0  # how many barriers everybody has come to
        self._arrivals_of = {peer.rank: 0 for peer in self._peers}
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()

    def barrier(self, timeout_s: Optional[float] = None) -> None:
        """Wait until all ranks have called this equally often.

        A rank that is alive is waited for without limit, unless ``timeout_s`` sets one.

        Raises:
            TimeoutError: ``timeout_s`` have passed.
        """
        with self._condition:
            self._arrivals += 1
            goal = self._arrivals
            if self._rank == 0:
                self._release_if_complete()
            else:
                self._peers[0].send(_ARRIVED, goal)
            if not self._condition.wait_for(lambda: self._released >= goal, timeout_s):
                raise TimeoutError(f"rank {self._rank} has waited {timeout_s:g} s at a barrier")

    def close(self) -> None:
        """Leave in good order: the others stop watching this rank."""
        if self._stopping.is_set():
            return
        for peer in self._peers:
            peer.send(_LEAVE, self._rank)
        self.abandon()

    def abandon(self) -> None:
        """Close without a word: the others will take this rank for dead, at once."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        for peer in self._peers:
            peer.connection.close()

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for peer in self._peers:
                selector.register(peer.connection, selectors.EVENT_READ, peer)
            next_beat = 0.0
            while not self._stopping.is_set():
                if time.monotonic() >= next_beat:
                    self._send_to_all(_ALIVE, self._rank)
                    next_beat = time.monotonic() + self._interval_s
                # Wakes five times a second, so that ``abandon`` does not wait for the next beat.
                for key, _ in selector.select(min(self._interval_s, 0.2)):
                    self._read(key.data, selector)
                self._check_silence()

    def _read(self, peer: _Peer, selector: selectors.BaseSelector) -> None:
        messages = peer.receive()
        if messages is None:
            selector.unregister(peer.connection)
            if not peer.left:
                self._report_lost(peer.rank, "its process has ended")
            return
        peer.last_heard = time.monotonic()
        for kind, value in messages:
            if kind == _LEAVE:
                peer.left = True
            elif kind == _LOST:
                self._report_lost(value, "as rank 0 has found")
            elif kind == _ARRIVED:
                self._count_arrival(peer.rank, value)
            elif kind == _GO:
                self._release(value)

    def _count_arrival(self, rank: int, arrivals: int) -> None:
        with self._condition:
            self._arrivals_of[rank] = arrivals
            self._release_if_complete()

    def _release_if_complete(self) -> None:
        complete = min([self._arrivals, *self._arrivals_of.values()])
        if complete > self._released:
            self._send_to_all(_GO, complete)
            self._release(complete)

    def _release(self, count: int) -> None:
        with self._condition:
            self._released = max(self._released, count)
            self._condition.notify_all()

    def _check_silence(self) -> None:
        now = time.monotonic()
        for peer in self._peers:
            silence = now - peer.last_heard
            if not peer.left and silence > self._timeout_s:
                self._report_lost(peer.rank, f"no sign of life for {silence:.0f} s")

    def _report_lost(self, rank: int, why: str) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._rank == 0:
            self._send_to_all(_LOST, rank)
        self._on_lost(f"rank {self._rank} ends the run because rank {rank} is lost ({why}); resume from the last save")

    def _send_to_all(self, kind: bytes, value: int) -> None:
        for peer in self._peers:
            if not peer.left:
                peer.send(kind, value)
