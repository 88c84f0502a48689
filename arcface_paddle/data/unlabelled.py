"""Face crops without labels: any dataset, whose labels are not looked at, or a folder of pictures as it lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.data.bin_record import decode_record
from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.data.file_dataset import ImageFileDataset
from arcface_paddle.data.kinds import LABEL_FILE, DatasetSpec, container_kind, open_dataset
from arcface_paddle.data.label_file import PathTable
from arcface_paddle.data.tree import files_below
from arcface_paddle.errors import DataError

_RECORD_SUFFIX = ".bin"
_PICKLE_MARK = b"\x80"  # first byte of a verification set; of a record it would be a key of 128 bytes and more


class PictureFolder(ImageFileDataset):
    """All pictures and per-image ``.bin`` files below a folder, in the order of their paths, with the label 0."""

    def __init__(self, root: files.PathLike, *, image_size: int = IMAGE_SIZE) -> None:
        """Walk through the folder; verification sets (pickles) beside the pictures are passed over.

        Raises:
            DataError: no such folder, or no picture in it.
        """
        found = [path for path in files_below(root) if images.is_image_path(path) or _is_record(Path(root), path)]
        if not found:
            raise DataError(
                f"{root}: no pictures; expected face crops ({', '.join(sorted(images.IMAGE_SUFFIXES))}, or .bin of one "
                "picture each) in it or in its folders"
            )
        table = PathTable.from_paths(found)
        super().__init__(root, table, np.zeros(len(found), np.int64), image_size=image_size)

    def read_encoded(self, index: int) -> bytes:
        """Return the picture's file, or the picture inside of a ``.bin``."""
        path, content = self._read_file(index)
        return decode_record(content, name=path)[1] if path.lower().endswith(_RECORD_SUFFIX) else content


def open_unlabelled(
    path: files.PathLike, *, label_file: Optional[files.PathLike] = None, kind: str = "auto"
) -> FaceDataset:
    """Open faces for a run that looks at no label.

    A label file, a RecordIO or TFRecord file, packed shards, or a ``kind`` that is named are opened as ever. Of any
    other folder all the pictures below it count.

    Raises:
        ConfigError, DataError: as ``open_dataset``; or a folder without pictures.
    """
    folder = Path(path)
    if kind != "auto" or label_file is not None or not folder.is_dir() or (folder / LABEL_FILE).exists():
        return open_dataset(DatasetSpec(folder, None if label_file is None else Path(label_file), kind))
    if container_kind(folder):
        return open_dataset(folder)
    return PictureFolder(folder)


def _is_record(root: Path, path: str) -> bool:
    if not path.lower().endswith(_RECORD_SUFFIX):
        return False
    try:
        with (root / path).open("rb") as stream:
            return stream.read(2) not in {_PICKLE_MARK + bytes([protocol]) for protocol in range(2, 6)}
    except OSError:
        return True  # the loader says what is wrong with it
