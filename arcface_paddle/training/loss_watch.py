"""Noticing that the loss grows, which a learning rate that is much too large shows by, or that it never leaves chance.

Normalised features and centres keep the loss bounded and clipping keeps the gradient so, so that a diverged run seldom
ends in NaN: it settles at a loss above that of the untrained network. The rule compares the first intervals of a run
with the latest ones. Behind the warm-up, the latest must be higher by a share and by several standard errors, and above
the loss of chance: so the rule stays silent on runs that are only slow or noisy.
"""

from __future__ import annotations

import math
from typing import Optional

import numpy as np
import paddle

from arcface_paddle.heads.focal import focal_number
from arcface_paddle.heads.margins import Margin

# With these, one in a thousand runs of 200 intervals that learn nothing, with 20 % of noise an interval, is warned of.
_FIRST, _LATEST = 10, 20  # intervals compared: with fewer, the noise of small batches looks like growth
_LEAST_GROWTH = 1.15  # diverged runs on small data reach 1.2 to 1.9
_LEAST_DEVIATIONS = 5.0  # by which the two means differ, in standard errors
_STANDING_LOSS, _STANDING_COSINE = 0.97, 0.05  # share of the chance loss; of random vectors the cosine is 0 +- .05
_LEAST_STANDING_STEPS = 200
_TYPICAL_NORM = 20.0  # of a feature, for margins that depend on it


def chance_loss(margin: Margin, num_classes: int, *, focal_gamma: float = 0.0) -> float:
    """Return the loss of features that are at right angles to all class centres, their own included.

    It is ln(classes) for the plain softmax; ArcFace adds s sin(m), CosFace s m. The focal loss is less than that.
    """
    value, _ = margin.target(paddle.zeros([1]), paddle.full([1], _TYPICAL_NORM))
    return focal_number(math.log(num_classes) - margin.scale * float(value[0]), gamma=focal_gamma)


class LossWatch:
    """Follows the loss of the log intervals and tells once that it has grown."""

    def __init__(self, *, chance: float, warmup_steps: int, switch_step: int) -> None:
        """Begin.

        Args:
            chance: loss that a trained network must be below; growth below it is no divergence.
            warmup_steps: steps of small learning rate; only what comes behind them is judged.
            switch_step: step at which the loss changes its kind (softmax to margin): what came before is forgotten.
        """
        self._chance = chance
        self._warmup_steps = warmup_steps
        self._switch_step = switch_step
        self._losses: list[float] = []
        self._is_behind_switch = False
        self._behind_warmup = 0
        self._told = False

    def growth(self, first_step: int, last_step: int, loss: float) -> Optional[tuple[float, float]]:
        """Note an interval, and return the mean loss of the first and the latest intervals if it has grown.

        Args:
            first_step: number of finished steps before the interval.
            last_step: number of finished steps behind it.
            loss: its mean loss; one that is not finite is left out.
        """
        if not math.isfinite(loss) or self._told:
            return None
        if first_step < self._switch_step < last_step:  # a mixture of both kinds
            return None
        if first_step >= self._switch_step and not self._is_behind_switch:
            self._is_behind_switch = True
            self._losses.clear()
            self._behind_warmup = 0
        self._losses.append(loss)
        if len(self._losses) > _FIRST + _LATEST:  # a run has millions of intervals, and those between count for nothing
            del self._losses[_FIRST]
        self._behind_warmup += first_step >= self._warmup_steps
        if len(self._losses) < _FIRST + _LATEST or self._behind_warmup < _LATEST:
            return None
        start, latest = np.array(self._losses[:_FIRST]), np.array(self._losses[-_LATEST:])
        # The larger of the two spreads: ten values that happen to lie close together must not look certain.
        error = math.sqrt(max(start.var(ddof=1), latest.var(ddof=1)) * (1 / _FIRST + 1 / _LATEST))
        before, now = float(start.mean()), float(latest.mean())
        grown = now > max(_LEAST_GROWTH * before, self._chance) and now - before > _LEAST_DEVIATIONS * error
        self._told = grown
        return (before, now) if grown else None


class FlatWatch:
    """Follows loss and target cosine, and tells once that nothing has been learnt after a whole epoch at full rate."""

    def __init__(self, *, chance: float, full_rate_step: int, steps_per_epoch: int) -> None:
        """Begin.

        Args:
            chance: loss of an untrained network, with the margin.
            full_rate_step: step from which on both the full rate and the margin count.
            steps_per_epoch: length of an epoch.
        """
        self._chance = chance
        self._first_judged = full_rate_step + max(_LEAST_STANDING_STEPS, steps_per_epoch)
        self._latest: list[tuple[float, float]] = []
        self._told = False

    def stands(self, step: int, loss: float, target_cosine: float) -> bool:
        """Note an interval that ended at ``step``; True, once, when the run stays flat."""
        if self._told or not (math.isfinite(loss) and math.isfinite(target_cosine)):
            return False
        self._latest = [*self._latest[-_LATEST + 1 :], (loss, target_cosine)]
        if step < self._first_judged or len(self._latest) < _LATEST // 2:
            return False
        mean_loss, mean_cosine = np.mean(self._latest, axis=0)
        self._told = bool(mean_loss > _STANDING_LOSS * self._chance and mean_cosine < _STANDING_COSINE)
        return self._told
