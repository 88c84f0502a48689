"""What the heads keep of a class: options that contradict each other, checkpoints of wider rows and feature centres."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.heads.margins import MARGINS, build_margin
from arcface_paddle.training import checkpoint
from arcface_paddle.training.checkpoint import ClassifierShard, RunIdentity, Snapshot, save_checkpoint
from arcface_paddle.training.config import WITHOUT_COSINES, config_from
from arcface_paddle.training.loss_watch import chance_loss
from arcface_paddle.training.restore import RowRange, restore
from arcface_paddle.training.state import LoopState

IDENTITY = RunIdentity(network="net", embedding_size=4, num_classes=6, global_batch=8, epoch_images=100)


def array(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def save(output, shard: ClassifierShard):
    backbone = {"conv.weight": array(3, 2)}
    snapshot = Snapshot(IDENTITY, LoopState(step=7, seed=5), backbone, backbone, shard)
    return save_checkpoint(output, snapshot, keep_last=3)


def read(output, rows: RowRange):
    return restore(output, IDENTITY, rows, say=pytest.fail)


def test_rows_of_subcentres_and_feature_centres_are_read_by_any_rank(tmp_path):
    shard = ClassifierShard(0, array(6, 12), 2 * array(6, 12), feature_centres=3 * array(6, 4))
    save(tmp_path, shard)
    for start, stop in ((0, 6), (1, 4), (4, 6)):
        restored = read(tmp_path, RowRange(start, stop, width=12, feature_centres=True))
        np.testing.assert_array_equal(restored.shard.weight, shard.weight[start:stop])
        np.testing.assert_array_equal(restored.shard.momentum, shard.momentum[start:stop])
        np.testing.assert_array_equal(restored.shard.feature_centres, shard.feature_centres[start:stop])
        assert restored.missing == ()
    assert read(tmp_path, RowRange(0, 6, width=12)).shard.feature_centres is None


def test_another_number_of_subcentres_is_refused_by_name(tmp_path):
    save(tmp_path, ClassifierShard(0, array(6, 12), array(6, 12)))
    with pytest.raises(CheckpointError, match=r"shape \(6, 12\); needed: \(6, 4\).*--subcentres"):
        read(tmp_path, RowRange(0, 6))


def test_a_centre_loss_that_begins_on_resuming_is_said(tmp_path):
    save(tmp_path, ClassifierShard(0, array(6, 4), array(6, 4)))
    restored = read(tmp_path, RowRange(0, 6, feature_centres=True))
    assert restored.shard.feature_centres is None
    assert restored.missing == ("centres of the centre loss, which start at random",)


def test_damaged_feature_centres_are_found(tmp_path):
    folder = save(tmp_path, ClassifierShard(0, array(6, 4), array(6, 4), feature_centres=array(6, 4)))
    path = folder / checkpoint.feature_centres_name(0)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints is sound"):
        restore(tmp_path, IDENTITY, RowRange(0, 6, feature_centres=True), say=lambda _line: None)


def test_losses_without_cosines_are_those_of_the_heads():
    assert set(WITHOUT_COSINES) == {name for name in MARGINS if not build_margin(name).on_cosines}


def test_what_the_options_of_the_losses_stand_for():
    plain = config_from({}).classifier
    assert (plain.gamma, plain.centre_factor) == (0.0, 0.0)
    assert config_from({"total_loss": "focal"}).classifier.gamma == 2.0
    assert config_from({"total_loss": "focal", "focal_gamma": "0.5"}).classifier.gamma == 0.5
    assert config_from({"loss": "CenterLoss"}).classifier.centre_factor == 1.0
    assert config_from({"loss": "CenterLoss", "centre_weight": 0.003}).classifier.centre_factor == 0.003
    assert config_from({"centre_weight": 0.003, "centre_alpha": 0.1}).classifier.centre_factor == 0.003


def test_words_for_the_log():
    assert config_from({"loss": "CosFace"}).classifier.words == "CosFace"
    options = {"subcentres": 3, "total_loss": "focal", "centre_weight": 0.01}
    words = "ArcFace + 3 sub-centres + focal (gamma 2) + centre loss (weight 0.01)"
    assert config_from(options).classifier.words == words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"focal_gamma": 2.0}, "--total_loss focal"),
        ({"centre_alpha": 0.5}, "--centre_weight"),
        ({"loss": "CenterLoss", "centre_weight": 0}, "--loss NormHead"),
        ({"loss": "NormHead", "softmax_steps": 10}, "no margin"),
        ({"total_loss": "mean"}, "softmax, focal"),
        ({"subcentres": 0}, "at least 1"),
        ({"combined": [1, 2]}, "m1,m2,m3"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        config_from(options)


def test_chance_of_the_focal_loss_is_that_of_its_formula():
    entropy = chance_loss(build_margin("CosFace"), 1000)
    assert chance_loss(build_margin("CosFace"), 1000, focal_gamma=2.0) == pytest.approx(
        (1 - np.exp(-entropy)) ** 2 * entropy
    )
    assert chance_loss(build_margin("NormHead"), 1000) == pytest.approx(np.log(1000))
