"""Two ranks on the fake device, through Paddle's launcher: a run equal to that over Gloo, and what NCCL would be asked.

About half a minute of starting processes, so that they run with the long tests.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_device import environment

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from launch import ROOT, launch
from tiny_data import write_dataset
from training_runs import arguments, assert_same_run, checkpoint

from arcface_paddle.training.optimizer import WEIGHT_ALIGNMENT
from arcface_paddle.training.processor_setup import MKL_VARIABLE
from arcface_paddle.weight_files import read_state_dict

pytestmark = pytest.mark.long

STEPS = 4
SAME_PRODUCTS = {MKL_VARIABLE: "0"}
"""MKL's AVX2 products round by the number of rows, and the device's classifier has rows that the CPU's has not."""
NCCL_TYPES = {"int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "bfloat16", "float32", "float64"}


def launch_on_device(plugin: Path, folder: Path, command: list[str], **more: str) -> str:
    """Run a command as two ranks by ``paddle.distributed.launch``, and return what rank 0 and rank 1 have said."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **SAME_PRODUCTS, **environment(plugin, **more)}
    for name in [name for name in variables if name.startswith("PADDLE_")]:
        del variables[name]
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--devices=0,1", f"--log_dir={folder / 'log'}"]
    ended = subprocess.run([*launcher, *command], env=variables, capture_output=True, text=True, timeout=240)
    said = "\n".join(path.read_text(errors="replace") for path in sorted((folder / "log").glob("workerlog.*")))
    assert ended.returncode == 0, said[-6000:] + ended.stderr[-2000:]
    return said


def ledgers(folder: Path) -> list[list[tuple[str, str, int, str]]]:
    """Return what each rank has asked of the device's library: operation, type, values, reduction."""
    lines = [(folder / f"rank_{rank}.txt").read_text().splitlines() for rank in range(2)]
    return [[(op, dtype, int(count), how) for op, dtype, count, how in map(str.split, own)] for own in lines]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3, pairs=11)


@pytest.fixture(scope="module")
def on_device(plugin: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks on the fake device: its output in ``run``, its ledgers beside it."""
    folder = tmp_path_factory.mktemp("device")
    command = arguments(data, folder / "run", steps=STEPS, save_every=STEPS, sample_rate=0.5, bucket_mb=0.02)
    said = launch_on_device(plugin, folder, command, FAKE_DEVICE_LEDGER=str(folder))
    assert "2 processes on fake_gpu:0" in said
    return folder


def test_a_run_equals_that_over_gloo(on_device: Path, data: Path, tmp_path: Path) -> None:
    # The device has Paddle's own operators, so the CPU is to take these too: compiled ones round otherwise.
    command = arguments(data, tmp_path, steps=STEPS, save_every=STEPS, sample_rate=0.5, cpu_kernels="off")
    results = launch(command, 2, timeout_s=150, environment={**os.environ, **SAME_PRODUCTS})
    assert [result.code for result in results] == [0, 0], results
    assert_same_run(tmp_path, on_device / "run", step=STEPS)


def test_all_ranks_ask_for_the_same_in_the_same_order(on_device: Path) -> None:
    first, second = ledgers(on_device)
    assert first == second
    assert {dtype for _, dtype, _, _ in first} <= NCCL_TYPES
    of_steps = [op for op, _, _, _ in first]
    assert of_steps.count("reduce_scatter") == STEPS, "the gradient of the features comes back in parts"
    assert of_steps.count("all_gather") == STEPS, "features; the labels go from host to host"


def test_the_gradient_goes_out_in_the_same_pieces_in_every_step(on_device: Path) -> None:
    first, _ = ledgers(on_device)
    features = [line for line, (op, *_) in enumerate(first) if op == "reduce_scatter"]
    of_steps = []
    for line in features:
        sums = list(itertools.takewhile(lambda asked: asked[0] == "all_reduce" and asked[2] > 1, first[line + 1 :]))
        assert {(dtype, how) for _, dtype, _, how in sums} == {("float32", "sum")}
        of_steps.append([count for _, _, count, _ in sums])
    assert of_steps == [of_steps[0]] * STEPS and len(of_steps[0]) > 4
    assert max(of_steps[0]) <= 0.02 * 2**18
    weights = read_state_dict(checkpoint(on_device / "run", STEPS) / "backbone_momentum.pdparams")
    assert sum(of_steps[0]) == sum(-(-array.size // WEIGHT_ALIGNMENT) * WEIGHT_ALIGNMENT for array in weights.values())


def test_slow_copies_are_no_dead_rank_and_steps_wait_for_nothing(plugin: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(data)
    script = Path(__file__).parent / "two_rank_checks.py"
    said = launch_on_device(plugin, tmp_path, [str(script), str(tmp_path)], FAKE_DEVICE_LEDGER=str(tmp_path))
    assert "rank 0 checked" in said and "rank 1 checked" in said
    first, second = ledgers(tmp_path)
    assert first == second and {dtype for _, dtype, _, _ in first} <= NCCL_TYPES


def test_validation_on_cpu_uses_no_collectives_of_the_device(plugin: Path, data: Path, tmp_path: Path) -> None:
    """Where the default device is an accelerator: its library, given tensors of the CPU, would crash."""
    command = [str(ROOT / "valid.py"), "--model=MobileFace", "--engine=paddle", "--device=cpu", "--batch_size=8"]
    command += [f"--data_dir={data}", "--val_targets=val", f"--json={tmp_path / 'two.json'}"]
    said = launch_on_device(plugin, tmp_path, command, FAKE_DEVICE_LEDGER=str(tmp_path))
    assert said.count("Accuracy-Flip") == 1
    assert not list(tmp_path.glob("rank_*.txt"))
