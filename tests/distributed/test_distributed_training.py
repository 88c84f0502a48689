"""Training on 1, 2 and 3 processes: the same run, continued on any number, stopped by a signal, a rank killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from launch import ROOT, launch, run_ranks, start

sys.path.insert(0, str(ROOT / "tests" / "training"))
from tiny_data import write_dataset
from training_runs import RELATIVE, arguments, assert_same_run, checkpoint, everything

from arcface_paddle import safe_pickle
from arcface_paddle.training.run_log import read_metrics
from arcface_paddle.weight_files import read_state_dict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3, pairs=11)


def train(ranks: int, data: Path, output: Path, **changes) -> list[str]:
    results = launch(arguments(data, output, **changes), ranks, timeout_s=150)
    assert [result.code for result in results] == [0] * ranks, "\n".join(result.output[-3000:] for result in results)
    return [result.output for result in results]


def continue_from(source: Path, step: int, target: Path) -> Path:
    """Make a run's folder that has only the checkpoint of ``step``."""
    shutil.copytree(checkpoint(source, step), checkpoint(target, step))
    return target


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory) -> dict[int, Path]:
    """Uninterrupted runs of 1 and 2 ranks, by rank count."""
    folder = tmp_path_factory.mktemp("runs")
    for ranks in (1, 2):
        train(ranks, data, folder / str(ranks))
    return {ranks: folder / str(ranks) for ranks in (1, 2)}


def test_two_ranks_are_one_run(runs):
    assert_same_run(runs[1], runs[2], step=3)
    assert_same_run(runs[1], runs[2], step=5)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_continued_on_another_number_of_ranks(data, runs, tmp_path, before, after):
    output = continue_from(runs[before], 3, tmp_path / "out")
    said = train(after, data, output, resume=1)[0]
    assert "at step 3, epoch 1, image 12" in said
    assert json.loads((checkpoint(output, 5) / "manifest.json").read_text())["world_size"] == after
    published = sorted(path.name for path in output.glob("rank:*_softmax_weight.pkl"))
    assert published == [f"rank:{rank}_softmax_weight.pkl" for rank in range(after)]
    assert_same_run(runs[before], output)


def feature_centres(folder: Path) -> np.ndarray:
    """Read the centres of a checkpoint's centre loss, those of all ranks."""
    paths = sorted(folder.glob("rank_*_feature_centres.pkl"))
    return np.concatenate([safe_pickle.load_arrays(path.read_bytes(), name=path.name) for path in paths])


@pytest.mark.long
def test_subcentres_and_centre_loss_are_one_run_and_go_on_with_other_ranks(data, tmp_path):
    changes = {"subcentres": 2, "total_loss": "focal", "centre_weight": 0.01, "sample_rate": 0.5}
    for ranks in (1, 2):
        train(ranks, data, tmp_path / str(ranks), **changes)
    output = continue_from(tmp_path / "2", 3, tmp_path / "out")
    train(1, data, output, resume=1, **changes)
    for other in (tmp_path / "2", output):
        assert_same_run(tmp_path / "1", other)
        one, two = (feature_centres(checkpoint(folder, 5)) for folder in (tmp_path / "1", other))
        assert one.shape == (10, 8)
        np.testing.assert_allclose(two, one, atol=1e-4)


def test_continued_on_the_same_number_is_bit_for_bit(data, tmp_path):
    """Local BatchNorm, sampling, accumulation: everything that may differ between ranks."""
    changes = {"batch_norm": "local", "sample_rate": 0.5, "accumulation": 2, "loss": "AdaFace"}
    train(2, data, tmp_path / "whole", **changes)
    output = continue_from(tmp_path / "whole", 3, tmp_path / "parts")
    train(2, data, output, resume=1, **changes)
    manifests = [
        json.loads((checkpoint(folder, 5) / "manifest.json").read_text()) for folder in (tmp_path / "whole", output)
    ]
    hashes = [{name: entry["sha256"] for name, entry in manifest["files"].items()} for manifest in manifests]
    for entry in hashes:
        del entry["state.json"]  # holds a time
    assert len(hashes[0]) == 6
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["accumulation=2", "flat_weights=yes", "decay_norm=false"], id="flat"),
        pytest.param(["batch_norm=sync", "sample_rate=0.5", "fp16=true"], id="sync", marks=pytest.mark.long),
        pytest.param(["mode=static", "clip_norm=0"], id="static", marks=pytest.mark.long),
    ],
)
def test_gradients_in_pieces_are_those_exchanged_whole_bit_for_bit(data, tmp_path, options):
    run_ranks([str(Path(__file__).parent / "bucket_worker.py"), str(data), str(tmp_path), *options], 2)
    hashes = []
    for name in ("whole", "default", "tiny"):
        manifest = json.loads((checkpoint(tmp_path / name, 2) / "manifest.json").read_text())
        hashes.append({file: entry["sha256"] for file, entry in manifest["files"].items() if file != "state.json"})
    assert len(hashes[0]) == 6
    assert hashes[0] == hashes[1] == hashes[2]


