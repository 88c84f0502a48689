"""The learning rate against the formulas written out, and against the published trainer's mistake."""

from __future__ import annotations

import math

import pytest

from arcface_paddle.training.config import ScheduleConfig
from arcface_paddle.training.schedule import build_schedule, learning_rate


def rates(config: ScheduleConfig, *, lr=0.1, global_batch=512, steps_per_epoch=10):
    schedule = build_schedule(config, lr=lr, global_batch=global_batch, steps_per_epoch=steps_per_epoch)
    return [learning_rate(schedule, step) for step in range(schedule.total_steps)]


def test_warm_up_is_linear_and_never_zero():
    values = rates(ScheduleConfig(epochs=2, warmup_epochs=1.0, decay="constant"))
    assert values[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert values[10:] == pytest.approx([0.1] * 10)


def test_rate_grows_with_the_global_batch():
    small = rates(ScheduleConfig(epochs=1), global_batch=512)
    large = rates(ScheduleConfig(epochs=1), global_batch=2048)
    assert large == pytest.approx([4 * value for value in small])


def test_step_decay_drops_at_the_named_epochs():
    values = rates(ScheduleConfig(epochs=8, warmup_steps=0, decay_epochs=(2.0, 4.5), decay_factor=0.5))
    assert values == pytest.approx([0.1] * 20 + [0.05] * 25 + [0.025] * 35)


def test_polynomial_and_cosine_decay():
    polynomial = rates(ScheduleConfig(steps=20, warmup_steps=4, decay="polynomial", decay_power=3.0, end_lr=0.02))
    cosine = rates(ScheduleConfig(steps=20, warmup_steps=4, decay="cosine", end_lr=0.02))
    for step in range(4, 20):
        progress = (step - 4) / 16
        assert polynomial[step] == pytest.approx(0.02 + 0.08 * (1 - progress) ** 3)
        assert cosine[step] == pytest.approx(0.02 + 0.04 * (1 + math.cos(math.pi * progress)))
    assert all(earlier > later for earlier, later in zip(polynomial[4:], polynomial[5:]))
    assert cosine[19] > 0.02


def test_fractional_epochs_and_warm_up_longer_than_the_run():
    assert len(rates(ScheduleConfig(epochs=0.25), steps_per_epoch=100)) == 25
    assert len(rates(ScheduleConfig(epochs=0.001), steps_per_epoch=100)) == 1
    assert rates(ScheduleConfig(steps=2, warmup_steps=50)) == pytest.approx([0.05, 0.1])


def test_end_rate_above_the_peak_is_held_at_the_peak():
    assert rates(ScheduleConfig(steps=3, warmup_steps=0, decay="cosine", end_lr=5.0)) == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("decay", ["cosine", "polynomial"])
def test_behind_the_end_the_rate_stays(decay: str):
    for warmup in (4, 50):  # the second leaves nothing to decay
        config = ScheduleConfig(steps=20, warmup_steps=warmup, decay=decay, end_lr=0.02)
        schedule = build_schedule(config, lr=0.1, global_batch=512, steps_per_epoch=10)
        assert [learning_rate(schedule, step) for step in (20, 35)] == pytest.approx([0.02, 0.02])


def test_one_step_of_decay_begins_at_the_peak_and_both_ends_grow_with_the_batch():
    config = ScheduleConfig(steps=5, warmup_steps=4, decay="cosine", end_lr=0.02)
    assert rates(config)[4] == pytest.approx(0.1)
    schedule = build_schedule(config, lr=0.1, global_batch=1024, steps_per_epoch=10)
    assert (schedule.peak_lr, schedule.end_lr) == pytest.approx((0.2, 0.04))
