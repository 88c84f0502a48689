"""Connections of strangers that bring nothing: they are closed, and those of others are not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Iterator

import pytest
import uvicorn

from arcface_paddle.service import connections
from arcface_paddle.service.serving import open_socket

CHECK_S = 0.2
LARGE = 8_000_000  # more than the system takes from a program for a peer that does not read


async def app(scope, receive, send) -> None:
    """Answer with the body, or with a large one; wait for longer than two checks where asked to."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    content = b"x" * LARGE if scope["path"] == "/large" else body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


class Quick(connections.ImpatientProtocol):
    check_s = CHECK_S


@contextlib.contextmanager
def serving(most: int = 10) -> Iterator[tuple[str, int]]:
    listening = open_socket("127.0.0.1", 0)
    config = uvicorn.Config(app, http=Quick, loop="asyncio", limit_concurrency=most, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with serving() as one:
        yield one


def is_closed(connection: socket.socket, *, within_s: float = 5.0) -> bool:
    """Tell whether the other side closes a connection on which it has nothing to say."""
    connection.settimeout(within_s)
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET", REQUEST, REQUEST + b"\r\n"], ids=["nothing", "word", "head", "request"])
def test_a_connection_that_brings_no_request_is_closed(address, begun):
    with socket.create_connection(address) as connection:
        connection.sendall(begun)
        if begun.endswith(b"\r\n\r\n"):  # answered, and then the next one is not brought to its end
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            connection.sendall(REQUEST)
        assert is_closed(connection)


def test_a_head_that_trickles_is_not_waited_for(address):
    begun = time.monotonic()
    with socket.create_connection(address) as connection, contextlib.suppress(ConnectionError):
        while time.monotonic() - begun < 5:
            connection.sendall(b"G")
            time.sleep(CHECK_S / 5)
    assert time.monotonic() - begun < 4


def test_an_answer_that_nobody_reads_is_given_up(address):
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(3 * CHECK_S)
        read, connection_lost = 0, False
        connection.settimeout(5)
        try:
            while content := connection.recv(1 << 20):
                read += len(content)
        except ConnectionResetError:
            connection_lost = True
        assert read < LARGE or connection_lost


def test_a_slow_body_and_a_slow_reader_are_served(address):
    body = b"y" * 100
    with socket.create_connection(address) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + body[:50])
        time.sleep(3 * CHECK_S)
        connection.sendall(body[50:] + b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        connection.settimeout(5)
        while content := connection.recv(1 << 20):
            answer += content
            time.sleep(0.01)
    assert body in answer and answer.endswith(b"x" * LARGE)


def test_more_connections_than_can_be_told_so_are_closed_unheard():
    with serving(most=3) as address, contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address)) for _ in range(80)]
        assert is_closed(opened[-1], within_s=CHECK_S * 8)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:  # and as soon as the idle ones are gone
            with socket.create_connection(address) as connection:
                connection.sendall(REQUEST + b"Connection: close\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    if connection.recv(1000).startswith(b"HTTP/1.1 200"):
                        return
            time.sleep(CHECK_S)
        raise AssertionError("nobody else was served")


def test_as_many_files_may_be_open_as_connections_need(monkeypatch):
    resource = pytest.importorskip("resource")
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.append(limits))
    for limits, expected, raised in (
        ((256, 4096), 1000, [(1550, 4096)]),
        ((256, resource.RLIM_INFINITY), 1000, [(1550, resource.RLIM_INFINITY)]),
        ((256, 1024), 474, [(1024, 1024)]),
        ((64, 64), 16, [(64, 64)]),
        ((4096, 4096), 1000, []),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 1000, []),
    ):
        asked.clear()
        monkeypatch.setattr(resource, "getrlimit", lambda kind, limits=limits: limits)
        assert connections.most_connections() == expected and asked == raised, limits