@pytest.mark.long
def test_two_ranks_of_amsgrad_are_one_run_and_go_on_as_one(data, tmp_path):
    """The noise of float32 in gradients that are all but zero stays small through epsilon."""
    changes = {"optimizer": "amsgrad", "lr": 0.5, "epsilon": 1e-2, "weight_decay_shrink": 0.8, "weight_decay": 0.05}
    changes = {**changes, "sample_rate": 0.5, "val_targets": "", "steps": 4, "save_every": 2}
    for ranks in (1, 2):
        train(ranks, data, tmp_path / str(ranks), **changes)
    parts = continue_from(tmp_path / "2", 2, tmp_path / "parts")
    train(1, data, parts, resume=1, **changes)
    expected = all_states(checkpoint(tmp_path / "1", 4))
    for output in (tmp_path / "2", parts):
        found = all_states(checkpoint(output, 4))
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            difference = np.linalg.norm(found[key] - array) / np.linalg.norm(array)
            assert difference <= RELATIVE * 10, (output, key, difference)
        rows = [
            [(row["reg_loss"], row["reg_coef"]) for row in read_metrics(path)][-1] for path in (output, tmp_path / "1")
        ]
        np.testing.assert_allclose(rows[0], rows[1], rtol=RELATIVE)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> list[Path]:
    """Weights to start from, and others to be taught by: of a student that is its teacher nothing is left but noise."""
    folders = [tmp_path_factory.mktemp("trained") for _ in range(2)]
    for seed, folder in enumerate(folders):
        train(1, data, folder, steps=1, val_targets="", seed=seed + 7)
    return [folder / "MobileFaceNet_128.pdparams" for folder in folders]


@pytest.mark.long
@pytest.mark.parametrize("class_weight", [0.5, 0])
def test_fine_tuning_with_a_teacher_is_one_run_and_goes_on_with_other_ranks(data, trained, tmp_path, class_weight):
    """Two steps, since the gradients of a fresh network are so steep that rounding errors grow with every one."""
    changes = {"pretrained": trained[0], "backbone_lr_scale": 0.5, "l2_to_start": 1.0, "early_stop": 9}
    changes = {**changes, "validate_every": 1, "teacher": trained[1], "class_weight": class_weight, "flip": False}
    changes = {**changes, "steps": 2, "save_every": 1}
    for ranks in (1, 2):
        train(ranks, data, tmp_path / str(ranks), **changes)
    others = [tmp_path / "2"]
    if class_weight:
        others.append(continue_from(tmp_path / "2", 1, tmp_path / "out"))
        train(1, data, others[1], resume=1, **changes)
    for other in others:
        assert_same_run(tmp_path / "1", other, step=2, logged=1)  # the one that went on has logged no more
        states = [json.loads((checkpoint(folder, 2) / "state.json").read_text()) for folder in (tmp_path / "1", other)]
        assert states[0]["without_gain"] == states[1]["without_gain"] and states[0]["start"]


def all_states(folder: Path) -> dict[str, np.ndarray]:
    """Read every array of a checkpoint: those of the backbone joined, and the shards of the ranks."""
    manifest = json.loads((folder / "manifest.json").read_text())
    arrays = {}
    for name in ("MobileFaceNet_128", "backbone_momentum", "backbone_second", "backbone_largest"):
        values = read_state_dict(folder / f"{name}.pdparams").values()
        arrays[name] = np.concatenate([value.ravel().astype(float) for value in values])
    for kind in ("", "_mom", "_second", "_largest", "_count"):
        names = [f"rank_{rank}_softmax_weight{kind}.pkl" for rank in range(manifest["world_size"])]
        shards = [safe_pickle.load_arrays((folder / name).read_bytes(), name=name) for name in names]
        arrays[f"centres{kind}"] = np.concatenate(shards)
    return arrays


def test_synchronised_batch_norm_makes_two_ranks_one_run(data, tmp_path):
    """Fresh networks amplify rounding errors through small variances, so the losses of the first steps must do."""
    first = {}
    for ranks, batch_norm in ((1, "sync"), (2, "sync"), (2, "local")):
        output = tmp_path / f"{ranks}{batch_norm}"
        train(ranks, data, output, batch_norm=batch_norm, steps=2, val_targets="")
        first[ranks, batch_norm] = np.array([row["loss"] for row in read_metrics(output) if "loss" in row])
    np.testing.assert_allclose(first[2, "sync"], first[1, "sync"], rtol=1e-3)
    assert np.abs(first[2, "local"] / first[1, "sync"] - 1).max() > 5e-3


