"""Time of a search in a large gallery, against the published tool's loop over its rows."""

from __future__ import annotations

import argparse
import time
from typing import Any, Callable

import numpy as np

from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry

NAME = "gallery_search"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--pictures", type=int, default=5, help="pictures of each person")
    parser.add_argument("--dimension", type=int, default=192, help="size of the embedding")
    parser.add_argument("--probes", type=int, default=16, help="faces searched at a time")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each; the fastest counts")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for the loop and one per decision."""
    rng = np.random.default_rng(0)
    rows = _unit(rng.normal(size=(args.people * args.pictures, args.dimension)))
    probes = _unit(rng.normal(size=(args.probes, args.dimension)))
    names = [f"person {i // args.pictures:07d}" for i in range(len(rows))]
    entries = [GalleryEntry(name, f"{i}.jpg") for i, name in enumerate(names)]
    loop = _fastest(lambda: _published_loop(rows, names, probes[:1]), 1) * args.probes
    measured = {"loop over the rows, as published": loop}
    for decision in ("best", "mean"):
        gallery = Gallery(entries, rows, decision=decision)
        measured[decision] = _fastest(lambda g=gallery: g.identify(probes, top_k=5, threshold=0.5), args.repeat)
    return [
        {
            "decision": name,
            "faces": len(rows),
            "people": args.people,
            "ms per probe": round(seconds * 1e3 / args.probes, 3),
            "speedup": round(loop / seconds, 1),
        }
        for name, seconds in measured.items()
    ]


def _published_loop(rows: np.ndarray, names: list[str], probes: np.ndarray) -> list[str]:
    """Compare probe by probe and row by row, as the published tool does."""
    found = []
    for probe in probes:
        scores = np.array([abs(np.dot(row, probe) / (np.linalg.norm(row) * np.linalg.norm(probe))) for row in rows])
        found.append(names[int(np.argpartition(scores, -5)[-1])])
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _fastest(function: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
