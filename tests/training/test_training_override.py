"""--override: what each word does to a run that goes on, and that nothing is lost by it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_training_runs import Listener, losses, saved_files, settings
from tiny_data import write_dataset

from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.training import beginning
from arcface_paddle.training.checkpoint import list_checkpoints
from arcface_paddle.training.config import config_from
from arcface_paddle.training.override import apply_override, is_due, parse_override, text_of
from arcface_paddle.training.state import LoopState
from arcface_paddle.training.trainer import train
from arcface_paddle.weight_files import read_state_dict


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    """A run of 3 steps, two of them in epoch 0, with checkpoints of steps 2 and 3."""
    output = tmp_path_factory.mktemp("finished")
    train(settings(data, output, steps=3, save_every=2), say=Listener())
    return output


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def state_of(output: Path) -> dict:
    return json.loads((list_checkpoints(output)[0][1] / "state.json").read_text())


def earlier(output: Path) -> list[Path]:
    return sorted(output.glob("earlier_*"))


def test_every_word_changes_what_it_says_zero_included():
    state = LoopState(step=7, epoch=3, sample=24, highest={"lfw": 0.9}, best_accuracy=0.9, best_step=5)
    state.without_gain = 3
    said = apply_override(parse_override(["step=0", "epoch=0", "best=none"]), state, total_steps=9)
    assert (state.step, state.epoch, state.sample) == (0, 0, 0)
    assert (state.best_accuracy, state.best_step, state.highest) == (None, None, {})
    assert state.without_gain == 0
    assert said == ("step 7 becomes 0; epoch 3, image 24 becomes epoch 0, image 0; the best accuracy 0.9 becomes none")
    assert state.override == "step=0,epoch=0,best=none"


def test_a_word_alone_leaves_the_rest():
    state = LoopState(step=7, epoch=3, sample=24, highest={"lfw": 0.9}, best_accuracy=0.9, best_step=5)
    apply_override(parse_override(["step = 2"]), state, total_steps=9)
    assert (state.step, state.epoch, state.sample, state.best_accuracy) == (2, 3, 24, 0.9)
    apply_override(parse_override(["monitor=0.75"]), state, total_steps=9)
    assert (state.step, state.best_accuracy) == (2, 0.75)
    with pytest.raises(ConfigError, match="override step=9 leaves nothing to train: the run has 9 steps"):
        apply_override(parse_override(["step=9"]), state, total_steps=9)


def test_values_right_at_their_bounds():
    assert parse_override(["step=" + "9" * 15, "epoch=0"]) == {"step": 10.0**15 - 1, "epoch": 0.0}
    assert [parse_override([f"best={value}"])["best"] for value in ("0", "1")] == [0.0, 1.0]
    for wrong in ("step=" + "9" * 16, "step=", "step=\u0663", "best=-0.001", "best=1.001", "best="):
        with pytest.raises(ConfigError, match="override: "):
            parse_override([wrong])


def test_states_of_the_optimizer_begin_anew():
    state = LoopState(step=7, updates={"count": 4.0}, without_gain=2)
    said = apply_override(parse_override(["optimizer=none"]), state, total_steps=9)
    assert said == "the states of the optimizer begin at zero" and state.updates == {}
    assert (state.step, state.without_gain, state.override) == (7, 2, "optimizer=none")
    assert apply_override(parse_override(["step=8"]), state, total_steps=9) == "step 7 becomes 8"


def test_once_is_once_and_always_is_always():
    changes = parse_override(["Best=None", "step=0"])
    assert text_of(changes) == "step=0,best=none"
    fresh, changed = LoopState(), LoopState(override="step=0,best=none")
    assert is_due(changes, fresh, once=True) and is_due(changes, changed, once=False)
    assert not is_due(changes, changed, once=True) and not is_due({}, fresh, once=False)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("step", "'step' is not understood; allowed: step=N, epoch=N, best=none or an accuracy, optimizer=none"),
        ("steps=1", "'steps=1' is not understood"),
        ("step=-1", "step is '-1'; a whole number, 0 or more, is needed"),
        ("step=1.5", "a whole number"),
        ("epoch=none", "epoch is 'none'; a whole number"),
        ("best=2", "best is '2'; none, or an accuracy from 0 to 1"),
        ("best=nan", "none, or an accuracy"),
        ("best=0.5,monitor=none", "best stands there twice"),
        ("optimizer=adam", "only none is possible"),
    ],
)
def test_wrong_words_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        config_from({"override": override, "resume": "1"})


def test_an_override_needs_a_run_that_goes_on(data, tmp_path):
    with pytest.raises(ConfigError, match="needs --resume 1 or --resume auto"):
        config_from({"override": "step=0"})
    listener = Listener()
    train(settings(data, tmp_path, steps=1, resume="auto", override="step=0"), say=listener)
    assert "nothing to resume from" in listener and state_of(tmp_path)["override"] == ""


def test_step_zero_trains_all_steps_again_from_the_weights_and_sets_the_first_round_aside(data, finished, copy):
    listener = Listener()
    changes = {"steps": 2, "resume": "auto", "override": "step=0,epoch=0,best=none"}
    outcome = train(settings(data, copy, **changes), say=listener)
    assert outcome.state.step == 2
    assert "override step=0,epoch=0,best=none: step 3 becomes 0; epoch 1, image 12 becomes epoch 0, image 0" in listener
    assert sorted(losses(copy)) == [1, 2]
    assert losses(copy)[1] != losses(finished)[1]  # the same images and rate, other weights
    assert [step for step, _ in list_checkpoints(copy)] == [2, 0]
    (aside,) = earlier(copy)
    assert losses(aside) == losses(finished)
    assert [saved_files(aside, step) for step in (2, 3)] == [saved_files(finished, step) for step in (2, 3)]
    assert (aside / "training.log").read_text() == (finished / "training.log").read_text()
    weights = [
        read_state_dict(folder / "MobileFaceNet_128.pdparams") for folder in (aside, list_checkpoints(copy)[1][1])
    ]
    for key, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][key])

    listener = Listener()
    outcome = train(settings(data, copy, **{**changes, "steps": 3}), say=listener)
    assert "not applied again" in listener
    assert outcome.state.step == 3 and sorted(losses(copy)) == [1, 2, 3] and earlier(copy) == [aside]


@pytest.mark.parametrize("moment", ["save_checkpoint", "set_aside_earlier_run"])
def test_killed_while_going_back_nothing_is_lost(data, finished, copy, monkeypatch, moment):
    class KilledError(BaseException):
        """Stands for kill -9: nothing catches it, nothing is tidied up."""

    def die(*_args, **_kwargs):
        raise KilledError

    changes = {"steps": 3, "resume": True, "override": "step=2"}  # a checkpoint of step 2 is there
    with monkeypatch.context() as patch:
        patch.setattr(beginning, moment, die)
        with pytest.raises(KilledError):
            train(settings(data, copy, **changes), say=Listener())
    outcome = train(settings(data, copy, **changes), say=Listener())
    assert outcome.state.step == 3
    kept = {step: saved_files(aside, step) for aside in earlier(copy) for step, _ in list_checkpoints(aside)}
    assert kept[3] == saved_files(finished, 3)
    assert any(saved_files(aside, 2) == saved_files(finished, 2) for aside in earlier(copy) if list_checkpoints(aside))


def test_best_alone_sets_nothing_aside(data, copy):
    train(settings(data, copy, steps=4, resume=True, override="best=0.875"), say=Listener())
    assert state_of(copy)["best_accuracy"] == 0.875 and not earlier(copy)
    assert sorted(losses(copy)) == [1, 2, 3, 4]


def test_another_optimizer_goes_on_where_the_states_are_left_behind(data, copy):
    with pytest.raises(CheckpointError, match="--override optimizer=none"):
        train(settings(data, copy, steps=4, resume=True, optimizer="adam", lr=0.01), say=Listener())
    changes = {"resume": "auto", "override": "optimizer=none", "optimizer": "adam", "lr": 0.01}
    train(settings(data, copy, steps=4, **changes), say=Listener())
    assert state_of(copy)["updates"] == {"count": 1.0}
    train(settings(data, copy, steps=5, **changes), say=Listener())
    assert state_of(copy)["updates"] == {"count": 2.0}  # the second time the states are kept
