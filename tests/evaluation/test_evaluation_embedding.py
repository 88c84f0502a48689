from __future__ import annotations

import threading

import numpy as np
import pytest

from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.evaluation.embedder import network_input
from arcface_paddle.evaluation.embedding import (
    EmbeddingSettings,
    Features,
    embed_crops,
    evaluate_sets,
)
from arcface_paddle.evaluation.verification import verify

PROJECTION = np.random.default_rng(0).normal(size=(3 * 112 * 112, 6)).astype(np.float32) / 200


def linear_network(crops):
    assert crops.dtype == np.uint8
    assert crops.shape[1:] == (112, 112, 3)
    return network_input(crops).reshape(len(crops), -1) @ PROJECTION


def crop(index):
    return np.random.default_rng(index).integers(0, 256, (112, 112, 3), dtype=np.uint8)


class Threads:
    """A process group of threads: enough to run the sharing of work with any number of ranks."""

    def __init__(self, rank, world_size, board, barrier):
        self._rank, self._world_size = rank, world_size
        self._board, self._barrier = board, barrier

    def rank(self):
        return self._rank

    def world_size(self):
        return self._world_size

    def gather_json(self, value):
        self._board[self._rank] = value
        self._barrier.wait(timeout=20)
        gathered = [self._board[rank] for rank in range(self._world_size)]
        self._barrier.wait(timeout=20)
        return gathered

    def gather_arrays(self, array):
        assert array.dtype == np.float32
        assert array.ndim == 2  # what arcface_paddle.distributed requires to be equal on all ranks
        return self.gather_json(array)


def run_ranks(world_size, function):
    board, barrier = {}, threading.Barrier(world_size)
    outcomes = [None] * world_size

    def work(rank):
        try:
            outcomes[rank] = function(Threads(rank, world_size, board, barrier))
        except (DataError, ValueError, threading.BrokenBarrierError) as error:
            outcomes[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return outcomes


class TwoImageSet:
    name = "own"
    images = (b"",) * 44
    issame = np.arange(22) % 2 == 0

    @staticmethod
    def decode(index):
        return crop(index // 2 if index % 4 < 2 else index)


def test_network_input_is_normalised_rgb_planes():
    crops = np.zeros((1, 112, 112, 3), dtype=np.uint8)
    crops[0, 3, 5] = (255, 0, 51)
    batch = network_input(crops)
    assert batch.shape == (1, 3, 112, 112)
    np.testing.assert_allclose(batch[0, :, 3, 5], [1, -1, -0.6], atol=1e-6)


def test_features_are_in_order_whatever_the_batch_size():
    expected = linear_network(np.stack([crop(i) for i in range(11)]))
    mirrored = linear_network(np.stack([crop(i)[:, ::-1] for i in range(11)]))
    for batch_size in (1, 4, 11, 50):
        features = embed_crops(linear_network, crop, 11, name="set", settings=EmbeddingSettings(batch_size=batch_size))
        np.testing.assert_allclose(features.plain, expected, atol=1e-5)
        np.testing.assert_allclose(features.mirrored, mirrored, atol=1e-5)
        np.testing.assert_allclose(features.summed, expected + mirrored, atol=1e-5)


def test_without_mirror():
    features = embed_crops(linear_network, crop, 3, name="set", settings=EmbeddingSettings(mirror=False))
    assert features.mirrored is None
    np.testing.assert_array_equal(features.summed, features.plain)


@pytest.mark.parametrize("world_size", [2, 3, 5, 9])
def test_ranks_share_the_work_and_restore_the_order(world_size):
    seen = []

    def decode(index):
        seen.append(index)
        return crop(index)

    alone = embed_crops(linear_network, crop, 7, name="set")
    outcomes = run_ranks(world_size, lambda ranks: embed_crops(linear_network, decode, 7, name="set", ranks=ranks))
    assert sorted(seen) == list(range(7))  # each crop once, by one rank
    for outcome in outcomes:
        assert isinstance(outcome, Features), outcome
        np.testing.assert_allclose(outcome.plain, alone.plain, atol=1e-5)
        np.testing.assert_allclose(outcome.mirrored, alone.mirrored, atol=1e-5)


def test_error_of_one_rank_reaches_all():
    def decode(index):
        if index == 5:
            raise ImageError("lfw image 5: damaged")
        return crop(index)

    outcomes = run_ranks(3, lambda ranks: embed_crops(linear_network, decode, 7, name="set", ranks=ranks))
    assert [str(outcome) for outcome in outcomes] == ["lfw image 5: damaged"] * 3
    assert all(isinstance(outcome, DataError) for outcome in outcomes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_name_the_first_image(value):
    def network(crops):
        features = linear_network(crops)
        features[[np.array_equal(one, crop(4)) for one in crops], 2] = value
        return features

    with pytest.raises(DataError, match=r"lfw: the features of 1 of 9 images .* the first is image 4"):
        embed_crops(network, crop, 9, name="lfw", settings=EmbeddingSettings(batch_size=3))
    outcomes = run_ranks(2, lambda ranks: embed_crops(network, crop, 9, name="lfw", ranks=ranks))
    assert all("the first is image 4" in str(outcome) for outcome in outcomes)


def test_network_with_another_output_is_refused():
    with pytest.raises(DataError, match=r"shape \(2, 3, 3\) for 2 crops"):
        embed_crops(lambda batch: np.zeros((len(batch), 3, 3)), crop, 2, name="set")


def test_no_images():
    with pytest.raises(DataError, match="set: no images"):
        embed_crops(linear_network, crop, 0, name="set")


def test_evaluate_sets_equals_verify_on_the_features():
    images = np.stack([TwoImageSet.decode(i) for i in range(44)])
    plain = linear_network(images)
    mirrored = linear_network(images[:, :, ::-1])
    expected = verify(plain, mirrored, TwoImageSet.issame, name="own")
    (result,) = evaluate_sets(linear_network, [TwoImageSet])
    assert result.name == "own"
    assert result.accuracy.mean == expected.accuracy.mean
    np.testing.assert_allclose(result.similarities, expected.similarities, atol=1e-6)


def test_defaults_of_the_published_protocol():
    assert EmbeddingSettings() == EmbeddingSettings(batch_size=64, mirror=True, progress=False)
    seen = []

    def counting(batch):
        seen.append(len(batch))
        return linear_network(batch)

    embed_crops(counting, lambda index: np.zeros((112, 112, 3), np.uint8), 65, name="set")
    assert seen == [64, 64, 1, 1]
