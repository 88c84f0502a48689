"""Which operators a run computes with on CPU: by default compiled ones, recorded, and never changed in silence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_training_runs import Listener, saved_files, saved_state, settings
from tiny_data import write_dataset

from arcface_paddle.backbones.cpu_kernels.layers import KernelBatchNorm
from arcface_paddle.backbones.cpu_speed import CpuPReLU
from arcface_paddle.training import processor, processor_setup
from arcface_paddle.training.config import config_from
from arcface_paddle.training.run import build_run
from arcface_paddle.training.trainer import train
from arcface_paddle.weight_files import read_state_dict

STEPS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ARCFACE_PADDLE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def compiler() -> str:
    found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if found is None:
        pytest.skip("no compiler: g++ is not installed, so that the operators cannot be built")
    return found


def weights(output: Path) -> np.ndarray:
    (folder,) = (output / "checkpoints").iterdir()
    arrays = read_state_dict(folder / "MobileFaceNet_128.pdparams").values()
    return np.concatenate([array.ravel().astype(float) for array in arrays])


def test_compiled_operators_learn_the_same_and_resume_bit_for_bit(data, tmp_path, home, compiler):
    changes = {"steps": STEPS, "lr": 0.2, "decay": "cosine", "warmup_steps": 1}
    train(settings(data, tmp_path / "whole", **changes), say=Listener())
    train(settings(data, tmp_path / "off", cpu_kernels="off", **changes), say=Listener())
    (built,) = (home / "kernels").glob("kernels_*.so")
    name = built.stem.replace("kernels_", "kernels ")
    assert saved_state(tmp_path / "whole", STEPS)["arithmetic"].startswith(name)
    assert not saved_state(tmp_path / "off", STEPS)["arithmetic"].startswith("kernels")
    own, plain = weights(tmp_path / "whole"), weights(tmp_path / "off")
    assert 0 < np.linalg.norm(own - plain) <= 1e-3 * np.linalg.norm(plain)

    first = Listener("Global Step: 2 ")
    assert train(settings(data, tmp_path / "parts", **changes), say=first).reason == "stopped"
    again = Listener()
    train(settings(data, tmp_path / "parts", resume=True, keep_last=1, **changes), say=again)
    assert saved_files(tmp_path / "parts", STEPS) == saved_files(tmp_path / "whole", STEPS)
    assert saved_state(tmp_path / "parts", STEPS) == saved_state(tmp_path / "whole", STEPS)
    assert "computed with" not in again


def test_a_run_that_goes_on_with_other_operators_says_so(data, tmp_path, compiler, monkeypatch):
    monkeypatch.delenv(processor_setup.MKL_VARIABLE, raising=False)  # another test may have run the command here
    changes = {"steps": 3, "save_every": 1, "lr": 0.2}
    stopped = Listener("Global Step: 1 ")
    train(settings(data, tmp_path / "run", cpu_kernels="off", **changes), say=stopped)
    listener = Listener()
    train(settings(data, tmp_path / "run", resume=True, **changes), say=listener)
    (line,) = [line for line in listener.lines if "computed with" in line]
    assert "computed with Paddle's operators so far and with kernels " in line
    assert "equal to rounding, not bit for bit; --cpu_kernels off goes on exactly" in line
    assert saved_state(tmp_path / "run", 3)["arithmetic"].startswith("kernels ")


def test_the_checkpoint_of_an_earlier_version_is_one_of_paddles_operators():
    lines: list[str] = []
    processor.say_other_arithmetic("", "kernels 12", say=lines.append)
    processor.say_other_arithmetic("", "", say=lines.append)
    processor.say_other_arithmetic("kernels 12", "", say=lines.append)
    assert len(lines) == 2
    assert "with kernels 12 so far and with Paddle's operators from here on" in lines[1]
    assert "goes on exactly" not in lines[1]


def test_without_a_compiler_it_trains_all_the_same_and_says_so_once(data, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    listener = Listener()
    run = build_run(settings(data, tmp_path / "run"), say=listener)
    wanted = (
        "cpu_kernels: no C++ compiler: no-such-compiler not found; training with Paddle's operators, which take longer"
    )
    assert sum(wanted in line for line in listener.lines) == 1
    kinds = [type(layer) for layer in run.network.sublayers()]
    assert CpuPReLU in kinds and KernelBatchNorm not in kinds
    assert not run.state.arithmetic.startswith("kernels")


def test_static_mode_another_order_and_off_build_nothing(home):
    for chosen in ({"cpu_kernels": "off"}, {"mode": "static"}, {"data_format": "NHWC"}):
        assert processor.open_kernels(config_from(chosen), say=lambda line: pytest.fail(line)) is None
    assert not home.exists()


def test_threads_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr(processor, "available_cores", lambda: 8)
    monkeypatch.delenv("PADDLE_LOCAL_SIZE", raising=False)
    for wanted, processes, threads in (("", "1", 8), ("", "4", 2), ("3", "4", 3), ("2,1", "1", 2), ("x", "16", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
        monkeypatch.setenv("PADDLE_LOCAL_SIZE", processes)
        assert processor.threads_per_process() == threads


@pytest.mark.parametrize(
    ("maker", "flags", "needed"),
    [
        ("AuthenticAMD", "sse2 fma avx avx2", True),
        ("AuthenticAMD", "sse2 avx", False),
        ("GenuineIntel", "sse2 fma avx avx2", False),
    ],
)
def test_products_on_amd_are_told_of_avx2_unless_the_user_has(maker, flags, needed, tmp_path, monkeypatch):
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"processor\t: 0\nvendor_id\t: {maker}\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    assert processor_setup.needs_mkl_type(facts) is needed
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "4")
    processor_setup.prepare_processor(facts)
    assert os.environ["MKL_DEBUG_CPU_TYPE"] == "4"
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE")
    processor_setup.prepare_processor(facts)
    assert os.environ.get("MKL_DEBUG_CPU_TYPE") == ("5" if needed else None)
    assert not processor_setup.needs_mkl_type(tmp_path / "nothing")


_FAULTS = """
import ctypes
import resource
import paddle
from arcface_paddle.training.processor_setup import prepare_processor
large = paddle.ones([8, 1024, 1024])
def faults():
    for _ in range(3):
        large + 1.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        large + 1.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
