"""Short training runs on tiny data: their command line, and whether two of them are one run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from launch import ROOT

from arcface_paddle import safe_pickle
from arcface_paddle.training.run_log import read_metrics
from arcface_paddle.weight_files import read_state_dict

RELATIVE = 1e-5  # in the L2 norm over all weights; a PReLU input that rounding moves across 0 shows in single values


def arguments(data: Path, output: Path, **changes) -> list[str]:
    values = {
        "data_dir": data, "output": output, "logdir": "", "val_targets": "val", "validate_every": 0, "width": 0.125,
        "embedding_size": 8, "global_batch_size": 12, "lr": 0.2, "steps": 5, "warmup_steps": 2, "decay": "constant",
        "log_every": 1, "save_every": 3, "num_workers": 1, "batch_norm": "frozen", "clip_norm": 5, **changes,
    }  # fmt: skip
    return [str(ROOT / "train.py"), *(f"--{name}={value}" for name, value in values.items())]


def checkpoint(output: Path, step: int) -> Path:
    return output / "checkpoints" / f"step_{step:08d}"


def everything(folder: Path) -> dict[str, np.ndarray]:
    """Read a checkpoint, with the shards put together."""
    manifest = json.loads((folder / "manifest.json").read_text())
    arrays = {f"backbone {key}": value for key, value in read_state_dict(folder / "MobileFaceNet_128.pdparams").items()}
    momentum = read_state_dict(folder / "backbone_momentum.pdparams")
    arrays.update({f"momentum {key}": value for key, value in momentum.items()})
    for kind in ("weight", "weight_mom"):
        names = [f"rank_{rank}_softmax_{kind}.pkl" for rank in range(manifest["world_size"])]
        shards = [safe_pickle.load_arrays((folder / name).read_bytes(), name=name) for name in names]
        arrays[f"classifier {kind}"] = np.concatenate(shards)
    return arrays


def assert_same_run(one: Path, other: Path, step: int = 5, *, logged: int = 2) -> None:
    mine, theirs = everything(checkpoint(one, step)), everything(checkpoint(other, step))
    assert list(mine) == list(theirs)
    for kind in ("backbone", "momentum", "classifier weight", "classifier weight_mom"):
        keys = [key for key in mine if kind in (key, key.split(" ")[0])]
        vectors = [np.concatenate([arrays[key].ravel().astype(float) for key in keys]) for arrays in (mine, theirs)]
        if not vectors[0].size and not vectors[1].size:  # a run without classes
            continue
        difference = np.linalg.norm(vectors[0] - vectors[1]) / np.linalg.norm(vectors[0])
        assert difference <= RELATIVE * (10 if "mom" in kind else 1), (kind, difference)
    losses = [[row["loss"] for row in read_metrics(output) if "loss" in row][-logged:] for output in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=RELATIVE)
