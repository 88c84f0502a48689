"""Worker processes of the loader: the batches of threads, one copy of the data, and every way to end."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from published_layouts import face_jpeg, write_image_set
from test_data_loader import COUNT, MemoryDataset, collect

from arcface_paddle.data import BatchLoader, LoaderOptions, open_dataset
from arcface_paddle.data.packed import pack_dataset
from arcface_paddle.data.workers.shared import SharedDataset
from arcface_paddle.data.workers.worker_pool import CONTEXT
from arcface_paddle.errors import ConfigError, DataError, ImageError

FOLDER = Path(__file__).parent


def processes(dataset, **options):
    return BatchLoader(dataset, LoaderOptions(**{"batch_size": 16, "seed": 4, "worker_kind": "process", **options}))


def joined(batches):
    columns = zip(*((batch.images.copy(), batch.labels, batch.indices) for batch in batches))
    return [np.concatenate(column) for column in columns]


def assert_same(left, right):
    for mine, other in zip(left, right):
        np.testing.assert_array_equal(mine, other)


@pytest.fixture(scope="module")
def two_workers():
    """A loader whose processes several tests share."""
    with processes(MemoryDataset(bad=[3, 50])) as loader:
        yield loader


@pytest.fixture
def own_children():
    """Return what gives the processes that this test has started and that have not ended."""
    before = {process.pid for process in active_children()}
    return lambda: [process.pid for process in active_children() if process.pid not in before]


@pytest.mark.parametrize(("epoch", "start_sample"), [(0, 0), (3, 0), (1, 48), (2, 23)])
def test_the_batches_of_threads(two_workers, epoch, start_sample):
    expected, _ = collect(MemoryDataset(bad=[3, 50]), workers=0, epoch=epoch, start_sample=start_sample)
    assert_same(joined(two_workers.epoch(epoch, start_sample=start_sample)), expected)


def test_bad_samples_are_reported_by_the_parent(two_workers):
    list(two_workers.epoch(0))
    reported = {(bad.index, bad.path, bad.reason) for bad in two_workers.bad_samples}
    assert reported == {(index, f"memory/{index}", f"memory/{index}: damaged") for index in (3, 50)}


@pytest.mark.parametrize(("workers", "world_size"), [(1, 1), (3, 1), (1, 2)])
def test_same_bytes_for_any_workers_and_ranks(workers, world_size):
    size = 16 // world_size
    expected, _ = collect(MemoryDataset(bad=[3, 50]), workers=0)
    parts = [
        collect(MemoryDataset(bad=[3, 50]), rank=rank, world_size=world_size, workers=workers, batch_size=size,
                worker_kind="process")[0]
        for rank in range(world_size)
    ]  # fmt: skip
    for column, whole in enumerate(expected):
        steps = [part[column].reshape(-1, size, *whole.shape[1:]) for part in parts]
        np.testing.assert_array_equal(np.concatenate(steps, axis=1).reshape(whole.shape), whole)


@pytest.mark.parametrize("kind", ["image", "packed"])
def test_files_are_read_from_every_layout(tmp_path, kind):
    write_image_set(tmp_path / "image", [number // 2 for number in range(24)])
    loose = open_dataset(tmp_path / "image")
    pack_dataset(loose, tmp_path / "packed")
    expected, _ = collect(loose, workers=0, batch_size=8)
    assert_same(collect(open_dataset(tmp_path / kind), worker_kind="process", batch_size=8)[0], expected)


def test_stopping_early_then_another_epoch_then_closed_then_again(two_workers):
    expected, _ = collect(MemoryDataset(bad=[3, 50]), workers=0)
    kept = next(iter(two_workers.epoch(5)))
    picture = kept.images.copy()
    assert_same(joined(two_workers.epoch(0)), expected)
    unfinished = two_workers.epoch(5)
    next(unfinished)
    two_workers.close()
    with pytest.raises(ConfigError, match="before this epoch was over"):
        next(unfinished)
    assert_same(joined(two_workers.epoch(0)), expected)
    np.testing.assert_array_equal(kept.images, picture)  # its memory outlives the processes that wrote it


def test_a_consumer_that_keeps_batches_gets_copies(two_workers):
    kept = [batch for epoch in range(3) for batch in two_workers.epoch(epoch)]
    for batch in kept:
        for image, index in zip(batch.images[:3], batch.indices[:3]):
            expected = two_workers.dataset[index][0]
            assert np.array_equal(image, expected) or np.array_equal(image, expected[:, :, ::-1])
    assert sum(batch.images.flags.owndata for batch in kept) >= len(kept) - 2 * 3
    del kept, batch, image
    assert not any(batch.images.flags.owndata for batch in two_workers.epoch(0))


class ForeignError(ImageError):
    """Cannot be rebuilt from its text alone, so pickle fails."""

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")


class NamedErrors(MemoryDataset):
    """Sample 5 raises the error that the test wants."""

    def __init__(self, error):
        super().__init__()
        self.make_error = error

    def read_encoded(self, index):
        if index == 5:
            kind, *arguments = self.make_error
            raise kind(*arguments)
        return super().read_encoded(index)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ((DataError, "5: damaged"), DataError, "5: damaged"),
        ((ImageError, "5: no picture"), ImageError, "5: no picture"),
        ((OSError, 2, "No such file", "5.jpg"), FileNotFoundError, "[Errno 2] No such file: '5.jpg'"),
        ((ForeignError, "5", "strange"), ImageError, "5: strange"),
    ],
)
def test_bad_sample_stops_the_run_with_its_own_error(error, kind, message):
    with pytest.raises(kind) as caught:
        collect(NamedErrors(error), workers=1, worker_kind="process", on_bad_sample="raise")
    assert type(caught.value) is kind and str(caught.value) == message


def test_unreadable_dataset_is_an_error_not_a_loop(own_children):
    with pytest.raises(DataError, match="100 samples in a row cannot be read, the first because of: memory/"):
        collect(MemoryDataset(bad=range(COUNT)), workers=1, worker_kind="process")
    assert not own_children()


def test_resized_pictures_are_counted_once_each():
    dataset = MemoryDataset()
    dataset.pictures[::9] = [face_jpeg(number, side=96) for number in range(10)]
    collect(dataset, worker_kind="process", batch_size=30)
    assert dataset.resized_count == 10


class SharingDataset(MemoryDataset):
    """Refuses to read unless its array is a view of memory that it does not own."""

    def __init__(self):
        super().__init__()
        self.table = np.arange(100_000)

    def read_encoded(self, index):
        if self.table.flags.owndata or self.table.flags.writeable or self.table[-1] != 99_999:
            raise DataError("a copy of the table")
        return super().read_encoded(index)


def test_arrays_of_the_dataset_are_not_copied():
    dataset = SharingDataset()
    collect(dataset, workers=1, worker_kind="process", on_bad_sample="raise")
    shared = SharedDataset.of(dataset, CONTEXT)
    first, second = shared.open(), shared.open()
    assert np.shares_memory(first.table, second.table) and np.shares_memory(first.labels, second.labels)


def test_paths_of_a_label_file_are_not_copied(tmp_path):
    write_image_set(tmp_path, [0, 0, 1, 1])
    opened = SharedDataset.of(open_dataset(tmp_path), CONTEXT).open()
    parts = opened.paths.buffer, opened.paths.starts, opened.paths.lengths, opened.labels
    assert not any(part.flags.owndata for part in parts) and opened.path_of(3).endswith("00000003.jpg")


def test_dataset_that_cannot_be_sent():
    dataset = MemoryDataset()
    dataset.decoder = lambda content: content
    with pytest.raises(ConfigError, match=r"memory: this MemoryDataset cannot be sent .*worker_kind 'thread'"):
        collect(dataset, worker_kind="process")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_is_killed_is_an_error_that_says_what_to_do(number, own_children):
    with processes(MemoryDataset(delay_s=0.001), workers=2, prefetch_batches=1) as loader:
        batches = loader.epoch(0)
        next(batches)
        for pid in own_children():
            os.kill(pid, number)
        advice = "out of memory: use fewer workers" if number == signal.SIGKILL else "see the system's log"
        with pytest.raises(DataError, match=f"was ended by {number.name}; .*{advice}.*--resume 1"):
            list(batches)
        assert not own_children()
        assert len(list(loader.epoch(0))) == loader.steps_per_epoch


def test_a_worker_that_is_killed_between_epochs(own_children):
    with processes(MemoryDataset(), workers=1) as loader:
        list(loader.epoch(0))
        os.kill(own_children()[0], signal.SIGKILL)
        with pytest.raises(DataError, match="was ended by SIGKILL"):
            next(loader.epoch(1))
        assert len(list(loader.epoch(1))) == loader.steps_per_epoch


class BrokenDataset(MemoryDataset):
    def read_encoded(self, index):
        return self.no_such_attribute


def test_a_mistake_in_the_dataset_is_seen(capfd):
    with pytest.raises(DataError, match="its own message stands above"):
        collect(BrokenDataset(), workers=1, worker_kind="process")
    assert "no_such_attribute" in capfd.readouterr().err


def test_workers_leave_sigterm_and_sigint_to_the_parent(two_workers):
    batches = two_workers.epoch(0)
    first = next(batches)
    for process in active_children():
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGINT)
    assert len([first, *batches]) == two_workers.steps_per_epoch


GUARDED = """
import sys, time
from multiprocessing import active_children
from arcface_paddle.data import BatchLoader, LoaderOptions
from test_data_loader import MemoryDataset

