"""A dataset some of whose labels are flipped on purpose, and which ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_data import picture

from arcface_paddle.data.bin_record import encode_record


def write_noisy_dataset(folder: Path, *, identities: int, pictures: int, share: float) -> np.ndarray:
    """Write ``images/*.bin`` and ``label.txt``, and return (N,) bool, which labels are another identity's."""
    random = np.random.default_rng(0)
    flipped = random.random(identities * pictures) < share
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, is_flipped in enumerate(flipped.tolist()):
        identity = number % identities
        name = f"images/{number:08d}.bin"
        (folder / name).write_bytes(encode_record(f"{number:08d}.jpg", picture(identity, number)))
        other = (identity + 1 + int(random.integers(identities - 1))) % identities
        lines.append(f"{name}\t{other if is_flipped else identity}\n")
    (folder / "label.txt").write_text("".join(lines))
    return flipped