prepare_processor()
print(before, min(faults() for _ in range(4)), flush=True)
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_stays_in_the_process():
    """Or every page of 32 MB is mapped anew at each use.

    The least of four rounds: where a small block that stays takes the few bytes that an aligned array leaves beside
    it, the next array no longer fits there, and its pages are mapped once, elsewhere.
    """
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True, timeout=300)
    plain, prepared = map(int, done.stdout.split())
    if plain < 8000:
        pytest.skip(f"this system gives no memory back anyway: {plain} page faults")
    assert prepared < plain / 20, done.stderr


def test_the_command_prepares_the_processor(data, tmp_path, compiler):
    """In a process of its own, with the variables that it sets."""
    command = [sys.executable, "-m", "arcface_paddle", "train", f"--data_dir={data}", f"--output={tmp_path / 'run'}"]
    command += ["--logdir=", "--val_targets=", "--width=0.125", "--embedding_size=8", "--batch_size=12", "--steps=1"]
    command += ["--num_workers=1", "--device=cpu"]
    environment = {key: value for key, value in os.environ.items() if key != "MKL_DEBUG_CPU_TYPE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    name = json.loads((tmp_path / "run" / "checkpoints" / "step_00000001" / "state.json").read_text())["arithmetic"]
    assert name.startswith("kernels ")
    assert ("MKL_DEBUG_CPU_TYPE 5" in name) is processor_setup.needs_mkl_type()
