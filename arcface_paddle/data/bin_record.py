"""The per-image ``.bin`` of the published training sets.

Layout of a record (little endian; several may follow each other, the first counts)::

    uint32 key length (at most 5000) | key: the image's file name, UTF-8 |
    uint32 value length | value: a pickle of one bytes object, the encoded picture

The published writer used ``pickle.dumps(content, -1)``: protocol 4 on Python 3.4 to 3.7, protocol 5 from 3.8 on. The
value is parsed, not unpickled, see ``safe_pickle.load_single_bytes``.
"""

from __future__ import annotations

import pickle
import struct
from typing import Iterator

from arcface_paddle import files
from arcface_paddle.data.random_access import read_small_file
from arcface_paddle.errors import DataError
from arcface_paddle.safe_pickle import load_single_bytes

MAX_KEY_BYTES = 5000
"""A longer key means that the file is something else (the published reader's limit)."""

_LENGTH = struct.Struct("<I")
_PICKLE_PROTOCOL = 5


def encode_record(key: str, content: bytes) -> bytes:
    """Return one record, byte for byte as the published writer made it under Python 3.8 and later.

    Raises:
        DataError: the key is longer than ``MAX_KEY_BYTES`` or not UTF-8 (a file name can be), or the content is
            longer than 4 GiB.
    """
    try:
        encoded_key = key.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{key!a}: the file name is not UTF-8, so it cannot be the key of a .bin record") from None
    if len(encoded_key) > MAX_KEY_BYTES:
        raise DataError(f"the key of {len(encoded_key)} bytes is too long for a .bin record; allowed: {MAX_KEY_BYTES}")
    value = pickle.dumps(content, _PICKLE_PROTOCOL)
    if len(value) >= 2**32:
        raise DataError(f"{key}: {len(content)} bytes do not fit into a .bin record; allowed: less than 4 GiB")
    return b"".join((_LENGTH.pack(len(encoded_key)), encoded_key, _LENGTH.pack(len(value)), value))


def decode_record(data: bytes, *, name: str) -> tuple[str, bytes]:
    """Return key and encoded picture of the first record.

    Args:
        data: content of the ``.bin`` file.
        name: what to call it in errors, usually its path.

    Raises:
        DataError: truncated, a key longer than ``MAX_KEY_BYTES`` or not UTF-8, or a value that is not the pickle of
            one bytes object.
    """
    return next(decode_records(data, name=name))


def decode_records(data: bytes, *, name: str) -> Iterator[tuple[str, bytes]]:
    """Give key and encoded picture of every record; raises as ``decode_record`` does."""
    offset = 0
    while offset < len(data) or offset == 0:
        key, offset = _take(data, offset, name, part="key")
        value, offset = _take(data, offset, name, part="value")
        try:
            text = key.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{name}: the key {key[:80]!r} is not UTF-8") from None
        yield text, load_single_bytes(value, name=name)


def read_bin(path: files.PathLike) -> tuple[str, bytes]:
    """Read key and encoded picture of the first record of a file; raises ``DataError``."""
    return decode_record(read_small_file(str(path)), name=str(path))


def _take(data: bytes, offset: int, name: str, *, part: str) -> tuple[bytes, int]:
    begin = offset + _LENGTH.size
    if begin > len(data):
        raise DataError(f"{name}: truncated record: {len(data)} bytes end in the {part} length at offset {offset}")
    (length,) = _LENGTH.unpack_from(data, offset)
    if part == "key" and length > MAX_KEY_BYTES:
        raise DataError(
            f"{name}: key length {length} at offset {offset}; allowed: {MAX_KEY_BYTES}. This is not a per-image .bin"
        )
    if begin + length > len(data):
        raise DataError(
            f"{name}: truncated record: the {part} at offset {begin} needs {length} bytes, {len(data) - begin} are left"
        )
    return data[begin : begin + length], begin + length
