"""The container of a gallery file: a zip of ``gallery.json`` and ``embeddings.npy``, and never a pickle.

``numpy.load(path)["embeddings"]`` reads the array without this package. The same content gives the same bytes:
members carry no time stamp and stand in a fixed order.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import Any

import numpy as np

from arcface_paddle.errors import GalleryError

HEADER_MEMBER = "gallery.json"
ARRAY_MEMBER = "embeddings.npy"

_ZIP_SIGNATURE = b"PK\x03\x04"
SIGNATURE_BYTES = len(_ZIP_SIGNATURE)
"""How much of a file ``is_container`` must see."""

_EARLIEST_TIME = (1980, 1, 1, 0, 0, 0)
_MAX_HEADER_BYTES = 1 << 31  # some 250 bytes an entry: enough for eight million faces
_EXPANSION_LIMIT = 2000
"""Deflate cannot shrink by more than about 1032; a header that claims more is a trap."""


def is_container(content: bytes) -> bool:
    """Tell by the first bytes whether this is a gallery file of ours (the published one is a pickle)."""
    return content.startswith(_ZIP_SIGNATURE)


def pack(header: dict[str, Any], embeddings: np.ndarray) -> bytes:
    """Return the file of a gallery with this header and embeddings (M, D) float32."""
    # Without indentation json uses its C encoder: seconds less for a large gallery.
    # A folder of models may have a name that is not text; JSON can say that, UTF-8 cannot.
    text = json.dumps(header, ensure_ascii=False, sort_keys=True, allow_nan=False)
    array = io.BytesIO()
    np.lib.format.write_array(array, np.ascontiguousarray(embeddings, dtype="<f4"), version=(1, 0), allow_pickle=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _write_member(archive, HEADER_MEMBER, text.encode("utf-8", "backslashreplace"), zipfile.ZIP_DEFLATED)
        _write_member(archive, ARRAY_MEMBER, array.getvalue(), zipfile.ZIP_STORED)
    return buffer.getvalue()


def unpack(content: bytes, *, name: str) -> tuple[dict[str, Any], np.ndarray]:
    """Return the header and the embeddings (M, D) float32 of a gallery file; ``name`` serves error messages.

    Raises:
        GalleryError: damaged, truncated, or a zip that is no gallery.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            header = json.loads(_read_member(archive, HEADER_MEMBER, _MAX_HEADER_BYTES, name).decode("utf-8"))
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


def _write_member(archive: zipfile.ZipFile, member: str, content: bytes, compression: int) -> None:
    info = zipfile.ZipInfo(member, _EARLIEST_TIME)
    info.compress_type = compression
    info.create_system = 3  # the same bytes on every system
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


def _read_member(archive: zipfile.ZipFile, member: str, limit: int, name: str) -> bytes:
    info = archive.getinfo(member)
    if info.file_size > min(limit, _EXPANSION_LIMIT * max(info.compress_size, 1)):
        raise GalleryError(f"{name}: {member} claims {info.file_size:,} bytes, more than the file can hold; refused")
    return archive.read(info)


def _read_array(content: bytes, name: str) -> np.ndarray:
    """Read a .npy of little-endian float32 in rows; the header is checked before anything is allocated."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise GalleryError(f"{name}: {ARRAY_MEMBER} has format {version}; allowed: (1, 0)")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    values = content[stream.tell() :]
    if dtype != np.dtype("<f4") or fortran_order or len(shape) != 2:
        raise GalleryError(f"{name}: {ARRAY_MEMBER} holds {dtype} of shape {shape}; allowed: float32 (M, D)")
    if shape[0] * shape[1] * 4 != len(values):
        raise GalleryError(f"{name}: {ARRAY_MEMBER} says {shape} but holds {len(values):,} bytes; build it again")
    return np.frombuffer(values, dtype="<f4").reshape(shape).astype(np.float32)
