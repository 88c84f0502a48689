"""The processes that share an evaluation; one process needs none of this."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator, Optional, Protocol

import numpy as np


class Ranks(Protocol):
    """What an evaluation needs of a process group; the package ``arcface_paddle.distributed`` has it."""

    def rank(self) -> int:
        """Return the number of this process."""

    def world_size(self) -> int:
        """Return the number of processes."""

    def gather_arrays(self, array: np.ndarray) -> list[np.ndarray]:
        """Return the arrays of all ranks in rank order; their shapes may differ."""

    def gather_json(self, value: Any) -> list[Any]:
        """Return the values of all ranks in rank order."""


@contextlib.contextmanager
def joined_ranks(device: str) -> Iterator[Optional[Ranks]]:
    """Join the process group of ``paddle.distributed.launch``; None for an ordinary run of one process.

    Args:
        device: what the ranks compute on, ``cpu`` or ``gpu``; the collectives are those of this device.

    Raises:
        ConfigError: ``gpu`` where paddle sees none.
    """
    if "PADDLE_TRAINERS_NUM" not in os.environ:  # no launcher; ONNX models then need no paddle at all
        yield None
        return
    from arcface_paddle import devices, distributed

    devices.use_device(device)  # first: of a GPU build Paddle would take the GPU, and NCCL with it
    with distributed.process_group():
        yield distributed


def device_of_rank(device: str) -> str:
    """Return ``device`` with the number of the GPU that the launcher gave to this process, unless it has one."""
    given = os.environ.get("FLAGS_selected_gpus", "").split(",")[0]  # noqa: SIM112  # the launcher's spelling
    return f"gpu:{given}" if device == "gpu" and given else device


def is_main(ranks: Optional[Ranks]) -> bool:
    """Tell whether this process is the one that reports."""
    return ranks is None or ranks.rank() == 0
