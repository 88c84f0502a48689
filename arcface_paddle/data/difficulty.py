"""How hard each rendered picture is, and an order of an identity's pictures from easy to hard.

The renderer notes of every picture how the head is held, what hides the face and what light falls on it
(``metadata.jsonl``). A curriculum shows the easier part of each identity first: where the order of an epoch names a
harder picture, an easier one of the same identity takes its place. So labels, sizes of batches and the number of steps
are those of the plain run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.file_dataset import ImageFileDataset
from arcface_paddle.data.selection import SelectedDataset
from arcface_paddle.errors import DataError
from arcface_paddle.untrusted import DOCUMENT_ERRORS, parse_json

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


def read_ladder(root: files.PathLike, dataset: FaceDataset) -> Ladder:
    """Read how hard the pictures of a synthetic dataset are.

    Args:
        root: its folder.
        dataset: its reader, of all pictures or of those that a cleaned label file lists.

    Raises:
        DataError: there is no ``metadata.jsonl``, or it does not describe these samples.
    """
    path = Path(root) / METADATA_FILE
    difficulty, people, names = [], [], []
    try:
        with files.open_regular(path) as lines:
            for line in lines:
                entry = parse_json(line, name=METADATA_FILE)
                difficulty.append(difficulty_of(entry))
                people.append(int(entry["label"]))
                names.append(str(entry["path"]))
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; curriculum difficulty needs a dataset of 'arcface-paddle synth'"
        ) from None
    except (OSError, DataError, *DOCUMENT_ERRORS) as error:
        raise DataError(f"{path}: line {len(people) + 1} cannot be read: {error!s:.120}") from None
    rows = _rows_of(dataset, names)
    if rows is None or not _same_people(np.array(people)[rows], dataset.labels):
        raise DataError(
            f"{path}: describes {len(people)} pictures, but not the {len(dataset)} of the dataset; curriculum "
            "difficulty needs the folder as 'arcface-paddle synth' wrote it, or a cleaned label file of it"
        )
    return Ladder(dataset.labels, np.array(difficulty)[rows])


def _rows_of(dataset: FaceDataset, names: Sequence[str]) -> Optional[np.ndarray]:
    """Return the line of the metadata that describes each sample, (N,) int64; None where one has none."""
    if isinstance(dataset, SelectedDataset):
        return dataset.numbers if dataset.numbers.max(initial=-1) < len(names) else None
    if len(dataset) == len(names):
        return np.arange(len(names))
    if not isinstance(dataset, ImageFileDataset):
        return None
    line_of = {name: line for line, name in enumerate(names)}
    rows = [line_of.get(dataset.paths[index]) for index in range(len(dataset))]
    return None if None in rows else np.array(rows, dtype=np.int64)


def _same_people(people: np.ndarray, labels: np.ndarray) -> bool:
    """Tell whether the people of the metadata and the labels, which may be numbered anew, are one to one."""
    pairs = np.unique(np.stack([people, labels]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


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
