"""One rank of the collectives tests: checks what every function returns, at times that differ."""

from __future__ import annotations

import time

import numpy as np
import paddle

from arcface_paddle import distributed


def check_values(rank: int, ranks: int) -> None:
    """Reductions, gathers and broadcasts against sums over the ranks' known inputs."""
    numbers = np.arange(1, ranks + 1)
    for dtype in ("float32", "float64", "float16", "bfloat16", "int64", "int32"):
        own = paddle.full([3], rank + 1).astype(dtype)
        total, largest = distributed.all_reduce_sum(own), distributed.all_reduce_max(own)
        assert total.dtype == largest.dtype == own.dtype, dtype
        assert (total.astype("float64").numpy() == numbers.sum()).all(), dtype
        assert (largest.astype("float64").numpy() == ranks).all(), dtype
        assert (own.astype("float64").numpy() == rank + 1).all(), dtype
    own = paddle.full([3], rank + 1.0)
    assert distributed.sum_in_place(own) is own and (own.numpy() == numbers.sum()).all()
    whole = paddle.full([6], rank + 1.0)
    waits = [distributed.begin_sum_in_place(whole._slice(start, start + 2)) for start in (4, 0)]
    for wait in waits:
        wait()
    assert whole.tolist() == [numbers.sum()] * 2 + [rank + 1.0] * 2 + [numbers.sum()] * 2
    gathered = distributed.all_gather(paddle.full([2, 3], float(rank)))
    np.testing.assert_array_equal(gathered.numpy()[:, 0], np.repeat(numbers - 1, 2))
    rows = distributed.gather_rows(np.full((2, 1), rank, np.int64))
    np.testing.assert_array_equal(rows[:, 0], np.repeat(numbers - 1, 2))
    arrays = distributed.gather_arrays(np.full((rank, 2), rank + 0.5))  # rank 0 has no row at all
    assert [array.shape for array in arrays] == [(other, 2) for other in range(ranks)]
    assert all((array == other + 0.5).all() and array.dtype == np.float64 for other, array in enumerate(arrays))
    assert distributed.gather_json({"rank": rank, "text": "人" * rank})[ranks - 1] == {
        "rank": ranks - 1,
        "text": "人" * (ranks - 1),
    }
    assert float(distributed.broadcast(paddle.to_tensor(float(rank)), source=ranks - 1)) == ranks - 1
    weights = [paddle.full([2], float(rank)), paddle.full([3], float(rank))]
    distributed.broadcast_parameters(weights)
    assert all((weight.numpy() == 0).all() for weight in weights)
    part = distributed.own_part_of_sum(paddle.arange(2 * ranks).astype("float32"))
    np.testing.assert_array_equal(part.numpy(), ranks * np.array([2 * rank, 2 * rank + 1]))


def check_flags(rank: int, ranks: int) -> None:
    """A flag that one rank raises is seen by all."""
    assert distributed.any_rank(rank == ranks - 1) is True
    assert distributed.any_rank(False) is False


def main() -> None:
    """Run all checks and a late arrival at a collective and at a barrier."""
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    with distributed.process_group(timeout_s=20.0):
        rank, ranks = distributed.rank(), distributed.world_size()
        assert ranks == distributed.launched_world_size()
        assert distributed.is_main() == (rank == 0)
        check_values(rank, ranks)
        check_flags(rank, ranks)
        time.sleep(0.3 * rank)
        distributed.barrier(timeout_s=10.0)
        if rank == 0 and ranks > 1:
            try:
                distributed.barrier(timeout_s=0.2)
            except distributed.PeerLostError as error:
                assert "0.2 s at a barrier" in str(error)
            else:
                raise AssertionError("the barrier did not wait for the others")
        else:
            time.sleep(1.0)
            distributed.barrier()


if __name__ == "__main__":
    main()
    print("checked")
