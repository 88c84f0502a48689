"""TFRecord without TensorFlow: the container, and the ``tf.train.Example`` in it.

A record (little endian)::

    uint64 length | uint32 masked CRC-32C of the length | payload | uint32 masked CRC-32C of the payload

where masked means rotated right by 15 bits plus 0xa282ead8 (TensorFlow's ``record_writer.cc``). The payload of a face
dataset is a serialised Example, a protocol buffer: ``Example.features`` (1) holds ``Features.feature`` (1), a map of
name (1) to Feature (2), which is a list of bytes (1), of floats (2) or of integers (3). It is parsed by hand and only
as far as it is needed; every length is held against the bytes that are there.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import BinaryIO, Iterator, Protocol, Union

import numpy as np

from arcface_paddle.errors import DataError

MAX_RECORD_BYTES = 1 << 26
"""A longer record holds no face: 64 MiB is a thousand times a crop. It also bounds what a hostile file can ask for."""

_MAX_FIELDS = 1000  # of one message: a picture and a label need ten, and 64 MiB could hold thirty million
_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_CRC_BLOCK = 256  # bytes; the table of their contributions has 256 KB, which a cache holds

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10

Span = tuple[int, int]
Value = Union[int, Span]


class ByteStream(Protocol):
    """What records can be appended to; every binary file is one."""

    def write(self, content: bytes, /) -> int:
        """Append bytes and return their number."""


@dataclass(frozen=True)
class Feature:
    """One feature of an Example, not yet taken apart.

    Attributes:
        kind: ``"bytes"``, ``"float"``, ``"int64"``, or ``""`` for an empty one.
        begin: where its list begins in the payload.
        end: where it ends.
    """

    kind: str
    begin: int
    end: int


_KIND_OF_FIELD = {1: "bytes", 2: "float", 3: "int64"}


@dataclass(frozen=True, eq=False)
class _CrcTables:
    """What the CRC of a block is looked up in.

    Attributes:
        contributions: (_CRC_BLOCK * 256,) uint32, what a byte at each place of a block does to the CRC at its end.
        starts: (_CRC_BLOCK,) int64, where the 256 values of each place begin.
        shifts: what each of the four bytes of the CRC so far does to the CRC at the end of the block.
        one: what a single byte does.
    """

    contributions: np.ndarray
    starts: np.ndarray
    shifts: tuple[list[int], ...]
    one: list[int]


@functools.lru_cache(maxsize=1)
def _crc_tables() -> _CrcTables:
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, first >> 1 ^ np.uint32(_POLYNOMIAL), first >> 1)
    rows = [first]
    for _ in range(_CRC_BLOCK - 1):
        rows.append(first[rows[-1] & 0xFF] ^ rows[-1] >> 8)
    rows.reverse()
    starts = np.arange(_CRC_BLOCK) * 256
    return _CrcTables(np.concatenate(rows), starts, tuple(row.tolist() for row in rows[:4]), first.tolist())


def crc32c(content: Union[bytes, memoryview]) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes, at about 150 MB a second.

    The CRC is linear: that of a block is the XOR of what each byte contributes at its place. The CRC so far enters as
    if it were added to the first four bytes of the next block.
    """
    tables = _crc_tables()
    values = np.frombuffer(content, dtype=np.uint8)
    first_end = len(values) % _CRC_BLOCK
    state = 0xFFFFFFFF
    for value in values[:first_end].tolist():
        state = tables.one[(state ^ value) & 0xFF] ^ state >> 8
    blocks = values[first_end:].reshape(-1, _CRC_BLOCK)
    contributions = np.bitwise_xor.reduce(tables.contributions.take(blocks + tables.starts), axis=1)
    one, two, three, four = tables.shifts
    for contribution in contributions.tolist():
        before = one[state & 0xFF] ^ two[state >> 8 & 0xFF] ^ three[state >> 16 & 0xFF] ^ four[state >> 24]
        state = contribution ^ before
    return state ^ 0xFFFFFFFF


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def scan_records(stream: BinaryIO, size: int, *, name: str) -> Iterator[tuple[int, bytes]]:
    """Give offset and payload of every record of a file, after checking both checksums.

    Args:
        stream: the file, at its beginning.
        size: its length in bytes.
        name: what to call it in errors.

    Raises:
        DataError: truncated, a wrong checksum, compressed, or a record of more than ``MAX_RECORD_BYTES``.
    """
    position, head_size = 0, _LENGTH.size + _CHECKSUM.size
    while position < size:
        head = stream.read(head_size)
        if position == 0 and head[:2] in (b"\x1f\x8b", b"\x78\x9c"):
            raise DataError(f"{name}: a compressed TFRecord file; decompress it first (gunzip)")
        if len(head) < head_size:
            raise DataError(f"{name}: truncated: {len(head)} bytes are left for a record at offset {position}")
        length = _checked_length(head, position, name=name)
        if length > size - position - head_size - _CHECKSUM.size:
            raise DataError(f"{name}: truncated: the record at offset {position} needs {length} bytes more")
        payload, checksum = stream.read(length), stream.read(_CHECKSUM.size)
        if len(payload) < length or len(checksum) < _CHECKSUM.size:
            raise DataError(f"{name}: truncated: the record at offset {position} needs {length} bytes")
        if _CHECKSUM.unpack(checksum)[0] != _masked(crc32c(payload)):
            raise DataError(f"{name}: wrong CRC-32C of the record at offset {position}; the file is damaged")
        yield position + head_size, payload
        position += head_size + length + _CHECKSUM.size


