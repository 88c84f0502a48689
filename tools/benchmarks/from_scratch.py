"""A small network from scratch on synthetic people: how well it tells others apart, rendered and photographed.

Renders the set of configs/synthetic_260.yaml, trains on it with that recipe (about a quarter of an hour on two cores;
what is there from an earlier run is kept) and measures on 40 rendered people that it never saw, 9 pictures each, and on
the 8 faces of the demonstration photographs. Baselines: the same network untrained, and the shipped recogniser, which
was trained on photographs. The floors are those of the prototype (SYNTHETIC_FACES.md); its photographs are not here,
and 28 pairs of 4 people show a direction, not a figure.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from arcface_paddle import files
from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.weights import open_backbone
from arcface_paddle.data import FaceDataset, open_dataset
from arcface_paddle.evaluation.metrics import area_under_curve
from arcface_paddle.pipeline import builders
from arcface_paddle.synthetic.generator import SyntheticFaces
from benchmarks.separation import genuine_and_impostor, rank1

NAME = "from_scratch"

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "configs/synthetic_260.yaml"
NETWORK, WIDTH = "MobileFaceNet_128", 0.25
IDENTITIES, IMAGES, VAL_IDENTITIES = 260, 24, 60
HELD_OUT, HELD_OUT_IMAGES = 40, 9

PHOTOGRAPHS = """\
gallery/Barack Obama/portrait_2012.jpg\tObama
queries/obama_blue_room.jpg\tObama
queries/obama_speech_2009.jpg\tObama
gallery/Joe Biden/portrait_2013.jpg\tBiden
queries/biden_relit.jpg\tBiden
gallery/Grace Hopper/portrait_1984.jpg\tHopper
queries/hopper_relit.jpg\tHopper
queries/stranger_collins.jpg\tCollins
"""

Faces = Tuple[np.ndarray, np.ndarray]
"""Crops (N, 112, 112, 3) uint8 RGB and their labels (N,)."""

Embed = Callable[[np.ndarray], np.ndarray]
"""Crops to (N, D) float32, L2-normalised."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--work", type=Path, required=True, help="folder for the pictures and the run; kept")
    parser.add_argument("--processes", type=int, default=2, help="that render and train (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the population")


def run(args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Return one row per network and set of faces."""
    weights = train(args)
    seed_weights(args.seed)
    people, photographs = held_out_people(args.seed), aligned_photographs(args.work)
    networks: Dict[str, Embed] = {
        "untrained": network_embed(build_backbone(NETWORK, embedding_size=128, width=WIDTH)),
        "trained": network_embed(open_backbone(NETWORK, weights)),
        "shipped recogniser": lambda crops: (
            builders.build_recognizer("MobileFace", mirrored=False).embed(crops).vectors
        ),
    }
    rows = []
    for name, embed in networks.items():
        for view, seen in (("single view", embed), ("mirrored sum", mirrored(embed))):
            auc, first = measure(seen(people[0]), people[1])
            photo_auc, _ = measure(seen(photographs[0]), photographs[1])
            found = {"AUC": auc, "rank-1": first, "AUC of 8 photographs (28 pairs)": photo_auc}
            rows.append({"network": name, "view": view, **found})
    rows.append({"network": "floor (prototype)", "AUC": 0.964, "rank-1": 0.950})
    return rows


def train(args: argparse.Namespace) -> Path:
    """Render and train as far as that is not done; return the weights."""
    faces, output = args.work / "faces", args.work / "run"
    synth = [sys.executable, "-m", "arcface_paddle", "synth", str(faces), "--seed", str(args.seed), "--resume"]
    synth += ["--identities", str(IDENTITIES), "--images_per_identity", str(IMAGES), "--format", "packed"]
    synth += ["--val_identities", str(VAL_IDENTITIES), "--val_pairs", "1200", "--workers", str(args.processes)]
    subprocess.run(synth, check=True)
    launch = [sys.executable, "-m", "paddle.distributed.launch", f"--nproc_per_node={args.processes}"]
    launch += [f"--log_dir={args.work / 'launch'}", str(ROOT / "train.py"), "--config", str(RECIPE), "--resume", "1"]
    launch += ["--data_dir", str(faces), "--output", str(output), "--logdir", str(args.work / "log")]
    subprocess.run(launch, check=True)
    return output / f"{NETWORK}.pdparams"


def seed_weights(seed: int) -> None:
    """Make the untrained network the same in every run."""
    import paddle

    paddle.seed(seed)


def held_out_people(seed: int) -> Faces:
    """Render people that follow those of the training in number."""
    faces = SyntheticFaces(seed)
    shown = [faces.render(IDENTITIES + person, image) for person in range(HELD_OUT) for image in range(HELD_OUT_IMAGES)]
    return np.stack([picture.image for picture in shown]), np.array([picture.label for picture in shown])


def aligned_photographs(work: Path) -> Faces:
    """Find and align the faces of the demonstration photographs."""
    names, aligned = work / "photographs.txt", work / "photographs"
    files.write_text(names, PHOTOGRAPHS)
    align = ["data", "align", str(ROOT / "demo"), str(aligned), "--label", str(names)]
    subprocess.run([sys.executable, "-m", "arcface_paddle", *align], check=True)
    dataset: FaceDataset = open_dataset(aligned)
    return np.stack([dataset.read_image(index) for index in range(len(dataset))]), dataset.labels


def network_embed(network: Any) -> Embed:
    """Embed with a network of this package."""
    import paddle

    network.eval()

    def embed(crops: np.ndarray) -> np.ndarray:
        parts = []
        with paddle.no_grad():
            for start in range(0, len(crops), 64):
                batch = crops[start : start + 64].astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
                parts.append(network(paddle.to_tensor(batch)).numpy())
        features = np.concatenate(parts)
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    return embed


def mirrored(embed: Embed) -> Embed:
    """Return the embedding of the sum over a picture and its mirror image."""

    def both(crops: np.ndarray) -> np.ndarray:
        total = embed(crops) + embed(np.ascontiguousarray(crops[:, :, ::-1]))
        return total / np.linalg.norm(total, axis=1, keepdims=True)

    return both


def measure(embeddings: np.ndarray, labels: np.ndarray) -> Tuple[float, float]:
    """Return the area under the ROC curve of all pairs, and rank-1."""
    similarity = embeddings @ embeddings.T
    auc = area_under_curve(*genuine_and_impostor(similarity, labels))
    return float(auc or 0.0), rank1(similarity, labels)
