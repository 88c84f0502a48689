"""MXNet RecordIO without mxnet: the container, and the header that mxnet puts before each picture.

A record (little endian)::

    uint32 magic 0xced7230a | uint32 lrecord | payload | zeros up to a multiple of 4 bytes

The upper 3 bits of lrecord are a continuation flag, the lower 29 the length of the payload. Where a payload holds
the magic at an offset that is a multiple of 4, the writer cuts it there and leaves those four bytes out: the parts
have the flags 1 (first), 2 (middle), 3 (last), and a reader puts the magic back between them; flag 0 is a whole
record. (dmlc-core ``recordio.cc``.)

A payload of a face dataset is an IRHeader, then labels, then the encoded picture::

    uint32 flag | float32 label | uint64 id | uint64 id2 | flag x float32 labels (only if flag > 0) | picture
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Iterator, Protocol

import numpy as np

from arcface_paddle.data.random_access import RandomAccessFile
from arcface_paddle.errors import DataError

MAGIC = 0xCED7230A
MAX_RECORD_BYTES = 2**29 - 1

_MAGIC_BYTES = struct.pack("<I", MAGIC)
_PREFIX = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


class RecordStream(Protocol):
    """What records can be appended to; every binary file is one."""

    def write(self, content: bytes, /) -> int:
        """Append bytes and return their number."""


@dataclass(frozen=True)
class ImageRecord:
    """What a payload of a face dataset says.

    Attributes:
        labels: one label, or the ``flag`` labels of a record with several (the ranges of insightface's sets).
        identifier: the id of the header.
        content: the encoded picture; empty in the records that only hold ranges.
    """

    labels: tuple[float, ...]
    identifier: int
    content: bytes


def decode_image_record(payload: bytes, *, name: str) -> ImageRecord:
    """Split a payload into header and picture.

    Raises:
        DataError: the payload is too short for its header.
    """
    if len(payload) < _HEADER.size:
        raise DataError(f"{name}: truncated record: {len(payload)} bytes, the header alone needs {_HEADER.size}")
    flag, label, identifier, _ = _HEADER.unpack_from(payload)
    begin = _HEADER.size + 4 * flag
    if begin > len(payload):
        raise DataError(f"{name}: truncated record: {flag} labels do not fit into {len(payload)} bytes")
    labels = struct.unpack_from(f"<{flag}f", payload, _HEADER.size) if flag else (label,)
    return ImageRecord(tuple(labels), identifier, payload[begin:])


def encode_image_record(record: ImageRecord) -> bytes:
    """Return the payload of a record, as ``mxnet.recordio.pack`` makes it."""
    if len(record.labels) == 1:
        return _HEADER.pack(0, record.labels[0], record.identifier, 0) + record.content
    count = len(record.labels)
    return _HEADER.pack(count, 0.0, record.identifier, 0) + struct.pack(f"<{count}f", *record.labels) + record.content


def read_record(file: RandomAccessFile, offset: int, *, span: int = 0) -> bytes:
    """Return the payload of the record at ``offset``.

    Args:
        file: the ``.rec``.
        offset: where the record begins.
        span: bytes up to the next record, if known; saves a second read.

    Raises:
        DataError: no magic there, a wrong continuation flag, or the file ends inside of the record.
    """
    flag, part, end = _read_part(file, offset, span)
    if flag == _WHOLE:
        return part
    if flag != _FIRST:
        raise _flag_error(file, offset, flag)
    parts = [part]
    while flag != _LAST:
        begin = end
        flag, part, end = _read_part(file, begin)
        if flag not in (_MIDDLE, _LAST):
            raise _flag_error(file, begin, flag)
        parts.append(part)
    return _MAGIC_BYTES.join(parts)


def scan_offsets(file: RandomAccessFile) -> np.ndarray:
    """Find the records of a file without index by stepping from header to header.

    Returns:
        (N,) int64 offsets.

    Raises:
        DataError: as ``read_record``.
    """
    offsets = []
    offset = 0
    while offset < file.size:
        flag, length = _read_prefix(file, offset)
        if flag in (_WHOLE, _FIRST):
            offsets.append(offset)
        elif not offsets:
            raise _flag_error(file, offset, flag)
        offset += _PREFIX.size + length + -length % 4
        if offset > file.size:
            raise DataError(f"{file.path}: truncated: the record at offset {offsets[-1]} reaches beyond the end")
    return np.array(offsets, dtype=np.int64)


def write_record(stream: RecordStream, payload: bytes) -> int:
    """Append a record to a stream and return the number of bytes written.

    Raises:
        DataError: the payload is longer than ``MAX_RECORD_BYTES``.
    """
    if len(payload) > MAX_RECORD_BYTES:
        raise DataError(f"a record of {len(payload)} bytes does not fit into RecordIO; allowed: {MAX_RECORD_BYTES}")
    written = 0
    cuts = list(_aligned_magics(payload))
    begins = [0, *(cut + 4 for cut in cuts)]
    ends = [*cuts, len(payload)]
    for number, (begin, end) in enumerate(zip(begins, ends)):
        flag = _WHOLE if not cuts else _FIRST if number == 0 else _LAST if number == len(cuts) else _MIDDLE
        part = payload[begin:end]
        written += stream.write(_PREFIX.pack(MAGIC, flag << 29 | len(part)) + part + b"\0" * (-len(part) % 4))
    return written


def _aligned_magics(payload: bytes) -> Iterator[int]:
    position = payload.find(_MAGIC_BYTES)
    while position >= 0:
        if position % 4 == 0:
            yield position
            position = payload.find(_MAGIC_BYTES, position + 4)
        else:
            position = payload.find(_MAGIC_BYTES, position + 1)


def _read_prefix(file: RandomAccessFile, offset: int) -> tuple[int, int]:
    return _parse_prefix(file.read(offset, _PREFIX.size), file, offset)


def _parse_prefix(block: bytes, file: RandomAccessFile, offset: int) -> tuple[int, int]:
    magic, lrecord = _PREFIX.unpack_from(block)
    if magic != MAGIC:
        raise DataError(
            f"{file.path}: magic 0x{magic:08x} at offset {offset}, expected 0x{MAGIC:08x}; "
            "not a RecordIO file, damaged, or the index belongs to another file"
        )
    return lrecord >> 29, lrecord & MAX_RECORD_BYTES


def _read_part(file: RandomAccessFile, offset: int, span: int = 0) -> tuple[int, bytes, int]:
    block = file.read(offset, max(span, _PREFIX.size))
    flag, length = _parse_prefix(block, file, offset)
    begin = offset + _PREFIX.size
    part = block[_PREFIX.size : _PREFIX.size + length]
    if len(part) < length:
        part += file.read(begin + len(part), length - len(part))
    return flag, part, begin + length + -length % 4


def _flag_error(file: RandomAccessFile, offset: int, flag: int) -> DataError:
    return DataError(f"{file.path}: continuation flag {flag} at offset {offset} is out of order; the file is damaged")
