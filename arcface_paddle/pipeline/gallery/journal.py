"""The journal beside a gallery file: changes that were made since the file was written.

A million faces are more than a gigabyte, which nobody writes anew for one more face. Beside ``people.index`` stands
``people.index.journal``: a head that says which file it continues, then records that are only ever appended::

    head     magic (8 bytes), fingerprint of the gallery file (32)
    record   length of the content, CRC-32 of the content, CRC-32 of these two (4 bytes each, little-endian)
             content: length of the text (4), text (JSON: what changed), float32 rows of the faces that were added

The content of the records of an encrypted gallery is encrypted, see ``sealing``; then the checksums are those of what
is on the disk.

A record is one change as a whole: all of it counts or nothing. What was appended is on the disk (fsync) before anybody
is told so. A record that ends too early is that of a process that was killed: nobody was told, and it is dropped. A
record that is whole and wrong was damaged later, and is refused: what follows it was acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import documents
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.sealing import RecordCipher
from arcface_paddle.pipeline.gallery.storage import Container

SUFFIX = ".journal"

_MAGIC = b"AFPJRNL1"
_FINGERPRINT_BYTES = 32
HEAD_BYTES = len(_MAGIC) + _FINGERPRINT_BYTES
_FRAME = struct.Struct("<III")
_TEXT_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, eq=False)
class Record:
    """One change as a whole.

    Attributes:
        steps: what was done, in order, as JSON values; ``add`` has ``entries``, ``rename`` has ``name`` and
            ``new_name``.
        rows: (N, D) float32, those of the added faces in order.
    """

    steps: Sequence[dict[str, Any]]
    rows: np.ndarray


def journal_of(path: files.PathLike) -> Path:
    """Return where the journal of a gallery file stands."""
    target = Path(path)
    return target.parent / (target.name + SUFFIX)


def encode(record: Record, *, offset: int, cipher: Optional[RecordCipher]) -> bytes:
    """Return the bytes of a record with its frame.

    Args:
        record: the change.
        offset: where in the journal it is to stand.
        cipher: of an encrypted gallery.
    """
    text = json.dumps(list(record.steps), ensure_ascii=False, sort_keys=True, allow_nan=False)
    encoded = text.encode("utf-8", "backslashreplace")
    content = b"".join(
        [_TEXT_LENGTH.pack(len(encoded)), encoded, np.ascontiguousarray(record.rows, dtype="<f4").tobytes()]
    )
    if cipher is not None:
        content = cipher.seal(content, offset=offset)
    lead = struct.pack("<II", len(content), zlib.crc32(content))
    return lead + struct.pack("<I", zlib.crc32(lead)) + content


def decode(
    content: bytes, *, origin: int, embedding_size: int, name: str, cipher: Optional[RecordCipher]
) -> tuple[list[Record], int]:
    """Read records.

    Args:
        content: the journal from byte ``origin`` on, which is where a record begins.
        origin: not before ``HEAD_BYTES``.
        embedding_size: D.
        name: of the gallery, for messages.
        cipher: of an encrypted gallery.

    Returns:
        The whole ones, and at which byte of the journal the last of them ends; a torn one may follow.

    Raises:
        GalleryError: a record is damaged.
    """
    records: list[Record] = []
    offset = 0
    while len(content) - offset >= _FRAME.size:
        length, checksum, frame_checksum = _FRAME.unpack_from(content, offset)
        if zlib.crc32(content[offset : offset + 8]) != frame_checksum:
            if not any(content[offset:]):  # some file systems leave zeros where a write was cut off
                break
            raise _damaged(name, origin + offset)
        begin = offset + _FRAME.size
        if begin + length > len(content):
            break
        body = content[begin : begin + length]
        if zlib.crc32(body) != checksum:
            if begin + length == len(content):  # the last one: cut off, its length known but not all of it on the disk
                break
            raise _damaged(name, origin + offset)
        opened = body if cipher is None else cipher.open(body, offset=origin + offset)
        if opened is None:
            raise _damaged(name, origin + offset)
        records.append(_record(opened, embedding_size=embedding_size, name=name, offset=origin + offset))
        offset = begin + length
    return records, origin + offset


def open_with_journal(path: files.PathLike) -> tuple[BinaryIO, bytes]:
    """Open a gallery file and read the journal beside it, both of one moment; the journal may be of another file.

    Whoever writes the file anew removes the journal afterwards. So the two belong together when the file is still the
    one that was opened after the journal has been read.

    Raises:
        OSError: no such file, or it cannot be read.
    """
    while True:
        stream = files.open_regular(path)
        try:
            content = read(journal_of(path)) or b""
            if os.path.samestat(os.fstat(stream.fileno()), Path(path).stat()):
                return stream, content
        except OSError:
            stream.close()
            raise
        stream.close()


def fold(records: Iterable[Record], entries: list[GalleryEntry], rows: np.ndarray) -> np.ndarray:
    """Make the changes: ``entries`` is changed in place, the rows that belong to them are returned.

    Raises:
        TypeError, ValueError, KeyError: a step is not understood.
    """
    parts = [rows]
    for record in records:
        parts.append(record.rows)
        for step in record.steps:
            if step["step"] == "add":
                entries.extend(documents.entry_of_json(value) for value in step["entries"])
            elif step["step"] == "rename":
                name, new_name = str(step["name"]), str(step["new_name"])
                entries[:] = [replace(entry, name=new_name) if entry.name == name else entry for entry in entries]
            else:
                raise ValueError(f"step {step['step']!r}")
    return np.concatenate(parts)


def has_head(content: bytes, expected: bytes) -> bool:
    """Tell whether a journal continues the file of this fingerprint; another one's has been written anew since."""
    return content[:HEAD_BYTES] == _MAGIC + expected


