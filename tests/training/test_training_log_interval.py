"""What a log line says of its steps, with a clock and figures that are known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import paddle
import pytest

from arcface_paddle.training import log_interval
from arcface_paddle.training.log_interval import LogInterval, Verdict
from arcface_paddle.training.step import RECORD_FIELDS


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(log_interval, "time", made)
    return made


def add(interval: LogInterval, number: int, *, finite: float = 1.0, more: tuple[float, ...] = ()) -> None:
    """Note step ``number``, whose figures are number, 10 number, ..."""
    record = [number, 10.0 * number, finite, 0.1 * number, 100.0 * number, 2.0**number, *more]
    state = SimpleNamespace(step=number, epoch=number // 2, sample=12 * number)
    interval.add(paddle.to_tensor(record), state, images=12, wait_s=0.5)


def test_an_interval_has_means_of_the_steps_that_counted(clock: Clock) -> None:
    assert RECORD_FIELDS[:3] == ("loss", "gradient_norm", "finite")
    interval = LogInterval()
    add(interval, 1)
    add(interval, 2, finite=0.0)
    add(interval, 4)
    clock.now += 6.0
    summary = interval.close()
    assert summary.loss == 2.5 and summary.gradient_norm == 25.0
    assert summary.target_cosine == pytest.approx(0.25) and summary.feature_norm == 250.0
    assert summary.loss_scale == 16.0, "that of the latest step"
    assert summary.speed == 36 / 6 and summary.wait_share == 1.5 / 6
    assert summary.reg_loss is None and summary.reg_coef is None
    assert interval.close() is None
    add(interval, 1)
    clock.now += 0.25
    assert interval.close().wait_share == 1.0, "never more than all"


def test_the_interval_begins_anew_and_pauses_are_left_out(clock: Clock) -> None:
    interval = LogInterval()
    clock.now += 50.0
    assert interval.close() is None  # the time without steps is forgotten
    add(interval, 1)
    clock.now += 1.0
    with interval.paused():
        clock.now += 1000.0
    clock.now += 2.0
    assert interval.close().speed == pytest.approx(12 / 3)
    add(interval, 1)
    clock.now += 4.0
    assert interval.close().speed == pytest.approx(12 / 4)
    add(interval, 1)
    assert math.isfinite(interval.close().speed)


def test_without_a_step_that_counted_there_is_no_mean(clock: Clock) -> None:
    interval = LogInterval()
    add(interval, 1, finite=0.0)
    assert math.isnan(interval.close().loss)


def test_the_penalty_is_a_mean_and_its_coefficient_the_latest(clock: Clock) -> None:
    interval = LogInterval()
    add(interval, 1, more=(3.0, 1.0))
    add(interval, 2, more=(5.0, 0.5))
    summary = interval.close()
    assert summary.reg_loss == 4.0 and summary.reg_coef == 0.5


def test_every_step_is_judged_once(clock: Clock) -> None:
    interval = LogInterval()
    add(interval, 1)
    add(interval, 2, finite=0.0)
    assert interval.verdicts() == [Verdict(1, 0, 12, finite=True), Verdict(2, 1, 24, finite=False)]
    assert interval.verdicts() == []
    add(interval, 3, finite=0.0)
    assert interval.verdicts() == [Verdict(3, 1, 36, finite=False)]
    add(interval, 4)
    assert interval.verdicts() == [Verdict(4, 2, 48, finite=True)]
    assert interval.close().loss == 2.5
    add(interval, 5)
    assert interval.verdicts() == [Verdict(5, 2, 60, finite=True)]
