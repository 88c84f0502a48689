"""Connections that do nothing do not keep others out.

uvicorn waits for ever for the head of a request, and for ever for somebody to read an answer; a thousand such
connections, for which nobody needs a key, are all that a service takes. It also takes more than it has descriptors for,
and then no file can be opened.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Optional

from uvicorn.protocols.http.h11_impl import H11Protocol

from arcface_paddle.service.request_log import LOGGER

_CONNECTIONS = 1000  # that wait for an answer; what comes on top gets 503
_ON_TOP = 50  # that are told so; further ones are closed unheard
_OWN_DESCRIPTORS = 500  # for galleries, logs and models, and for as many as come at once before they are counted
_LEAST_CONNECTIONS = 16
_CHECK_S = 20.0  # longer than uvicorn keeps a connection between two requests
_READ_BYTES = 32 * 1024  # of an answer, which is to be read from one check to the next


def most_connections() -> int:
    """Return how many connections may wait for an answer, once this process may open as many files as it is allowed.

    Many systems let a process open 1,024 files unless it asks for more.
    """
    try:
        import resource
    except ImportError:  # Windows counts no descriptors
        return _CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS + _ON_TOP + _OWN_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _CONNECTIONS
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):  # a system with further limits of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return max(_LEAST_CONNECTIONS, min(_CONNECTIONS, soft - _ON_TOP - _OWN_DESCRIPTORS))


class ImpatientProtocol(H11Protocol):
    """uvicorn's, which closes connections that bring no request, or do not take their answer, from check to check."""

    check_s = _CHECK_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch: Optional[asyncio.TimerHandle] = None
        self._seen: tuple[Any, int] = (None, 0)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency + _ON_TOP:
            transport.abort()
            return
        self._watch = self.loop.call_later(self.check_s, self._check)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        """End the connection when nothing came of it since the last check; the body of a request has limits of its own.

        An answer that is ready lies in the transport until it is read, also after the connection was told to close.
        """
        seen, unread = self._seen, self.transport.get_write_buffer_size()
        self._seen = (self.cycle, unread)
        same_request = self.cycle is seen[0]
        if unread:
            is_stuck = same_request and 0 < seen[1] < unread + _READ_BYTES
        else:
            is_stuck = same_request and (self.cycle is None or self.cycle.response_complete)
        if not is_stuck:
            self._watch = self.loop.call_later(self.check_s, self._check)
            return
        LOGGER.debug("a connection was closed on which nothing happened")
        self.transport.abort()
