"""Run a Python script as N ranks over Gloo on this machine, with a time limit and captured output."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Optional, Sequence

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RankResult:
    """How one rank ended: its exit code (negative: the signal; None: killed by the time limit) and what it wrote."""

    code: Optional[int]
    output: str


def launch(
    arguments: Sequence[str],
    ranks: int,
    *,
    timeout_s: float = 120.0,
    environment: Optional[Mapping[str, str]] = None,
) -> list[RankResult]:
    """Run ``python ARGUMENTS`` once per rank with the variables that ``paddle.distributed.launch`` would set.

    ``arguments`` is a script and its arguments, ``["-m", "module", ...]`` or ``["-c", "code"]``. With ``ranks=1`` the
    script runs without a launcher. All ranks are killed after ``timeout_s`` seconds in all.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"rank{rank}.log" for rank in range(ranks)]
        processes = start(arguments, logs, environment=environment)
        codes = _wait(processes, timeout_s)
        return [RankResult(code, log.read_text(errors="replace")) for code, log in zip(codes, logs)]


def start(
    arguments: Sequence[str], logs: Sequence[Path], *, environment: Optional[Mapping[str, str]] = None
) -> list[subprocess.Popen[bytes]]:
    """Start one rank per log file and return the processes, without waiting."""
    ranks = len(logs)
    port = _free_port()
    processes = []
    for rank, log in enumerate(logs):
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(environment or {})}
        for name in [name for name in variables if name.startswith("PADDLE_")]:
            del variables[name]
        if ranks > 1:
            variables.update(_rank_variables(rank, ranks, port))
        with log.open("wb") as stream:
            command = [sys.executable, *arguments]
            processes.append(subprocess.Popen(command, env=variables, stdout=stream, stderr=subprocess.STDOUT))
    return processes


def run_ranks(arguments: Sequence[str], ranks: int, *, timeout_s: float = 120.0) -> list[str]:
    """``launch``, require that every rank exits with 0, and return their outputs."""
    results = launch(arguments, ranks, timeout_s=timeout_s)
    for rank, result in enumerate(results):
        if result.code != 0:
            raise AssertionError(f"rank {rank} of {ranks} ended with {result.code}:\n{result.output[-4000:]}")
    return [result.output for result in results]


def _rank_variables(rank: int, ranks: int, port: int) -> dict[str, str]:
    # Gloo binds its own ports; the endpoints only have to be distinct names.
    endpoints = [f"127.0.0.1:{port + 1 + index}" for index in range(ranks)]
    return {
        "PADDLE_TRAINER_ID": str(rank),
        "PADDLE_TRAINERS_NUM": str(ranks),
        "PADDLE_MASTER": f"127.0.0.1:{port}",
        "PADDLE_TRAINER_ENDPOINTS": ",".join(endpoints),
        "PADDLE_CURRENT_ENDPOINT": endpoints[rank],
    }


def _wait(processes: Sequence[subprocess.Popen[bytes]], timeout_s: float) -> list[Optional[int]]:
    deadline = time.monotonic() + timeout_s
    codes: list[Optional[int]] = []
    for process in processes:
        try:
            codes.append(process.wait(max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            codes.append(None)
    return codes


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
