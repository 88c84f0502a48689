"""The container of a gallery file: a zip of ``gallery.json`` and ``embeddings.npy``, and never a pickle.

``numpy.load(path)["embeddings"]`` reads the array without this package. The same content gives the same bytes:
members carry no time stamp and stand in a fixed order. A large gallery has its entries as arrays, too, see ``columns``.
An encrypted file is such a zip, encrypted as a whole, see ``sealing``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import mmap
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Iterable, Mapping, Optional, Union

import numpy as np

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import columns, sealing
from arcface_paddle.pipeline.gallery.columns import EntryColumns
from arcface_paddle.pipeline.gallery.sealing import RecordCipher, SealedReader
from arcface_paddle.untrusted import parse_json, read_npy_head

HEADER_MEMBER = "gallery.json"
ARRAY_MEMBER = "embeddings.npy"

_ZIP_SIGNATURE = b"PK\x03\x04"
SIGNATURE_BYTES = len(sealing.MAGIC)
"""How much of a file ``is_container`` must see."""

_EARLIEST_TIME = (1980, 1, 1, 0, 0, 0)
_LOCAL_HEADER_BYTES = 30
_CHECK_BYTES = 1 << 20
_LEAST_MAPPED_BYTES = 1 << 30
"""Arrays from here on are mapped into memory, which several processes share. Where the file is cut off by another
program (``cp`` does that to what it writes over), the system ends the process that looks at what is gone, and a service
under load always looks. What was read stays as it was; half a million faces of 512 numbers are read."""
_MOST_NPY_HEAD = 10 + (1 << 16)
_PADDING_FIELD = 0xD935  # the id that Android's zipalign gave to a field without meaning
_MAX_HEADER_BYTES = 1 << 31  # some 250 bytes an entry: enough for eight million faces
_EXPANSION_LIMIT = 2000
"""Deflate cannot shrink by more than about 1032; a header that claims more is a trap."""


@dataclass(frozen=True, eq=False)
class Container:
    """What a gallery file holds.

    Attributes:
        header: the JSON object.
        rows: (M, D) float32; large ones stay where the file has them, mapped into memory, if they can be.
        entries: those of a large gallery; None where the header has them.
        fingerprint: 32 bytes that differ for files of different content.
        cipher: encrypts the journal; None for a file that is not encrypted.
    """

    header: dict[str, Any]
    rows: np.ndarray
    entries: Optional[EntryColumns]
    fingerprint: bytes
    cipher: Optional[RecordCipher]


def is_container(content: bytes) -> bool:
    """Tell by the first bytes whether this is a gallery file of ours (the published one is a pickle)."""
    return content.startswith(_ZIP_SIGNATURE) or sealing.is_sealed(content)


def write(
    stream: IO[bytes],
    header: dict[str, Any],
    rows: Iterable[np.ndarray],
    *,
    shape: tuple[int, int],
    arrays: Mapping[str, np.ndarray],
) -> bytes:
    """Write the file of a gallery: its header, and its embeddings as blocks that together are float32 of ``shape``.

    The numbers start at a multiple of 64 bytes, so that they can be used where they lie, mapped into memory.

    Args:
        stream: takes the file.
        header: JSON values.
        rows: the embeddings.
        shape: M, D.
        arrays: the entries in columns; empty where the header has them.

    Returns:
        The ``fingerprint`` of what was written.
    """
    # Without indentation json uses its C encoder: seconds less for a large gallery.
    # A folder of models may have a name that is not text; JSON can say that, UTF-8 cannot.
    text = json.dumps(header, ensure_ascii=False, sort_keys=True, allow_nan=False)
    with zipfile.ZipFile(stream, "w") as archive:
        described = _member(HEADER_MEMBER, zipfile.ZIP_DEFLATED)
        archive.writestr(described, text.encode("utf-8", "backslashreplace"))
        _write_array(archive, stream, ARRAY_MEMBER, rows, kind="<f4", shape=shape)
        for name, array in arrays.items():
            _write_array(archive, stream, f"{name}.npy", [array], kind=array.dtype.str, shape=array.shape)
    return _fingerprint_of(archive)


def _write_array(
    archive: zipfile.ZipFile,
    stream: IO[bytes],
    name: str,
    blocks: Iterable[np.ndarray],
    *,
    kind: str,
    shape: tuple[int, ...],
) -> None:
    magic = io.BytesIO()
    np.lib.format.write_array_header_1_0(magic, {"descr": kind, "fortran_order": False, "shape": shape})
    numbers = _member(name, zipfile.ZIP_STORED)
    numbers.file_size = magic.tell() + np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64))
    numbers.extra = _padding(stream.tell() + _LOCAL_HEADER_BYTES + len(name), size=numbers.file_size)
    with archive.open(numbers, "w") as member:
        member.write(magic.getvalue())
        for block in blocks:
            member.write(np.ascontiguousarray(block, dtype=kind).data)


def read(stream: BinaryIO, *, name: str) -> Container:
    """Read an open gallery file of ours, whose first bytes ``is_container`` knows; ``name`` serves error messages.

    The file may be replaced and ``stream`` be closed meanwhile; arrays stay those of the file as it was.

    Raises:
        GalleryError: damaged, truncated, a zip that is no gallery, or encrypted with a key that is not given.
        OSError: the disk does not give it.
    """
    stream.seek(0)
    is_sealed = sealing.is_sealed(stream.read(SIGNATURE_BYTES))
    plain: Union[BinaryIO, SealedReader] = SealedReader(stream, name=name) if is_sealed else stream
    try:
        with zipfile.ZipFile(plain) as archive:
            header = _read_header(archive, name)
            rows = _array(plain, archive, ARRAY_MEMBER, name, kind="<f4", dimensions=2)
            entries = _read_columns(plain, archive, name) if "persons.npy" in archive.namelist() else None
            fingerprint = _fingerprint_of(archive)
    except GalleryError:
        raise
    except KeyError as error:
        raise GalleryError(f"{name}: a zip file, but not a gallery ({error.args[0]})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, struct.error) as error:
        refused = error.__context__
        if isinstance(refused, OSError) and refused.errno != errno.EINVAL:  # not the file: zipfile calls it no zip file
            raise refused from None
        raise GalleryError(f"{name}: damaged gallery file ({error}); build it again") from None
    if not isinstance(header, dict):
        raise GalleryError(f"{name}: damaged gallery file (header is a {type(header).__name__}); build it again")
    if isinstance(plain, SealedReader):
        return Container(header, rows, entries, plain.salt, RecordCipher(plain.key, plain.salt))
    return Container(header, rows, entries, fingerprint, None)


def _read_columns(stream: Union[BinaryIO, SealedReader], archive: zipfile.ZipFile, name: str) -> EntryColumns:
    return EntryColumns.of_arrays(
        {
            member: _array(stream, archive, f"{member}.npy", name, kind=kind, dimensions=dimensions)
            for member, (kind, dimensions) in columns.ARRAYS.items()
        }
    )


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


def _array(
    stream: Union[BinaryIO, SealedReader],
    archive: zipfile.ZipFile,
    member: str,
    name: str,
    *,
    kind: str,
    dimensions: int,
) -> np.ndarray:
    """Return the array of a .npy, little-endian and in rows; its head is checked before anything is allocated."""
    info = archive.getinfo(member)
    content = _content(stream, archive, info, name)
    head = io.BytesIO(content[:_MOST_NPY_HEAD].tobytes())
    shape, in_columns, dtype = read_npy_head(head)
    if dtype != np.dtype(kind) or (in_columns and dimensions > 1) or len(shape) != dimensions:
        allowed = "float32 (M, D)" if member == ARRAY_MEMBER else f"{np.dtype(kind)} of {dimensions} dimensions"
        raise GalleryError(f"{name}: {member} holds {dtype} of shape {shape}; allowed: {allowed}")
    size = len(content) - head.tell()
    if min(shape) < 0 or int(np.prod(shape, dtype=object)) * dtype.itemsize != size:
        raise GalleryError(f"{name}: {member} says {shape} but holds {size:,} bytes; build it again")
    numbers = content[head.tell() :]
    if numbers.ctypes.data % dtype.itemsize or sys.platform == "win32":
        numbers = numbers.copy()  # files of earlier versions are not aligned; Windows does not replace mapped files
    return numbers.view(dtype).reshape(shape)


def _content(
    stream: Union[BinaryIO, SealedReader], archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str
) -> np.ndarray:
    """Return what a member holds, as bytes, compared with its checksum; a large stored one mapped into memory."""
    if info.compress_type != zipfile.ZIP_STORED:
        return np.frombuffer(_read_member(archive, info.filename, _MAX_HEADER_BYTES, name), np.uint8)
    begin = _start_of(stream, info)
    if isinstance(stream, SealedReader):  # every bit of it is authenticated
        return stream.array(begin, info.file_size)
    if not info.file_size:
        return np.zeros(0, np.uint8)
    if info.file_size < _LEAST_MAPPED_BYTES:
        stream.seek(begin)
        content = np.frombuffer(stream.read(info.file_size), np.uint8)
    else:
        content = np.asarray(np.memmap(stream, dtype=np.uint8, mode="r", offset=begin, shape=(info.file_size,)))
    checksum = 0
    for first in range(0, len(content), _CHECK_BYTES):
        checksum = zlib.crc32(content[first : first + _CHECK_BYTES].data, checksum)
    if checksum != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")
    return content


def is_whole(rows: np.ndarray) -> bool:
    """Tell whether rows that are mapped into memory are in their file still; others are always there."""
    base: Any = rows
    end = 0
    while isinstance(base, np.ndarray):
        end = base.offset + base.nbytes if isinstance(base, np.memmap) else end
        base = base.base
    return not isinstance(base, mmap.mmap) or bool(base.size() >= end)


def require_whole(rows: np.ndarray) -> None:
    """Raise ``GalleryError`` when rows are mapped into memory and their file has been cut off since.

    Our own programs never cut a file off; ``cp`` does, before it writes. Looking at what is gone ends the process, so
    this comes right before. It cannot help who is looking at that very moment.
    """
    if not is_whole(rows):
        raise GalleryError(
            "the file of the gallery was cut off while it was in use; move whole files into its place (mv, not cp)"
        )


def _start_of(stream: Union[BinaryIO, SealedReader], info: zipfile.ZipInfo) -> int:
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
