"""The container of a gallery file: a zip of ``gallery.json`` and ``embeddings.npy``, and never a pickle.

``numpy.load(path)["embeddings"]`` reads the array without this package. The same content gives the same bytes:
members carry no time stamp and stand in a fixed order.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import zipfile
import zlib
from typing import IO, Any, BinaryIO, Iterable

import numpy as np

from arcface_paddle.errors import GalleryError
from arcface_paddle.untrusted import parse_json, read_npy_head

HEADER_MEMBER = "gallery.json"
ARRAY_MEMBER = "embeddings.npy"

_ZIP_SIGNATURE = b"PK\x03\x04"
SIGNATURE_BYTES = len(_ZIP_SIGNATURE)
"""How much of a file ``is_container`` must see."""

_EARLIEST_TIME = (1980, 1, 1, 0, 0, 0)
_LOCAL_HEADER_BYTES = 30
_CHECK_BYTES = 1 << 20
_PADDING_FIELD = 0xD935  # the id that Android's zipalign gave to a field without meaning
_MAX_HEADER_BYTES = 1 << 31  # some 250 bytes an entry: enough for eight million faces
_EXPANSION_LIMIT = 2000
"""Deflate cannot shrink by more than about 1032; a header that claims more is a trap."""


def is_container(content: bytes) -> bool:
    """Tell by the first bytes whether this is a gallery file of ours (the published one is a pickle)."""
    return content.startswith(_ZIP_SIGNATURE)


def write(stream: IO[bytes], header: dict[str, Any], rows: Iterable[np.ndarray], *, shape: tuple[int, int]) -> bytes:
    """Write the file of a gallery: its header, and its embeddings as blocks that together are float32 of ``shape``.

    The numbers start at a multiple of 64 bytes, so that they can be used where they lie, mapped into memory.

    Returns:
        The ``fingerprint`` of what was written.
    """
    # Without indentation json uses its C encoder: seconds less for a large gallery.
    # A folder of models may have a name that is not text; JSON can say that, UTF-8 cannot.
    text = json.dumps(header, ensure_ascii=False, sort_keys=True, allow_nan=False)
    magic = io.BytesIO()
    np.lib.format.write_array_header_1_0(magic, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(stream, "w") as archive:
        described = _member(HEADER_MEMBER, zipfile.ZIP_DEFLATED)
        archive.writestr(described, text.encode("utf-8", "backslashreplace"))
        numbers = _member(ARRAY_MEMBER, zipfile.ZIP_STORED)
        numbers.file_size = magic.tell() + 4 * shape[0] * shape[1]
        numbers.extra = _padding(stream.tell() + _LOCAL_HEADER_BYTES + len(ARRAY_MEMBER), size=numbers.file_size)
        with archive.open(numbers, "w") as member:
            member.write(magic.getvalue())
            for block in rows:
                member.write(np.ascontiguousarray(block, dtype="<f4").data)
    return _fingerprint_of(archive)


def fingerprint(stream: BinaryIO, *, name: str) -> bytes:
    """Return 32 bytes that differ for gallery files of different content; only the end of the file is read.

    Raises:
        GalleryError: no zip file.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            return _fingerprint_of(archive)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise GalleryError(f"{name}: damaged gallery file ({error}); build it again") from None


def _fingerprint_of(archive: zipfile.ZipFile) -> bytes:
    members = [(info.filename, info.CRC, info.file_size, info.header_offset) for info in archive.infolist()]
    return hashlib.sha256(repr(members).encode()).digest()


def _padding(end: int, *, size: int) -> bytes:
    """Return the extra field that makes what follows a local header, which else ended at ``end``, start at 64 k.

    zipfile puts a field of 20 bytes of its own before it when the size takes more than 31 bits.
    """
    end += 20 if size * 1.05 > zipfile.ZIP64_LIMIT else 0
    count = -(end + 4) % 64
    return struct.pack("<HH", _PADDING_FIELD, count) + bytes(count)


