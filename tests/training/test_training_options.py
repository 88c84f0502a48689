"""What options of the update do in a whole run: the optimizer on resume, the shrinking weight decay, the first line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_training_loggers import tensorboard_scalars
from test_training_runs import Listener, settings
from tiny_data import write_dataset

from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.training import run
from arcface_paddle.training.config import config_from
from arcface_paddle.training.run_log import read_metrics
from arcface_paddle.training.schedule import learning_rate
from arcface_paddle.training.step import RECORD_FIELDS, train_step
from arcface_paddle.training.trainer import train


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3)


def test_the_penalty_is_that_of_backbone_and_centres_and_shrinks(data, tmp_path):
    decay = 4.0
    config = settings(data, tmp_path, weight_decay=decay, weight_decay_shrink=0.5, decay_norm=False, sample_rate=0.4)
    own = run.build_run(config, say=Listener())
    coefficient = 1.0
    with own.loader:
        for step, batch in zip(range(2), own.loader.epoch(0)):
            centres = own.classifier.weight()
            squares = sum(
                float((weight.numpy().astype(np.float64) ** 2).sum())
                for weight in own.network.parameters()
                if weight.ndim > 1  # a vector is a slope, or of a normalisation
            )
            rows = own.classifier.choose_classes(batch.labels, step=step).rows
            squares += float((centres[rows].astype(np.float64) ** 2).sum())
            record = dict(zip(RECORD_FIELDS, train_step(own, [batch]).numpy().tolist()))
            own.state.advance(images=12, epoch_images=30)
            assert record["reg_coef"] == coefficient
            assert record["reg_loss"] == pytest.approx(coefficient * decay / 2 * squares, rel=1e-4)
            if record["reg_loss"] > record["loss"]:
                coefficient *= 0.5
    assert coefficient == 0.25  # the penalty of fresh weights is above the loss at this decay


@pytest.mark.parametrize("accumulation", [1, 2])
def test_clipping_sees_backbone_and_centres_and_nothing_twice(data, tmp_path, accumulation):
    """Without momentum before and without decay, what a step changes is its rate times the clipped gradient."""

    def stepped(clip_norm: float) -> tuple[float, float]:
        asked = {"clip_norm": clip_norm, "weight_decay": 0.0, "warmup_steps": 0, "sample_rate": 1.0}
        sizes = {"accumulation": accumulation, "batch_size": 12 // accumulation}
        own = run.build_run(settings(data, tmp_path / str(clip_norm), **asked, **sizes), say=Listener())
        trained = [weight for weight in own.network.parameters() if not weight.stop_gradient]
        before = [*map(np.array, trained), own.classifier.weight()]
        with own.loader:
            batches = [batch for _, batch in zip(range(accumulation), own.loader.epoch(0))]
            record = dict(zip(RECORD_FIELDS, train_step(own, batches).numpy().tolist()))
        after = [*map(np.array, trained), own.classifier.weight()]
        squares = sum(np.square(a.astype(np.float64) - b).sum() for a, b in zip(after, before))
        return record["gradient_norm"], float(np.sqrt(squares)) / learning_rate(own.schedule, 0)

    norm, changed = stepped(0.0)
    assert norm == pytest.approx(changed, rel=1e-3)
    clipped_norm, changed = stepped(norm / 4)
    assert clipped_norm == pytest.approx(norm, rel=1e-4)
    assert changed == pytest.approx(norm / 4, rel=1e-3)


def test_a_shrinking_decay_is_logged_and_a_fixed_one_is_not(data, tmp_path):
    listener = Listener()
    shrinking = {"weight_decay": 4.0, "weight_decay_shrink": 0.8}
    shown = {"logger": "visualdl,tensorboard", "logdir": str(tmp_path / "log")}
    train(settings(data, tmp_path / "a", steps=2, **shrinking, **shown), say=listener)
    assert any("Reg loss: " in line and line.endswith("Reg coef: 0.8000") for line in listener.lines)
    rows = read_metrics(tmp_path / "a")
    assert [round(row["reg_coef"], 6) for row in rows] == [1.0, 0.8]
    scalars = tensorboard_scalars(tmp_path / "log")
    assert [scalars["reg_coef", step] for step in (1, 2)] == pytest.approx([1.0, 0.8])
    listener = Listener()
    train(settings(data, tmp_path / "b", steps=1), say=listener)
    assert "Reg " not in listener and "reg_coef" not in read_metrics(tmp_path / "b")[0]


def test_another_optimizer_on_resume_is_refused_and_sgd_bn_is_sgd(data, tmp_path):
    train(settings(data, tmp_path, steps=1, nesterov=True), say=Listener())
    with pytest.raises(CheckpointError, match=r"was made with optimizer sgd, this run has adamw: continue with that"):
        train(settings(data, tmp_path, steps=2, resume=True, optimizer="adamw"), say=Listener())
    outcome = train(settings(data, tmp_path, steps=2, resume=True, optimizer="sgd_bn"), say=Listener())
    assert outcome.state.step == 2


def test_sgd_bn_is_sgd_without_decay_of_norms(data, tmp_path):
    choices = ({"optimizer": "sgd_bn"}, {"decay_norm": False}, {})
    runs = [run.build_run(settings(data, tmp_path, **changes), say=Listener()) for changes in choices]
    word, flag, plain = (float(own.optimizer.decayed_square_sum()) for own in runs)
    assert word == flag < plain


def test_wrong_words_of_the_optimizer():
    with pytest.raises(ConfigError, match="optimizer is 'lamb'; allowed: sgd, sgd_bn, adam, amsgrad, adamw"):
        config_from({"optimizer": "lamb"})
    with pytest.raises(ConfigError, match="nesterov is a variant of optimizer sgd; with optimizer adam leave it out"):
        config_from({"optimizer": "adam", "nesterov": True})


def test_the_first_line_says_how_the_rate_is_scaled_and_warns_of_a_rate_meant_for_sgd(data, tmp_path):
    listener = Listener()
    train(settings(data, tmp_path, steps=1, lr=0.1, optimizer="adam"), say=listener)
    assert listener.lines[0].endswith("1 steps; lr 0.1 x 12 images / 512 = 0.00234375")
    assert "--lr 0.1 is usual for sgd; adam moves every weight by about the learning rate in each step" in listener
    listener = Listener()
    train(settings(data, tmp_path / "sgd", steps=1, lr=0.1), say=listener)
    assert "is usual for sgd" not in listener