def wait_for(text: str, log: Path, processes, *, timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while text not in log.read_text(errors="replace"):
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        assert all(process.poll() is None for process in processes), log.read_text(errors="replace")[-3000:]
        time.sleep(0.05)


def test_a_signal_to_one_rank_saves_and_ends_all(data, tmp_path):
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    processes = start(arguments(data, tmp_path / "out", steps=500, save_every=1000, val_targets=""), logs)
    try:
        wait_for("Global Step: 2 ", logs[0], processes)
        processes[1].send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in processes] == [130, 130]
    finally:
        for process in processes:
            process.kill()
    assert "stopped by another rank at step" in logs[0].read_text()
    (saved,) = (tmp_path / "out" / "checkpoints").iterdir()
    step = int(saved.name.split("_")[1])
    assert f"step {step}, epoch" in train(2, data, tmp_path / "out", resume=1, steps=step + 1, val_targets="")[0]


def test_a_killed_rank_ends_the_other_and_the_run_resumes(data, tmp_path):
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    processes = start(arguments(data, tmp_path / "out", steps=500, save_every=2, val_targets=""), logs)
    try:
        wait_for("Global Step: 5 ", logs[0], processes)
        processes[1].kill()
        begin = time.monotonic()
        assert processes[0].wait(60) not in (0, 130)
        assert time.monotonic() - begin < 40
    finally:
        for process in processes:
            process.kill()
    newest = max(int(path.name.split("_")[1]) for path in (tmp_path / "out" / "checkpoints").glob("step_*"))
    assert newest >= 4
    said = train(1, data, tmp_path / "out", resume=1, steps=newest + 1, val_targets="")[0]
    assert f"at step {newest}, epoch" in said


def test_one_rank_with_a_full_disk_ends_all_with_one_clear_line(data, runs, tmp_path):
    """Rank 0 may not write files beyond 40 kB; the checkpoint of step 3 stays as it was."""
    output = continue_from(runs[2], 3, tmp_path / "out")
    code = (
        "import os, resource, sys\n"
        "from arcface_paddle.cli.main import run_module\n"
        "if os.environ['PADDLE_TRAINER_ID'] == '0':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "sys.exit(run_module('train', sys.argv[1:], prog='train.py'))\n"
    )
    flags = arguments(data, output, resume=1, val_targets="")[1:]
    results = launch(["-c", code, *flags], 2, timeout_s=120)
    assert {result.code for result in results} == {2}
    for result in results:
        assert "cannot write the checkpoint" in result.output
        assert "rank 0: File too large" in result.output
        assert "Traceback" not in result.output
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["step_00000003"]
    train(2, data, output, resume=1, val_targets="")


def test_nan_on_one_rank_skips_the_step_on_all(data, tmp_path):
    code = (
        "import os, sys\n"
        "from arcface_paddle.cli.main import run_module\n"
        "from arcface_paddle.data.workers import threads\n"
        "real = threads.fill_rows\n"
        "def fill_rows(dataset, images, orders, rows, **options):\n"
        "    errors = real(dataset, images, orders, rows, **options)\n"
        "    images[rows.start, 0, 0, 0] = float('nan')\n"
        "    return errors\n"
        "if os.environ['PADDLE_TRAINER_ID'] == '1':\n"
        "    threads.fill_rows = fill_rows\n"
        "sys.exit(run_module('train', sys.argv[1:], prog='train.py'))\n"
    )
    flags = arguments(data, tmp_path, steps=1, val_targets="", batch_norm="local", weight_decay=0.1)[1:]
    results = launch(["-c", code, *flags], 2, timeout_s=120)
    assert [result.code for result in results] == [0, 0]
    assert "step 0 skipped: gradient not finite (epoch 0, images 0 to 11 of its order)" in results[0].output
    arrays = everything(checkpoint(tmp_path, 1))
    for key, value in arrays.items():
        assert np.isfinite(value).all(), key
        if "mom" in key.split(".")[0]:
            assert not value.any(), key
    assert not arrays["backbone conv1.bn._mean"].any()


def test_the_launcher_of_paddle_passes_a_signal_on(data, tmp_path):
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node=2", f"--log_dir={tmp_path / 'log'}"]
    flags = arguments(data, tmp_path / "out", steps=500, save_every=1000, val_targets="")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "launcher.log", "wb") as stream:
        launcher = subprocess.Popen([*command, *flags], stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_for("Global Step: 2 ", tmp_path / "launcher.log", [launcher])
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(60)
    finally:
        launcher.kill()
    assert "continue with --resume 1" in (tmp_path / "out" / "training.log").read_text()
    assert len(list((tmp_path / "out" / "checkpoints").glob("step_*"))) == 1