def unpack(content: bytes, *, name: str) -> tuple[dict[str, Any], np.ndarray]:
    """Return the header and the embeddings (M, D) float32 of a gallery file; ``name`` serves error messages.

    Raises:
        GalleryError: damaged, truncated, or a zip that is no gallery.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            header = _read_header(archive, name)
            array = _read_array(_read_member(archive, ARRAY_MEMBER, len(content), name), name)
    except GalleryError:
        raise
    except KeyError as error:
        raise GalleryError(f"{name}: a zip file, but not a gallery ({error.args[0]})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise GalleryError(f"{name}: damaged gallery file ({error}); build it again") from None
    if not isinstance(header, dict):
        raise GalleryError(f"{name}: damaged gallery file (header is a {type(header).__name__}); build it again")
    return header, array


def map_rows(stream: BinaryIO, *, name: str) -> tuple[dict[str, Any], np.ndarray]:
    """Return the header and the embeddings (M, D) float32 of an open gallery file, mapped into memory if they can be.

    The file may be replaced and ``stream`` be closed meanwhile; the rows stay those of the file as it was.

    Raises:
        GalleryError: damaged, truncated, or a zip that is no gallery.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            header = _read_header(archive, name)
            info = archive.getinfo(ARRAY_MEMBER)
            with archive.open(info) as member:
                shape, numbers = _array_shape(member, name)
                _require_size(shape, info.file_size - numbers, name)
                while member.read(_CHECK_BYTES):  # to its end, where zipfile compares the checksum
                    pass
    except KeyError as error:
        raise GalleryError(f"{name}: a zip file, but not a gallery ({error.args[0]})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise GalleryError(f"{name}: damaged gallery file ({error}); build it again") from None
    if not isinstance(header, dict):
        raise GalleryError(f"{name}: damaged gallery file (header is a {type(header).__name__}); build it again")
    if info.compress_type != zipfile.ZIP_STORED:
        raise GalleryError(f"{name}: {ARRAY_MEMBER} is compressed; allowed: stored")
    return header, _mapped(stream, _start_of(stream, info) + numbers, shape)


def _mapped(stream: BinaryIO, start: int, shape: tuple[int, int]) -> np.ndarray:
    if 0 in shape:
        return np.zeros(shape, np.float32)
    rows = np.asarray(np.memmap(stream, dtype="<f4", mode="r", offset=start, shape=shape))
    # Files of earlier versions are not aligned, and Windows does not replace a file that is mapped.
    return np.array(rows) if start % 4 or sys.platform == "win32" else rows


def _start_of(stream: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Return where the content of a stored member begins; its local header has an extra field of its own length."""
    stream.seek(info.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", stream.read(4))
    return int(info.header_offset + _LOCAL_HEADER_BYTES + name_length + extra_length)


def _member(name: str, compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EARLIEST_TIME)
    info.compress_type = compression
    info.create_system = 3  # the same bytes on every system
    info.external_attr = 0o644 << 16
    return info


def _read_header(archive: zipfile.ZipFile, name: str) -> Any:
    content = _read_member(archive, HEADER_MEMBER, _MAX_HEADER_BYTES, name)
    return parse_json(content, name=f"{name}: {HEADER_MEMBER}", error=GalleryError)


def _read_member(archive: zipfile.ZipFile, member: str, limit: int, name: str) -> bytes:
    info = archive.getinfo(member)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise GalleryError(f"{name}: {member} is compressed by method {info.compress_type}; allowed: stored, deflated")
    if info.file_size > min(limit, _EXPANSION_LIMIT * max(info.compress_size, 1)):
        raise GalleryError(f"{name}: {member} claims {info.file_size:,} bytes, more than the file can hold; refused")
    return archive.read(info)


def _read_array(content: bytes, name: str) -> np.ndarray:
    """Read a .npy of little-endian float32 in rows; the header is checked before anything is allocated."""
    stream = io.BytesIO(content)
    shape, start = _array_shape(stream, name)
    _require_size(shape, len(content) - start, name)
    return np.frombuffer(content[start:], dtype="<f4").reshape(shape).astype(np.float32)


def _array_shape(stream: IO[bytes], name: str) -> tuple[tuple[int, int], int]:
    """Read the head of a .npy; returns M and D, and where the numbers begin."""
    shape, in_columns, dtype = read_npy_head(stream)
    if dtype != np.dtype("<f4") or in_columns or len(shape) != 2:
        raise GalleryError(f"{name}: {ARRAY_MEMBER} holds {dtype} of shape {shape}; allowed: float32 (M, D)")
    return (shape[0], shape[1]), stream.tell()


def _require_size(shape: tuple[int, int], size: int, name: str) -> None:
    if shape[0] * shape[1] * 4 != size:
        raise GalleryError(f"{name}: {ARRAY_MEMBER} says {shape} but holds {size:,} bytes; build it again")
