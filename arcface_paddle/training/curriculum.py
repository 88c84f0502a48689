"""What is made harder while a run goes on: augmentation, margin, and which renderings are shown.

A ramp is ``NAME[:FIRST[:BEGIN-END]]``: up to the share BEGIN of the run it has the value FIRST, from there it grows
evenly, and from END on it is 1, at which everything is as without a curriculum. It is a pure function of the step, so
resuming at a step is the same as having come there. This module imports nothing heavy; every ``--help`` needs it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Mapping, Sequence

from arcface_paddle.errors import ConfigError

MEANINGS = {
    "augment": "factor on the probability of every step of --augment",
    "margin": "share of the margin: 0 is plain normalised softmax",
    "difficulty": "share of each identity's pictures that are shown, the easiest first; for datasets of 'synth'",
}

_FIRST, _BEGIN, _END = 0.0, 0.0, 0.5
_LEAST_DIFFICULTY = 0.05  # of the pictures of an identity; one is always shown

HELP = (
    "what grows while the run goes on, as NAME[:FIRST[:BEGIN-END]],...: from FIRST at the share BEGIN of the run to 1 "
    f"at the share END (default {_FIRST:g}, {_BEGIN:g}-{_END:g}); "
    + "; ".join(f"{name}: {text}" for name, text in MEANINGS.items())
)


@dataclass(frozen=True)
class Ramp:
    """One value that grows to 1.

    Attributes:
        first: the value before it grows, 0 to 1.
        begin: share of the run at which it begins to grow.
        end: share of the run at which it is 1.
    """

    first: float = _FIRST
    begin: float = _BEGIN
    end: float = _END

    def value(self, step: int, total_steps: int) -> float:
        """Return the value in the update that turns ``step`` finished steps into ``step + 1``.

        Example:
            >>> [Ramp(0.2, 0.25, 0.75).value(step, 8) for step in (0, 2, 4, 6, 8)]
            [0.2, 0.2, 0.6, 1.0, 1.0]
        """
        done = step / max(1, total_steps)
        if done >= self.end:
            return 1.0
        grown = max(0.0, done - self.begin) / (self.end - self.begin)
        return self.first + (1.0 - self.first) * grown


class Curriculum:
    """The ramps of a run; what has none is 1 throughout.

    Attributes:
        names: what grows.
    """

    def __init__(self, ramps: Mapping[str, Ramp], total_steps: int) -> None:
        """Take the ramps by the names of ``MEANINGS``."""
        self.names = tuple(ramps)
        self._ramps = dict(ramps)
        self._total_steps = total_steps

    def value(self, name: str, step: int) -> float:
        """Return the value of a ramp in the update after ``step`` finished steps."""
        ramp = self._ramps.get(name)
        return 1.0 if ramp is None else ramp.value(step, self._total_steps)

    def scalars(self, step: int) -> dict[str, float]:
        """Return the values of all ramps as named scalars, for the logs."""
        return {f"curriculum_{name}": self.value(name, step) for name in self.names}

    def words(self) -> str:
        """Return the ramps in words, in steps; empty without a curriculum."""
        return ", ".join(
            f"{name} {ramp.first:g} up to step {round(ramp.begin * self._total_steps)}, then growing to 1 at step "
            f"{round(ramp.end * self._total_steps)}"
            for name, ramp in self._ramps.items()
        )


def parse_ramps(items: Sequence[str]) -> dict[str, Ramp]:
    """Read a list of ramps.

    Raises:
        ConfigError: an unknown or repeated name, or a value out of range.
    """
    ramps: dict[str, Ramp] = {}
    for item in items:
        name, *values = item.strip().lower().split(":")
        if name not in MEANINGS:
            raise ConfigError(f"curriculum: {item!r} is not known; allowed: {', '.join(MEANINGS)}")
        if name in ramps:
            raise ConfigError(f"curriculum: {name} stands there twice")
        if len(values) > 2:
            raise ConfigError(f"curriculum: {item!r} has {len(values)} values; allowed: {name}[:FIRST[:BEGIN-END]]")
        ramps[name] = _ramp(item, name, values)
    return ramps


def _ramp(item: str, name: str, values: Sequence[str]) -> Ramp:
    first = _share(values[0], item) if values else _FIRST
    if name == "difficulty":
        first = max(first, _LEAST_DIFFICULTY)
    begin, end = _BEGIN, _END
    if len(values) == 2:
        left, dash, right = values[1].partition("-")
        begin, end = (_share(left, item), _share(right, item)) if dash else (_BEGIN, _share(left, item))
    if not begin < end:
        raise ConfigError(f"curriculum: {item!r} grows from {begin:g} to {end:g} of the run; the smaller one first")
    return Ramp(first, begin, end)


def _share(text: str, item: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise ConfigError(f"curriculum: {text!r} in {item!r} is no share from 0 to 1; for example augment:0.2:0.1-0.5")
    return number
