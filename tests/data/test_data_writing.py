"""Writing many small files: whole or not at all, never over somebody else's, with words for a full disk."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.data.writing import disk_errors_as_data_errors, place_file
from arcface_paddle.errors import DataError


def test_a_file_is_written_once(tmp_path):
    path = tmp_path / "deep/er/a.bin"
    assert place_file(path, b"one") is True
    stamp = path.stat().st_mtime_ns
    assert place_file(path, b"one") is False and path.stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match=r"a\.bin: exists with other content and is left alone"):
        place_file(path, b"two")
    assert path.read_bytes() == b"one" and [child.name for child in path.parent.iterdir()] == ["a.bin"]


def test_what_a_power_cut_left_empty_is_written_anew(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"")
    assert place_file(tmp_path / "a.bin", b"one") is True and (tmp_path / "a.bin").read_bytes() == b"one"


def test_threads_that_write_the_same_file(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda _: place_file(tmp_path / "a.bin", b"x" * 100_000), range(64)))
    assert any(written) and (tmp_path / "a.bin").read_bytes() == b"x" * 100_000
    assert [child.name for child in tmp_path.iterdir()] == ["a.bin"]


def test_nothing_is_left_of_a_file_that_could_not_be_finished(tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(os, "replace", fail)
    said = r"a\.bin: cannot be written: No space left on device\. What is complete under"
    with pytest.raises(DataError, match=said), disk_errors_as_data_errors(tmp_path):
        place_file(tmp_path / "a.bin", b"one")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 250 + ".bin", "\u9648" * 83 + ".bin"], ids=["plain", "of-three-bytes"])
def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path, name):
    assert place_file(tmp_path / name, b"one") and (tmp_path / name).read_bytes() == b"one"


def test_other_errors_pass_through():
    with pytest.raises(ValueError, match="not of the disk"), disk_errors_as_data_errors("target"):
        raise ValueError("not of the disk")


def test_results_come_in_order_whatever_takes_long():
    first_may_end = threading.Event()

    def work(number):
        if number == 0:
            assert first_may_end.wait(10)
        if number == 3:
            first_may_end.set()
        return number * number

    assert list(ordered_map(work, range(50), workers=2)) == [number * number for number in range(50)]


def test_an_error_comes_where_its_result_would_have_come_and_ends_the_work():
    begun = []

    def work(number):
        begun.append(number)
        if number == 2:
            raise DataError("two")
        return number

    results = ordered_map(work, range(10_000), workers=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError, match="two"):
        next(results)
    assert len(begun) < 100 and list(results) == []


def test_no_more_is_taken_from_the_source_than_is_worked_on():
    taken = []

    def source():
        for number in range(1000):
            taken.append(number)
            yield number

    results = ordered_map(lambda number: number, source(), workers=2)
    for number in range(100):
        assert next(results) == number
        assert len(taken) <= number + 1 + 2 * 16
    results.close()
    assert len(taken) < 200


def test_no_workers_are_one():
    assert list(ordered_map(abs, [-1, 2], workers=0)) == [1, 2]
