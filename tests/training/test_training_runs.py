"""Whole runs of one process on tiny data: stopping and resuming, broken steps, early end, what the log says."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import paddle
import pytest
from tiny_data import write_dataset, write_validation

from arcface_paddle.cli.main import run_module
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.layouts import convert_dataset
from arcface_paddle.data.workers import threads
from arcface_paddle.errors import CheckpointError, ConfigError, DataError
from arcface_paddle.training import run
from arcface_paddle.training.config import TrainConfig, config_from, load_config
from arcface_paddle.training.network import choose_network
from arcface_paddle.training.run_log import read_metrics
from arcface_paddle.training.step import train_step
from arcface_paddle.training.trainer import DivergedError, train
from arcface_paddle.weight_files import read_state_dict

STEPS = 9  # of 12 images; 30 images make two steps an epoch, 6 images of each are left out


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3)
    write_metadata(folder)
    return folder


def write_metadata(folder: Path) -> None:
    """Write how hard each picture is, as the renderer does; the later of an identity are harder."""
    lines = []
    for number in range(30):
        entry = {
            "path": f"#{number}",
            "label": number % 10,
            "yaw_deg": number,
            "pitch_deg": 0.0,
            "occluders": [],
            "ambient": [1, 1, 1],
        }
        lines.append(json.dumps({**entry, "lamp_colors": [[1, 1, 1]], "lamp_directions": [[0, 0, 1]]}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))


def settings(data: Path, output: Path, **changes) -> TrainConfig:
    values = {
        "data_dir": str(data), "output": str(output), "logdir": "", "val_targets": "", "width": 0.125,
        "embedding_size": 8, "batch_size": 12, "lr": 2.0, "steps": STEPS, "warmup_steps": 3, "decay": "cosine",
        "log_every": 1, "save_every": 1000, "num_workers": 1, "seed": 3,
    }  # fmt: skip
    return config_from({**values, **changes})


class Listener:
    """Takes the lines of a run; sends this process a signal once a line matches."""

    def __init__(self, pattern: str = r"$^", number: int = signal.SIGTERM) -> None:
        self.lines: list[str] = []
        self.pattern, self.number = pattern, number

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if re.search(self.pattern, line):
            os.kill(os.getpid(), self.number)

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def saved_files(output: Path, step: int) -> dict[str, str]:
    """Return the hashes of a checkpoint's files, but for the state, which holds a time."""
    manifest = json.loads((output / "checkpoints" / f"step_{step:08d}" / "manifest.json").read_text())
    return {name: entry["sha256"] for name, entry in manifest["files"].items() if name != "state.json"}


def saved_state(output: Path, step: int) -> dict:
    state = json.loads((output / "checkpoints" / f"step_{step:08d}" / "state.json").read_text())
    del state["trained_s"]
    return state


