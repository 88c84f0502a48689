"""All state of the training loop in one place: what is here, the weights and the momentum is the whole run."""

from __future__ import annotations

import dataclasses
import random
import sys
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional

import numpy as np
import paddle

from arcface_paddle.errors import CheckpointError

_PRIME_OF_STEP, _PRIME_OF_RANK = 1_000_003, 7_919  # primes, which spread the seeds of neighbouring steps and ranks

_ADDED_LATER = frozenset({"updates", "decay", "override", "arithmetic", "without_gain", "start"})
"""Fields that checkpoints of earlier versions do not have; what they stand for was not there either."""


@dataclass
class LoopState:
    """Where the run stands.

    Attributes:
        step: updates finished, skipped ones included.
        epoch: the current pass over the data, from 0.
        sample: images of the current epoch's order that all ranks together have used up.
        seed: every random number is a function of seed, step and rank (``seed_step``), or of seed, epoch and image
            (order and mirroring), so the seed is the whole state of the generators.
        highest: best accuracy so far of every verification set.
        best_accuracy: best mean accuracy over the sets, None before the first validation.
        best_step: the step at which it was reached.
        skipped: steps skipped so far because the gradient was not finite.
        skipped_in_a_row: how many of them are the latest steps.
        scaler: state of the loss scaler.
        margin: running statistics of the margin.
        trained_s: seconds of training behind this state, over all sessions.
        updates: updates that Adam's moments are corrected by; empty for SGD.
        decay: state of the factor on the weight decay; empty where it is fixed.
        override: the ``--override`` that this run went on with; empty for others.
        arithmetic: what rank 0 computed with, as ``processor.arithmetic_name`` says; empty for Paddle's own operators.
        without_gain: validations since the best one.
        start: a word for the weights that ``--l2_to_start`` pulls to; empty without it.
    """

    step: int = 0
    epoch: int = 0
    sample: int = 0
    seed: int = 0
    highest: dict[str, float] = field(default_factory=dict)
    best_accuracy: Optional[float] = None
    best_step: Optional[int] = None
    skipped: int = 0
    skipped_in_a_row: int = 0
    scaler: dict[str, float] = field(default_factory=dict)
    margin: dict[str, float] = field(default_factory=dict)
    trained_s: float = 0.0
    updates: dict[str, float] = field(default_factory=dict)
    decay: dict[str, float] = field(default_factory=dict)
    override: str = ""
    arithmetic: str = ""
    without_gain: int = 0
    start: str = ""

    @property
    def epoch_of_latest_step(self) -> int:
        """The epoch of the step that was finished last; ``epoch`` is that of the next one."""
        return self.epoch - 1 if self.sample == 0 and self.step > 0 else self.epoch

    def advance(self, *, images: int, epoch_images: int) -> None:
        """Count one finished step of ``images`` images; behind the last full step of an epoch the next one begins."""
        self.step += 1
        self.sample += images
        if self.sample + images > epoch_images:
            self.epoch += 1
            self.sample = 0

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, name: str) -> LoopState:
        """Restore a state; ``name`` is the file, for errors.

        Raises:
            CheckpointError: fields are missing or unknown.
        """
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{name}: a {type(values).__name__} instead of the fields of the loop state")
        expected = {item.name for item in dataclasses.fields(cls)}
        missing, unknown = expected - _ADDED_LATER - set(values), set(values) - expected
        if missing or unknown:
            odd = ", ".join(sorted(missing | unknown))
            raise CheckpointError(f"{name}: the fields of the loop state do not fit this version: {odd}")
        wrong = [key for key, value in values.items() if not _is_of(value, cls.__annotations__[key])]
        if wrong:
            raise CheckpointError(f"{name}: {wrong[0]} is {values[wrong[0]]!r:.80}, which is damaged")
        return cls(**values)


def _is_of(value: object, hint: str) -> bool:
    """Tell whether a value read from JSON is of the kind of a field, whose annotation is ``hint``."""
    if hint.startswith("Optional["):
        return value is None or _is_of(value, hint[len("Optional[") : -1])
    if hint.startswith("dict["):
        return isinstance(value, dict) and all(_is_of(number, "float") for number in value.values())
    if hint == "str":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max if hint == "float" else isinstance(value, int) and 0 <= value < 2**63


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make every generator of this process a function of ``(seed, step, rank)``; called before each step."""
    mixed = (seed + step * _PRIME_OF_STEP + rank * _PRIME_OF_RANK) % 2**31
    paddle.seed(mixed)
    np.random.seed(mixed)
    random.seed(mixed)
