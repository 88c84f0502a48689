"""Real servers that keep galleries, started for a benchmark or a test run and gone with it.

The package ``milvus`` carries a Milvus server, ``pgserver`` a PostgreSQL with pgvector; both are for development only.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Callable, Iterator, Optional, Sequence

_START_S = 120
_MILVUS_METRICS_PORT = 9091
# Ends with its standard input, and takes the whole group of processes with it: also when who started it was killed.
_WATCHED = '"$@" </dev/null & cat >/dev/null; kill -9 0'
_MILVUS_PORTS = (
    *("etcd", "root-coord", "proxy-internal", "query-coord", "query-node", "index-coord", "index-node"),
    *("data-coord", "data-node"),
)


@dataclass(frozen=True)
class GalleryServer:
    """A running server.

    Attributes:
        place: gives the URI of a place where no gallery is yet.
        folder: of its data.
        processes: gives the numbers of its processes.
    """

    place: Callable[[], str]
    folder: Path
    processes: Callable[[], list[int]]

    def memory_mb(self) -> float:
        """Return the memory of its processes; what they share counts once."""
        return sum(map(_proportional_kb, self.processes())) / 1e3


def milvus_program() -> Optional[Path]:
    """Return the program that the package ``milvus`` installs; None when it is not there."""
    program = Path(sys.executable).parent / "milvus-server"
    return program if program.exists() else None


@contextlib.contextmanager
def milvus_server(folder: Path) -> Iterator[GalleryServer]:
    """Run a Milvus server until the block ends, or this process does, however that comes."""
    program = milvus_program()
    if program is None:
        raise FileNotFoundError("milvus-server is not installed: pip install milvus==2.3.5 'setuptools<81'")
    deadline = time.monotonic() + _START_S
    while is_listening(_MILVUS_METRICS_PORT):  # which cannot be chosen: one server at a time on a machine
        if time.monotonic() > deadline:
            raise RuntimeError(f"another Milvus server runs here (port {_MILVUS_METRICS_PORT}); wait for it, or end it")
        time.sleep(0.5)
    port = free_port()
    ports = [f"--{name}-port={free_port()}" for name in _MILVUS_PORTS]
    command = [str(program), "--data", str(folder / "data"), f"--proxy-port={port}", *ports]
    with group_of(command, log=folder / "log") as child:
        deadline = time.monotonic() + _START_S
        while not is_listening(port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Milvus server did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.5)
        numbers = count()
        yield GalleryServer(
            lambda: f"milvus://127.0.0.1:{port}/people{next(numbers)}", folder, lambda: processes_of_group(child.pid)
        )


@contextlib.contextmanager
def group_of(command: Sequence[str], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command and all that it starts as a group of processes that ends with the block, or with this process."""
    with open(log, "w") as stream:
        child = subprocess.Popen(
            ["sh", "-c", _WATCHED, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(60)
        while processes_of_group(child.pid):
            time.sleep(0.05)


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[GalleryServer]:
    """Run a PostgreSQL server until the block ends."""
    import pgserver

    server = pgserver.get_server(folder, cleanup_mode="delete")
    numbers = count()

    def place() -> str:
        uri = server.get_uri()
        return f"{uri}{'&' if '?' in uri else '?'}gallery=people{next(numbers)}"

    def processes() -> list[int]:
        master = int((folder / "postmaster.pid").read_text().split()[0])
        return [master, *(number for number, values in _processes() if int(values[1]) == master)]

    try:
        yield GalleryServer(place, folder, processes)
    finally:
        server.cleanup()


def processes_of_group(group: int) -> list[int]:
    """Return the processes of a group that have not ended."""
    return [number for number, values in _processes() if int(values[2]) == group and values[0] != "Z"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Give the processes and state, parent and group of each."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()[:3]


def _proportional_kb(process: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc", str(process), "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
