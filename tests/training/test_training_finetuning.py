"""Fine-tuning that does not forget: centres from means, a slower backbone, the pull to the start, early stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from test_training_runs import Listener, losses, saved_files, saved_state, settings
from tiny_data import write_dataset

from arcface_paddle import safe_pickle
from arcface_paddle.backbones import build_backbone
from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.evaluation.embedder import network_embedder
from arcface_paddle.heads.update_rules import UpdateRule
from arcface_paddle.training import run
from arcface_paddle.training.checkpoint import list_checkpoints
from arcface_paddle.training.config import config_from
from arcface_paddle.training.first_centres import centres_of, choose_pictures, set_first_centres
from arcface_paddle.training.optimizer import FlatOptimizer, judge_gradient
from arcface_paddle.training.run_log import read_metrics
from arcface_paddle.training.trainer import train
from arcface_paddle.weight_files import read_state_dict, write_state_dict

NETWORK = "MobileFaceNet_128.pdparams"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3, pairs=20)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """Weights of the small network of the tests, as those of an earlier training."""
    paddle.seed(5)
    network = build_backbone("MobileFaceNet_128", embedding_size=8, width=0.125)
    path = tmp_path_factory.mktemp("start") / NETWORK
    write_state_dict(path, {key: value.numpy() for key, value in network.state_dict().items()})
    return path


def tuned(data: Path, output: Path, start: Path, **changes):
    return settings(data, output, **{"pretrained": str(start), "batch_norm": "frozen", "lr": 0.2, **changes})


def centres(output: Path, step: int) -> np.ndarray:
    name = "rank_0_softmax_weight.pkl"
    content = (output / "checkpoints" / f"step_{step:08d}" / name).read_bytes()
    return safe_pickle.load_arrays(content, name=name)


def test_the_centres_start_as_the_means_of_unit_embeddings(data, tmp_path, start):
    own = run.build_run(tuned(data, tmp_path, start, centre_pictures=2), say=Listener())
    listener = Listener()
    set_first_centres(own, say=listener)
    assert "mean embeddings of their pictures, 2 at most of each" in listener
    assert own.network.training

    own.network.eval()
    dataset = own.loader.dataset
    pictures, labels = choose_pictures(dataset.labels, range(10), most=2, seed=3)
    assert np.bincount(labels, minlength=10).tolist() == [2] * 10
    features = network_embedder(own.network).embed(np.stack([dataset.read_image(index) for index in pictures]))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for label in range(10):  # the slow, obvious way
        mean = unit[labels == label].mean(axis=0)
        np.testing.assert_allclose(own.classifier.weight()[label], mean / np.linalg.norm(mean), atol=2e-6)


def test_the_choice_of_pictures_depends_on_class_and_seed_alone():
    labels = np.random.default_rng(0).integers(0, 7, 200)
    samples, own = choose_pictures(labels, range(7), most=5, seed=1)
    parts = [choose_pictures(labels, classes, most=5, seed=1)[0] for classes in (range(4), range(4, 7))]
    np.testing.assert_array_equal(samples, np.concatenate(parts))
    np.testing.assert_array_equal(own, labels[samples])
    assert np.bincount(own).max() == 5 and len(set(samples.tolist())) == len(samples)
    assert choose_pictures(labels, range(7), most=5, seed=2)[0].tolist() != samples.tolist()
    every, _ = choose_pictures(labels, range(7), most=200, seed=1)
    assert sorted(every.tolist()) == list(range(200))


def test_classes_without_pictures_keep_the_drawn_centre_and_subcentres_fall_back_to_the_whole_class():
    sums = np.zeros((3, 2, 2))
    sums[0] = [[3.0, 0.0], [0.0, 2.0]]
    sums[1, 0] = [0.0, -4.0]  # one picture, two sub-centres
    drawn = np.full((3, 4), 0.5, np.float32)
    rows, found = centres_of(sums, drawn)
    assert rows.tolist() == [[1, 0, 0, 1], [0, -1, 0, -1], [0.5, 0.5, 0.5, 0.5]]
    assert found.tolist() == [True, True, False]


def test_an_unreadable_picture_is_left_out_of_its_mean(tmp_path, start):
    broken = write_dataset(tmp_path / "data", identities=4, pictures=3)
    (broken / "images" / "00000003.bin").write_bytes(b"no record")
    listener = Listener()
    for identity in (1, 5, 9):  # all of the second identity
        (broken / "images" / f"{identity:08d}.bin").unlink()
    own = run.build_run(tuned(broken, tmp_path, start, batch_size=4), say=Listener())
    before = own.classifier.weight()
    set_first_centres(own, say=listener)
    assert "1 classes have no readable picture and start at random" in listener
    lengths = np.linalg.norm(own.classifier.weight(), axis=1)
    np.testing.assert_allclose(lengths[[0, 2, 3]], 1.0, rtol=1e-6)
    np.testing.assert_array_equal(own.classifier.weight()[1], before[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"first_centres": "random"}, "start at random"), ({"loss": "NormHead"}, "start at random")],
)
def test_centres_start_at_random_where_asked_or_where_there_are_no_cosines(data, tmp_path, start, changes, said):
    own = run.build_run(tuned(data, tmp_path, start, **changes), say=Listener())
    before, listener = own.classifier.weight(), Listener()
    set_first_centres(own, say=listener)
    assert said in listener
    np.testing.assert_array_equal(own.classifier.weight(), before)


def test_everything_together_stopped_and_resumed_is_the_uninterrupted_run_bit_for_bit(data, tmp_path, start):
    changes = {
        "backbone_lr_scale": 0.25,
        "l2_to_start": 2.0,
        "early_stop": 2,
        "validate_every": 2,
        "steps": 5,
        "val_targets": "val",
        "fp16": True,
        "lr": 1e-4,  # too small to gain anything
        "save_every": 1,
        "keep_last": 2,
    }
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(tuned(data, whole, start, **changes), say=Listener()).state.step >= 4
    outcome = train(tuned(data, parts, start, **changes), say=Listener("Global Step: 3 "))
    assert (outcome.reason, outcome.state.step) == ("stopped", 3)  # between validations: the counter must survive
    outcome = train(tuned(data, parts, start, resume=True, **changes), say=Listener())
    last = outcome.state.step
    assert list_checkpoints(whole)[0][0] == last
    assert saved_files(parts, last) == saved_files(whole, last)
    assert saved_state(parts, last) == saved_state(whole, last)
    assert losses(parts) == losses(whole)


class _Falling:
    """Verification results whose accuracy is given, in place of a network that gets better and worse on demand."""

    def __init__(self, accuracies):
        self.accuracies = list(accuracies)

    def __call__(self, results):
        return self.accuracies.pop(0)


def test_patience_ends_the_run_and_the_best_checkpoint_stays_and_resumes(data, tmp_path, start, monkeypatch):
    """The measure is replaced by a list; all else, counter, checkpoints, end and best network, is real."""
    monkeypatch.setattr("arcface_paddle.training.trainer.mean_accuracy", _Falling([0.7, 0.8, 0.75, 0.8]))
    options = {"early_stop": 2, "validate_every": 1, "val_targets": "val", "save_every": 1, "keep_last": 1}
    listener = Listener()
    outcome = train(tuned(data, tmp_path / "out", start, **options), say=listener)
    assert (outcome.reason, outcome.state.step, outcome.state.without_gain) == ("patience", 3, 2)
    assert (outcome.state.best_accuracy, outcome.state.best_step) == (0.8, 1)
    assert "no gain in 2 validations: ended at step 3" in listener
    assert "the best, with accuracy 0.8000, is that of step 1" in listener
    assert [step for step, _ in list_checkpoints(tmp_path / "out")] == [3, 1]  # one is kept, and the best
    best = json.loads((tmp_path / "out" / "best" / "best.json").read_text())
    assert (best["step"], best["accuracy"]) == (1, 0.8)
    kept = read_state_dict(list_checkpoints(tmp_path / "out")[1][1] / NETWORK)
    for key, array in read_state_dict(tmp_path / "out" / "best" / NETWORK).items():
        np.testing.assert_array_equal(array, kept[key])

    again = train(tuned(data, tmp_path / "out", start, resume=True, **options), say=Listener())
    assert (again.reason, again.state.step) == ("patience", 3)  # at once: nothing has changed

    restored = tmp_path / "restored"  # the best one goes on by itself, with its momentum and centres
    shutil.copytree(list_checkpoints(tmp_path / "out")[1][1], restored / "checkpoints" / "step_00000001")
    monkeypatch.setattr("arcface_paddle.training.trainer.mean_accuracy", _Falling([0.9]))
    gone_on = train(tuned(data, restored, start, resume=True, **{**options, "steps": 2}), say=Listener())
    assert (gone_on.state.step, gone_on.state.best_accuracy, gone_on.state.without_gain) == (2, 0.9, 0)


def test_the_start_can_be_the_best(data, tmp_path, start, monkeypatch):
    monkeypatch.setattr("arcface_paddle.training.trainer.mean_accuracy", _Falling([0.9, 0.8]))
    options = {"early_stop": 1, "validate_every": 1, "val_targets": "val"}
    outcome = train(tuned(data, tmp_path, start, **options), say=Listener())
    assert (outcome.reason, outcome.state.step, outcome.state.best_step) == ("patience", 1, 0)
    for key, array in read_state_dict(tmp_path / "best" / NETWORK).items():
        np.testing.assert_array_equal(array, read_state_dict(start)[key])


def test_a_rate_of_zero_leaves_the_backbone_alone_and_the_log_names_both_rates(data, tmp_path, start):
    listener = Listener()
    train(tuned(data, tmp_path, start, backbone_lr_scale=0.0, steps=2), say=listener)
    for key, array in read_state_dict(tmp_path / NETWORK).items():
        np.testing.assert_array_equal(array, read_state_dict(start)[key], err_msg=key)
    assert "lr_backbone_value: 0.000000, lr_pfc_value: 0.00" in listener
    assert [row["backbone_rate"] for row in read_metrics(tmp_path)] == [0.0, 0.0]
    assert read_metrics(tmp_path)[1]["learning_rate"] > 0


@pytest.mark.parametrize("alignment", [None, 64])
@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
def test_the_pull_takes_a_share_of_the_way_back_whatever_the_rule(rule, alignment):
    """Without a gradient the distance from the start shrinks by 1 - lr x pull in every step, and nothing else moves."""
    network = paddle.nn.Linear(3, 2)
    optimizer = FlatOptimizer(network, UpdateRule(rule), pull_to_start=2.0, alignment=alignment)
    # Where the weights lie does not change the word for the start.
    assert optimizer.start_digest() == FlatOptimizer(network, UpdateRule(rule), pull_to_start=1.0).start_digest() != ""
    first = network.weight.numpy().copy()
    network.weight.set_value(first + 1.0)
    bias = network.bias.numpy().copy()
    for step in range(1, 4):
        gradients = optimizer.collect_gradients()
        verdict = judge_gradient(paddle.zeros([]), loss_scale=paddle.ones([]), clip_norm=5.0)
        optimizer.apply(gradients, verdict, 0.1)
        np.testing.assert_allclose(network.weight.numpy() - first, 0.8**step, rtol=1e-5)
    np.testing.assert_array_equal(network.bias.numpy(), bias)
    broken = judge_gradient(paddle.to_tensor(np.nan), loss_scale=paddle.ones([]), clip_norm=5.0)
    optimizer.apply(gradients, broken, 0.1)
    np.testing.assert_allclose(network.weight.numpy() - first, 0.8**3, rtol=1e-5)


def test_another_start_on_resume_is_refused(data, tmp_path, start):
    pulled = {"l2_to_start": 1.0, "steps": 1}
    mine = tmp_path / NETWORK
    shutil.copyfile(start, mine)
    train(tuned(data, tmp_path / "out", mine, **pulled), say=Listener())
    arrays = {key: array + 0.1 for key, array in read_state_dict(start).items()}
    write_state_dict(mine, arrays)
    with pytest.raises(CheckpointError, match="l2_to_start pulls to the weights that the run began with"):
        train(tuned(data, tmp_path / "out", mine, resume=True, **{**pulled, "steps": 2}), say=Listener())


def test_means_of_a_network_that_knows_no_faces_are_refused(data, tmp_path):
    path = tmp_path / "mobilenet_v3_small_x1.0.pdparams"
    paddle.save(paddle.vision.models.mobilenet_v3_small(num_classes=10).state_dict(), str(path))
    asked = {"network": "MobileNetV3_small", "width": 1.0, "pretrained": str(path), "first_centres": "mean", "steps": 1}
    with pytest.raises(ConfigError, match="has learnt ImageNet and no faces"):
        train(settings(data, tmp_path / "run", **asked), say=Listener())


def test_options_that_would_do_nothing_are_refused(data, tmp_path, start):
    with pytest.raises(ConfigError, match=r"first_centres mean: an untrained network"):
        config_from({"first_centres": "mean"})
    for changes in ({"loss": "NormHead"}, {"teacher": "MobileFace"}):
        with pytest.raises(ConfigError, match=r"first_centres mean: this run has no class centres"):
            config_from({"first_centres": "mean", "pretrained": str(start), **changes})
    with pytest.raises(ConfigError, match=r"l2_to_start is 0\.5: the weights to stay near are those of --pretrained"):
        config_from({"l2_to_start": 0.5})
    with pytest.raises(ConfigError, match="early_stop is 2, but validate_every is 0"):
        config_from({"early_stop": 2, "validate_every": 0})
    with pytest.raises(ConfigError, match="early_stop is 2, but there is no verification set to judge by"):
        run.build_run(tuned(data, tmp_path, start, early_stop=2), say=Listener())