def losses(output: Path) -> dict[int, float]:
    return {int(row["step"]): row["loss"] for row in read_metrics(output) if "loss" in row}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sample_rate": 0.3, "accumulation": 2, "batch_size": 6, "loss": "CurricularFace", "decay_norm": False},
        {"fp16": True, "loss": "AdaFace", "softmax_steps": 4},
        {"worker_kind": "process", "augment": "adaface,light,erase:0.5"},
        {
            "augment": "adaface",
            "loss": "CurricularFace",
            "accumulation": 2,
            "batch_size": 6,
            "curriculum": "augment:0.1:0-0.9,margin:0.2:0.1-1,difficulty:0.3:0-0.8",
        },
        {
            "optimizer": "amsgrad",
            "lr": 0.5,
            "epsilon": 1e-3,
            "sample_rate": 0.3,
            "weight_decay_shrink": 0.8,
            "weight_decay": 0.5,
            "subcentres": 2,
            "centre_weight": 0.01,
        },
        {"loss": "CenterLoss", "lr": 0.5, "accumulation": 2, "batch_size": 6},
        {"subcentres": 2, "total_loss": "focal", "centre_weight": 0.01, "sample_rate": 0.5},
        {"norm": "batch_renorm"},  # stopped amid the ramp of its limits
        # A transformer leaves branches out at random.
        pytest.param({"network": "vit_t", "decay_norm": False, "lr": 0.1}, marks=pytest.mark.long),
    ],
    ids=[
        "plain",
        "sampled",
        "scaled-warm-start",
        "worker-process-augmented",
        "curriculum",
        "amsgrad-shrinking-decay",
        "centre-loss",
        "focal-subcentres",
        "renorm",
        "transformer",
    ],
)
def test_stopped_and_resumed_is_the_uninterrupted_run_bit_for_bit(data, tmp_path, changes):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(settings(data, whole, **changes), say=Listener()).reason == "finished"

    for stop_at in (1, 6):  # the first step of epoch 0, and between two epochs
        listener = Listener(f"Global Step: {stop_at} ")
        outcome = train(settings(data, parts, resume=stop_at > 1, **changes), say=listener)
        assert (outcome.reason, outcome.state.step) == ("stopped", stop_at)
        assert "stopped by SIGTERM" in listener
        assert "continue with --resume 1" in listener
    listener = Listener()
    assert train(settings(data, parts, resume=True, **changes), say=listener).reason == "finished"

    assert "resumed from" in listener
    assert saved_files(parts, STEPS) == saved_files(whole, STEPS)
    assert saved_state(parts, STEPS) == saved_state(whole, STEPS)
    assert losses(parts) == losses(whole)
    assert sorted(losses(parts)) == list(range(1, STEPS + 1))


def test_each_ramp_of_a_curriculum_changes_the_run_until_it_is_1(data, tmp_path):
    """A ramp that begins at 1 changes nothing; one that does not changes what is learnt."""
    common = {"steps": 1, "augment": "erase:1", "flip": False}
    hashes = {}
    for name, ramps in {
        "none": "",
        "full": "augment:1,margin:1,difficulty:1",
        "augment": "augment:0:0.9-1",
        "margin": "margin:0:0.9-1",
        "difficulty": "difficulty:0.3:0.9-1",
    }.items():
        listener = Listener()
        train(settings(data, tmp_path / name, curriculum=ramps, **common), say=listener)
        hashes[name] = saved_files(tmp_path / name, 1)["MobileFaceNet_128.pdparams"]
        assert ("curriculum: " in listener) == (name != "none")
    assert hashes["full"] == hashes["none"]
    assert len(set(hashes.values())) == 4
    rows = read_metrics(tmp_path / "difficulty")
    assert [row["curriculum_difficulty"] for row in rows if "loss" in row] == [0.3]
    assert "curriculum_difficulty" not in read_metrics(tmp_path / "none")[0]


def test_flip_augment_and_ccrop_reach_the_pictures(data, tmp_path):
    """Each changes what the network learns; what is written down brings them back."""
    plain = {"steps": 1, "flip": False}
    listener = Listener()
    for name, changes in {
        "plain": {},
        "same": {"augment": "none"},
        "flip": {"flip": True},
        "augment": {"augment": "grey:1"},
        "ccrop": {"ccrop": True},
    }.items():
        train(settings(data, tmp_path / name, **{**plain, **changes}), say=listener)
    assert "augment: grey:1:1-1" in listener.lines and sum("augment:" in line for line in listener.lines) == 1
    hashes = {name: saved_files(tmp_path / name, 1)["MobileFaceNet_128.pdparams"] for name in ("plain", "same")}
    assert hashes["plain"] == hashes["same"]
    others = [saved_files(tmp_path / name, 1)["MobileFaceNet_128.pdparams"] for name in ("flip", "augment", "ccrop")]
    assert len({hashes["plain"], *others}) == 4
    assert load_config(tmp_path / "augment" / "config.yaml").data.augment == ("grey:1",)
    with pytest.raises(ConfigError, match="'greyish' is not known"):
        settings(data, tmp_path, augment="greyish")
    with pytest.raises(ConfigError, match="leave one of them out"):
        settings(data, tmp_path, augment="light", ccrop=True)


