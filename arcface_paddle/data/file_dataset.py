"""Datasets of one file per sample: per-image ``.bin`` or picture files in a label file, or a folder per identity."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.data.bin_record import decode_record
from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.data.label_file import PathTable, read_label_file
from arcface_paddle.data.random_access import read_small_file
from arcface_paddle.data.tree import files_below, subfolders, system_folders
from arcface_paddle.errors import DataError
from arcface_paddle.pipeline.file_names import FileFinder


class ImageFileDataset(FaceDataset):
    """Picture files with labels; the base of the other readers of single files.

    A path that leads nowhere is looked for under other spellings of its name (backslashes of Windows, accents as a Mac
    stores them, see ``file_names``), and only then: a start with millions of lines looks at no file, and reading one
    whose name is exact costs no more than before.
    """

    def __init__(
        self,
        root: files.PathLike,
        paths: PathTable,
        labels: np.ndarray,
        *,
        num_classes: Optional[int] = None,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        """Take the samples ``paths``, relative to ``root``, with their ``labels``."""
        super().__init__(labels, name=str(root), num_classes=num_classes, image_size=image_size)
        self.root = os.fspath(root)
        self.paths = paths
        self._finder = FileFinder(root)

    def path_of(self, index: int) -> str:
        """Return the path of the sample's file, as it is listed."""
        return os.path.join(self.root, self.paths[index])  # noqa: PTH118  # pathlib costs more than reading the file

    def read_encoded(self, index: int) -> bytes:
        """Return the content of the picture file."""
        return self._read_file(index)[1]

    def _read_file(self, index: int) -> tuple[str, bytes]:
        """Return the path and the content of the sample's file."""
        path = self.path_of(index)
        try:
            return path, read_small_file(path)
        except DataError:
            found = self._finder.find(self.paths[index])
            if found == Path(path):
                raise
            return str(found), read_small_file(str(found))


class BinFileDataset(ImageFileDataset):
    """Per-image ``.bin`` files with labels."""

    def read_encoded(self, index: int) -> bytes:
        """Return the picture inside of the sample's ``.bin``."""
        path, content = self._read_file(index)
        return decode_record(content, name=path)[1]


def open_label_file(
    root: files.PathLike,
    label_file: files.PathLike,
    *,
    is_bin: Optional[bool] = None,
    num_classes: Optional[int] = None,
    image_size: int = IMAGE_SIZE,
) -> ImageFileDataset:
    """Open the samples that a label file lists.

    Args:
        root: the folder that the paths of the label file are relative to.
        label_file: see ``label_file``.
        is_bin: whether the samples are per-image ``.bin`` (True) or picture files (False); None looks at the suffix
            of the first.
        num_classes: identities of the classifier; None takes the largest label plus one.
        image_size: side in pixels.

    Raises:
        DataError: the label file is missing or wrong, see ``read_label_file``, or a label exceeds ``num_classes``.
    """
    samples = read_label_file(label_file)
    if is_bin is None:
        is_bin = samples.paths[0].lower().endswith(".bin")
    reader = BinFileDataset if is_bin else ImageFileDataset
    dataset = reader(root, samples.paths, samples.labels, num_classes=num_classes, image_size=image_size)
    if samples.is_spaced:
        dataset.remarks = (f"{label_file}: path and label are separated by a space, read as if it were a tab",)
    return dataset


class FolderDataset(ImageFileDataset):
    """A folder per identity with its pictures inside, at any depth.

    Folders are numbered from 0 in the order of their names (by code point); one without a picture gets no label.
    Hidden files and folders and those of systems (``#recycle``) do not count, links do.

    Attributes:
        class_names: the folder name of each label.
        passed_over: names of the system folders beside those of the identities.
    """

    def __init__(
        self,
        root: files.PathLike,
        *,
        pictures: Optional[Sequence[str]] = None,
        num_classes: Optional[int] = None,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        """Walk through the folder.

        Args:
            root: the folder.
            pictures: paths of the pictures relative to ``root``, if they are known already; None takes the files whose
                names are those of pictures, which needs no look into millions of them.
            num_classes: identities of the classifier; None takes the number of folders.
            image_size: side in pixels.

        Raises:
            DataError: no such folder, or no picture in any folder below it.
        """
        found = list(_identities(Path(root)) if pictures is None else _grouped(pictures))
        if not found:
            raise DataError(
                f"{root}: no identities; expected one folder per person with pictures "
                f"({', '.join(sorted(images.IMAGE_SUFFIXES))}) inside"
            )
        counts = [len(paths) for _, paths in found]
        labels = np.repeat(np.arange(len(found), dtype=np.int64), counts)
        table = PathTable.from_paths(path for _, paths in found for path in paths)
        super().__init__(root, table, labels, num_classes=num_classes, image_size=image_size)
        self.class_names = [name for name, _ in found]
        self.passed_over = tuple(system_folders(root))


def _identities(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Give each folder's name and the sorted paths, relative to ``root``, of the pictures in it."""
    for name in subfolders(root):
        paths = [path for path in files_below(root, name) if images.is_image_path(path)]
        if paths:
            yield name, paths


def _grouped(pictures: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Give each first folder of the paths, sorted, and its paths in their order; a path without a folder has none."""
    of_folder: dict[str, list[str]] = {}
    for path in pictures:
        folder, slash, _ = path.partition("/")
        if slash:
            of_folder.setdefault(folder, []).append(path)
    yield from sorted(of_folder.items())
