"""Which sample stands in which row, substitutes included, against an obvious twin."""

import numpy as np
import pytest

from arcface_paddle.data.batches import MAX_SUBSTITUTES, BatchJob, EpochPlan, RowError
from arcface_paddle.data.epoch_order import BatchOrder, epoch_order, mirrored
from arcface_paddle.errors import DataError

COUNT, SEED, EPOCH = 97, 5, 3


def job_of(positions, *, batch_size=8, world_size=1, mirror=True):
    order = BatchOrder(COUNT, batch_size, world_size=world_size, seed=SEED)
    plan = EpochPlan(order, EPOCH, mirror=mirror)
    return BatchJob(plan, positions, np.empty((len(positions), 3, 2, 2), np.float32))


def test_rows_follow_the_order_and_the_mirror_follows_the_sample():
    job = job_of(range(16, 24))
    expected = epoch_order(COUNT, seed=SEED, epoch=EPOCH)[16:24]
    np.testing.assert_array_equal(job.indices, expected)
    np.testing.assert_array_equal(job.mirrors, mirrored(expected, seed=SEED, epoch=EPOCH))
    assert not job_of(range(16, 24), mirror=False).mirrors.any()


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_substitute_comes_from_one_global_batch_later_and_brings_its_own_mirror(world_size):
    order = epoch_order(COUNT, seed=SEED, epoch=EPOCH)
    job = job_of(range(88, 96), world_size=world_size)
    for tries in range(1, 5):
        job.substitute(RowError(2, DataError("damaged")))
        expected = order[(90 + tries * 8 * world_size) % COUNT]
        assert job.indices[2] == expected
        assert job.mirrors[2] == mirrored(np.array([expected]), seed=SEED, epoch=EPOCH)[0]
    untouched = [0, 1, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(job.indices[untouched], order[88:96][untouched])


def test_the_plan_of_an_epoch_is_not_changed_by_a_substitute():
    order = BatchOrder(COUNT, 8, seed=SEED)
    plan = EpochPlan(order, EPOCH, mirror=True)
    before = plan.samples.copy()
    BatchJob(plan, range(8), np.empty((8, 3, 2, 2), np.float32)).substitute(RowError(0, DataError("damaged")))
    np.testing.assert_array_equal(plan.samples, before)


def test_nothing_but_bad_samples_is_an_error_that_names_the_first():
    job = job_of(range(8))
    for number in range(MAX_SUBSTITUTES):
        job.substitute(RowError(1, DataError(f"a.jpg: damaged {number}")))
    with pytest.raises(DataError, match=r"100 samples in a row cannot be read, .* of: a\.jpg: damaged 0;"):
        job.substitute(RowError(1, DataError("the last")))
    job.substitute(RowError(0, DataError("another row has its own count")))


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 512, 5000])
def test_spans_cover_every_row_once(rows):
    order = BatchOrder(rows, rows, seed=SEED)
    job = BatchJob(EpochPlan(order, 0, mirror=False), range(rows), np.empty((rows, 1, 1, 1), np.float32))
    spans = job.spans()
    assert [row for span in spans for row in span] == list(range(rows))
    assert len(spans) <= 34 and all(len(span) >= 32 for span in spans[:-1])