def test_training_from_tfrecord_is_training_from_bins(data, tmp_path):
    convert_dataset(open_dataset(data), tmp_path / "records", layout="tfrecord", shard_bytes=1 << 16)
    assert len(list((tmp_path / "records").glob("*.tfrecord"))) > 1
    for name, folder in (("bins", data), ("tfrecord", tmp_path / "records")):
        train(settings(folder, tmp_path / name, steps=2, augment="light"), say=Listener())
    assert saved_files(tmp_path / "bins", 2) == saved_files(tmp_path / "tfrecord", 2)


def test_validation_of_a_centre_cropped_run_is_that_of_valid(data, tmp_path, capsys):
    listener = Listener()
    train(settings(data, tmp_path / "out", steps=1, ccrop=True, val_targets="val"), say=listener)
    said = next(line for line in listener.lines if "XNorm" in line).split("XNorm")[1]
    flags = ["--checkpoint", str(tmp_path / "out"), "--data_dir", str(data), "--val_targets", "val"]
    for flag, same in ((["--ccrop"], True), ([], False)):
        assert run_module("valid", [*flags, *flag], prog="valid.py") == 0
        found = next(line for line in capsys.readouterr().out.splitlines() if "XNorm" in line).split("XNorm")[1]
        assert (found == said) is same


def test_kind_of_the_workers_changes_nothing(data, tmp_path):
    for kind in ("thread", "process"):
        train(settings(data, tmp_path / kind, steps=3, num_workers=2, worker_kind=kind), say=Listener())
    assert saved_files(tmp_path / "thread", 3) == saved_files(tmp_path / "process", 3)


@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
def test_a_step_fetches_nothing_and_chooses_its_classes_before_the_forward_pass(
    data, tmp_path, monkeypatch, sample_rate
):
    own = run.build_run(settings(data, tmp_path, sample_rate=sample_rate, accumulation=2, batch_size=6), say=Listener())
    happened: list[str] = []
    own.network.register_forward_pre_hook(lambda _layer, _inputs: happened.append("forward"))
    choose = own.classifier.choose_classes
    monkeypatch.setattr(
        own.classifier, "choose_classes", lambda *args, **kwargs: happened.append("choose") or choose(*args, **kwargs)
    )
    with own.loader:
        batches = list(own.loader.epoch(0))[:2]
        with monkeypatch.context() as patch:
            for name in ("numpy", "item", "tolist", "__float__", "__int__", "__bool__", "__array__"):
                patch.setattr(paddle.Tensor, name, lambda *_args, name=name: happened.append(name))
            record = train_step(own, batches)
    assert happened == ["choose", "choose", "forward", "forward"]
    assert np.isfinite(record.numpy()).all()


@pytest.mark.long
def test_group_norm_and_dropout_resume_bit_for_bit(data, tmp_path):
    changes = {"network": "MobileNetV3_small", "norm": "group", "dropout": 0.3}
    test_stopped_and_resumed_is_the_uninterrupted_run_bit_for_bit(data, tmp_path, changes)


def test_limits_of_batch_renormalisation_grow_with_the_steps_of_the_warm_up(data, tmp_path):
    built = run.build_run(settings(data, tmp_path, norm="batch_renorm", warmup_steps=4), say=Listener())
    norm = built.network.conv1.bn
    seen = []
    with built.loader:
        batch = next(iter(built.loader.epoch(0, start_sample=0)))
        for step in (0, 1, 4, 7):
            built.state.step = step
            train_step(built, [batch])
            seen.append((norm.limits.r_max, norm.limits.d_max))
    assert seen == [(1.0, 0.0), (1.5, 1.25), (3.0, 5.0), (3.0, 5.0)]


