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
from fake_device import KIND, library, stream_notes
from host_waits import counted, settings, waits_of_steps

from arcface_paddle import devices, distributed
from arcface_paddle.distributed import collectives
from arcface_paddle.training.exchange import BucketedExchange
from arcface_paddle.training.run import build_run
from arcface_paddle.training.step import train_step

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


def check_queues(notes: list[list[str]], pieces: set[str]) -> None:
    """Between the first and the last piece the queue that computes waits for none of them; behind, for all of them.

    Args:
        notes: what the queues of a step were asked for.
        pieces: addresses of what is summed.
    """
    sums = [number for number, (what, _, sent) in enumerate(notes) if what == "all_reduce" and sent in pieces]
    [queue] = {notes[number][1] for number in sums}
    after = [[event for what, own, event in notes[number:] if (what, own) == ("record", queue)][:2] for number in sums]
    waits = [(number, event) for number, (what, own, event) in enumerate(notes) if what == "wait" and own != queue]
    assert not [number for number, _ in waits if sums[0] < number < sums[-1]]
    waited_for = {event for number, event in waits if number > sums[-1]}
    assert all(waited_for & set(events) for events in after), "a sum that is not waited for"


def check_overlap(folder: Path) -> None:
    """Sums of gradients run in a queue of their own from the backward pass on, and are waited for before the update."""
    run = build_run(settings(folder, bucket_mb=0.02, accumulation=2), say=lambda _: None)
    exchange, batches, meanwhile = run.exchange, run.loader.epoch(0), []
    assert isinstance(exchange, BucketedExchange)
    pieces = [hex(bucket.memory.data_ptr()) for bucket in exchange._buckets]
    trainable = [weight for weight in run.network.parameters() if not weight.stop_gradient]
    trainable[len(trainable) // 2]._register_backward_hook(lambda: meanwhile.append(stream_notes()))
    stream_notes()
    with counted() as waits:
        train_step(run, [next(batches), next(batches)])
    assert waits.places == []
    in_parts = [*meanwhile, stream_notes()]
    early, late, last = ([sent for what, _, sent in notes if what == "all_reduce"] for notes in in_parts)
    assert not set(early) & set(pieces), "the first of the accumulated passes exchanges nothing"
    on_their_way = [sent for sent in late if sent in pieces]
    assert on_their_way == pieces[: len(on_their_way)] and 1 < len(on_their_way) < len(pieces)
    assert last[: len(pieces) - len(on_their_way)] == pieces[len(on_their_way) :]
    check_queues([note for notes in in_parts for note in notes], set(pieces))
    run.loader.close()


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
        check_overlap(Path(sys.argv[1]))
    print(f"rank {rank} checked")


if __name__ == "__main__":
    main()