def records_for(content: bytes, gallery_file: Container, *, name: str) -> list[Record]:
    """Return the whole records of a journal that continues this very gallery file; of another file's, none.

    Raises:
        GalleryError: a record is damaged.
    """
    if not has_head(content, gallery_file.fingerprint):
        return []
    size = gallery_file.rows.shape[1]
    return decode(content[HEAD_BYTES:], origin=HEAD_BYTES, embedding_size=size, name=name, cipher=gallery_file.cipher)[
        0
    ]


def require_free(path: Path) -> None:
    """Raise ``GalleryError`` when a file that is no journal stands where the journal goes."""
    content = read(path, most=len(_MAGIC))
    if content is not None and not _MAGIC.startswith(content):
        raise GalleryError(f"{path}: is no journal, but stands where the journal of the gallery goes; move it away")


def start(path: Path, of_file: bytes) -> None:
    """Put an empty journal of the file with the fingerprint ``of_file`` in place."""
    files.write_bytes(path, _MAGIC + of_file)
    sync_folder(path.parent)


def append(path: Path, content: bytes, *, end: int) -> int:
    """Write records after byte ``end``, in place of a torn one, and return the new end once they are on the disk.

    Raises:
        OSError: they could not be written; the journal is as it was.
    """
    with path.open("r+b") as stream:
        stream.truncate(end)
        stream.seek(end)
        try:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                stream.truncate(end)
            raise
    return end + len(content)


def discard(path: Path) -> None:
    """Remove a journal, if there is one; another file of that name stays."""
    with contextlib.suppress(FileNotFoundError):
        with path.open("rb") as stream:
            if not _MAGIC.startswith(stream.read(len(_MAGIC))):
                return
        path.unlink()
        sync_folder(path.parent)


def read(path: Path, *, start: int = 0, most: int = -1) -> Optional[bytes]:
    """Return a journal from byte ``start`` on, ``most`` bytes of it (-1: all); None when there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(most)
    except FileNotFoundError:
        return None


def sync_folder(folder: Path) -> None:
    """Put on the disk which files a folder has; systems that cannot open a folder do so by themselves."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _record(body: bytes, *, embedding_size: int, name: str, offset: int) -> Record:
    try:
        (length,) = _TEXT_LENGTH.unpack_from(body)
        steps = json.loads(body[_TEXT_LENGTH.size : _TEXT_LENGTH.size + length].decode("utf-8"))
        numbers = np.frombuffer(body[_TEXT_LENGTH.size + length :], dtype="<f4")
        rows = numbers.reshape(-1, embedding_size).astype(np.float32)
        added = sum(len(step["entries"]) for step in steps if step["step"] == "add")
    except (struct.error, ValueError, TypeError, KeyError):
        raise _damaged(name, offset) from None
    if added != len(rows):
        raise _damaged(name, offset)
    return Record(steps, rows)


def _damaged(name: str, offset: int) -> GalleryError:
    return GalleryError(
        f"{name}: the journal is damaged at byte {offset:,}; restore it from a backup, or remove it to lose what was "
        "changed since the gallery file was written"
    )