def test_another_seed_is_another_run(data, tmp_path):
    train(settings(data, tmp_path / "a", steps=2), say=Listener())
    train(settings(data, tmp_path / "b", steps=2, seed=4), say=Listener())
    assert saved_files(tmp_path / "a", 2) != saved_files(tmp_path / "b", 2)


def test_learns_validates_keeps_the_best_and_ends_at_the_target(data, tmp_path):
    write_validation(data / "val.bin", identities=10, pairs=40)
    listener = Listener()
    config = settings(
        data, tmp_path, steps=120, validate_every=10, val_targets="val,lfw", target_accuracy=0.9, log_every=10,
        logdir=str(tmp_path / "log"),
    )  # fmt: skip
    outcome = train(config, say=listener)
    assert outcome.reason == "target"
    assert outcome.state.step < 120
    assert "lfw.bin is missing; lfw is left out" in listener

    curve = list(losses(tmp_path).values())
    assert curve[-1] < 0.6 * curve[0]
    best = json.loads((tmp_path / "best" / "best.json").read_text())
    assert best["step"] == outcome.state.best_step
    assert best["accuracy"] == max(row["accuracy_mean"] for row in read_metrics(tmp_path) if "accuracy_mean" in row)
    assert (tmp_path / "best" / "MobileFaceNet_128.pdparams").is_file()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "log").glob("vdlrecords.*"))
    assert load_config(tmp_path / "config.yaml") == choose_network(config.network).written_into(config)

    log = (tmp_path / "training.log").read_text().splitlines()
    assert log == listener.lines
    speed = re.compile(
        r"Speed \d+\.\d\d samples/sec   Loss \d+\.\d{4}   Epoch: \d+   Global Step: \d+   Required: \d+ hours, "
        r"lr_backbone_value: \d\.\d{6}, lr_pfc_value: \d\.\d{6}"
    )
    assert sum(speed.fullmatch(line) is not None for line in log) == outcome.state.step // 10
    for pattern in (
        r"\[val\]\[10\]XNorm: \d+\.\d{6}",
        r"\[val\]\[10\]Accuracy-Flip: \d\.\d{5}\+-\d\.\d{5}",
        r"\[val\]\[10\]Accuracy-Highest: \d\.\d{5}",
    ):
        assert any(re.fullmatch(pattern, line) for line in log)


def test_softmax_warm_start_leaves_the_margin_out(data, tmp_path):
    train(settings(data, tmp_path / "arc", steps=1), say=Listener())
    train(settings(data, tmp_path / "warm", steps=2, softmax_steps=1), say=Listener())
    train(settings(data, tmp_path / "softmax", steps=2, loss="Softmax"), say=Listener())
    warm, softmax = losses(tmp_path / "warm"), losses(tmp_path / "softmax")
    assert warm[1] == softmax[1]
    assert warm[1] < losses(tmp_path / "arc")[1] - 10  # cos(t + .5) instead of cos t, times 64
    assert warm[2] > softmax[2] + 10


def nan_in(monkeypatch, *, picked) -> None:
    """Let pictures whose index ``picked`` accepts arrive as NaN."""
    real = threads.fill_rows

    def fill_rows(dataset, images, orders, rows, **options):
        errors = real(dataset, images, orders, rows, **options)
        for row in rows:
            if picked(int(orders.indices[row])):
                images[row, 0, 5, 5] = np.nan
        return errors

    monkeypatch.setattr(threads, "fill_rows", fill_rows)


def test_nan_in_the_data_skips_the_step_and_says_which(data, tmp_path, monkeypatch):
    nan_in(monkeypatch, picked=lambda index: index == 4)
    listener = Listener()
    outcome = train(settings(data, tmp_path), say=listener)
    assert outcome.reason == "finished"
    assert 1 <= outcome.state.skipped < STEPS
    skipped = [
        line for line in listener.lines if re.search(r"^step \d+ skipped: .* \(epoch \d, images \d+ to \d+", line)
    ]
    assert len(skipped) == outcome.state.skipped
    for array in read_state_dict(tmp_path / "MobileFaceNet_128.pdparams").values():
        assert np.isfinite(array).all()


