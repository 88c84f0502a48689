"""The learning rate as a pure function of the step: linear warm-up, then step, polynomial or cosine decay.

Nothing here has state, so resuming at a step is the same as having come there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Tuple

from arcface_paddle.training.config import ScheduleConfig

REFERENCE_BATCH = 512
"""The global batch for which ``lr`` is stated; the rate grows linearly with the batch (Goyal et al. 2017, eq. 3)."""


@dataclass(frozen=True)
class Schedule:
    """A schedule in steps.

    Attributes:
        peak_lr: rate after warm-up, already scaled to the global batch.
        end_lr: last rate of polynomial and cosine decay, already scaled.
        warmup_steps: number of steps of linear warm-up; step 0 has ``peak_lr / warmup_steps``, never 0.
        total_steps: length of the run.
        decay: ``step``, ``polynomial``, ``cosine`` or ``constant``.
        milestones: steps at which ``step`` decay multiplies the rate by ``factor``.
        factor: see ``milestones``.
        power: exponent of ``polynomial`` decay.
    """

    peak_lr: float
    end_lr: float
    warmup_steps: int
    total_steps: int
    decay: str
    milestones: Tuple[int, ...]
    factor: float
    power: float


def build_schedule(config: ScheduleConfig, *, lr: float, global_batch: int, steps_per_epoch: int) -> Schedule:
    """Turn epochs into steps and scale the rates by ``global_batch / 512``."""
    total = config.steps if config.steps is not None else _steps(config.epochs, steps_per_epoch)
    warmup = config.warmup_steps
    if warmup is None:
        warmup = round(config.warmup_epochs * steps_per_epoch)
    scaling = global_batch / REFERENCE_BATCH
    return Schedule(
        peak_lr=lr * scaling,
        end_lr=min(config.end_lr, lr) * scaling,
        warmup_steps=min(warmup, total),
        total_steps=total,
        decay=config.decay,
        milestones=tuple(sorted(round(epoch * steps_per_epoch) for epoch in config.decay_epochs)),
        factor=config.decay_factor,
        power=config.decay_power,
    )


def learning_rate(schedule: Schedule, step: int) -> float:
    """Return the rate of the update that turns ``step`` finished steps into ``step + 1``."""
    if step < schedule.warmup_steps:
        return schedule.peak_lr * (step + 1) / schedule.warmup_steps
    return _DECAYS[schedule.decay](schedule, step)


def _steps(epochs: float, steps_per_epoch: int) -> int:
    return max(1, round(epochs * steps_per_epoch))


def _progress(schedule: Schedule, step: int) -> float:
    """Return how much of the decay lies behind ``step``: 0 after warm-up, 1 at the end."""
    length = schedule.total_steps - schedule.warmup_steps
    return min(1.0, (step - schedule.warmup_steps) / length) if length > 0 else 1.0


def _constant_decay(schedule: Schedule, step: int) -> float:
    return schedule.peak_lr


def _step_decay(schedule: Schedule, step: int) -> float:
    return schedule.peak_lr * schedule.factor ** sum(step >= milestone for milestone in schedule.milestones)


def _polynomial_decay(schedule: Schedule, step: int) -> float:
    share = (1.0 - _progress(schedule, step)) ** schedule.power
    return schedule.end_lr + (schedule.peak_lr - schedule.end_lr) * share


def _cosine_decay(schedule: Schedule, step: int) -> float:
    share = (1.0 + math.cos(math.pi * _progress(schedule, step))) / 2.0
    return schedule.end_lr + (schedule.peak_lr - schedule.end_lr) * share


_DECAYS = {
    "constant": _constant_decay,
    "step": _step_decay,
    "polynomial": _polynomial_decay,
    "cosine": _cosine_decay,
}
