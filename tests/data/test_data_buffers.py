"""Memory of batches is used again exactly when nobody holds it any more."""

import numpy as np
import pytest

from arcface_paddle.data.workers.buffers import BufferPool, FixedPool

SHAPE = (4, 3, 2, 2)


def address(array):
    return array.__array_interface__["data"][0]


def test_free_memory_is_given_again_and_held_memory_is_not():
    pool = BufferPool(SHAPE, capacity=3)
    first = pool.take(4)
    place = address(first)
    second = pool.take(4)
    assert address(second) != place
    view = first[1:2].transpose(0, 2, 3, 1)  # somebody keeps only a piece of it
    del first
    assert address(pool.take(4)) != place
    del view
    assert address(pool.take(4)) == place


def test_a_short_batch_uses_the_same_memory():
    pool = BufferPool(SHAPE, capacity=1)
    place = address(pool.take(4))
    short = pool.take(2)
    assert short.shape == (2, 3, 2, 2) and short.dtype == np.float32 and address(short) == place


def test_a_consumer_that_keeps_everything_gets_new_memory_beyond_the_capacity():
    pool = BufferPool(SHAPE, capacity=2)
    kept = [pool.take(4) for _ in range(5)]
    assert len({address(array) for array in kept}) == 5
    places = {address(array) for array in kept[:2]}
    kept.clear()
    again = [pool.take(4), pool.take(4)]
    assert {address(array) for array in again} == places  # of the five only two were remembered


def fixed_pool(count, *, reserved):
    return FixedPool([np.empty(SHAPE, np.float32) for _ in range(count)], reserved=reserved)


def test_the_consumer_of_a_fixed_pool_gets_copies_before_the_buffers_run_out():
    pool = fixed_pool(4, reserved=2)
    kept = []
    for number in range(6):
        images = pool.take(4)
        images[:] = number
        kept.append(pool.hand_out(images))
        del images
    # Two of four may be the consumer's; what follows are copies, so that two stay free for the loader.
    assert [array.base is not None for array in kept] == [True, True, False, False, False, False]
    assert [float(array[0, 0, 0, 0]) for array in kept] == list(range(6))


def test_a_buffer_comes_back_when_the_consumer_lets_go():
    pool = fixed_pool(3, reserved=1)
    for _ in range(10):
        batch = pool.hand_out(pool.take(4))
        assert batch.base is not None
        del batch


def test_batches_ahead_do_not_count_as_the_consumers():
    pool = fixed_pool(3, reserved=2)
    ahead = [pool.take(4), pool.take(4)]
    assert sorted(pool.place_of(images) for images in ahead) == [0, 1]
    assert pool.hand_out(ahead.pop(0)).base is not None
    pool.reset()
    ahead.clear()
    assert pool.take(4).shape == SHAPE


def test_more_ahead_than_there_are_buffers_is_a_mistake_of_ours():
    pool = fixed_pool(2, reserved=2)
    held = [pool.take(4), pool.take(4)]
    with pytest.raises(AssertionError, match="more batches ahead"):
        pool.take(4)
    assert len(held) == 2