def main():
    loader = BatchLoader(MemoryDataset(delay_s=0.01), LoaderOptions(8, worker_kind="process"))
    batches = loader.epoch(0)
    {before}
    next(batches)
    print(*(process.pid for process in active_children()), flush=True)
    {after}

if __name__ == "__main__":
    main()
"""


def start(folder, program):
    script = folder / "program.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": f"{FOLDER}{os.pathsep}{FOLDER.parents[1]}"}
    return subprocess.Popen(
        [sys.executable, str(script)], env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_ends(pids, *, within_s=10):
    deadline = time.monotonic() + within_s
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, f"still running: {[pid for pid in pids if is_running(pid)]}"
        time.sleep(0.02)


@pytest.mark.parametrize("after", ["time.sleep(60)", "list(batches), time.sleep(60)"])
def test_no_orphans_when_the_parent_is_killed(tmp_path, after):
    with start(tmp_path, GUARDED.format(before="", after=after)) as program:
        pids = list(map(int, program.stdout.readline().split()))
        assert len(pids) == 2 and all(map(is_running, pids))
        program.kill()
    assert_ends(pids)


def test_a_program_that_forgets_to_close_ends(tmp_path):
    with start(tmp_path, GUARDED.format(before="globals().update(loader=loader)", after="")) as program:
        pids = list(map(int, program.stdout.readline().split()))
        assert program.wait(timeout=20) == 0 and program.stderr.read() == ""
    assert_ends(pids)


@pytest.mark.parametrize("when", ["starting", "working"])
def test_ctrl_c_reaches_the_group_and_only_the_parent_speaks(tmp_path, when):
    before = "print('begun', flush=True)" if when == "starting" else ""
    with start(tmp_path, GUARDED.format(before=before, after="time.sleep(60)")) as program:
        program.stdout.readline()
        time.sleep(0.15 if when == "starting" else 0)  # the processes are there and import their modules
        os.killpg(program.pid, signal.SIGINT)
        _, complaint = program.communicate(timeout=20)
    assert complaint.count("Traceback") == 1 and complaint.rstrip().endswith("KeyboardInterrupt")


def test_a_script_without_main_guard_is_told_so(tmp_path):
    program = GUARDED.format(before="", after="").replace('if __name__ == "__main__":\n    main()', "main()")
    with start(tmp_path, program) as process:
        _, complaint = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "could not start" in complaint and "if __name__ == '__main__'" in complaint


def test_processes_find_names_of_other_systems(tmp_path):
    write_image_set(tmp_path, list(range(32)))
    listed = (tmp_path / "label.txt").read_text().replace("/", "\\")
    (tmp_path / "label.txt").write_text(listed)
    with processes(open_dataset(tmp_path), workers=1) as loader:
        assert sum(len(batch.labels) for batch in loader.epoch(0)) == 32 and not loader.bad_samples
