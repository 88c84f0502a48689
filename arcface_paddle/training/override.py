"""Changing the state of a run on resume: its step, its epoch, its best accuracy, the states of its optimizer.

This module does not import paddle: the configuration is checked with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Mapping, Optional, Sequence

from arcface_paddle.errors import ConfigError

if TYPE_CHECKING:
    from arcface_paddle.training.state import LoopState

Changes = Mapping[str, Optional[float]]
"""Value by word, None for ``none``."""

_WORDS = "step=N, epoch=N, best=none or an accuracy, optimizer=none"
_PUBLISHED = {"monitor": "best"}


def parse_override(items: Sequence[str]) -> Changes:
    """Read ``step=0``, ``epoch=0``, ``best=none`` and ``optimizer=none``; ``monitor`` is another word for ``best``.

    Raises:
        ConfigError: another word, a word twice, or a value that it cannot have.
    """
    changes: dict[str, Optional[float]] = {}
    for item in items:
        word, equals, value = (part.strip().lower() for part in item.partition("="))
        word = _PUBLISHED.get(word, word)
        if not equals or word not in _READERS:
            raise ConfigError(f"override: {item!r} is not understood; allowed: {_WORDS}")
        if word in changes:
            raise ConfigError(f"override: {word} stands there twice")
        changes[word] = _READERS[word](word, value)
    return changes


def is_due(changes: Changes, state: LoopState, *, once: bool) -> bool:
    """Tell whether a checkpoint is to be changed: always, or, with ``once``, unless it comes from this override."""
    return bool(changes) and not (once and state.override == text_of(changes))


def apply_override(changes: Changes, state: LoopState, *, total_steps: int) -> str:
    """Change the state and return what was changed, in words.

    Raises:
        ConfigError: the step is not below the length of the run.
    """
    said = []
    if (step := changes.get("step")) is not None:
        if step >= total_steps:
            raise ConfigError(f"override step={step:g} leaves nothing to train: the run has {total_steps} steps")
        said.append(f"step {state.step} becomes {step:g}")
        state.step = int(step)
    if (epoch := changes.get("epoch")) is not None:
        said.append(f"epoch {state.epoch}, image {state.sample} becomes epoch {epoch:g}, image 0")
        state.epoch, state.sample = int(epoch), 0
    if "best" in changes:
        said.append(f"the best accuracy {_shown(state.best_accuracy)} becomes {_shown(changes['best'])}")
        state.best_accuracy, state.best_step, state.highest = changes["best"], None, {}
        state.without_gain = 0
    if "optimizer" in changes:
        said.append("the states of the optimizer begin at zero")
        state.updates = {}
    state.override = text_of(changes)
    return "; ".join(said)


def text_of(changes: Changes) -> str:
    """Return the override in one spelling, in the order of the words."""
    return ",".join(f"{word}={_shown(changes[word])}" for word in _READERS if word in changes)


def _shown(value: Optional[float]) -> str:
    return "none" if value is None else f"{value:.15g}"


def _whole(word: str, value: str) -> float:
    if not value.isascii() or not value.isdigit() or len(value) > 15:
        raise ConfigError(f"override: {word} is {value!r}; a whole number, 0 or more, is needed")
    return float(value)


def _accuracy(word: str, value: str) -> Optional[float]:
    if value == "none":
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise ConfigError(f"override: {word} is {value!r}; none, or an accuracy from 0 to 1, is needed")
    return number


def _nothing(word: str, value: str) -> None:
    if value != "none":
        raise ConfigError(f"override: {word} is {value!r}; only none is possible: its states begin at zero")


_READERS = {"step": _whole, "epoch": _whole, "best": _accuracy, "optimizer": _nothing}
