"""How hard each rendered picture is, and an order of an identity's pictures from easy to hard.

The renderer notes of every picture how the head is held, what hides the face and what light falls on it
(``metadata.jsonl``). A curriculum shows the easier part of each identity first: where the order of an epoch names a
harder picture, an easier one of the same identity takes its place. So labels, sizes of batches and the number of steps
are those of the plain run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import DataError

METADATA_FILE = "metadata.jsonl"

_OCCLUDERS = {"glasses": 0.1, "hat": 0.15, "sunglasses": 0.5, "hand": 0.5, "mask": 0.7}
_YAW_DEG, _PITCH_DEG = 75.0, 45.0  # at the edge of what is rendered
_LIGHT_WEIGHT = 0.4


class Ladder:
    """The pictures of every identity from easy to hard."""

    def __init__(self, labels: np.ndarray, difficulty: np.ndarray) -> None:
        """Sort.

        Args:
            labels: (N,) int64 of the samples.
            difficulty: (N,) larger for harder; equal ones keep their order.
        """
        assert labels.shape == difficulty.shape
        self._order = np.lexsort((difficulty, labels))
        counts = np.bincount(labels)
        starts = np.cumsum(counts) - counts
        self._start, self._count = starts[labels], counts[labels]
        self._rank = np.empty(len(labels), dtype=np.int64)
        self._rank[self._order] = np.arange(len(labels)) - self._start[self._order]

    def eased(self, indices: np.ndarray, share: float) -> np.ndarray:
        """Replace samples that are not among the easiest ``share`` of their identity by others that are.

        Args:
            indices: (n,) int64.
            share: above 0, up to 1, which replaces none.

        Returns:
            (n,) int64, of the same identities.
        """
        allowed = np.maximum(1, np.ceil(share * self._count[indices] - 1e-9).astype(np.int64))
        return self._order[self._start[indices] + self._rank[indices] % allowed]


def read_ladder(root: files.PathLike, labels: np.ndarray) -> Ladder:
    """Read how hard the pictures of a synthetic dataset are.

    Args:
        root: its folder.
        labels: (N,) int64 as its reader gives them.

    Raises:
        DataError: there is no ``metadata.jsonl``, or it is not that of these samples.
    """
    path = Path(root) / METADATA_FILE
    difficulty, found = [], []
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                difficulty.append(difficulty_of(entry))
                found.append(int(entry["label"]))
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; curriculum difficulty needs a dataset of 'arcface-paddle synth'"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: line {len(found) + 1} cannot be read: {error!s:.120}") from None
    if not np.array_equal(found, labels):
        raise DataError(
            f"{path}: describes {len(found)} pictures, the dataset has {len(labels)} or other labels; curriculum "
            "difficulty needs the whole dataset in the order in which it was written"
        )
    return Ladder(labels, np.array(difficulty))


def difficulty_of(entry: Mapping[str, Any]) -> float:
    """Return how hard a picture is, about 0 (frontal, nothing hidden, even light) to 3; one line of the metadata."""
    pose = abs(entry["yaw_deg"]) / _YAW_DEG + abs(entry["pitch_deg"]) / _PITCH_DEG
    hidden = sum(_OCCLUDERS.get(name, 0.0) for name in entry["occluders"])
    return float(pose + hidden + _LIGHT_WEIGHT * _one_sidedness(entry))


def _one_sidedness(entry: Mapping[str, Any]) -> float:
    """Return which part of the light comes from the side, from above or from behind: 0 to 1."""
    colors = np.asarray(entry["lamp_colors"], dtype=float).reshape(-1, 3).mean(axis=1)
    frontal = np.clip(np.asarray(entry["lamp_directions"], dtype=float).reshape(-1, 3)[:, 2], 0, 1)
    total = colors.sum() + float(np.mean(entry["ambient"]))
    return float((colors * (1 - frontal)).sum() / total) if total > 0 else 0.0
