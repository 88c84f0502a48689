"""The lock around read, change and write of one file, with real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from arcface_paddle import files

ROUNDS, PROCESSES = 60, 3
CONTEXT = multiprocessing.get_context("spawn")


def count_up(path: Path, barrier) -> None:
    barrier.wait()
    for _ in range(ROUNDS):
        with files.locked(path):
            number = int(path.read_text())
            time.sleep(0.0005)  # invites the others in between
            files.write_text(path, str(number + 1))


def hold_until_killed(path: Path, taken) -> None:
    with files.locked(path):
        taken.set()
        time.sleep(600)


def test_no_step_of_several_processes_is_lost(tmp_path):
    path = tmp_path / "number"
    path.write_text("0")
    barrier = CONTEXT.Barrier(PROCESSES)
    workers = [CONTEXT.Process(target=count_up, args=(path, barrier)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert int(path.read_text()) == ROUNDS * PROCESSES
    assert [entry.name for entry in tmp_path.iterdir()] == ["number"], "the lock file is removed"


def test_a_holder_is_waited_for_and_a_killed_one_is_not(tmp_path):
    path, taken = tmp_path / "people.index", CONTEXT.Event()
    holder = CONTEXT.Process(target=hold_until_killed, args=(path, taken))
    holder.start()
    try:
        assert taken.wait(60)
        with pytest.raises(TimeoutError, match=r"\.people\.index\.lock for 0\.1 s"), files.locked(path, timeout_s=0.1):
            pass
        os.kill(holder.pid, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        holder.join(30)
        assert (tmp_path / ".people.index.lock").exists()
        with files.locked(path, timeout_s=5):
            files.write_text(path, "changed")
    finally:
        holder.kill()
        holder.join(30)
    assert [entry.name for entry in tmp_path.iterdir()] == ["people.index"]


def test_an_error_inside_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.locked(tmp_path / "a"):
        raise KeyboardInterrupt
    with files.locked(tmp_path / "a", timeout_s=0):
        with files.locked(tmp_path / "b", timeout_s=0):
            pass
        with pytest.raises(TimeoutError), files.locked(tmp_path / "a", timeout_s=0):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_no_endless_wait(tmp_path):
    with pytest.raises(FileNotFoundError), files.locked(tmp_path / "none" / "a"):
        pass
