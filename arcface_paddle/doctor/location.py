"""Where an image of a dataset lies: its path, and its line when a label file lists it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Optional

import numpy as np

from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.file_dataset import FolderDataset, ImageFileDataset
from arcface_paddle.data.selection import SelectedDataset


@dataclass(frozen=True)
class Location:
    """Where an image lies.

    Attributes:
        index: number in the dataset, from 0.
        path: where the reader found it.
        line: line of the label file, from 1; None for readers without one.
        label: label of the image.
    """

    index: int
    path: str
    line: Optional[int]
    label: int

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path} (line {self.line})"


def locate(dataset: FaceDataset, indices: Iterable[int]) -> dict[int, Location]:
    """Return the locations of images by index. Line numbers are counted in one pass over the label file's bytes."""
    wanted = sorted(set(indices))
    lines = _line_numbers(dataset, wanted)
    return {
        index: Location(index, dataset.path_of(index), lines.get(index), int(dataset.labels[index])) for index in wanted
    }


def listed_name(dataset: FaceDataset, index: int) -> str:
    """Return what a label file of the dataset calls an image: its path, or its number inside of a container."""
    return dataset.paths[index] if isinstance(dataset, (ImageFileDataset, SelectedDataset)) else str(index)


def short_path(dataset: FaceDataset, index: int) -> str:
    """Return where an image lies, relative to the dataset's folder if it is a file."""
    return dataset.paths[index] if isinstance(dataset, ImageFileDataset) else dataset.path_of(index)


def _line_numbers(dataset: FaceDataset, wanted: list[int]) -> dict[int, int]:
    if not isinstance(dataset, (ImageFileDataset, SelectedDataset)) or isinstance(dataset, FolderDataset):
        return {}
    # The table's buffer is the label file itself, so that the newlines before a path give its line.
    table, numbers, line, position = dataset.paths, {}, 1, 0
    for index in wanted:
        start = int(table.starts[index])
        line += int(np.count_nonzero(table.buffer[position:start] == ord("\n")))
        position = start
        numbers[index] = line
    return numbers
