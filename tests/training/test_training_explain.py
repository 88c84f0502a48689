"""Why a run stays flat: each fault is found on a run that has it, and on a sound one nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Mapping

import numpy as np
import pytest
from test_training_runs import Listener, settings
from tiny_data import write_dataset

from arcface_paddle.cli.main import run_module
from arcface_paddle.data import open_dataset
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.model_opening import open_embedder
from arcface_paddle.pipeline.builders import build_detector
from arcface_paddle.pipeline.settings import CROP_RECOGNIZER
from arcface_paddle.synthetic.generator import SyntheticFaces
from arcface_paddle.training.config import config_from, config_text
from arcface_paddle.training.explain.data_rules import (
    SampledPictures,
    label_reasons,
    picture_reasons,
    sample_pictures,
)
from arcface_paddle.training.explain.explanation import explain, explanation_text
from arcface_paddle.training.explain.recorded_run import read_run
from arcface_paddle.training.explain.run_rules import run_reasons
from arcface_paddle.training.explain.verdict import LIKELY, CurveVerdict, verdict_of
from arcface_paddle.training.loss_watch import FlatWatch
from arcface_paddle.training.trainer import train

CLASSES, IMAGES, BATCH = 100, 5000, 50
SOUND = {"lr": 1.0, "batch_size": BATCH, "epochs": 20.0, "warmup_epochs": 1.0, "softmax_steps": 200, "decay": "cosine"}
FLAT_LOSS, FLAT_COSINE = 35.0, 0.0  # ln(100) + 64 sin(.5) = 35.3


def write_run(
    folder: Path, *, steps: int = 1000, log: str = "", figures: Mapping[str, float] = MappingProxyType({}), **changes
) -> Path:
    """Write what a run of ``steps`` steps leaves: settings, figures of every tenth step, log."""
    folder.mkdir()
    folder.joinpath("config.yaml").write_text(config_text(config_from({**SOUND, **changes})))
    row = {"loss": FLAT_LOSS, "target_cosine": FLAT_COSINE, "gradient_norm": 4.0, "feature_norm": 20.0, **figures}
    lines = [json.dumps({"step": step, **row}) for step in range(10, steps + 1, 10)]
    folder.joinpath("metrics.jsonl").write_text("\n".join(lines))
    folder.joinpath("training.log").write_text(
        f"MobileFaceNet_128, embedding 128, ArcFace, {CLASSES} identities, {IMAGES} images; 1 processes on cpu, "
        f"{BATCH} images per step, 2000 steps\n{log}"
    )
    return folder


def keys_of(folder: Path) -> set[str]:
    return {reason.key for reason in run_reasons(read_run(folder)) if reason.weight >= LIKELY}


def test_a_sound_run_has_no_likely_fault(tmp_path):
    assert keys_of(write_run(tmp_path / "run")) == set()


@pytest.mark.parametrize("loss", ["Softmax", "NormHead", "CenterLoss"])
def test_a_loss_without_a_margin_needs_no_warm_start(tmp_path, loss):
    assert "margin_from_the_first_step" not in keys_of(write_run(tmp_path / "run", loss=loss, softmax_steps=0))


@pytest.mark.parametrize(
    ("key", "run"),
    [
        ("rate_too_small", {"lr": 0.001}),
        ("rate_too_large", {"lr": 10.0, "figures": {"loss": 80.0}}),
        ("decay_too_early", {"decay": "step", "decay_epochs": (1.0, 2.0)}),
        ("margin_from_the_first_step", {"softmax_steps": 0}),
        ("few_views", {"steps": 60}),
        ("batch_too_small", {"batch_size": BATCH, "accumulation": 10}),
        ("frozen_statistics", {"batch_norm": "frozen"}),
        ("steps_skipped", {"log": "step 7 skipped: gradient not finite (epoch 0)\n" * 40}),
        ("unreadable_pictures", {"log": "unreadable sample, replaced by another: a.jpg: no picture\n" * 100}),
        ("weight_decay_too_large", {"weight_decay": 0.05}),
        ("features_collapsed", {"figures": {"feature_norm": 1e-4}}),
        ("loss_scale_at_its_end", {"fp16": True, "figures": {"loss_scale": 1.0}}),
    ],
)
def test_every_fault_is_named(tmp_path, key, run):
    if key == "rate_too_large":  # worse than it was: the first rows are those of an untrained network
        folder = write_run(tmp_path / "run", **run)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        rows[:5] = [{**row, "loss": FLAT_LOSS} for row in rows[:5]]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert verdict_of(read_run(folder)) is CurveVerdict.DIVERGED
    else:
        folder = write_run(tmp_path / "run", **run)
    assert keys_of(folder) == {key}


@pytest.mark.parametrize(
    ("verdict", "run"),
    [
        (CurveVerdict.FLAT, {}),
        (CurveVerdict.EARLY, {"steps": 120}),
        (CurveVerdict.LEARNING, {"figures": {"loss": 12.0, "target_cosine": 0.4}}),
        (CurveVerdict.LEARNING, {"figures": {"accuracy_mean": 0.9}}),
        (CurveVerdict.FLAT, {"figures": {"accuracy_mean": 0.57}}),
    ],
)
def test_the_verdict_follows_the_curve(tmp_path, verdict, run):
    assert verdict_of(read_run(write_run(tmp_path / "run", **run))) is verdict


def test_labels_that_teach_little_are_named():
    def keys(labels, classes):
        return {reason.key for reason in label_reasons(np.array(labels), classes)}

    assert keys(np.repeat(np.arange(50), 20), 50) == set()
    assert keys(np.repeat(np.arange(50), 20), 60) == {"empty_classes"}
    assert keys(np.repeat(np.arange(50), 3), 50) == {"few_pictures"}
    assert keys([*np.repeat(np.arange(50), 20), *range(50, 100)], 100) == {"lone_pictures"}
    assert keys([*np.repeat(np.arange(50), 20), *[50] * 900], 51) == {"one_large_class"}


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """(16, 112, 112, 3) uint8 RGB: two rendered pictures of each of eight people."""
    faces = SyntheticFaces(seed=0)
    return np.stack([faces.render(person, number).image for person in range(8) for number in range(2)])


@pytest.fixture(scope="module")
def embed():
    return open_embedder(CROP_RECOGNIZER).embed


def sampled(crops: np.ndarray) -> SampledPictures:
    return SampledPictures(crops, tuple((112, 112) for _ in crops), unreadable=0)


def test_sound_pictures_are_passed_in_silence(people, embed):
    assert list(picture_reasons(sampled(people), embed=embed, detector=build_detector())) == []


def test_labels_that_slipped_against_the_pictures_are_noticed(people, embed):
    slipped = np.roll(people, 1, axis=0)
    assert [reason.key for reason in picture_reasons(sampled(slipped), embed=embed)] == ["unrelated_labels"]


def test_pictures_that_are_not_aligned_are_noticed(people):
    cut = np.ascontiguousarray(people[:, 8:, 10:])
    moved = np.pad(cut, ((0, 0), (0, 8), (0, 10), (0, 0)), mode="edge")
    assert [reason.key for reason in picture_reasons(sampled(moved), detector=build_detector())] == ["not_aligned"]
    walls = np.random.default_rng(0).integers(60, 200, people.shape, dtype=np.uint8)
    assert [reason.key for reason in picture_reasons(sampled(walls), detector=build_detector())] == ["no_faces"]


def test_pictures_of_wrong_colours_and_sizes_are_noticed(people):
    assert [r.key for r in picture_reasons(sampled(people[..., ::-1]))] == ["swapped_channels"]
    assert [r.key for r in picture_reasons(sampled(np.zeros_like(people)))] == ["empty_pictures"]
    large = SampledPictures(people, tuple((250, 250) for _ in people), unreadable=0)
    assert [r.key for r in picture_reasons(large)] == ["other_sizes"]


def test_the_sample_takes_pairs_of_one_label(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path / "data", identities=6, pictures=3))
    sample = sample_pictures(dataset, people=4)
    assert sample.crops.shape == (8, 112, 112, 3)
    # Pictures of one person share a pattern, so that they are nearer to each other than to any other picture.
    flat = sample.crops.reshape(8, -1).astype(float)
    flat -= flat.mean(axis=1, keepdims=True)
    nearest = np.argsort(-np.corrcoef(flat) + 2 * np.eye(8), axis=1)[:, 0]
    np.testing.assert_array_equal(nearest, [1, 0, 3, 2, 5, 4, 7, 6])
    np.testing.assert_array_equal(sample.crops, sample_pictures(dataset, people=4).crops)


def test_a_real_run_is_explained(tmp_path, capsys):
    data = write_dataset(tmp_path / "data", identities=10, pictures=3)
    train(settings(data, tmp_path / "run", lr=1e-6), say=Listener())  # nothing is learnt, however sums are rounded
    code = run_module("train", ["--explain", str(tmp_path / "run"), "--json", str(tmp_path / "why.json")])
    text = capsys.readouterr().out
    assert code == 1
    assert "too early to tell" in text and "no_faces" in text and "few_pictures" in text
    document = json.loads((tmp_path / "why.json").read_text())
    assert document["verdict"] == "early" and document["step"] == 9
    assert {reason["key"] for reason in document["reasons"]} >= {"no_faces", "few_pictures", "few_views"}


def test_data_that_have_gone_are_said(tmp_path):
    explanation = explain(write_run(tmp_path / "run", data_dir=str(tmp_path / "gone")))
    assert explanation.verdict is CurveVerdict.FLAT
    assert "gone" in explanation.not_looked_at[0] and "not looked at" in explanation_text(explanation)


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    with pytest.raises(ConfigError, match="no folder of a run"):
        explain(tmp_path)
    folder = write_run(tmp_path / "run")
    (folder / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="no loss yet"):
        explain(folder)
    (folder / "metrics.jsonl").write_text('{"step": 10, "loss": 3.0}')
    (folder / "training.log").write_text("something else\n")
    with pytest.raises(DataError, match="how large a step was"):
        explain(folder)
    assert run_module("train", ["--explain", str(folder), "--lr", "1"]) == 2
    assert "leave out --lr" in capsys.readouterr().err
    assert run_module("train", ["--json", "why.json"]) == 2
    assert "--explain" in capsys.readouterr().err


def watch(loss: float, cosine: float, *, steps: int, epoch: int = 50) -> list[int]:
    flat = FlatWatch(chance=35.0, full_rate_step=100, steps_per_epoch=epoch)
    return [step for step in range(10, steps, 10) if flat.stands(step, loss, cosine)]


def test_a_run_that_stays_flat_is_told_once_behind_warm_up_and_an_epoch():
    assert watch(37.0, 0.0, steps=2000) == [300]
    assert watch(37.0, 0.0, steps=2000, epoch=500) == [600]


@pytest.mark.parametrize(("loss", "cosine"), [(20.0, 0.3), (34.9, 0.2), (float("nan"), 0.0), (30.0, 0.0)])
def test_other_runs_are_not_told(loss, cosine):
    assert watch(loss, cosine, steps=2000) == []
