"""An application on a socket, until somebody asks it to stop; what was begun is finished first."""

from __future__ import annotations

import socket
from typing import Optional

import uvicorn
from fastapi import FastAPI

from arcface_paddle.errors import ConfigError
from arcface_paddle.service.connections import ImpatientProtocol, most_connections
from arcface_paddle.service.request_log import logging_settings
from arcface_paddle.service.running import RunningService

_GRACE_S = 30
_HEADER_BYTES = 64 * 1024
_BACKLOG = 100  # that are taken at once


def open_socket(host: str, port: int) -> socket.socket:
    """Take an address. Raises ``ConfigError`` when it is in use, or none of this machine."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[4][:2], family=address[0])
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    except ValueError:  # UnicodeError is one: what cannot be the name of a machine, or holds a NUL
        raise ConfigError(f"cannot listen on {host!r}: no name or address of a machine") from None
    # Head and body of an answer are two writes; Nagle's algorithm would hold the second back until the other side has
    # acknowledged the first, for which that waits 40 ms. Connections inherit the option. asyncio sets it on sockets
    # that name their protocol, which those of ``create_server`` do not.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the address of a socket as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """A server that says at once that it stops, so that no more is sent to it while it finishes what it has."""

    def __init__(self, config: uvicorn.Config, *, service: RunningService) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: Optional[list[socket.socket]] = None) -> None:
        self._service.stopping = True
        await super().shutdown(sockets)


def serve(app: FastAPI, listening: socket.socket, *, log_level: str = "INFO") -> None:
    """Serve until SIGTERM or SIGINT, which uvicorn raises again when all is finished (so: ``KeyboardInterrupt``)."""
    service: RunningService = app.state.service
    config = uvicorn.Config(
        app,
        log_config=logging_settings(level=log_level),
        access_log=False,
        server_header=False,
        limit_concurrency=most_connections(),
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=15,
        proxy_headers=False,
        http=ImpatientProtocol,
        loop="asyncio",
        ws="none",
    )
    _Server(config, service=service).run(sockets=[listening])
