"""Face datasets in MXNet RecordIO as insightface packs them: ``train.rec``, ``train.idx``, ``property``.

``train.idx`` has lines of ``key<TAB>offset``. Record 0 has two labels (a, b): the keys a to b - 1 are identity
records, each with two labels (first, last + 1) that are the keys of its pictures. ``property`` holds
``identities,height,width``. With these ranges the labels of millions of pictures are known after reading two
pictures per identity; without them every record's header is read. Without ``train.idx`` the file is scanned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.data.random_access import RandomAccessFile
from arcface_paddle.data.recordio import ImageRecord, decode_image_record, read_record, scan_offsets
from arcface_paddle.errors import DataError
from arcface_paddle.untrusted import integer

_HEAD_BYTES = 64
"""Bytes read of a record to see its labels: its prefix, its header and a few labels at once."""


class RecordIODataset(FaceDataset):
    """The picture records of a ``.rec`` file."""

    def __init__(
        self, path: files.PathLike, *, num_classes: Optional[int] = None, image_size: int = IMAGE_SIZE
    ) -> None:
        """Open a ``.rec`` file, or the one ``.rec`` in a folder.

        Raises:
            DataError: missing, a wrong index or magic, truncated, labels that are not integers from 0, or
                identities beyond those that ``property`` or ``num_classes`` names.
        """
        rec = find_rec(Path(path))
        self._file = RandomAccessFile(rec)
        index = _Index.read(rec.with_suffix(".idx"), self._file)
        rows, labels = _labels_from_ranges(self._file, index) or _labels_from_headers(self._file, index)
        if num_classes is None:
            num_classes = _identities_by_property(rec.parent / "property", labels)
        super().__init__(labels, name=str(rec), num_classes=num_classes, image_size=image_size)
        self._keys, self._offsets, self._spans = index.keys[rows], index.offsets[rows], index.spans[rows]

    def path_of(self, index: int) -> str:
        """Return the file, and the record's key and offset in it."""
        return f"{self._file.path}: record {self._keys[index]} at offset {self._offsets[index]}"

    def read_encoded(self, index: int) -> bytes:
        """Return the picture of the record."""
        payload = read_record(self._file, int(self._offsets[index]), span=int(self._spans[index]))
        record = decode_image_record(payload, name="")
        if not record.content:
            raise DataError(f"{self.path_of(index)}: the record holds no picture")
        return record.content


