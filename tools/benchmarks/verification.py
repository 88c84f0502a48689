"""Time of the verification protocol on stored features, against the loop over folds and thresholds that is usual."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Callable

from arcface_paddle.evaluation.verification import verify

NAME = "verification"
_TWIN_FOLDER = Path(__file__).resolve().parents[2] / "tests" / "evaluation"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--pairs", type=int, default=6000, help="pairs (lfw.bin has 6000)")
    parser.add_argument("--dimension", type=int, default=512, help="size of the embedding")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the fastest counts")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for the slow twin of the tests and one for the package, which also does TAR@FAR, EER and AUC."""
    sys.path.insert(0, str(_TWIN_FOLDER))
    import published_protocol as twin

    features, mirrored, issame = twin.random_set(args.pairs, args.dimension, noise=1.2)
    slow = _fastest(lambda: twin.evaluate(features, mirrored, issame), args.repeat)
    fast = _fastest(lambda: verify(features, mirrored, issame, name="random"), args.repeat)
    shape = f"{args.pairs} x {args.dimension}"
    return [
        {"what": "loops over folds and thresholds (numpy)", "pairs": shape, "ms": round(slow * 1e3, 1), "speedup": 1.0},
        {"what": "arcface_paddle", "pairs": shape, "ms": round(fast * 1e3, 1), "speedup": round(slow / fast, 1)},
    ]


def _fastest(function: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
