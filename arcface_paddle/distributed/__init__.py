"""One process group for 1 to N ranks: the collectives of training and evaluation, and the ranks' sign of life.

With one rank every collective is the identity and nothing is sent. This room alone imports ``paddle.distributed``.
"""

from __future__ import annotations

from arcface_paddle.distributed.collectives import (
    DEFAULT_TIMEOUT_S,
    PeerLostError,
    all_gather,
    all_reduce_max,
    all_reduce_sum,
    any_rank,
    barrier,
    begin_sum_in_place,
    broadcast,
    broadcast_parameters,
    finish,
    gather_arrays,
    gather_json,
    gather_rows,
    init,
    is_main,
    launched_local_size,
    launched_world_size,
    own_part_of_sum,
    process_group,
    rank,
    sum_in_place,
    world_size,
)

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "PeerLostError",
    "all_gather",
    "all_reduce_max",
    "all_reduce_sum",
    "any_rank",
    "barrier",
    "begin_sum_in_place",
    "broadcast",
    "broadcast_parameters",
    "finish",
    "gather_arrays",
    "gather_json",
    "gather_rows",
    "init",
    "is_main",
    "launched_local_size",
    "launched_world_size",
    "own_part_of_sum",
    "process_group",
    "rank",
    "sum_in_place",
    "world_size",
]