def find_rec(path: Path) -> Path:
    """Return ``path`` itself if it is a file, else the one ``.rec`` in the folder (``train.rec`` goes first).

    Raises:
        DataError: there is none, or several without a ``train.rec``.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.rec"))
    if path / "train.rec" in found:
        return path / "train.rec"
    if len(found) != 1:
        names = ", ".join(item.name for item in found[:5]) or "none"
        raise DataError(f"{path}: expected one .rec file, found {names}; name the file itself")
    return found[0]


class _Index:
    """Keys and offsets of the records, in the order of the keys, and the bytes up to the next record of the file."""

    def __init__(self, keys: np.ndarray, offsets: np.ndarray, file_size: int) -> None:
        self.keys = keys
        self.offsets = offsets
        in_file_order = np.argsort(offsets, kind="stable")
        self.spans = np.empty_like(offsets)
        self.spans[in_file_order] = np.diff(offsets[in_file_order], append=file_size)

    @classmethod
    def read(cls, path: Path, file: RandomAccessFile) -> _Index:
        """Read the ``.idx`` beside a ``.rec``, or scan the ``.rec`` if there is none."""
        if not path.exists():
            offsets = scan_offsets(file)
            return cls(np.arange(len(offsets), dtype=np.int64), offsets, file.size)
        table = _read_integer_pairs(path)
        table = table[np.argsort(table[:, 0], kind="stable")]
        keys, offsets = table[:, 0].copy(), table[:, 1].copy()
        if len(np.unique(keys)) != len(keys):
            raise DataError(f"{path}: the same key stands in several lines; the index is damaged")
        beyond = (offsets < 0) | (offsets >= file.size)
        if beyond.any():
            row = int(np.argmax(beyond))
            raise DataError(
                f"{path}: key {keys[row]} lies at offset {offsets[row]}, but {file.path} has {file.size} bytes; "
                "it is truncated, or the index belongs to another file"
            )
        return cls(keys, offsets, file.size)

    def rows_of(self, keys: np.ndarray) -> Optional[np.ndarray]:
        """Return the positions of ``keys`` in this index, or None if one is missing."""
        rows = np.searchsorted(self.keys, keys)
        if len(keys) == 0 or rows.max() >= len(self.keys) or not np.array_equal(self.keys[rows], keys):
            return None
        return rows


def _read_integer_pairs(path: Path) -> np.ndarray:
    blocks = []
    first_line = 1
    with files.open_regular(path) as stream:
        while lines := stream.readlines(1 << 20):
            try:
                block = np.array(b"".join(lines).split(), dtype=np.int64)
            except (ValueError, OverflowError):
                block = np.empty(0, dtype=np.int64)
            if block.size != 2 * len(lines):
                block = _read_integer_pairs_slowly(path, lines, first_line)
            blocks.append(block.reshape(-1, 2))
            first_line += len(lines)
    if not blocks:
        raise DataError(f"{path}: the index is empty")
    return np.concatenate(blocks)


def _read_integer_pairs_slowly(path: Path, lines: list[bytes], first_line: int) -> np.ndarray:
    pairs: list[int] = []
    for number, line in enumerate(lines, first_line):
        columns = line.split()
        numbers = [integer(column.decode("latin-1")) for column in columns]
        if columns and (len(columns) != 2 or None in numbers or not all(column.isdigit() for column in columns)):
            raise DataError(f"{path}:{number}: {line[:80]!r} is not key<TAB>offset")
        pairs.extend(number for number in numbers if number is not None)
    return np.array(pairs, dtype=np.int64)


def _read_head(file: RandomAccessFile, index: _Index, row: int) -> ImageRecord:
    """Read labels and the beginning of the picture of a record."""
    offset = int(index.offsets[row])
    head = file.read(offset, min(_HEAD_BYTES, int(index.spans[row]), file.size - offset))
    length = int.from_bytes(head[4:8], "little") & (2**29 - 1)
    flag = int.from_bytes(head[8:12], "little")
    fits = len(head) >= 32 and head[7] >> 5 == 0 and 32 + 4 * flag <= len(head)
    # Long label lists, cut records and damaged ones take the careful way.
    payload = head[8 : 8 + length] if fits else b""
    if not payload or head[:4] != b"\x0a\x23\xd7\xce":
        payload = read_record(file, offset)
    return decode_image_record(payload, name=f"{file.path}: record {index.keys[row]} at offset {offset}")


def _label_of(file: RandomAccessFile, index: _Index, row: int) -> int:
    return _integer_label(_read_head(file, index, row), file, index, row)


def _integer_label(record: ImageRecord, file: RandomAccessFile, index: _Index, row: int) -> int:
    label = record.labels[0]
    if not 0 <= label < 2**31 or label != int(label):
        raise DataError(
            f"{file.path}: record {index.keys[row]} at offset {index.offsets[row]} has label {label}; "
            "allowed: integers from 0"
        )
    return int(label)


def _key_range(record: ImageRecord, index: _Index) -> Optional[range]:
    """Return the keys that the two labels (first, last + 1) of a record name, or None if they cannot be a range."""
    if len(record.labels) != 2 or not all(0 <= label <= 1 + index.keys[-1] for label in record.labels):
        return None
    first, stop = map(int, record.labels)
    return range(first, stop) if stop - first <= len(index.keys) else None


def _labels_from_ranges(file: RandomAccessFile, index: _Index) -> Optional[tuple[np.ndarray, np.ndarray]]:
    """Return rows and labels of the pictures by the identity records, or None if these do not cover the file."""
    if len(index.keys) == 0 or index.keys[0] != 0:
        return None
    record0 = _read_head(file, index, 0)
    if len(record0.labels) != 2 or record0.content:
        return None
    identities = _key_range(record0, index)
    identity_rows = None if identities is None else index.rows_of(np.arange(identities.start, identities.stop))
    if identity_rows is None:
        return None
    named = [_key_range(_read_head(file, index, int(row)), index) for row in identity_rows]
    ranges = [keys for keys in named if keys is not None]
    sizes = [len(keys) for keys in ranges]
    if len(ranges) != len(named) or sum(sizes) != len(index.keys) - 1 - len(ranges):
        return None
    keys = np.concatenate([np.arange(each.start, each.stop) for each in ranges])
    rows = index.rows_of(keys)
    if rows is None or len(np.unique(keys)) != len(keys):
        return None
    ends = np.cumsum(sizes)
    labels = []
    for size, end in zip(sizes, ends):
        first, last = (_label_of(file, index, int(rows[place])) if size else 0 for place in (end - size, end - 1))
        if first != last:
            return None
        labels.append(first)
    return rows, np.repeat(np.array(labels, dtype=np.int64), sizes)


def _labels_from_headers(file: RandomAccessFile, index: _Index) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels of all records that hold a picture by reading each header."""
    rows, labels = [], []
    for row in range(len(index.keys)):
        record = _read_head(file, index, row)
        if record.content:
            rows.append(row)
            labels.append(_integer_label(record, file, index, row))
    return np.array(rows, dtype=np.int64), np.array(labels, dtype=np.int64)


def _identities_by_property(path: Path, labels: np.ndarray) -> Optional[int]:
    """Return the number of identities that ``property`` names, or None without such a file."""
    if not path.exists():
        return None
    text = files.read_bytes(path).decode("utf-8", errors="replace").strip()
    first = integer(text.split(",")[0])
    if first is None or first < 1:
        raise DataError(f"{path}: {text[:80]!r} is not identities,height,width")
    highest = int(labels.max(initial=0))
    if highest >= first:
        raise DataError(
            f"{path}: names {first} identities, but label {highest} occurs in the records; write {highest + 1} "
            "there, or remove the file"
        )
    return first
