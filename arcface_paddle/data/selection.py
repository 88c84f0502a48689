"""Some samples of a container (RecordIO, TFRecord, packed shards) that a label file lists; samples in another order.

Such a label file is what the doctor writes when it cleans a container: lines of ``number<TAB>label``, where the number
is that of the sample in the container, from 0. The container itself stays as it is.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.data.label_file import LabelFile
from arcface_paddle.errors import DataError


class SelectedDataset(FaceDataset):
    """The samples of a container that a label file lists.

    Attributes:
        paths: the numbers as they stand in the label file.
        numbers: (N,) int64, the same as numbers.
    """

    def __init__(
        self,
        container: FaceDataset,
        selection: LabelFile,
        *,
        num_classes: Optional[int] = None,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        """Take the samples of ``container`` that ``selection`` lists, in its order and with its labels.

        Raises:
            DataError: the label file names something other than numbers of samples, or a label exceeds
                ``num_classes``.
        """
        super().__init__(selection.labels, name=container.name, num_classes=num_classes, image_size=image_size)
        self.remarks = container.remarks
        self.paths = selection.paths
        self._container = container
        self.numbers = np.fromiter(
            (_number(selection, index, container) for index in range(len(selection))), dtype=np.int64
        )

    def path_of(self, index: int) -> str:
        """Return where the sample lies in the container."""
        return self._container.path_of(int(self.numbers[index]))

    def read_encoded(self, index: int) -> bytes:
        """Return the picture as the container holds it."""
        return self._container.read_encoded(int(self.numbers[index]))


class ReorderedDataset(FaceDataset):
    """A dataset in another order; 8 bytes a sample, and nothing is read."""

    def __init__(self, dataset: FaceDataset, order: np.ndarray) -> None:
        """Take the samples of ``dataset`` in the order (N,) of their numbers."""
        super().__init__(
            dataset.labels[order],
            name=dataset.name,
            num_classes=dataset.num_classes,
            image_size=dataset.image_size,
        )
        self.remarks = dataset.remarks
        self._dataset = dataset
        self._order = order

    def path_of(self, index: int) -> str:
        """Return where the sample lies."""
        return self._dataset.path_of(int(self._order[index]))

    def read_encoded(self, index: int) -> bytes:
        """Return the picture as it was stored."""
        return self._dataset.read_encoded(int(self._order[index]))


def lists_numbers(selection: LabelFile) -> bool:
    """Tell whether a label file lists numbers of samples rather than paths."""
    return _is_number(selection.paths[0])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(selection: LabelFile, index: int, container: FaceDataset) -> int:
    text = selection.paths[index]
    if not _is_number(text) or int(text) >= len(container):
        raise DataError(
            f"{selection.path}: {text[:80]!r} is not the number of a sample of {container.name}; "
            f"allowed: 0 to {len(container) - 1}"
        )
    return int(text)
