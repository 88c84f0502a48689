"""Does the run learn? A verdict from the curve alone, and what a reason for it looks like."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from arcface_paddle.training.explain.recorded_run import RecordedRun

_LEAST_STEPS = 100
"""Behind the warm-up; before, no training is told from a slow one."""
_LEARNT_COSINE = 0.1
"""Mean cosine of a feature and the centre of its class: 0 +- .05 without learning (random vectors of 128 and more)."""
_LEARNT_LOSS = 0.9
"""Share of the chance loss below which something has been learnt."""
ABOVE_UNTRAINED = 1.1
"""Factor on the loss of an untrained network above which a run has got worse than it was."""
_LEARNT_ACCURACY = 0.62
"""Untrained networks reach up to .60 on lfw-style sets, because they tell light pictures from dark ones."""


class CurveVerdict(enum.Enum):
    """What the curve says."""

    LEARNING = "the run is learning"
    EARLY = "it is too early to tell"
    FLAT = "the run stays flat: it has learnt next to nothing"
    DIVERGED = "the run has diverged: its loss is above that of an untrained network"


@dataclass(frozen=True)
class Obstacle:
    """Something that keeps a training from learning.

    Attributes:
        key: short name, for programs.
        weight: 3 for what certainly harms, 2 for a likely cause, 1 for a possible one.
        evidence: what was seen, with its figures.
        remedy: what to do.
    """

    key: str
    weight: int
    evidence: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """Return the reason as plain data."""
        return {"key": self.key, "weight": self.weight, "evidence": self.evidence, "remedy": self.remedy}


CERTAIN, LIKELY, POSSIBLE = 3, 2, 1
WEIGHTS = {CERTAIN: "certain", LIKELY: "likely", POSSIBLE: "possible"}


def verdict_of(run: RecordedRun) -> CurveVerdict:
    """Judge the latest loss, target cosine and accuracy."""
    loss, cosine = run.latest("loss"), run.latest("target_cosine")
    if loss is None:
        return CurveVerdict.EARLY
    learns = (cosine is not None and cosine > _LEARNT_COSINE) and loss < _LEARNT_LOSS * run.chance
    if learns or (run.best_accuracy() or 0.0) > _LEARNT_ACCURACY:
        return CurveVerdict.LEARNING
    if run.step < run.schedule.warmup_steps + _LEAST_STEPS:
        return CurveVerdict.EARLY
    return CurveVerdict.DIVERGED if loss > ABOVE_UNTRAINED * run.untrained_loss else CurveVerdict.FLAT
