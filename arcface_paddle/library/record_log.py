"""An append-only file of records that survives whatever ends its writer.

Behind 16 bytes of magic stand frames: length of the payload and its CRC-32 (two little-endian uint32), then the
payload. A process that is killed, or a disk that is full, leaves at worst an incomplete last frame; who opens the file
next drops it and goes on. A frame that is damaged in the middle is no such thing, and is told.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator, Optional

from arcface_paddle import files
from arcface_paddle.errors import DataError

MAGIC = b"arcface-people-1"
_FRAME = struct.Struct("<II")
_LARGEST_PAYLOAD = 1 << 28  # a picture of 100,000 faces stays below it; a larger length is damage


def read_records(path: files.PathLike) -> Iterator[tuple[int, bytes]]:
    """Yield the end of each whole frame and its payload, in the order of writing; an incomplete last one is left out.

    Raises:
        DataError: it is no such file, or a frame in front of others is damaged.
        OSError: it cannot be read.
    """
    size = Path(path).stat().st_size
    with files.open_regular(path) as stream:
        magic = stream.read(len(MAGIC))
        if magic != MAGIC:
            if MAGIC.startswith(magic):  # killed while the very first bytes were written
                return
            raise DataError(f"{path}: is no store of faces (its first bytes are {magic[:8]!r}); name another folder")
        position = len(MAGIC)
        while position + _FRAME.size <= size:
            length, checksum = _FRAME.unpack(stream.read(_FRAME.size))
            end = position + _FRAME.size + length
            if end > size and length <= _LARGEST_PAYLOAD:
                return
            payload = stream.read(length) if length <= _LARGEST_PAYLOAD else b""
            if not payload or zlib.crc32(payload) != checksum:
                _refuse_unless_unwritten(stream, payload, name=f"{path}: damaged at byte {position:,} of {size:,}")
                return
            yield end, payload
            position = end


def _refuse_unless_unwritten(stream: BinaryIO, payload: bytes, *, name: str) -> None:
    """Raise ``DataError`` for a bad frame, unless it and all behind it are zeros.

    A file system that grew the file and lost what was in it leaves zeros: that is an incomplete end.
    """
    if payload.strip(b"\0") or stream.read().strip(b"\0"):
        raise DataError(f"{name}; delete this file, and the pictures that it knew are looked at again")


class RecordWriter:
    """Appends records behind the whole frames of a file, which it creates if need be.

    Args:
        path: the file; its folder must exist.
        end: where the last whole frame ends, by ``read_records``; None for a new file.
    """

    def __init__(self, path: files.PathLike, *, end: Optional[int] = None) -> None:
        self.path = Path(path)
        self._stream = open(self.path, "r+b" if end is not None else "wb")  # noqa: SIM115 (closed by close)
        if end is None:
            self._stream.write(MAGIC)
        else:
            self._stream.seek(end)
            self._stream.truncate()
        self.size = self._stream.tell()

    def append(self, payload: bytes) -> None:
        """Write a record and hand it to the system, so that a killed process does not lose it.

        Raises:
            OSError: the disk is full; the file then ends with the record before.
        """
        frame = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            self._stream.write(frame)
            self._stream.flush()
        except OSError:
            self._cut_back()
            raise
        self.size += len(frame)

    def sync(self) -> None:
        """Wait until the disk has what was written, so that not even a power cut loses it."""
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file; what was appended is in it."""
        self._stream.close()

    def _cut_back(self) -> None:
        """Open the file anew without the half of a record that is in it; the old buffer must not be written again."""
        descriptor = os.dup(self._stream.fileno())
        with contextlib.suppress(OSError):  # closing writes the buffer once more, onto the same full disk
            self._stream.close()
        os.ftruncate(descriptor, self.size)
        self._stream = os.fdopen(descriptor, "r+b")
        self._stream.seek(self.size)


def write_records(path: files.PathLike, payloads: Iterable[bytes]) -> int:
    """Write a whole file of records in place of the present one, atomically. Returns its size in bytes."""
    size = len(MAGIC)
    with files.atomic_writer(path) as stream:
        stream.write(MAGIC)
        for payload in payloads:
            stream.write(_FRAME.pack(len(payload), zlib.crc32(payload)))
            stream.write(payload)
            size += _FRAME.size + len(payload)
    return size
