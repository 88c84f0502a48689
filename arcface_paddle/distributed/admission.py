"""How the ranks find each other: rank 0 lets in whoever knows the token of the run, and nobody else holds it up."""

from __future__ import annotations

import contextlib
import hmac
import selectors
import socket
import struct
import time

TOKEN_BYTES = 16
_GREETING_BYTES = TOKEN_BYTES + 4
_GREETING_TIMEOUT_S = 5.0  # a rank sends its greeting with the connection; what says nothing is no rank
_MOST_WAITING = 256  # connections that have not greeted yet: a stranger cannot use up the file descriptors


def accept_peers(server: socket.socket, *, count: int, token: bytes, timeout_s: float) -> dict[int, socket.socket]:
    """Accept the connections of ranks 1 to ``count`` and close the server.

    All that have connected are listened to at once, so that a stranger who says nothing, or says it slowly, delays
    no rank. A wrong greeting ends its connection with its first wrong byte.

    Raises:
        TimeoutError: they have not all come within ``timeout_s``.
    """
    door = _Door(server, count=count, token=token)
    deadline = time.monotonic() + timeout_s
    try:
        while len(door.connections) < count:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                missing = sorted({*range(1, count + 1)} - {*door.connections})
                raise TimeoutError(f"timed out: rank {', '.join(map(str, missing))} did not come in {timeout_s:g} s")
            door.wait(min(left_s, 0.5))
    except BaseException:
        for connection in door.connections.values():
            connection.close()
        raise
    finally:
        door.close()
    return door.connections


def connect(address: tuple[str, int], *, rank: int, token: bytes, timeout_s: float) -> socket.socket:
    """Connect rank ``rank`` to the listening rank 0.

    Raises:
        OSError: nobody answers there.
    """
    connection = socket.create_connection(address, timeout=timeout_s)
    connection.sendall(token + struct.pack("!I", rank))
    return _prepare(connection)


class _Door:
    """The listening socket, those who stand before it, and the ranks that came in."""

    def __init__(self, server: socket.socket, *, count: int, token: bytes) -> None:
        self.connections: dict[int, socket.socket] = {}
        self._server, self._count, self._token = server, count, token
        self._waiting: dict[socket.socket, tuple[float, bytes]] = {}  # since when, and what it has said
        self._selector = selectors.DefaultSelector()
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ)

    def wait(self, timeout_s: float) -> None:
        """Let in who comes within ``timeout_s``; return after the first news."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._server:
                self._open()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._waiting:
                self._hear(key.fileobj)
        oldest_allowed = time.monotonic() - _GREETING_TIMEOUT_S
        for connection in [c for c, (since, _) in self._waiting.items() if since < oldest_allowed]:
            self._turn_away(connection)

    def close(self) -> None:
        """Close the server, and the connections of all who have not come in."""
        for connection in list(self._waiting):
            self._turn_away(connection)
        self._selector.close()
        self._server.close()

    def _open(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:  # it has gone again
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._turn_away(next(iter(self._waiting)))
        connection.setblocking(False)
        self._waiting[connection] = (time.monotonic(), b"")
        self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, connection: socket.socket) -> None:
        since, said = self._waiting[connection]
        try:
            block = connection.recv(_GREETING_BYTES - len(said))
        except BlockingIOError:
            return
        except OSError:
            block = b""
        said += block
        known = said[:TOKEN_BYTES]
        if not block or not hmac.compare_digest(known, self._token[: len(known)]):
            self._turn_away(connection)
        elif len(said) < _GREETING_BYTES:
            self._waiting[connection] = (since, said)
        else:
            self._let_in(connection, rank=int(struct.unpack("!I", said[TOKEN_BYTES:])[0]))

    def _let_in(self, connection: socket.socket, *, rank: int) -> None:
        if not 1 <= rank <= self._count or rank in self.connections:
            self._turn_away(connection)
            return
        self._forget(connection)
        self.connections[rank] = _prepare(connection)

    def _turn_away(self, connection: socket.socket) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: socket.socket) -> None:
        del self._waiting[connection]
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection)


def _prepare(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection
