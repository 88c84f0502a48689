"""Reading small files with few system calls, and pieces of a large file from many threads and processes at once."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from arcface_paddle import files
from arcface_paddle.errors import DataError

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # Windows; pipes without a writer
_BLOCK_BYTES = 1 << 16
"""Bytes asked for at once; a face crop of 112 x 112 pixels has about 6 KB."""


def read_small_file(path: str) -> bytes:
    """Return the content of a file; a third of the cost of ``Path.read_bytes``, which matters millions of times.

    Raises:
        DataError: it does not exist, cannot be read or is empty.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DataError(f"{path}: no file, but a folder, pipe or device")
            content = _read_to_end(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not content:
        raise DataError(f"{path}: the file is empty")
    return content


def _read_to_end(descriptor: int) -> bytes:
    """Read until the system says that nothing is left: on network file systems a read may end early."""
    blocks = []
    while block := os.read(descriptor, _BLOCK_BYTES):
        blocks.append(block)
    return b"".join(blocks)


class RandomAccessFile:
    """A file that is read by offset and length; it is opened on first use and shares no position between readers.

    Attributes:
        path: the file.
        size: its length in bytes when this object was made.
    """

    def __init__(self, path: files.PathLike) -> None:
        """Look at the file.

        Raises:
            DataError: it does not exist or cannot be read.
        """
        self.path = Path(path)
        self._descriptor = -1
        self._lock = threading.Lock()
        try:
            self.size = self.path.stat().st_size
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None

    def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` on.

        Raises:
            DataError: the file ends earlier or cannot be read.
        """
        try:
            content = self._read(offset, length)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read at offset {offset}: {error.strerror or error}") from None
        if len(content) != length:
            raise DataError(
                f"{self.path}: truncated: {length} bytes wanted at offset {offset}, {len(content)} are there"
            )
        return content

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "size": self.size}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _descriptor=-1, _lock=threading.Lock())

    def _read(self, offset: int, length: int) -> bytes:
        """Read ``length`` bytes, or those up to the end of the file; one call of the system may give less than both."""
        if self._descriptor < 0:
            self._open()
        content = self._read_once(offset, length)
        while 0 < len(content) < length and (piece := self._read_once(offset + len(content), length - len(content))):
            content += piece
        return content

    def _read_once(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, length, offset)
        with self._lock:  # Windows has no positioned read
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, length)

    def _open(self) -> None:
        with self._lock:
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, _OPEN_FLAGS)
