"""Which signals ask a run to stop, and that the handlers of before come back."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from arcface_paddle.training import trainer
from arcface_paddle.training.stopping import stop_on_signals

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_a_signal_is_noted_and_does_not_interrupt(number):
    with stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal_name == number.name


def test_the_first_signal_gives_the_name_and_a_second_ctrl_c_ends_at_once():
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # the launcher passes Ctrl-C on
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal_name == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_of_before_come_back():
    seen: list[int] = []
    for number in NUMBERS:
        signal.signal(number, lambda received, _frame: seen.append(received))
    with stop_on_signals():
        pass
    for number in NUMBERS:
        os.kill(os.getpid(), number)
    assert seen == NUMBERS


def test_nohup_is_respected():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_name == "SIGTERM"
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize(("step", "on_device"), [(10, True), (11, False), (0, True)])
def test_an_accelerator_is_asked_at_log_steps_only(monkeypatch, step, on_device):
    config = SimpleNamespace(run=SimpleNamespace(log_every=5))
    loop = SimpleNamespace(stop=["SIGTERM"], run=SimpleNamespace(state=SimpleNamespace(step=step), config=config))
    assert trainer._Loop._asked_to_stop(loop), "on a CPU at once"
    monkeypatch.setattr(trainer.devices, "is_accelerator", lambda: True)
    assert trainer._Loop._asked_to_stop(loop) is on_device


def test_a_thread_that_may_not_catch_signals_still_runs():
    results: list[bool] = []

    def work() -> None:
        with stop_on_signals() as stop:
            results.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [False]
