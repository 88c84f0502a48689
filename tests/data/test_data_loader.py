"""The loader: same batches for any number of workers and ranks, bad samples, shutdown."""

import threading
import time

import numpy as np
import pytest
from published_layouts import face_jpeg, write_image_set

from arcface_paddle.data import BatchLoader, LoaderOptions, open_dataset
from arcface_paddle.data.augment_settings import parse_steps
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.epoch_order import epoch_order, mirrored
from arcface_paddle.errors import ConfigError, DataError, ImageError

COUNT = 90


class MemoryDataset(FaceDataset):
    """Pictures in memory; ``bad`` ones cannot be read."""

    def __init__(self, count=COUNT, bad=(), delay_s=0.0):
        super().__init__(np.arange(count) // 3, name="memory")
        self.pictures = [face_jpeg(number) for number in range(count)]
        self.bad = set(bad)
        self.delay_s = delay_s
        self.reads = 0

    def read_encoded(self, index):
        self.reads += 1
        time.sleep(self.delay_s)
        if index in self.bad:
            raise DataError(f"{self.path_of(index)}: damaged")
        return self.pictures[index]

    def path_of(self, index):
        return f"memory/{index}"


def collect(dataset, *, rank=0, world_size=1, epoch=0, start_sample=0, **options):
    options = {"batch_size": 16, "seed": 4, **options}
    with BatchLoader(dataset, LoaderOptions(**options), rank=rank, world_size=world_size) as loader:
        batches = [
            (batch.images.copy(), batch.labels.copy(), batch.indices.copy())
            for batch in loader.epoch(epoch, start_sample=start_sample)
        ]
        return [np.concatenate(column) for column in zip(*batches)], loader


def test_batches_hold_the_mirrored_normalised_samples_of_the_order():
    dataset = MemoryDataset()
    (images, labels, indices), loader = collect(dataset, epoch=2, drop_last=False)
    np.testing.assert_array_equal(indices, epoch_order(COUNT, seed=4, epoch=2))
    np.testing.assert_array_equal(labels, dataset.labels[indices])
    assert images.dtype == np.float32 and labels.dtype == np.int64 and images.shape == (COUNT, 3, 112, 112)
    flips = mirrored(indices, seed=4, epoch=2)
    assert 0 < flips.sum() < COUNT
    for image, index, flip in zip(images, indices, flips):
        expected = dataset[index][0]
        np.testing.assert_array_equal(image, expected[:, :, ::-1] if flip else expected)
    assert loader.steps_per_epoch == 6 and loader.wait_s > 0 and loader.bad_samples == []


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": 2}, {"workers": 1, "worker_kind": "process"}])
def test_pixels_are_those_of_the_normalised_batches(options):
    """For a device that mirrors and normalises by itself: the same pictures in a quarter of the bytes."""
    dataset = MemoryDataset(30, bad=[7])
    augment = parse_steps(["light"])
    (expected, _, order), _ = collect(dataset, augment=augment, workers=0)
    settings = LoaderOptions(batch_size=16, seed=4, pixels="uint8", augment=augment, **options)
    with BatchLoader(dataset, settings) as loader:
        batches = [(batch.images.copy(), batch.mirrors.copy(), batch.indices) for batch in loader.epoch(0)]
    images, mirrors, indices = (np.concatenate(column) for column in zip(*batches))
    assert images.dtype == np.uint8 and images.shape == expected.shape
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(mirrors, mirrored(indices, seed=4, epoch=0))
    images[mirrors] = images[mirrors][..., ::-1]
    np.testing.assert_array_equal(((images / 255 - 0.5) / 0.5).astype(np.float32), expected)


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_same_bytes_for_any_workers_and_ranks(workers, world_size):
    dataset = MemoryDataset(bad=[3, 50])
    (expected, _, expected_indices), _ = collect(MemoryDataset(bad=[3, 50]), workers=0)
    parts = [
        collect(dataset, rank=rank, world_size=world_size, workers=workers, batch_size=16 // world_size)[0]
        for rank in range(world_size)
    ]
    size = 16 // world_size
    for step in range(5):
        mine = slice(step * size, (step + 1) * size)
        whole = slice(step * 16, (step + 1) * 16)
        np.testing.assert_array_equal(np.concatenate([part[2][mine] for part in parts]), expected_indices[whole])
        np.testing.assert_array_equal(np.concatenate([part[0][mine] for part in parts]), expected[whole])


@pytest.mark.parametrize("start_sample", [16, 48, 23])
def test_resume_gives_the_rest_of_the_uninterrupted_epoch(start_sample):
    whole, _ = collect(MemoryDataset(bad=[7]))
    rest, _ = collect(MemoryDataset(bad=[7]), start_sample=start_sample)
    if start_sample % 16 == 0:
        for full, part in zip(whole, rest):
            np.testing.assert_array_equal(full[start_sample:], part)
    order = epoch_order(COUNT, seed=4, epoch=0)
    expected = order[start_sample : start_sample + len(rest[2])]
    np.testing.assert_array_equal(rest[2][expected != 7], expected[expected != 7])


def test_bad_samples_are_counted_and_the_later_sample_keeps_its_own_label():
    dataset = MemoryDataset(bad=[5, 20])
    (images, labels, indices), loader = collect(dataset)
    order = epoch_order(COUNT, seed=4, epoch=0)
    replaced = np.flatnonzero(indices != order[: len(indices)])
    assert sorted(order[replaced]) == [5, 20]
    for position in replaced:
        assert indices[position] == order[(position + 16) % COUNT]
        assert labels[position] == dataset.labels[indices[position]]
        flip = mirrored(indices[position : position + 1], seed=4, epoch=0)[0]
        expected = dataset[indices[position]][0]
        np.testing.assert_array_equal(images[position], expected[:, :, ::-1] if flip else expected)
    assert sorted((bad.index, bad.path, bad.reason) for bad in loader.bad_samples) == [
        (5, "memory/5", "memory/5: damaged"),
        (20, "memory/20", "memory/20: damaged"),
    ]


def test_a_bad_substitute_is_passed_over():
    order = epoch_order(COUNT, seed=4, epoch=0)
    (_, _, indices), loader = collect(MemoryDataset(bad=[order[0], order[16]]))
    assert indices[0] == order[32] and {bad.index for bad in loader.bad_samples} == {order[0], order[16]}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_sample_stops_the_run_on_request(workers):
    with pytest.raises(DataError, match="memory/5: damaged"):
        collect(MemoryDataset(bad=[5]), workers=workers, on_bad_sample="raise")


def test_unreadable_dataset_is_an_error_not_a_loop():
    with pytest.raises(DataError, match="100 samples in a row cannot be read, the first because of: memory/"):
        collect(MemoryDataset(bad=range(COUNT)))


def test_picture_that_is_no_picture_names_its_file(tmp_path):
    write_image_set(tmp_path, [0, 0, 1, 1])
    (tmp_path / "images/00000002.jpg").write_bytes(b"text")
    dataset = open_dataset(tmp_path)
    with pytest.raises(ImageError, match=r"images/00000002\.jpg: not a picture"):
        collect(dataset, batch_size=4, on_bad_sample="raise")
    _, loader = collect(dataset, batch_size=2)
    assert [bad.path for bad in loader.bad_samples] == [str(tmp_path / "images/00000002.jpg")]


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_stopping_early_ends_the_work_and_the_threads():
    dataset = MemoryDataset(delay_s=0.002)
    with BatchLoader(dataset, LoaderOptions(batch_size=8, workers=2, prefetch_batches=2)) as loader:
        next(iter(loader.epoch(0)))
        assert loader_threads()
    assert not loader_threads()
    assert dataset.reads < COUNT / 2


def test_an_interrupt_in_the_consumer_ends_the_threads():
    with pytest.raises(KeyboardInterrupt), BatchLoader(MemoryDataset(), LoaderOptions(batch_size=8)) as loader:
        for _ in loader.epoch(0):
            raise KeyboardInterrupt
    assert not loader_threads()


def test_loader_can_be_used_again_after_close():
    loader = BatchLoader(MemoryDataset(), LoaderOptions(batch_size=30))
    first = [batch.indices.tolist() for batch in loader.epoch(0)]
    loader.close()
    assert [batch.indices.tolist() for batch in loader.epoch(0)] == first
    loader.close()


def test_kept_batches_are_not_overwritten():
    dataset = MemoryDataset()
    with BatchLoader(dataset, LoaderOptions(batch_size=5, prefetch_batches=1, mirror=False)) as loader:
        kept = [(batch.images[:3], batch.indices[:3]) for epoch in range(3) for batch in loader.epoch(epoch)]
    for images, indices in kept:
        for image, index in zip(images, indices):
            np.testing.assert_array_equal(image, dataset[index][0])


def test_memory_of_batches_is_used_again():
    with BatchLoader(MemoryDataset(), LoaderOptions(batch_size=5, prefetch_batches=1)) as loader:
        owners = {batch.images.__array_interface__["data"][0] for epoch in range(5) for batch in loader.epoch(epoch)}
    assert len(owners) <= 3


def test_wait_shows_a_slow_reader():
    with BatchLoader(MemoryDataset(20, delay_s=0.005), LoaderOptions(batch_size=10, workers=1)) as loader:
        waits = [batch.wait_s for batch in loader.epoch(0)]
    assert waits[0] > 0.04 and loader.wait_s == pytest.approx(sum(waits))


@pytest.mark.parametrize(
    "options", [{"on_bad_sample": "ignore"}, {"workers": -1}, {"prefetch_batches": 0}, {"pixels": "int8"}]
)
def test_impossible_options(options):
    with pytest.raises(ConfigError):
        LoaderOptions(batch_size=2, **options)
