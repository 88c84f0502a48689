"""The warning of a growing loss: on diverging runs, and on no other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_training_runs import Listener, losses, settings
from tiny_data import write_dataset

from arcface_paddle.heads.margins import build_margin
from arcface_paddle.training.loss_watch import LossWatch, chance_loss
from arcface_paddle.training.trainer import train

CHANCE = 30.0


def feed(curve, *, every=10, warmup=0, switch=0, chance=CHANCE):
    """Return the interval at which growth is told, and how often it is."""
    watch = LossWatch(chance=chance, warmup_steps=warmup, switch_step=switch)
    told = [
        number
        for number, loss in enumerate(curve)
        if watch.growth(number * every, (number + 1) * every, float(loss)) is not None
    ]
    return (told[0] if told else None), len(told)


def noisy(levels, *, share=0.1, seed=0):
    levels = np.asarray(levels, float)
    return levels * (1.0 + share * np.random.default_rng(seed).normal(size=len(levels)))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("Softmax", math.log(1000)),
        ("ArcFace", math.log(1000) + 64 * math.sin(0.5)),
        ("CosFace", math.log(1000) + 64 * 0.35),
        ("SphereFace", math.log(1000) - 64 * math.cos(1.35 * math.pi / 2)),
    ],
)
def test_chance_loss_by_formula(loss, expected):
    assert chance_loss(build_margin(loss), 1000) == pytest.approx(expected, rel=1e-5)


def test_growth_is_told_once():
    first, count = feed(noisy([44.0] * 20 + [55.0] * 200, share=0.05))
    assert 29 <= first < 45
    assert count == 1


@pytest.mark.parametrize(
    "curve",
    [
        [*np.linspace(44, 5, 100)],
        [44.0] * 300,
        [*np.linspace(44, 50, 5), *np.linspace(50, 20, 100)],
        [*np.linspace(2, 25, 100)],
        [44.0] * 50 + [200.0] + [44.0] * 50,
        [44.0] * 30 + [math.nan] * 30 + [44.0] * 30,
    ],
    ids=["learning", "standing still", "a rise at first", "growing below chance", "one bad interval", "nan"],
)
def test_other_curves_are_silent(curve):
    for seed in range(50):
        assert feed(noisy(curve, seed=seed))[1] == 0


def test_small_batches_that_learn_nothing_are_silent():
    """20 % of noise per interval, a thousand runs of 200 intervals."""
    assert sum(feed(noisy([44.0] * 200, share=0.2, seed=seed))[1] for seed in range(1000)) <= 2


def test_the_switch_from_softmax_to_the_margin_is_no_growth():
    curve = [*np.linspace(9, 2, 40), *np.linspace(35, 10, 60)]
    assert feed(noisy(curve), switch=400)[1] == 0
    assert feed(noisy(curve), switch=405)[1] == 0, "one interval holds both kinds"
    assert feed(noisy(curve))[1] == 1, "the same curve without a switch is growth"


def test_growth_behind_the_switch_is_told():
    curve = [*np.linspace(9, 2, 40), *[35.0] * 15, *[50.0] * 30]
    assert feed(noisy(curve, share=0.05), switch=400)[1] == 1


def test_warm_up_is_not_judged():
    curve = [40.0] * 10 + [50.0] * 40 + [20.0] * 30
    assert feed(curve, warmup=450)[1] == 0
    assert feed(curve, warmup=100)[1] == 1


def test_a_run_with_a_huge_rate_is_warned_of_and_a_sound_one_is_not(tmp_path):
    data = write_dataset(tmp_path / "data", identities=20, pictures=6)
    own = {"embedding_size": 128, "batch_size": 20, "steps": 60, "warmup_steps": 20, "decay": "constant"}
    warnings = {}
    for lr in (2.0, 20_000.0):
        listener = Listener()
        train(settings(data, tmp_path / f"{lr}", lr=lr, **own), say=listener)
        warnings[lr] = [line for line in listener.lines if line.startswith("warning: the loss has grown")]
    assert warnings[2.0] == []
    assert len(warnings[20_000.0]) == 1, losses(tmp_path / "20000.0")
    assert "--lr 20000 is probably too large; try --lr 2000, or a longer --warmup_epochs" in warnings[20_000.0][0]
