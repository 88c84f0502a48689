"""A teacher's embeddings on disk, found again by the content of the pictures: whatever their names, order or set.

Every session of every rank that has something to add writes a file of its own, so that runs may share a folder and a
killed one harms nothing: a record cut short is not read. Records are a key of 16 bytes and the embedding in float32.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import BinaryIO, Optional

import numpy as np

from arcface_paddle.errors import DataError
from arcface_paddle.files import PathLike

_SUFFIX = ".embeddings"
_UNIT_TOLERANCE = 1e-3  # of a length: anything else is damage


def content_key(content: bytes) -> np.ndarray:
    """Return the key of an encoded picture, (2,) uint64."""
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.uint64)


class TeacherCache:
    """The embeddings of one teacher: ``find`` what is there, ``add`` what was computed."""

    def __init__(self, folder: PathLike, *, teacher: str, embedding_size: int) -> None:
        """Read what earlier sessions have left.

        Args:
            folder: of the embeddings of any number of teachers; it is created.
            teacher: tells this one from others: hashes of its weights and of what it does to a picture.
            embedding_size: D.

        Raises:
            DataError: the folder cannot be created or read.
        """
        self._folder = Path(folder) / hashlib.sha256(teacher.encode()).hexdigest()[:16]
        self._record = np.dtype([("key", np.uint64, (2,)), ("vector", np.float32, (embedding_size,))])
        self._stream: Optional[BinaryIO] = None
        self._added: dict[bytes, np.ndarray] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._stored = [self._open(path) for path in sorted(self._folder.glob(f"*{_SUFFIX}"))]
        except OSError as error:
            raise DataError(f"teacher_cache {folder}: {error.strerror or error}") from None
        keys = [np.asarray(records["key"]) for records in self._stored]
        self._keys = np.concatenate(keys) if keys else np.zeros((0, 2), np.uint64)
        self._order = np.argsort(self._keys[:, 0], kind="stable")
        self._sorted = self._keys[self._order, 0]
        self._edges = np.cumsum([0, *map(len, keys)])

    def __len__(self) -> int:
        return len(self._keys) + len(self._added)

    def find(self, key: np.ndarray) -> Optional[np.ndarray]:
        """Return the embedding (D,) float32 of a key; None if it is not there, or damaged."""
        if (added := self._added.get(key.tobytes())) is not None:
            return added
        place = int(np.searchsorted(self._sorted, key[0]))
        if place == len(self._sorted) or self._sorted[place] != key[0]:
            return None
        row = int(self._order[place])
        if self._keys[row, 1] != key[1]:
            return None
        number = int(np.searchsorted(self._edges, row, side="right")) - 1
        vector = np.array(self._stored[number]["vector"][row - self._edges[number]])
        return vector if abs(float(np.linalg.norm(vector)) - 1.0) < _UNIT_TOLERANCE else None

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Keep embeddings (N, D) float32 under their keys (N, 2) uint64.

        Raises:
            DataError: they cannot be written.
        """
        records = np.empty(len(keys), self._record)
        records["key"], records["vector"] = keys, vectors
        try:
            if self._stream is None:
                name = f"{time.time_ns():x}_{os.getpid():x}{_SUFFIX}"
                self._stream = (self._folder / name).open("xb", buffering=0)
            self._stream.write(records.tobytes())
        except OSError as error:
            raise DataError(
                f"teacher_cache {self._folder}: cannot be written: {error.strerror or error}; checkpoints are intact"
            ) from None
        self._added.update({record["key"].tobytes(): np.array(record["vector"]) for record in records})

    def _open(self, path: Path) -> np.ndarray:
        """Return the whole records of a file, mapped into memory."""
        count = path.stat().st_size // self._record.itemsize
        if not count:
            return np.zeros(0, self._record)
        try:
            return np.memmap(path, self._record, mode="r", shape=(count,))
        except ValueError:  # it was cut since its size was asked for
            return np.zeros(0, self._record)
