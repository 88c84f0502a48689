"""Random changes of training pictures: microseconds a picture, beside decoding and normalising it.

Every step is done to all pictures (probability 1), with its usual strength, in one thread; the presets have their own
probabilities. The baseline is what the loader does without augmentation.
"""

from __future__ import annotations

import argparse
import time
from typing import Callable

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.data.augment_settings import PRESETS, STEPS, parse_steps
from arcface_paddle.data.augmentation import Augmentation, centre_crop
from arcface_paddle.data.dataset import normalize_into

NAME = "augmentation"
BASELINE = "decode and normalise"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--pictures", type=int, default=500, help="pictures of a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the median counts (%(default)s)")


def run(args: argparse.Namespace) -> list[dict]:
    """Measure and return the rows."""
    cv2.setNumThreads(1)  # as in the workers
    pictures = make_pictures(args.pictures)
    encoded = [images.encode_image(picture, suffix=".jpg", quality=92) for picture in pictures]
    out = np.empty((3, 112, 112), dtype=np.float32)
    variants: dict[str, Callable[[int], object]] = {
        BASELINE: lambda number: normalize_into(out, images.decode_crop(encoded[number])),
        "ccrop": lambda number: centre_crop(pictures[number]),
    }
    lists = {name: [f"{name}:1"] for name in STEPS} | {f"preset {name}": [name] for name in PRESETS if PRESETS[name]}
    for name, items in lists.items():
        change = Augmentation(parse_steps(items))
        variants[name] = lambda number, change=change: change(pictures[number], number)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(args.rounds):
        for name, variant in variants.items():
            begin = time.perf_counter()
            for number in range(len(pictures)):
                variant(number)
            times[name].append((time.perf_counter() - begin) / len(pictures))
    medians = {name: float(np.median(values)) for name, values in times.items()}
    return [
        {
            "change": name,
            "us a picture": round(1e6 * median, 1),
            "share of the baseline": f"{100 * median / medians[BASELINE]:.0f} %",
        }
        for name, median in medians.items()
    ]


def make_pictures(count: int) -> list[np.ndarray]:
    """Paint smooth patterns with noise, about as detailed as aligned photographs."""
    generator = np.random.default_rng(0)
    tiles = generator.integers(0, 256, (count, 14, 14, 3), dtype=np.uint8)
    smooth = [cv2.resize(tile, (112, 112), interpolation=cv2.INTER_CUBIC) for tile in tiles]
    return [np.clip(picture + generator.normal(0, 6, picture.shape), 0, 255).astype(np.uint8) for picture in smooth]
