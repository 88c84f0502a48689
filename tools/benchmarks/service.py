"""The HTTP service under mixed load over loopback, against the same work one request at a time, on the same server.

A real server process with a key; blocks of many clients at once and of one client take turns, so that a machine which
is busy otherwise slows both. One request in a hundred is hostile, and has to be answered with a 4xx.

    python tools/benchmark.py service --seconds 600 --json service.json
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator

from benchmarks.service_process import make_gallery, started_server
from benchmarks.service_requests import HOSTILE, Client, load_pictures

NAME = "service"
_ALONE_SHARE = 1 / 3  # of the time; one client answers fewer requests in it, but enough for a mean
_BLOCK_S = 20.0
_SAMPLE_S = 2.0
_WARM_UP_S = 8.0


@dataclass
class Load:
    """What came of the requests of one kind of block.

    Attributes:
        seconds: that the blocks took together.
        server_cpu_s: processor time of the server in them; unlike ``seconds`` it does not depend on who else is busy.
        taken_ms: of each request, by operation.
        statuses: how often an operation was answered with a status.
    """

    seconds: float = 0.0
    server_cpu_s: float = 0.0
    taken_ms: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    def note(self, operation: str, status: int, taken_ms: float) -> None:
        self.taken_ms.setdefault(operation, []).append(taken_ms)
        self.statuses[operation, status] += 1

    def wrong(self) -> dict[str, int]:
        """Return answers that should not be: other than 2xx, of hostile requests other than 4xx."""
        found = {
            f"{operation} {status}": count
            for (operation, status), count in self.statuses.items()
            if (status // 100 != 4 if operation.startswith(HOSTILE) else status // 100 != 2)
        }
        return dict(sorted(found.items()))


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--seconds", type=float, default=90.0, help="of load, all blocks together")
    parser.add_argument("--clients", type=int, default=8, help="at once")
    parser.add_argument("--hostile", type=float, default=0.01, help="share of requests that are attacks")
    parser.add_argument("--engine", choices=["file", "faiss"], default="file", help="of the gallery")
    parser.add_argument("--faces", type=int, default=10_000, help="in the gallery before it begins")
    parser.add_argument("--side", type=int, default=640, help="longest side of the pictures sent")
    parser.add_argument("--serve", default="", help="more flags for the server, such as '--workers 2'")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for one client, one for many, one for each operation, and the memory over time."""
    pictures = load_pictures(args.side)
    alone, together, memory = Load(), Load(), Memory()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="service-benchmark-")))
        uri = make_gallery(folder, engine=args.engine, faces=args.faces)
        server = stack.enter_context(started_server(folder, uri, flags=args.serve.split()))
        clients = [Client(server, pictures, hostile=args.hostile, seed=seed) for seed in range(args.clients)]
        _block(server.process.pid, clients, Load(), seconds=min(_WARM_UP_S, args.seconds / 4))
        with memory.sampled(server.process.pid):
            for seconds, crowd, load in _blocks(clients, args.seconds, alone, together):
                _block(server.process.pid, crowd, load, seconds=seconds)
        alive = server.process.poll() is None
    speedup = (together.requests / together.seconds) / (alone.requests / alone.seconds)
    return [
        {"load": "one request at a time", **_summary(alone), "speedup": 1.0},
        {"load": f"{args.clients} clients at once", **_summary(together), "speedup": round(speedup, 2)},
        *({"load": f"  {name}", **_times(taken)} for name, taken in sorted(together.taken_ms.items())),
        *memory.rows(),
        {"load": "server alive at the end", "requests": str(alive)},
    ]


def _blocks(clients: list[Client], seconds: float, alone: Load, together: Load) -> Iterator[tuple[float, list, Load]]:
    pairs = max(1, round(seconds / _BLOCK_S / 3))
    for _ in range(pairs):
        yield seconds / pairs * _ALONE_SHARE, clients[:1], alone
        yield seconds / pairs * (1 - _ALONE_SHARE), clients, together


def _block(pid: int, clients: list[Client], load: Load, *, seconds: float) -> None:
    """Let clients ask for some time, each one request after the other."""
    begun, cpu_s = time.perf_counter(), _cpu_s(pid)
    threads = [threading.Thread(target=_ask, args=(client, begun + seconds, load)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds += time.perf_counter() - begun
    load.server_cpu_s += _cpu_s(pid) - cpu_s


def _cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, of its own and of the system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ask(client: Client, until: float, load: Load) -> None:
    while time.perf_counter() < until:
        operation, status, taken_ms = client.ask()
        load.note(operation, status, taken_ms)
    client.close()  # its next block may come later than the server keeps an idle connection


def _summary(load: Load) -> dict[str, Any]:
    hostile = sum(count for (operation, _), count in load.statuses.items() if operation.startswith(HOSTILE))
    everything = list(itertools.chain.from_iterable(load.taken_ms.values()))
    return {
        **_times(everything),
        "a second": round(load.requests / load.seconds, 2),
        "CPU ms each": round(load.server_cpu_s * 1e3 / load.requests, 1),
        "cores busy": round(load.server_cpu_s / load.seconds, 2),
        "hostile": hostile,
        "wrong answers": load.wrong() or "none",
    }


def _times(taken_ms: list[float]) -> dict[str, Any]:
    ordered = sorted(taken_ms)
    at = lambda share: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)  # noqa: E731
    return {"requests": len(ordered), "p50 ms": at(0.5), "p99 ms": at(0.99), "max ms": at(1.0)}


class Memory:
    """Memory, handles and threads of a process over time.

    Attributes:
        samples: (seconds, MiB resident, handles, threads) each.
    """

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, int, int]] = []

    @contextlib.contextmanager
    def sampled(self, pid: int) -> Iterator[None]:
        """Look every two seconds while the block runs."""
        ended = threading.Event()
        thread = threading.Thread(target=self._sample, args=(pid, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _sample(self, pid: int, ended: threading.Event) -> None:
        begun = time.monotonic()
        while True:
            status = Path(f"/proc/{pid}/status").read_text()
            numbers = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if len(line.split()) > 1}
            handles = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            resident_mib = int(numbers["VmRSS"]) / 1024
            self.samples.append((time.monotonic() - begun, resident_mib, handles, int(numbers["Threads"])))
            if ended.wait(_SAMPLE_S):
                return

    def rows(self) -> list[dict[str, Any]]:
        """Return the mean of a tenth of the samples at the start, the middle and the end."""
        tenth = max(1, len(self.samples) // 10)
        middle = (len(self.samples) - tenth) // 2
        parts = {"start": self.samples[:tenth], "middle": self.samples[middle:][:tenth], "end": self.samples[-tenth:]}
        return [
            {
                "load": f"memory, {name}",
                "MiB": round(sum(sample[1] for sample in part) / len(part), 1),
                "handles": max(sample[2] for sample in part),
                "threads": max(sample[3] for sample in part),
            }
            for name, part in parts.items()
        ]