def _checked_length(head: bytes, position: int, *, name: str) -> int:
    (length,), (checksum,) = _LENGTH.unpack_from(head), _CHECKSUM.unpack_from(head, _LENGTH.size)
    if checksum != _masked(crc32c(head[: _LENGTH.size])):
        what = "no TFRecord file" if position == 0 else "the file is damaged"
        raise DataError(f"{name}: wrong CRC-32C of the length at offset {position}; {what}")
    if length > MAX_RECORD_BYTES:
        raise DataError(f"{name}: a record of {length} bytes at offset {position}; allowed: {MAX_RECORD_BYTES}")
    return int(length)


def write_record(stream: ByteStream, payload: bytes) -> int:
    """Append a record to a stream and return the number of bytes written.

    Raises:
        DataError: the payload is longer than ``MAX_RECORD_BYTES``.
    """
    if len(payload) > MAX_RECORD_BYTES:
        raise DataError(f"a record of {len(payload)} bytes; allowed: {MAX_RECORD_BYTES}")
    length = _LENGTH.pack(len(payload))
    head, tail = (_CHECKSUM.pack(_masked(crc32c(part))) for part in (length, payload))
    return stream.write(length + head + payload + tail)


# ---------------------------------------------------------------------------------------------------------------
# tf.train.Example


def parse_example(payload: bytes, *, name: str) -> dict[str, Feature]:
    """Return the features of an Example by their names; of a name that comes twice the last one counts.

    Raises:
        DataError: not an Example, a length beyond the bytes that are there, or more than ``_MAX_FIELDS`` of them.
    """
    found: dict[str, Feature] = {}
    for features in _submessages(payload, (0, len(payload)), 1, name=name):
        for entry in _submessages(payload, features, 1, name=name):
            key, feature = "", Feature("", 0, 0)
            for number, value in _fields(payload, entry, name=name):
                if number == 1 and isinstance(value, tuple):
                    key = payload[slice(*value)].decode("utf-8", "replace")
                elif number == 2 and isinstance(value, tuple):
                    feature = _feature(payload, value, name=name)
            found[key] = feature
    return found


def bytes_of(payload: bytes, feature: Feature, *, name: str) -> Span:
    """Return where the one byte string of a feature lies in the payload.

    Raises:
        DataError: it is none, or several.
    """
    spans = list(_submessages(payload, (feature.begin, feature.end), 1, name=name)) if feature.kind == "bytes" else []
    if len(spans) != 1:
        raise DataError(f"{name}: {len(spans)} byte strings; expected one picture")
    return spans[0]


def integer_of(payload: bytes, feature: Feature, *, name: str) -> int:
    """Return the one integer of a feature.

    Raises:
        DataError: it is none, or several.
    """
    values: list[int] = []
    if feature.kind == "int64":
        for number, value in _fields(payload, (feature.begin, feature.end), name=name):
            if number == 1:
                values += [value] if isinstance(value, int) else _packed(payload, value, name=name)
            if len(values) > 1:
                break
    if len(values) != 1:
        raise DataError(f"{name}: {'several integers' if values else 'no integer'}; expected one label")
    return values[0] - (1 << 64) if values[0] >> 63 else values[0]


def encode_example(features: dict[str, Union[bytes, int]]) -> bytes:
    """Return the Example of byte strings and integers from 0, in the order of their names as TensorFlow writes it."""
    entries = b""
    for name in sorted(features):
        value = features[name]
        if isinstance(value, bytes):
            feature = _tagged(1, _tagged(1, value))
        else:
            feature = _tagged(3, _tagged(1, _varint(value)))
        entries += _tagged(1, _tagged(1, name.encode()) + _tagged(2, feature))
    return _tagged(1, entries)


def _tagged(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _feature(payload: bytes, span: Span, *, name: str) -> Feature:
    found = Feature("", 0, 0)
    for number, value in _fields(payload, span, name=name):
        if number in _KIND_OF_FIELD and isinstance(value, tuple):
            found = Feature(_KIND_OF_FIELD[number], *value)
    return found


def _submessages(payload: bytes, span: Span, wanted: int, *, name: str) -> Iterator[Span]:
    """Give where the submessages or byte strings of field number ``wanted`` lie."""
    for number, value in _fields(payload, span, name=name):
        if number == wanted and isinstance(value, tuple):
            yield value


def _fields(payload: bytes, span: Span, *, name: str) -> Iterator[tuple[int, Value]]:
    """Give number and value of every field of a message: an integer, or where its bytes lie."""
    position, end = span
    count = 0
    while position < end:
        count += 1
        if count > _MAX_FIELDS:
            raise DataError(f"{name}: more than {_MAX_FIELDS} fields in one message; this is no face dataset")
        tag, position = _read_varint(payload, position, end, name=name)
        number, wire = tag >> 3, tag & 7
        value: Value
        if wire == _VARINT:
            value, position = _read_varint(payload, position, end, name=name)
        else:
            if wire == _BYTES:
                length, position = _read_varint(payload, position, end, name=name)
            elif wire in (_FIXED32, _FIXED64):
                length = 4 if wire == _FIXED32 else 8
            else:
                raise DataError(f"{name}: wire type {wire} in a protocol buffer; not a tf.train.Example, or damaged")
            if length > end - position:
                raise DataError(f"{name}: a field of {length} bytes where {end - position} are left; damaged")
            value = (position, position + length)
            position += length
        yield number, value


def _packed(payload: bytes, span: Span, *, name: str) -> list[int]:
    """Return the integers of a packed list, the first two at most: more are refused anyway."""
    position, end = span
    values: list[int] = []
    while position < end and len(values) < 2:
        value, position = _read_varint(payload, position, end, name=name)
        values.append(value)
    return values


def _read_varint(payload: bytes, position: int, end: int, *, name: str) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if position + count >= end:
            break
        byte = payload[position + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & (1 << 64) - 1, position + count + 1
    raise DataError(f"{name}: an integer without end at byte {position}; not a tf.train.Example, or damaged")