def test_nothing_but_nan_ends_the_run_and_keeps_the_checkpoint(data, tmp_path, monkeypatch):
    train(settings(data, tmp_path, steps=2), say=Listener())
    before = saved_files(tmp_path, 2)
    nan_in(monkeypatch, picked=lambda index: True)
    with pytest.raises(DivergedError, match=r"not finite in 4 steps in a row up to step 6"):
        train(settings(data, tmp_path, resume=True, max_skipped=4), say=Listener())
    assert saved_files(tmp_path, 2) == before


def test_unreadable_samples_are_named_and_counted(data, tmp_path):
    broken = write_dataset(tmp_path / "data", identities=10, pictures=3)
    (broken / "images" / "00000007.bin").write_bytes(b"\x05\x00")
    listener = Listener()
    outcome = train(settings(broken, tmp_path / "out", steps=3), say=listener)
    assert outcome.bad_samples == 1
    assert "unreadable sample, replaced by another:" in listener
    assert "00000007.bin" in listener


def test_resume_in_an_empty_folder_begins(data, tmp_path):
    listener = Listener()
    assert train(settings(data, tmp_path, steps=1, resume=True), say=listener).state.step == 1
    assert "nothing to resume from" in listener


def published_line(step: int, epoch: int) -> re.Pattern[str]:
    """The line that the published trainer prints, as users parse it."""
    return re.compile(
        rf"Speed \d+\.\d\d samples/sec   Loss \d+\.\d{{4}}   Epoch: {epoch}   Global Step: {step}   "
        rf"Required: \d+ hours, lr_backbone_value: \d\.\d{{6}}, lr_pfc_value: \d\.\d{{6}}"
    )


def test_the_log_line_names_the_epoch_of_the_step_that_was_done(data, tmp_path):
    """With five steps an epoch, step 5 is the last of epoch 0."""
    listener = Listener()
    train(settings(data, tmp_path, steps=7, batch_size=6), say=listener)
    lines = [line for line in listener.lines if line.startswith("Speed ")]
    assert len(lines) == 7
    for step, epoch in zip(range(1, 8), (0, 0, 0, 0, 0, 1, 1)):
        assert published_line(step, epoch).fullmatch(lines[step - 1]), lines[step - 1]


def test_empty_classes_are_said_before_the_first_step(data, tmp_path):
    gaps = write_dataset(tmp_path / "data", identities=10, pictures=3)
    lines = (gaps / "label.txt").read_text().splitlines()
    (gaps / "label.txt").write_text("".join(f"{line}\n" for line in lines if line.split("\t")[1] not in ("4", "7")))
    listener = Listener()
    train(settings(gaps, tmp_path / "out", steps=1, num_classes=13), say=listener)
    (place,) = [number for number, line in enumerate(listener.lines) if "have no sample" in line]
    assert "5 of 13 classes have no sample (labels 4, 7, 10, 11, 12): " in listener.lines[place]
    assert not any("Global Step" in line for line in listener.lines[:place])
    assert listener.lines[place] in (tmp_path / "out" / "training.log").read_text()


def test_one_class_is_refused(data, tmp_path):
    alone = write_dataset(tmp_path / "data", identities=10, pictures=3)
    names = [line.split("\t")[0] for line in (alone / "label.txt").read_text().splitlines()]
    (alone / "label.txt").write_text("".join(f"{name}\t0\n" for name in names))
    for num_classes in (None, 4):
        with pytest.raises(DataError, match="all 30 samples have label 0; training tells people apart"):
            train(settings(alone, tmp_path / "out", num_classes=num_classes), say=Listener())
    assert not (tmp_path / "out").exists()


