"""Servers that keep galleries: real ones, started for a test run where the packages that carry them are installed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory):
    pytest.importorskip("pymilvus")
    program = Path(sys.executable).parent / "milvus-server"
    if not program.exists():
        pytest.skip("the package milvus, which carries a Milvus server, is not installed")
    folder, port = tmp_path_factory.mktemp("milvus"), free_port()
    inner = ("etcd", "root-coord", "proxy-internal", "query-coord", "query-node", "index-coord", "index-node",
             "data-coord", "data-node")  # fmt: skip
    ports = [f"--{name}-port={free_port()}" for name in inner]
    with open(folder / "log", "w") as log:
        child = subprocess.Popen(
            [str(program), "--data", str(folder / "data"), f"--proxy-port={port}", *ports],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not is_listening(port):
            assert child.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.5)
        count = iter(range(1000))
        yield lambda name: f"milvus://127.0.0.1:{port}/people{next(count)}"
    finally:
        os.killpg(child.pid, signal.SIGKILL)  # the program, and the server that it started
        child.wait(60)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pgserver")
    folder = tmp_path_factory.mktemp("postgres")
    server = pgserver.get_server(folder, cleanup_mode="delete")
    count = iter(range(1000))

    def place(name: str) -> str:
        uri = server.get_uri()
        return f"{uri}{'&' if '?' in uri else '?'}gallery=people{next(count)}"

    place.folder = folder
    yield place
    server.cleanup()
