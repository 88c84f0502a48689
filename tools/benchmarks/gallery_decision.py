"""Which decision over several pictures of a person is better: most similar picture, or mean of all.

Rendered people stand in for photographs. Half of them are known, half are strangers, drawn anew in every round; a
share of the known people may have a picture of somebody else among theirs.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from arcface_paddle.pipeline.builders import build_recognizer
from arcface_paddle.pipeline.gallery import DECISIONS, Gallery, GalleryEntry
from arcface_paddle.synthetic import SyntheticFaces

NAME = "gallery_decision"
_FALSE_NAMES = (0.01, 0.001)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--identities", type=int, default=70)
    parser.add_argument("--pictures", type=int, default=12, help="rendered per identity")
    parser.add_argument("--known_pictures", type=int, nargs="+", default=[3, 5, 8], help="pictures in the gallery")
    parser.add_argument("--wrong", type=float, nargs="+", default=[0.0, 0.2], help="share with a picture of another")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row per decision, number of pictures and share of mix-ups."""
    embeddings = _embed_people(args)
    rows = []
    for wrong in args.wrong:
        for count in args.known_pictures:
            for decision in DECISIONS:
                measured = _measure(embeddings, decision, count=count, wrong=wrong, args=args)
                rows.append({"mixed up": wrong, "pictures": count, "decision": decision, **measured})
    return rows


def _embed_people(args: argparse.Namespace) -> np.ndarray:
    """Return (identities, pictures, D)."""
    faces, recognizer = SyntheticFaces(args.seed), build_recognizer("MobileFace")
    people = []
    for identity in range(args.identities):
        crops = np.stack([faces.render(identity, number).image for number in range(args.pictures)])
        people.append(recognizer.embed(crops).vectors)
    return np.stack(people)


def _measure(
    embeddings: np.ndarray, decision: str, *, count: int, wrong: float, args: argparse.Namespace
) -> dict[str, float]:
    rng = np.random.default_rng(args.seed)
    right: list[bool] = []
    genuine: list[float] = []
    strange: list[float] = []
    for _ in range(args.rounds):
        order = rng.permutation(len(embeddings))
        known, strangers = order[: len(order) // 2], order[len(order) // 2 :]
        gallery, probes, truth = _draw(embeddings, known, decision, count=count, wrong=wrong, rng=rng)
        found = gallery.identify(probes, top_k=1, threshold=-1.0)
        hits = [answer.name == name for answer, name in zip(found, truth)]
        right += hits
        genuine += [answer.similarity if hit else -1.0 for answer, hit in zip(found, hits)]
        unknown = embeddings[strangers].reshape(-1, embeddings.shape[2])
        strange += [answer.similarity for answer in gallery.identify(unknown, top_k=1, threshold=-1.0)]
    row = {"rank-1 %": round(100 * float(np.mean(right)), 1)}
    for rate in _FALSE_NAMES:
        threshold = float(np.quantile(strange, 1 - rate))
        row[f"named % at {100 * rate:g} % strangers named"] = round(
            100 * float(np.mean(np.array(genuine) >= threshold)), 1
        )
    return row


def _draw(
    embeddings: np.ndarray, known: np.ndarray, decision: str, *, count: int, wrong: float, rng: np.random.Generator
) -> tuple[Gallery, np.ndarray, list[str]]:
    """Split the pictures of the known people into gallery and probes."""
    entries, rows, probes, truth = [], [], [], []
    for person in known:
        order = rng.permutation(embeddings.shape[1])
        own = embeddings[person][order[:count]].copy()
        if rng.random() < wrong:
            own[0] = embeddings[rng.choice(known), rng.integers(embeddings.shape[1])]
        entries += [GalleryEntry(f"{person:05d}", f"{number}.png") for number in range(count)]
        rows.append(own)
        probes.append(embeddings[person][order[count:]])
        truth += [f"{person:05d}"] * (len(order) - count)
    return Gallery(entries, np.concatenate(rows), decision=decision), np.concatenate(probes), truth
