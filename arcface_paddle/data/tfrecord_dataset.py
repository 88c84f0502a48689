"""Face datasets in TFRecord files as published trainers wrote them, with random access.

Each record is a ``tf.train.Example``. The picture (encoded JPEG or PNG) is called ``image/encoded`` (of
yinguobing/arcface, arcface-tf2 and its forks) or ``image_raw`` (of face_recognition_TF2), the label ``label`` or, with
arcface-tf2, ``image/source_id``. One file, or a folder of shards in the order of their names.

The format has no index, so the first opening reads every file once: it checks all checksums and writes what it has
found beside the file, ``NAME.index.npy``. Later openings take that, as long as size and time of the file are those of
the index. Each read checks the CRC-32 of the picture that the index holds.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from pathlib import Path
from typing import BinaryIO, Iterator, Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.data.dataset import IMAGE_SIZE, MAX_LABEL, FaceDataset
from arcface_paddle.data.random_access import RandomAccessFile
from arcface_paddle.data.tfrecord import Feature, bytes_of, integer_of, parse_example, scan_records
from arcface_paddle.errors import DataError
from arcface_paddle.progress import progress
from arcface_paddle.untrusted import parse_npy

INCOMPLETE = "tfrecord.incomplete"
"""Stands in a folder as long as the writing of its shards has not ended."""

PICTURE_NAMES = ("image/encoded", "image_raw")
LABEL_NAMES = ("label", "image/source_id")

_SHARD = re.compile(r"(\.(tfrecords?|tfrec|record)(-\d{5}-of-\d{5})?|(?<!\.data)-\d{5}-of-\d{5})$", re.IGNORECASE)
# .data-00000-of-00001 is a checkpoint.
_COUNTED = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(\.\w+)?$")
_PATH_NAME = "image/img_path"
_INDEX_VERSION = 1
_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc32", "<u4"), ("label", "<i8")])
_BUFFER_BYTES = 1 << 20
_LOCK_TIMEOUT_S = 3600.0  # a shard of 60 GB is read in minutes


class TFRecordDataset(FaceDataset):
    """The pictures of one or several TFRecord files."""

    def __init__(
        self, path: files.PathLike, *, num_classes: Optional[int] = None, image_size: int = IMAGE_SIZE
    ) -> None:
        """Open a file, or the shards of a folder.

        Raises:
            DataError: no such file, a shard of a counted set is missing, the writing was interrupted, damage, or
                records without a picture or a label of 0 to ``MAX_LABEL``.
        """
        paths = find_shards(Path(path))
        parts, kept = [], True
        for shard in progress(paths, desc="opening", unit="shards", leave=False):
            entries, is_kept = _read_or_make_index(shard)
            parts.append(entries)
            kept &= is_kept
        super().__init__(
            np.concatenate([part["label"] for part in parts]),
            name=str(path),
            num_classes=num_classes,
            image_size=image_size,
        )
        if not kept:
            self.remarks = (f"{path}: the index cannot be written there, so every start reads the files as a whole",)
        self._files = [RandomAccessFile(shard) for shard in paths]
        self._shards = np.repeat(np.arange(len(paths), dtype=np.uint32), [len(part) for part in parts])
        self._offsets = np.concatenate([part["offset"] for part in parts])
        self._lengths = np.concatenate([part["length"] for part in parts])
        self._checksums = np.concatenate([part["crc32"] for part in parts])

    def path_of(self, index: int) -> str:
        """Return the file, and where the picture lies in it."""
        return f"{self._files[self._shards[index]].path}: picture at offset {self._offsets[index]}"

    def read_encoded(self, index: int) -> bytes:
        """Return the picture, after checking its CRC-32."""
        content = self._files[self._shards[index]].read(int(self._offsets[index]), int(self._lengths[index]))
        if zlib.crc32(content) != self._checksums[index]:
            raise DataError(f"{self.path_of(index)}: changed since it was indexed; the file is damaged, copy it again")
        return content


def is_shard_name(name: str) -> bool:
    """Tell whether a file is a TFRecord file by its name."""
    return _SHARD.search(name) is not None


def holds_shards(folder: Path) -> bool:
    """Tell whether a folder holds TFRecord files."""
    return folder.is_dir() and any(is_shard_name(entry.name) for entry in folder.iterdir() if entry.is_file())


def find_shards(path: Path) -> list[Path]:
    """Return ``path`` itself if it is a file, else the TFRecord files of the folder in the order of their names.

    Raises:
        DataError: there is none, one of a counted set (``-00001-of-00010``) is missing, or writing was interrupted.
    """
    if not path.is_dir():
        return [path]
    if (path / INCOMPLETE).exists():
        raise DataError(f"{path}: its writing was interrupted; run the same 'data convert' again and it goes on")
    found = sorted(entry for entry in path.iterdir() if entry.is_file() and is_shard_name(entry.name))
    if not found:
        raise DataError(f"{path}: no TFRecord file (.tfrecord, .tfrecords, .tfrec, .record, -00000-of-00010)")
    counted: dict[tuple[str, int], set[int]] = {}
    for match in filter(None, (_COUNTED.match(entry.name) for entry in found)):
        counted.setdefault((match["stem"], int(match["count"])), set()).add(int(match["number"]))
    for (stem, count), numbers in counted.items():
        missing = next((number for number in range(count) if number not in numbers), None)
        if missing is not None:
            raise DataError(f"{path}: shard {stem}-{missing:05d}-of-{count:05d} is missing; copy it too")
    return found


def _read_or_make_index(shard: Path) -> tuple[np.ndarray, bool]:
    """Return the entries of a file, and whether they are in its index."""
    try:
        status = shard.stat()
    except FileNotFoundError:
        raise DataError(f"{shard}: no such file") from None
    except OSError as error:
        raise DataError(f"{shard}: cannot be read: {error.strerror or error}") from None
    path = shard.with_name(f"{shard.name}.index.npy")
    head = np.array([(status.st_size, _INDEX_VERSION, 0, status.st_mtime_ns)], dtype=_ENTRY)
    entries = _read_index(path, head)
    if entries is not None:
        return entries, True
    try:
        # The first of several ranks reads the file, the others wait for what it finds.
        with files.locked(path, timeout_s=_LOCK_TIMEOUT_S):
            entries = _read_index(path, head)
            if entries is None:
                entries = _make_index(shard, status.st_size)
                with files.atomic_writer(path) as stream:
                    np.save(stream, np.concatenate([head, entries]))
        return entries, True
    except OSError:  # a read-only disk
        return (entries if entries is not None else _make_index(shard, status.st_size)), False


def _read_index(path: Path, head: np.ndarray) -> Optional[np.ndarray]:
    """Return the entries that an index holds; None if there is none, or it is of another file or damaged."""
    with contextlib.suppress(OSError, ValueError):
        table = parse_npy(files.read_bytes(path))
        if table.dtype == _ENTRY and table.ndim == 1 and len(table) > 1 and table[0] == head[0]:
            entries = table[1:]
            ends = entries["offset"] + entries["length"]
            size = head["offset"][0]
            if (ends <= size).all() and (entries["offset"] < size).all() and (entries["length"] <= size).all():
                return entries
    return None


def _make_index(shard: Path, size: int) -> np.ndarray:
    try:
        with files.open_regular(shard, buffering=_BUFFER_BYTES) as stream:
            entries = np.fromiter(_entries(stream, size, name=str(shard)), dtype=_ENTRY)
    except OSError as error:
        raise DataError(f"{shard}: cannot be read: {error.strerror or error}") from None
    if not len(entries):
        raise DataError(f"{shard}: the file is empty")
    return entries


def _entries(stream: BinaryIO, size: int, *, name: str) -> Iterator[tuple[int, int, int, int]]:
    for offset, payload in scan_records(stream, size, name=name):
        where = f"{name}: record at offset {offset}"
        features = parse_example(payload, name=where)
        begin, end = bytes_of(payload, _first(features, PICTURE_NAMES, "picture", where), name=where)
        label = integer_of(payload, _first(features, LABEL_NAMES, "label", where), name=where)
        if not 0 <= label <= MAX_LABEL:
            raise DataError(f"{where}: label {label}; allowed: 0 to {MAX_LABEL}")
        yield offset + begin, end - begin, zlib.crc32(payload[begin:end]), label


def _first(features: dict[str, Feature], names: tuple[str, ...], what: str, where: str) -> Feature:
    for name in names:
        if name in features:
            return features[name]
    if what == "picture" and _PATH_NAME in features:
        raise DataError(
            f"{where}: holds the path of a picture ({_PATH_NAME}), not a picture; read the pictures' folder"
        )
    found = ", ".join(sorted(features)[:8]) or "nothing"
    raise DataError(f"{where}: no {what}; expected a feature {' or '.join(names)}, found {found[:200]}")
