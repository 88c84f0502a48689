"""A small network with and without a teacher, on the same pictures and for equally many steps.

Both students are MobileFaceNets of quarter width. One learns the embeddings of the shipped MobileFace and looks at no
label (configs/distill_synthetic.yaml), the other one learns from the labels (the loss of configs/synthetic_2core.yaml:
plain softmax for a third of the steps, then ArcFace); length of the embedding, rate, batch, order and number of steps
are the same. Measured on rendered people whom neither has seen; baselines: the untrained student, and the teacher.
What is there from an earlier run is kept.
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
from arcface_paddle.synthetic.generator import SyntheticFaces
from arcface_paddle.training.teacher import open_teacher
from benchmarks.from_scratch import Embed, Faces, measure, network_embed, seed_weights

NAME = "distillation"

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "configs/distill_synthetic.yaml"
NETWORK, WIDTH, EMBEDDING, TEACHER = "MobileFaceNet_128", 0.25, 192, "MobileFace"
IDENTITIES, IMAGES = 80, 10
FIRST_HELD_OUT, HELD_OUT, HELD_OUT_IMAGES = 1000, 40, 8
"""People of the same population, by number, who are in no set of this benchmark."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--work", type=Path, required=True, help="folder for the pictures and the runs; kept")
    parser.add_argument("--steps", type=int, default=100, help="of each student, of 32 pictures (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the population and of the training")


def run(args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Return one row per network."""
    render_training_faces(args.work, args.seed)
    labels = ["--loss", "ArcFace", "--scale", "32", "--softmax_steps", str(args.steps // 3)]
    without = train(args, "labels", ["--teacher", "none", *labels])
    taught = train(args, "taught", ["--teacher_cache", str(args.work / "cache")])
    seed_weights(args.seed)
    crops, people = held_out_people(args.work, args.seed)
    networks: Dict[str, Embed] = {
        "untrained student": network_embed(build_backbone(NETWORK, embedding_size=EMBEDDING, width=WIDTH)),
        "student without teacher": network_embed(open_backbone(NETWORK, without)),
        "student with teacher": network_embed(open_backbone(NETWORK, taught)),
        f"teacher ({TEACHER})": open_teacher(TEACHER, mirrored=False).embed,
    }
    rows = []
    for name, embed in networks.items():
        auc, first = measure(embed(crops), people)
        rows.append({"network": name, "steps": args.steps, "AUC": auc, "rank-1": first})
    return rows


def render_training_faces(work: Path, seed: int) -> None:
    """Render the pictures that both students learn from, as far as that is not done."""
    synth = [sys.executable, "-m", "arcface_paddle", "synth", str(work / "faces"), "--seed", str(seed), "--resume"]
    synth += ["--identities", str(IDENTITIES), "--images_per_identity", str(IMAGES), "--format", "packed"]
    subprocess.run([*synth, "--val_identities", "40", "--val_pairs", "1200"], check=True)


def held_out_people(work: Path, seed: int) -> Faces:
    """Render people whom no training has seen, as far as that is not done."""
    kept = work / f"held_out_{seed}.npz"
    if not kept.is_file():
        faces = SyntheticFaces(seed)
        numbers = [(FIRST_HELD_OUT + person, image) for person in range(HELD_OUT) for image in range(HELD_OUT_IMAGES)]
        shown = [faces.render(*number) for number in numbers]
        images, labels = [picture.image for picture in shown], [picture.label for picture in shown]
        np.savez_compressed(kept, crops=np.stack(images), labels=np.array(labels))
    with np.load(kept) as arrays:
        return arrays["crops"], arrays["labels"]


def train(args: argparse.Namespace, name: str, flags: List[str]) -> Path:
    """Train a student, or go on with it, and return its weights."""
    output = args.work / f"{name}_{args.steps}"
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(RECIPE), "--resume", "auto"]
    command += [
        "--data_dir",
        str(args.work / "faces"),
        "--output",
        str(output),
        "--logdir",
        "",
        "--val_targets",
        "none",
    ]
    command += ["--steps", str(args.steps), "--warmup_steps", str(max(1, args.steps // 10)), "--seed", str(args.seed)]
    command += ["--embedding_size", str(EMBEDDING)]
    subprocess.run([*command, *flags], check=True)
    return output / f"{NETWORK}.pdparams"
