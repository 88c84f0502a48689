"""A dataset that trains in seconds: identities are random patterns, pictures of one are the pattern with noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from arcface_paddle.data import write_verification_set
from arcface_paddle.data.bin_record import encode_record


def picture(identity: int, number: int) -> bytes:
    """Return a JPEG of 112x112: the identity's coarse pattern, with noise that ``number`` seeds."""
    pattern = np.random.default_rng([1, identity]).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    large = cv2.resize(pattern, (112, 112), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    noise = np.random.default_rng([2, identity, number]).normal(0, 25, large.shape)
    _, encoded = cv2.imencode(".jpg", np.clip(large + noise, 0, 255).astype(np.uint8))
    return bytes(encoded)


def write_dataset(folder: Path, *, identities: int = 10, pictures: int = 5, pairs: int = 20) -> Path:
    """Write ``images/*.bin``, ``label.txt`` and ``val.bin`` (pairs of the same identities) and return the folder."""
    lines = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(identities * pictures):
        identity = number % identities
        name = f"images/{number:08d}.bin"
        (folder / name).write_bytes(encode_record(f"{number:08d}.jpg", picture(identity, number)))
        lines.append(f"{name}\t{identity}\n")
    (folder / "label.txt").write_text("".join(lines))
    write_validation(folder / "val.bin", identities=identities, pairs=pairs)
    return folder


def write_validation(path: Path, *, identities: int, pairs: int) -> None:
    """Write a verification set with as many genuine as impostor pairs."""
    rng = np.random.default_rng(3)
    pictures, same = [], []
    for pair in range(pairs):
        first = int(rng.integers(identities))
        second = first if pair % 2 == 0 else (first + 1 + int(rng.integers(identities - 1))) % identities
        pictures += [picture(first, 10_000 + 2 * pair), picture(second, 10_001 + 2 * pair)]
        same.append(first == second)
    write_verification_set(path, pictures, same)
