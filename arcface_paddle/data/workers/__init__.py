"""Workers that read, decode, mirror and normalise the rows of batches: the calling thread, threads or processes."""

from __future__ import annotations

from arcface_paddle.data.workers.contract import Inline, Workers
from arcface_paddle.data.workers.processes import Processes
from arcface_paddle.data.workers.threads import Threads

WORKER_KINDS: dict[str, type[Workers]] = {"thread": Threads, "process": Processes}

__all__ = ["WORKER_KINDS", "Inline", "Workers"]
