"""The warning of a growing loss: on diverging runs, and on no other."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from test_training_runs import Listener, losses, settings
from tiny_data import write_dataset

from arcface_paddle.heads.margins import build_margin
from arcface_paddle.training.loss_watch import FlatWatch, LossWatch, chance_loss
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
    for lr in (2.0, 200_000.0):
        listener = Listener()
        train(settings(data, tmp_path / f"{lr}", lr=lr, **own), say=listener)
        warnings[lr] = [line for line in listener.lines if line.startswith("warning: the loss has grown")]
    assert warnings[2.0] == []
    assert len(warnings[200_000.0]) == 1, losses(tmp_path / "200000.0")
    assert "--lr 200000 is probably too large; try --lr 20000, or a longer --warmup_epochs" in warnings[200_000.0][0]


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [(40.0, 46.1, True), (40.0, 45.9, False), (20.0, 30.1, True), (20.0, 30.0, False)],
    ids=["by more than 15 %", "by less", "above chance", "at chance"],
)
def test_growth_right_at_its_bounds(before, now, told):
    curve = [before] * 10 + [now] * 20
    assert feed(curve) == ((29, 1) if told else (None, 0))
    assert feed(curve[:-1]) == (None, 0), "thirty intervals are needed"
    watch = LossWatch(chance=CHANCE, warmup_steps=0, switch_step=0)
    answers = [watch.growth(number, number + 1, loss) for number, loss in enumerate(curve)]
    assert answers[-1] == (pytest.approx((before, now)) if told else None)


@pytest.mark.parametrize(("start", "latest", "told"), [(4.8, 4.8, 1), (5.0, 4.8, 0), (0.0, 4.98, 1), (0.0, 5.1, 0)])
def test_growth_is_more_than_five_standard_errors_of_the_larger_spread(start, latest, told):
    """Ten values at 40 +- a and twenty at 50 +- a: the variance is a^2 10 / 9 and a^2 20 / 19, the share .1 + .05."""
    curve = [40.0 + start * (-1) ** number for number in range(10)] + [
        50.0 + latest * (-1) ** number for number in range(20)
    ]
    assert feed(curve)[1] == told


def test_twenty_intervals_behind_the_warm_up_are_needed():
    curve = [40.0] * 10 + [50.0] * 40
    assert feed(curve, warmup=100)[0] == 29
    assert feed(curve, warmup=101)[0] == 30  # the interval that begins at step 100 is not behind it
    assert feed(curve, warmup=200)[0] == 39


def test_an_interval_may_end_or_begin_at_the_switch():
    curve = [10.0] * 10 + [40.0] * 10 + [50.0] * 30
    assert feed(curve, switch=100)[0] == 39, "ten and twenty intervals behind the switch"
    assert feed(curve, switch=95)[0] == 39, "the interval from 90 to 100 holds both kinds"
    assert feed(curve, switch=91)[0] == 39
    assert feed(curve, switch=100, warmup=300)[0] == 49


def flat(pairs, *, full_rate=100, epoch=50, every=10):
    """Return the steps at which a flat run is told."""
    watch = FlatWatch(chance=10.0, full_rate_step=full_rate, steps_per_epoch=epoch)
    return [every * n for n, (loss, cosine) in enumerate(pairs, start=1) if watch.stands(every * n, loss, cosine)]


@pytest.mark.parametrize(
    ("pair", "told"), [((9.71, 0.049), True), ((9.69, 0.049), False), ((9.71, 0.051), False), ((9.69, 0.051), False)]
)
def test_a_flat_run_right_at_the_bounds(pair, told):
    assert flat([pair] * 60) == ([300] if told else []), "an epoch is at least 200 steps behind the full rate"


def test_a_flat_run_is_judged_behind_an_epoch_and_by_its_latest_intervals():
    bad, good = (9.9, 0.0), (5.0, 0.6)
    assert flat([bad] * 60, epoch=250) == [350]
    assert flat([bad] * 60, full_rate=0) == [200]
    assert flat([bad] * 60, every=30) == [300], "ten intervals are enough"
    assert flat([bad] * 60, every=31) == [310]
    assert flat([bad] * 60, every=100) == [1000], "and needed"
    assert flat([bad] * 15 + [good] * 60) == []
    assert flat([good] + [bad] * 60) == [300]
    assert flat([(0.0, 0.0)] + [(9.75, 0.0)] * 60, full_rate=0) == [210], "twenty intervals, of which the first is gone"
    assert flat([(math.nan, 0.0), (9.9, math.inf)] * 60) == []


def test_chance_of_a_focal_loss_is_that_of_its_formula():
    entropy = math.log(1000)
    expected = (1 - math.exp(-entropy)) ** 2 * entropy
    assert chance_loss(build_margin("Softmax"), 1000, focal_gamma=2.0) == pytest.approx(expected, rel=1e-6)


def test_a_long_run_takes_no_more_memory_than_a_short_one():
    watch = LossWatch(chance=CHANCE, warmup_steps=0, switch_step=0)
    tracemalloc.start()
    for step in range(3000):
        watch.growth(step, step + 1, 0.5 + step * 1e-9)
        if step == 100:
            before, _ = tracemalloc.get_traced_memory()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after < before + 5000
