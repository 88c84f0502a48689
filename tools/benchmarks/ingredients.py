"""What each ingredient of configs/synthetic_1m.yaml gives, with a tiny network, equal steps and several seeds.

Arms, each with everything of the one before it: the plain recipe, the augmentation for rendered pictures at full
strength, its strength growing with the step, then margin and difficulty of the pictures growing too; and these two
without augmentation. Every arm has the same people, pictures, steps and learning rate.

Measured on people of another population: all their pictures, the hard third of them (pose, occlusion, light from the
side), all of them degraded as a bad camera does, and the 8 faces of the demonstration photographs (28 pairs: a
direction, not a figure). What is there from an earlier run is kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.weights import open_backbone
from arcface_paddle.data import open_dataset
from arcface_paddle.data.augment_settings import parse_steps
from arcface_paddle.data.augmentation import Augmentation
from arcface_paddle.data.difficulty import difficulty_of
from arcface_paddle.synthetic.writer import read_metadata
from benchmarks.from_scratch import (
    NETWORK,
    ROOT,
    WIDTH,
    Faces,
    aligned_photographs,
    measure,
    mirrored,
    network_embed,
    seed_weights,
)

NAME = "ingredients"

RECIPE = ROOT / "configs/synthetic_2core.yaml"
HELD_OUT_SEED = 1000  # another population: nobody of the training
BAD_CAMERA = ("low_resolution:1:0.22-0.3", "noise:1:8", "compression:1:25")
HARD_SHARE = 1 / 3

ARMS: Dict[str, List[str]] = {
    "plain": ["--softmax_steps", "{third}"],
    "+ augmentation": ["--softmax_steps", "{third}", "--augment", "rendered"],
    "+ its strength grows": [
        "--softmax_steps",
        "{third}",
        "--augment",
        "rendered",
        "--curriculum",
        "augment:0.1:0-0.7",
    ],
    "+ margin and difficulty grow": [
        *("--softmax_steps", "0", "--augment", "rendered"),
        *("--curriculum", "augment:0.1:0-0.7,margin:0:0.2-0.6,difficulty:0.4:0-0.5"),
    ],
    "plain, margin and difficulty grow": [
        *("--softmax_steps", "0"),
        *("--curriculum", "margin:0:0.2-0.6,difficulty:0.4:0-0.5"),
    ],
}
"""Flags of each arm; ``{third}`` is a third of the steps, after which the margin begins where it does not grow."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--work", type=Path, required=True, help="folder for the pictures and the runs; kept")
    parser.add_argument("--identities", type=int, default=64, help="people to train on (%(default)s)")
    parser.add_argument("--images", type=int, default=12, help="pictures of each (%(default)s)")
    parser.add_argument("--held_out", type=int, default=30, help="people to measure on, 10 pictures each (%(default)s)")
    parser.add_argument("--steps", type=int, default=240, help="steps of each run, of 32 pictures (%(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each arm (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="that render and train (%(default)s)")


def run(args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Return one row per arm: the mean over the seeds, and the smallest and largest."""
    args.work.mkdir(parents=True, exist_ok=True)
    faces, held_out = args.work / "faces", args.work / "held_out"
    render(faces, args, identities=args.identities, images=args.images, seed=0)
    render(held_out, args, identities=args.held_out, images=10, seed=HELD_OUT_SEED)
    views = views_of(held_out, args.work)
    seed_weights(0)
    untrained = build_backbone(NETWORK, embedding_size=128, width=WIDTH)
    rows = [{"arm": "untrained", **spread([measure_views(untrained, views)])}]
    for seed in range(args.seeds):  # seed by seed, so that an end before the last one leaves whole arms
        for arm in ARMS:
            train(arm, seed, args)
    for arm in ARMS:
        networks = [open_backbone(NETWORK, weights_of(arm, seed, args)) for seed in range(args.seeds)]
        rows.append({"arm": arm, **spread([measure_views(network, views) for network in networks])})
    return rows


def render(root: Path, args: argparse.Namespace, *, identities: int, images: int, seed: int) -> None:
    """Render a dataset unless it is there."""
    if (root / "metadata.jsonl").exists():
        return
    synth = [sys.executable, "-m", "arcface_paddle", "synth", str(root), "--seed", str(seed), "--format", "packed"]
    synth += ["--identities", str(identities), "--images_per_identity", str(images), "--resume"]
    subprocess.run([*synth, "--workers", str(args.processes)], check=True)


def train(arm: str, seed: int, args: argparse.Namespace) -> None:
    """Train one network unless that is done."""
    if weights_of(arm, seed, args).exists():
        return
    output = folder_of(arm, seed, args)
    launch = [sys.executable, "-m", "paddle.distributed.launch", f"--nproc_per_node={args.processes}"]
    launch += [f"--log_dir={output / 'launch'}", str(ROOT / "train.py"), "--config", str(RECIPE), "--resume", "auto"]
    launch += ["--data_dir", str(args.work / "faces"), "--output", str(output), "--logdir", "", "--seed", str(seed)]
    launch += ["--steps", str(args.steps), "--val_targets", "none", "--width", str(WIDTH)]
    launch += ["--save_every", str(args.steps)]  # so that weights are those of a finished run
    subprocess.run(launch + [flag.format(third=args.steps // 3) for flag in ARMS[arm]], check=True)


def folder_of(arm: str, seed: int, args: argparse.Namespace) -> Path:
    """Return the folder of a run."""
    return args.work / f"{list(ARMS).index(arm)}_steps{args.steps}_seed{seed}"


def weights_of(arm: str, seed: int, args: argparse.Namespace) -> Path:
    """Return the weights that a finished run leaves."""
    return folder_of(arm, seed, args) / f"{NETWORK}.pdparams"


def views_of(held_out: Path, work: Path) -> Dict[str, Faces]:
    """Return crops and labels to measure on, by the name of the column."""
    dataset = open_dataset(held_out)
    crops = np.stack([dataset.read_image(index) for index in range(len(dataset))])
    camera = Augmentation(parse_steps(BAD_CAMERA))
    degraded = np.stack([camera(crop, key) for key, crop in enumerate(crops)])
    difficulty = np.array([difficulty_of(entry) for entry in read_metadata(held_out)])
    hard = difficulty >= np.quantile(difficulty, 1 - HARD_SHARE)
    return {
        "held out": (crops, dataset.labels),
        "hard third": (crops[hard], dataset.labels[hard]),
        "bad camera": (degraded, dataset.labels),
        "8 photographs": aligned_photographs(work),
    }


def measure_views(network: Any, views: Dict[str, Faces]) -> Dict[str, float]:
    """Return the AUC of each view, and the rank-1 of the held-out people."""
    embed = mirrored(network_embed(network))
    found = {}
    for name, (crops, labels) in views.items():
        auc, first = measure(embed(crops), labels)
        found[f"AUC {name}"] = auc
        if name == "held out":
            found["rank-1 held out"] = first
    return found


def spread(results: List[Dict[str, float]]) -> Dict[str, str]:
    """Return the mean of each figure over the seeds, with the smallest and the largest."""
    table = {}
    for name in results[0]:
        values = [result[name] for result in results]
        span = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
        table[name] = f"{np.mean(values):.3f}{span}"
    return table
