"""One of two ranks on the fake device: collectives of a custom process group, and copies that take longer than silence.

Usage: python -m paddle.distributed.launch --devices 0,1 two_rank_checks.py FOLDER, with a data set in FOLDER/data.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import paddle

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))

from collectives_worker import check_flags, check_values
from fake_device import KIND, library
from host_waits import settings, waits_of_steps

from arcface_paddle import devices, distributed
from arcface_paddle.distributed import collectives

SILENCE_S = 2.0


def check_slow_copies(rank: int) -> None:
    """A rank that waits for its device for longer than ``SILENCE_S`` is alive, and is waited for."""
    for direction, copy in (
        ("device", lambda: devices.to_device(np.ones(3, np.float32))),
        ("host", lambda: devices.to_host(paddle.ones([3]))),
    ):
        distributed.barrier()
        if rank == 1:
            getattr(library(), f"fake_device_slow_next_copy_to_{direction}")(int(1000 * 2 * SILENCE_S))
        begin = time.monotonic()
        copy()
        distributed.barrier()
        assert time.monotonic() - begin >= 1.9 * SILENCE_S, "nobody was waited for"


def check_without_gloo(rank: int, ranks: int) -> None:
    """Between machines whose interface is not named all goes by way of the device."""
    world = collectives._world
    group, world.host_group = world.host_group, None
    assert group is not None, "on one machine there is Gloo beside the library of the device"
    check_values(rank, ranks)
    check_flags(rank, ranks)
    world.host_group = group


def check_waits(folder: Path) -> None:
    """A step waits for no device; a logged one once, for its figures. The labels of sampling go from host to host."""
    of_steps = waits_of_steps(settings(folder, sample_rate=0.5))
    assert [len(places) for places in of_steps] == [0, 0, 1, 0, 0, 1], of_steps


def main() -> None:
    """Join as training does, then run the checks."""
    devices.use_device("gpu")
    with distributed.process_group(timeout_s=SILENCE_S):
        rank, ranks = distributed.rank(), distributed.world_size()
        assert ranks == 2 and paddle.get_device() == f"{KIND}:{rank}"
        assert devices.collectives_backend() == "xccl"
        check_values(rank, ranks)
        check_flags(rank, ranks)
        check_without_gloo(rank, ranks)
        check_slow_copies(rank)
        check_waits(Path(sys.argv[1]))
    print(f"rank {rank} checked")


if __name__ == "__main__":
    main()
