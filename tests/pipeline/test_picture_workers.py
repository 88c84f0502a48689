"""Workers: order, errors, what is held in memory, and who gets which models."""

from __future__ import annotations

import threading
import time

import pytest

from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline.picture_workers import PictureWorkers, share_out
from arcface_paddle.pipeline.settings import RuntimeOptions, available_cores


class Models:
    """Notices when two threads use it at once."""

    def __init__(self):
        self.lock = threading.Lock()

    def look(self, item: int) -> int:
        assert self.lock.acquire(blocking=False), "two workers with the same models"
        time.sleep(0.02 if item % 3 == 0 else 0.001)
        self.lock.release()
        return item * item


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(count):
    opened = []

    def reopen() -> Models:
        opened.append(Models())
        return opened[-1]

    workers = PictureWorkers(Models(), reopen=reopen, count=count)
    for _ in range(2):
        assert list(workers.map(Models.look, range(30))) == [n * n for n in range(30)]
    assert len(opened) <= count - 1, "models are loaded once a worker, not once a run"


def test_two_items_are_worked_on_at_the_same_time():
    meeting = threading.Barrier(2, timeout=20)
    workers = PictureWorkers(Models(), reopen=Models, count=2)
    assert len(list(workers.map(lambda _models, _item: meeting.wait(), range(2)))) == 2


def test_few_items_are_worked_on_ahead():
    begun = []
    workers = PictureWorkers(Models(), reopen=Models, count=3)
    results = workers.map(lambda _models, item: begun.append(item), iter(range(1000)))
    next(results)
    time.sleep(0.1)
    results.close()
    assert len(begun) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_where_its_result_would_have(count):
    def work(_models, item):
        if item == 4:
            raise ImageError("the fifth")
        return item

    seen = []
    with pytest.raises(ImageError, match="the fifth"):
        for result in PictureWorkers(Models(), reopen=Models, count=count).map(work, range(100)):
            seen.append(result)
    assert seen == [0, 1, 2, 3]


def test_an_error_of_loading_is_raised():
    def reopen():
        raise ConfigError("no second one")

    workers = PictureWorkers(Models(), reopen=reopen, count=2)
    with pytest.raises(ConfigError, match="no second one"):
        list(workers.map(Models.look, range(8)))


def test_models_are_loaded_in_the_thread_that_asks_and_for_items_only():
    """Paddle's converter to ONNX ends the process when it runs in another thread."""
    loaded_in = []

    def reopen() -> Models:
        loaded_in.append(threading.current_thread())
        return Models()

    workers = PictureWorkers(Models(), reopen=reopen, count=4)
    assert list(workers.map(Models.look, range(2))) == [0, 1] and len(loaded_in) == 1
    assert list(workers.map(Models.look, range(20))) == [n * n for n in range(20)]
    assert loaded_in == [threading.current_thread()] * 3


def test_one_run_at_a_time():
    workers = PictureWorkers(Models(), reopen=Models, count=2)
    first = workers.map(Models.look, range(9))
    next(first)
    with pytest.raises(ConfigError, match="at work already"):
        next(workers.map(Models.look, range(9)))
    first.close()
    assert list(workers.map(Models.look, range(3))) == [0, 1, 4]


def test_threads_are_shared_out():
    assert share_out(RuntimeOptions(threads=4), pictures=100) == (4, RuntimeOptions(threads=1))
    assert share_out(RuntimeOptions(threads=1), pictures=100) == (1, RuntimeOptions(threads=1))
    assert share_out(RuntimeOptions(threads=8), pictures=3) == (3, RuntimeOptions(threads=2))
    assert share_out(RuntimeOptions(threads=2), pictures=9, workers=4) == (4, RuntimeOptions(threads=1))
    assert share_out(RuntimeOptions(), pictures=9, workers=1) == (1, RuntimeOptions())
    assert share_out(RuntimeOptions(device="gpu"), pictures=9)[0] == 1
    assert share_out(RuntimeOptions(), pictures=99)[0] == min(16, available_cores())
    assert share_out(RuntimeOptions(), pictures=0)[0] == 1


@pytest.mark.parametrize("workers", [0, -1, 65])
def test_numbers_of_workers_that_cannot_be(workers):
    with pytest.raises(ConfigError, match=f"workers is {workers}; allowed: 1 to 64"):
        share_out(RuntimeOptions(), pictures=1, workers=workers)
