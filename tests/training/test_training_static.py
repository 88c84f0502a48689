"""--mode static: the compiled backbone trains, validates and resumes as the other one, whatever flags Paddle has."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from test_training_runs import Listener, losses, settings
from tiny_data import write_dataset

from arcface_paddle.errors import ConfigError
from arcface_paddle.training import network
from arcface_paddle.training.checkpoint import list_checkpoints
from arcface_paddle.training.config import config_from
from arcface_paddle.training.run_log import read_metrics
from arcface_paddle.training.trainer import train
from arcface_paddle.weight_files import read_state_dict

STEPS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3, pairs=10)


def known_flags() -> list[str]:
    known = []
    for name in network._FLAGS_OF_ONEDNN:
        with contextlib.suppress(ValueError):
            known += paddle.get_flags(name)
    return known


FLAG = known_flags()[0]


@pytest.fixture
def with_onednn():
    """Switch on what gives compiled networks wrong gradients, and off afterwards."""
    paddle.set_flags({FLAG: True})
    yield
    paddle.set_flags({FLAG: False})


@pytest.mark.usefixtures("with_onednn")
def test_a_paddle_that_knows_one_name_of_the_flag_only_is_asked_for_both():
    """Paddle 3.0 has the older one."""
    assert network._is_on(FLAG)
    assert not network._is_on("FLAGS_use_something_of_another_version")


def joined(output: Path, kind: str) -> np.ndarray:
    """Read weights or momentum of the newest checkpoint as one vector."""
    name = {"weights": "MobileFaceNet_128.pdparams", "momentum": "backbone_momentum.pdparams"}[kind]
    arrays = read_state_dict(list_checkpoints(output)[0][1] / name).values()
    return np.concatenate([array.ravel().astype(float) for array in arrays])


@pytest.mark.usefixtures("with_onednn")
def test_equals_dynamic_mode_though_onednn_was_on(data, tmp_path, monkeypatch):
    """Bit for bit where dynamic mode has the original layers, to rounding where it has the faster ones for CPU."""
    changes = {"steps": STEPS, "lr": 0.2, "val_targets": "val", "validate_every": 0}
    listener = Listener()
    train(settings(data, tmp_path / "static", mode="static", **changes), say=listener)
    said = f"{FLAG} switched off: in mode static it gives the backbone no gradients or wrong ones"
    assert sum(said in line for line in listener.lines) == 1
    assert not paddle.get_flags(FLAG)[FLAG]
    train(settings(data, tmp_path / "dynamic", **changes), say=Listener())
    monkeypatch.setattr(network, "use_cpu_layers", lambda own: own)
    train(settings(data, tmp_path / "plain", cpu_kernels="off", **changes), say=Listener())

    static = joined(tmp_path / "static", "weights")
    difference = np.linalg.norm(static - joined(tmp_path / "dynamic", "weights")) / np.linalg.norm(static)
    assert difference <= 1e-5
    assert losses(tmp_path / "static") == pytest.approx(losses(tmp_path / "dynamic"), rel=1e-5)
    np.testing.assert_array_equal(static, joined(tmp_path / "plain", "weights"))
    momentum = joined(tmp_path / "static", "momentum")
    np.testing.assert_array_equal(momentum, joined(tmp_path / "plain", "momentum"))
    assert np.linalg.norm(momentum) > 1e-2  # there are gradients
    accuracy = {row["accuracy_mean"] for name in ("static", "plain") for row in read_metrics(tmp_path / name)[-1:]}
    assert len(accuracy) == 1


@pytest.mark.long
@pytest.mark.parametrize("flag", known_flags())
def test_the_flags_in_the_environment_take_no_gradient_away(flag, data, tmp_path):
    command = [sys.executable, "-m", "arcface_paddle", "train", f"--data_dir={data}", f"--output={tmp_path / 'run'}"]
    command += ["--logdir=", "--val_targets=", "--width=0.125", "--embedding_size=8", "--batch_size=12", "--steps=2"]
    command += ["--mode=static", "--num_workers=1", "--device=cpu"]
    done = subprocess.run(command, env={**os.environ, flag: "1"}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{flag} switched off: in mode static it gives the backbone no gradients or wrong ones" in done.stdout
    assert np.linalg.norm(joined(tmp_path / "run", "momentum")) > 1e-2


def test_a_backbone_without_any_gradient_ends_the_run(data, tmp_path, monkeypatch):
    """As with the flag on, where nothing looks at it."""
    if len(known_flags()) == 1:
        pytest.skip("with the flag on, Paddle 3.0 fails before, by a wrong shape")
    monkeypatch.setattr(network, "_FLAGS_OF_ONEDNN", ())
    paddle.set_flags({FLAG: True})
    try:
        with pytest.raises(ConfigError, match="the backward pass has given the backbone no gradient at all"):
            train(settings(data, tmp_path / "run", mode="static", steps=1), say=Listener())
    finally:
        paddle.set_flags({FLAG: False})


def test_synchronised_batch_norm_is_refused():
    with pytest.raises(ConfigError, match="mode static cannot compile synchronised BatchNorm; choose mode dynamic"):
        config_from({"mode": "static", "batch_norm": "sync"})