def test_resume_from_published_files_says_what_is_missing(data, tmp_path):
    train(settings(data, tmp_path / "a", steps=2), say=Listener())
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a").iterdir():
        if path.suffix in (".pdparams", ".pkl"):
            (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    listener = Listener()
    outcome = train(settings(data, tmp_path / "b", steps=1, resume=True), say=listener)
    assert outcome.state.step == 1
    assert "not restored, because the folder has only the published files: momentum of the backbone" in listener


def test_fine_tuning_from_a_weight_file_with_other_identities(data, tmp_path):
    train(settings(data, tmp_path / "a", steps=2), say=Listener())
    other = write_dataset(tmp_path / "data", identities=7, pictures=4)
    weights = tmp_path / "a" / "MobileFaceNet_128.pdparams"
    listener = Listener()
    train(settings(other, tmp_path / "b", steps=1, pretrained=str(weights), lr=1e-9), say=listener)
    assert f"backbone starts from {weights}" in listener
    start, tuned = read_state_dict(weights), read_state_dict(tmp_path / "b" / "MobileFaceNet_128.pdparams")
    np.testing.assert_allclose(tuned["conv1.conv.weight"], start["conv1.conv.weight"], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_classes": 5}, DataError, r"label \d, but num_classes is 5"),
        ({"batch_size": 31}, ConfigError, "make batch_size smaller"),
        ({"batch_size": 12, "accumulation": 3}, ConfigError, r"a step takes 36 images .* the data has 30"),
        ({"accumulation": 2, "global_batch_size": 11}, ConfigError, "it must be a multiple of 2"),
        ({"data_dir": "no/such/folder"}, DataError, "no/such/folder"),
        ({"network": "ResNet9000"}, ConfigError, "no network 'ResNet9000'"),
        ({"loss": "TripletFace"}, ConfigError, "no loss 'TripletFace'"),
        ({"pretrained": "no.pdparams"}, CheckpointError, r"no\.pdparams"),
        ({"device": "gpu"}, ConfigError, "this paddle sees none"),
    ],
)
def test_bad_settings_are_refused(data, tmp_path, changes, error, message):
    if "device" in changes:
        from arcface_paddle.devices import choose_device

        with pytest.raises(error, match=message):
            choose_device("gpu")
        return
    with pytest.raises(error, match=message):
        train(settings(data, tmp_path / "out", logdir=str(tmp_path / "log"), **changes), say=Listener())
    assert list(tmp_path.iterdir()) == [], "a run that is refused leaves nothing behind"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "MobileFaceNet_192"}, "made with network MobileFaceNet_128, this run has MobileFaceNet_192"),
        ({"embedding_size": 16}, "made with embedding_size 8, this run has 16"),
        ({"num_classes": 11}, "made with num_classes 10, this run has 11"),
        ({"batch_size": 6}, "made with global_batch 12, this run has 6: keep it with --global_batch_size"),
        ({"width": 0.25}, "does not fit MobileFaceNet"),
        ({"seed": 9}, "made with seed 3, this run has 9"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(data, tmp_path, changes, message):
    train(settings(data, tmp_path, steps=1), say=Listener())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for resume in (True, "auto"):
        with pytest.raises(CheckpointError, match=message):
            train(settings(data, tmp_path, resume=resume, **changes), say=Listener())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_output_that_cannot_be_written_is_refused(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot write to the output folder"):
        train(settings(data, tmp_path / "file" / "out"), say=Listener())


@pytest.mark.parametrize(
    ("device", "asked", "kind"),
    [
        ("gpu:0", "auto", "process"),
        ("cpu", "auto", "thread"),
        ("gpu:0", "thread", "thread"),
        ("cpu", "process", "process"),
    ],
)
def test_auto_takes_worker_processes_on_a_gpu_only(data, tmp_path, monkeypatch, device, asked, kind):
    monkeypatch.setattr(run.devices.paddle, "get_device", lambda: device)
    options = run._loader_options(settings(data, tmp_path, worker_kind=asked), 12)
    assert (options.worker_kind, options.workers, options.batch_size) == (kind, 1, 12)
