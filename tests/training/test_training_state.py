"""The loop state by itself: which epoch a step belonged to, what is read from JSON, and the seeds of a step."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import paddle
import pytest

from arcface_paddle.errors import CheckpointError
from arcface_paddle.training.state import LoopState, seed_step


@pytest.mark.parametrize(
    ("step", "epoch", "sample", "latest"), [(0, 0, 0, 0), (1, 0, 4, 0), (2, 1, 0, 0), (3, 1, 4, 1), (1, 1, 0, 0)]
)
def test_the_latest_step_belongs_to_the_epoch_that_it_ended(step: int, epoch: int, sample: int, latest: int) -> None:
    assert LoopState(step=step, epoch=epoch, sample=sample).epoch_of_latest_step == latest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 0),
        ("step", 2**63 - 1),
        ("best_step", None),
        ("best_step", 0),
        ("best_accuracy", 1),
        ("best_accuracy", 0.5),
        ("trained_s", -sys.float_info.max),
        ("highest", {"lfw": 0.5, "cfp_fp": 1}),
        ("override", "epoch=1"),
    ],
)
def test_values_that_are_read(name: str, value: Any) -> None:
    state = LoopState.from_json({**LoopState().to_json(), name: value}, name="state.json")
    assert getattr(state, name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", -1),
        ("step", 2**63),
        ("step", 1.0),
        ("step", True),
        ("step", None),
        ("best_step", "5"),
        ("best_accuracy", float("inf")),
        ("trained_s", float("nan")),
        ("highest", [0.5]),
        ("highest", {"lfw": "0.5"}),
        ("override", 1),
    ],
)
def test_values_that_are_damaged(name: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"state.json: {name} is .*, which is damaged"):
        LoopState.from_json({**LoopState().to_json(), name: value}, name="state.json")


def test_the_generators_are_a_function_of_seed_step_and_rank() -> None:
    def drawn(*of: int) -> tuple[float, float, float]:
        seed_step(*of)
        return float(paddle.rand([1])[0]), float(np.random.rand()), random.random()

    first = drawn(1, 2, 0)
    assert drawn(1, 2, 0) == first
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        assert not set(drawn(*other)) & set(first)


def test_seeds_are_those_of_earlier_versions() -> None:
    """A run that goes on under another version has to draw what it would have drawn."""
    seed_step(3 * 2**30 + 5, 2, 3)
    drawn = np.random.rand(), random.random()
    mixed = 2**30 + 5 + 2 * 1_000_003 + 3 * 7_919
    np.random.seed(mixed)
    random.seed(mixed)
    assert (np.random.rand(), random.random()) == drawn


def test_an_epoch_ends_behind_its_last_full_step() -> None:
    state, seen = LoopState(), []
    for _ in range(4):
        state.advance(images=4, epoch_images=12)
        seen.append((state.step, state.epoch, state.sample))
    assert seen == [(1, 0, 4), (2, 0, 8), (3, 1, 0), (4, 1, 4)]
    state.advance(images=5, epoch_images=13)
    assert (state.epoch, state.sample) == (2, 0), "four images are left, which are no step"


def test_a_run_begins_with_nothing() -> None:
    numbers = {name: value for name, value in LoopState().to_json().items() if isinstance(value, (int, float))}
    assert set(numbers) == {
        "step",
        "epoch",
        "sample",
        "seed",
        "skipped",
        "skipped_in_a_row",
        "trained_s",
        "without_gain",
    }
    assert set(numbers.values()) == {0}


def test_fields_that_do_not_fit_are_named() -> None:
    values = LoopState().to_json()
    del values["sample"]
    with pytest.raises(CheckpointError, match=r"state\.json: the fields .* do not fit this version: later, sample$"):
        LoopState.from_json({**values, "later": 1}, name="state.json")
    with pytest.raises(CheckpointError, match=r"this version: later$"):
        LoopState.from_json({**LoopState().to_json(), "later": 1}, name="state.json")
    earlier = {name: value for name, value in LoopState(step=3).to_json().items() if name not in ("start", "updates")}
    assert LoopState.from_json(earlier, name="state.json") == LoopState(step=3)
    with pytest.raises(CheckpointError, match=r"state\.json: a list instead of the fields"):
        LoopState.from_json([], name="state.json")  # type: ignore[arg-type]
