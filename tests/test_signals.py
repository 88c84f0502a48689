"""Handlers after Paddle was imported: those of the process, also in a notebook, whose stderr is no file."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from arcface_paddle.signals import HeldSignals

ROOT = Path(__file__).parents[1]
CRASH = """
import faulthandler, io, os, signal, sys
faulthandler.enable()
{before}
from arcface_paddle import signals
signals.take_back_from_paddle()
print("went on", flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""


def crash(before: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", "-c", CRASH.format(before=before)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_a_crash_is_reported_by_faulthandler_as_before():
    done = crash("")
    assert "Fatal Python error: Segmentation fault" in done.stderr and done.returncode == -signal.SIGSEGV


def test_a_notebook_whose_stderr_is_no_file_can_load_paddle():
    done = crash("sys.stderr = io.StringIO()")
    assert done.stdout.strip() == "went on", done.stderr
    assert "Fatal Python error: Segmentation fault" in done.stderr


def test_signals_wait_until_what_was_begun_is_finished() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), HeldSignals() as held:
        held.begin()
        signal.raise_signal(signal.SIGINT)
        done.append("written")
    assert done == ["written"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), HeldSignals() as held:
        held.begin()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("written")
    assert done == []


def test_signals_are_not_held_before_the_beginning_nor_behind_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), HeldSignals():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), HeldSignals() as held:
        held.begin()
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError


def test_what_comes_while_one_thing_is_written_is_obeyed_before_the_next() -> None:
    written = []
    with pytest.raises(KeyboardInterrupt), HeldSignals() as held:
        for number in range(4):
            held.begin()
            written.append(f"picture {number}")
            if number == 1:
                signal.raise_signal(signal.SIGINT)
            written.append(f"its result {number}")
            held.end()
    assert written == ["picture 0", "its result 0", "picture 1", "its result 1"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
