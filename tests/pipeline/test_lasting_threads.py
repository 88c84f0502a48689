"""Threads that outlive their callers."""

from __future__ import annotations

import threading

import pytest

from arcface_paddle.pipeline.engines.lasting_threads import LastingThreads


def test_callers_that_come_and_go_get_one_thread_that_stays() -> None:
    threads = LastingThreads("lasting")
    used: list[threading.Thread] = []
    for _ in range(5):
        caller = threading.Thread(target=lambda: used.append(threads.call(threading.current_thread)))
        caller.start()
        caller.join()
    assert len(used) == 5 and len(set(used)) == 1 and used[0].is_alive()


def test_two_at_once_do_not_wait_for_each_other() -> None:
    threads, both = LastingThreads("lasting"), threading.Barrier(2, timeout=10)
    callers = [threading.Thread(target=lambda: threads.call(both.wait)) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not both.broken


def test_an_error_reaches_the_caller_and_the_thread_stays() -> None:
    threads = LastingThreads("lasting")
    before = threads.call(threading.current_thread)
    with pytest.raises(ZeroDivisionError):
        threads.call(lambda: 1 // 0)
    assert threads.call(threading.current_thread) is before
