"""How weights follow their gradient: momentum SGD, Adam, AMSGrad and AdamW, as functions of tensors.

The class centres and the backbone (``training.optimizer``) use the same functions. Whether a step counts is known on
the device only, so a step that does not count is one whose arithmetic changes nothing: the gradient is masked and the
states are multiplied with exactly 1. Nothing is fetched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Union

import paddle

from arcface_paddle.errors import ConfigError
from arcface_paddle.heads.memory import STATES_OF

COUNT = "count"
"""State of the rules that correct their moments: updates so far, of a tensor or of each of its rows."""

_Number = Union[float, paddle.Tensor]
_States = Mapping[str, paddle.Tensor]


@dataclass(frozen=True)
class UpdateRule:
    """Which rule, with its constants.

    Attributes:
        name: a key of ``STATES_OF``.
        momentum: mu of SGD, beta 1 of the others.
        nesterov: SGD looks ahead: it steps along ``g + mu v`` instead of ``v``.
        beta2: decay of the second moment.
        epsilon: added to the root of the second moment.
    """

    name: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if self.name not in STATES_OF:
            raise ConfigError(f"optimizer is {self.name!r}; allowed: {', '.join(STATES_OF)}")
        if self.nesterov and self.name != "sgd":
            raise ConfigError(f"nesterov is a variant of optimizer sgd; with {self.name} leave it out")


MOMENTUM_SGD = UpdateRule()
"""The published trainer's."""


@dataclass(frozen=True, eq=False)
class Update:
    """One update that is due.

    Attributes:
        lr: learning rate.
        decay: L2 penalty; for AdamW the part of the weight that is taken off, times ``lr`` (decoupled).
        finite: 0-d bool on the device, False = nothing must change; None = the gradient is known to be sound.
    """

    lr: float
    decay: _Number = 0.0
    finite: Optional[paddle.Tensor] = None

    @property
    def permitted(self) -> _Number:
        """1 or 0 as a number to calculate with."""
        return 1.0 if self.finite is None else self.finite.astype("float32").reshape([])

    def decayed(self, gradient: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Return the gradient with that of the L2 penalty."""
        return gradient if isinstance(self.decay, float) and self.decay == 0.0 else gradient + self.decay * weight

    def masked(self, gradient: paddle.Tensor) -> paddle.Tensor:
        """Return zeros if nothing must change: the gradient may hold NaN."""
        return gradient if self.finite is None else paddle.where(self.finite, gradient, paddle.zeros_like(gradient))


def first_states(rule: UpdateRule, weight: paddle.Tensor, *, count_shape: list[int]) -> dict[str, paddle.Tensor]:
    """Return the states before the first update: zeros, float32."""
    states = {name: paddle.zeros(weight.shape, dtype="float32") for name in STATES_OF[rule.name]}
    return states if rule.name == "sgd" else {**states, COUNT: paddle.zeros(count_shape, dtype="float32")}


def change_of(
    rule: UpdateRule, weight: paddle.Tensor, gradient: paddle.Tensor, *, states: _States, update: Update
) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
    """Return what is to be subtracted from the weight, and the new states.

    Args:
        rule: which rule.
        weight: float32, any shape.
        gradient: float32, unscaled and clipped, without the L2 penalty.
        states: as ``first_states`` gives them; ``count`` must broadcast against the weight.
        update: learning rate, decay and whether the step counts.
    """
    return _CHANGES[rule.name](rule, weight, gradient, states, update)


_Result = tuple[paddle.Tensor, dict[str, paddle.Tensor]]


def _sgd(rule: UpdateRule, weight: paddle.Tensor, gradient: paddle.Tensor, states: _States, update: Update) -> _Result:
    permitted = update.permitted
    gradient = update.masked(update.decayed(gradient, weight))
    velocity = states["momentum"] * (rule.momentum * permitted + (1.0 - permitted)) + gradient
    direction = gradient + velocity * rule.momentum if rule.nesterov else velocity
    return direction * (permitted * update.lr), {"momentum": velocity}


def _adam(rule: UpdateRule, weight: paddle.Tensor, gradient: paddle.Tensor, states: _States, update: Update) -> _Result:
    """Kingma & Ba 2015, algorithm 1, with the L2 penalty in the gradient."""
    direction, new = _moments(rule, update.masked(update.decayed(gradient, weight)), states, update)
    return direction * (update.permitted * update.lr), new


def _adamw(
    rule: UpdateRule, weight: paddle.Tensor, gradient: paddle.Tensor, states: _States, update: Update
) -> _Result:
    """Loshchilov & Hutter 2019, algorithm 2, with the decay times the learning rate as torch and Paddle have it."""
    direction, new = _moments(rule, update.masked(gradient), states, update)
    return update.decayed(direction, weight) * (update.permitted * update.lr), new


def _moments(rule: UpdateRule, gradient: paddle.Tensor, states: _States, update: Update) -> _Result:
    """Return the direction of Adam and the new states; AMSGrad divides by the largest second moment so far.

    The correction is by the updates of the tensor, or of the row: a class centre that is drawn once in a thousand steps
    is corrected as one that has been updated once, not a thousand times, which would make its first step three times
    as large as the learning rate says.
    """
    permitted = update.permitted
    share1, share2 = (1.0 - rule.momentum) * permitted, (1.0 - rule.beta2) * permitted
    count = states[COUNT] + permitted
    first = states["momentum"] * (1.0 - share1) + gradient * share1
    second = states["second"] * (1.0 - share2) + gradient.square() * share2
    new = {"momentum": first, "second": second, COUNT: count}
    if "largest" in states:
        second = new["largest"] = paddle.maximum(states["largest"], second)
    corrected = second / _correction(rule.beta2, count)
    return first / _correction(rule.momentum, count) / (corrected.sqrt() + rule.epsilon), new


def _correction(beta: float, count: paddle.Tensor) -> paddle.Tensor:
    """Return ``1 - beta ** count``; by expm1, which keeps the digits that float32 would lose for a beta near 1."""
    if beta == 0.0:
        return paddle.ones_like(count)
    return -paddle.expm1(paddle.clip(count, min=1.0) * math.log(beta))  # count 0: a first step that does not count


_CHANGES: dict[str, Callable[..., _Result]] = {"sgd": _sgd, "adam": _adam, "amsgrad": _adam, "adamw": _adamw}
