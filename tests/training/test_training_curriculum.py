"""What grows with the step: values against a slow twin, what is refused, and words for the log."""

from __future__ import annotations

import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.training.config import config_from
from arcface_paddle.training.curriculum import Curriculum, Ramp, parse_ramps


def slow_value(step, total, *, first, begin, end):
    """The same ramp, walked from step to step."""
    value = first
    for at in range(step + 1):
        done = at / total
        if done >= end:
            return 1.0
        if done > begin:
            value = first + (1 - first) * (done - begin) / (end - begin)
    return value


@pytest.mark.parametrize(
    ("first", "begin", "end"), [(0.0, 0.0, 1.0), (0.3, 0.2, 0.7), (1.0, 0.0, 0.5), (0.1, 0.5, 0.51)]
)
def test_ramp_equals_the_slow_one_and_never_falls(first, begin, end):
    ramp = Ramp(first, begin, end)
    values = [ramp.value(step, 40) for step in range(50)]
    assert values == pytest.approx([slow_value(step, 40, first=first, begin=begin, end=end) for step in range(50)])
    assert values == sorted(values) and values[0] == first and values[-1] == 1.0


def test_runs_of_one_step_and_of_none_have_a_value():
    assert [Ramp(0.25, 0.0, 1.0).value(step, 1) for step in (0, 1)] == [0.25, 1.0]
    assert Ramp(0.25).value(0, 0) == 0.25


def test_parsing_defaults_and_words():
    ramps = parse_ramps(["augment", "Margin:0.2", "difficulty:0:0.1-0.6"])
    assert ramps == {"augment": Ramp(0.0, 0.0, 0.5), "margin": Ramp(0.2, 0.0, 0.5), "difficulty": Ramp(0.05, 0.1, 0.6)}
    assert parse_ramps(["margin:1:0.6", "augment:0:0-1"]) == {
        "margin": Ramp(1.0, 0.0, 0.6),
        "augment": Ramp(0.0, 0.0, 1.0),
    }
    assert Ramp() == Ramp(0.0, 0.0, 0.5)
    curriculum = Curriculum(ramps, 200)
    assert "margin 0.2 up to step 0, then growing to 1 at step 100" in curriculum.words()
    assert curriculum.scalars(50) == {
        "curriculum_augment": 0.5,
        "curriculum_margin": pytest.approx(0.6),
        "curriculum_difficulty": pytest.approx(0.335),
    }
    assert Curriculum({}, 10).value("margin", 0) == 1.0 and Curriculum({}, 10).words() == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"curriculum": "speed:0.1"}, "'speed:0.1' is not known; allowed: augment, margin, difficulty"),
        ({"curriculum": "margin,margin"}, "margin stands there twice"),
        ({"curriculum": "margin:2"}, "'2' in 'margin:2' is no share"),
        ({"curriculum": "margin:nan"}, "is no share"),
        ({"curriculum": "margin:-0.001"}, "is no share"),
        ({"curriculum": "margin:1.001"}, "is no share"),
        ({"curriculum": "margin:0:x-0.5"}, "'x' in 'margin:0:x-0.5' is no share"),
        ({"curriculum": "margin:0:0.5-0.5"}, r"grows from 0.5 to 0.5"),
        ({"curriculum": "margin:0:0.1-0.2:3"}, "has 3 values"),
        ({"curriculum": "augment"}, "curriculum augment makes --augment grow, of which there is none"),
        ({"curriculum": "margin", "loss": "Softmax"}, "and Softmax has none"),
        ({"curriculum": "margin", "loss": "CenterLoss"}, "and CenterLoss has none"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        config_from(values)
