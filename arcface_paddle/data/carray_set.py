"""Verification sets as bcolz folders, which InsightFace_Pytorch and arcface-tf2 made of lfw.bin and others.

A set called ``lfw`` is a folder and a file beside it::

    lfw/meta/sizes      JSON: shape [2N, 3, H, W]
    lfw/meta/storage    JSON: dtype float32, chunklen (rows of a chunk), how it was compressed
    lfw/data/__0.blp    rows 0 to chunklen - 1: 16 bytes "blpk" header, then one Blosc 1 chunk
    lfw_list.npy        N truth values, whether a pair shows one person

The pictures are (x/255 - 0.5)/0.5 of BGR planes. bcolz is not needed and no longer builds; numcodecs unpacks the
chunks (the extra ``bcolz``), but for those that are stored as they are.
"""

from __future__ import annotations

import contextlib
import functools
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.data.random_access import read_small_file
from arcface_paddle.data.verification_set import VerificationSet, resized_crop
from arcface_paddle.errors import DataError, MissingDependencyError
from arcface_paddle.untrusted import parse_npy

_LIST_SUFFIX = "_list.npy"
_DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "<f4", "<f8")}
_MAX_META_BYTES, _MAX_CHUNK_BYTES, _MAX_ROWS = 1 << 16, 1 << 28, 10_000_000
_PACK_HEADER_BYTES = 16
_MAX_OVERHEAD = 4096  # of a chunk that does not get smaller; Blosc needs 16 bytes, the header 16 more
_BLOSC_HEADER = struct.Struct("<BBBBIII")  # version, version of the codec, flags, typesize, nbytes, blocksize, cbytes
_STORED = 0x2  # flag: not compressed
_TOLERANCE = 0.01  # over -1 and 1; what is beyond is no such picture


@dataclass(frozen=True, eq=False)
class CarraySet(VerificationSet):
    """A verification set whose pictures stay on the disk until they are asked for."""

    array: _CarrayRows

    def decode(self, index: int) -> np.ndarray:
        """Return picture ``index`` as ``VerificationSet`` does. Raises ``DataError`` when its chunk is damaged."""
        return resized_crop(self.array.picture(index))


def is_carray_set(path: files.PathLike) -> bool:
    """Tell whether a path is the folder of such a set."""
    return (Path(path) / "meta/storage").is_file() and (Path(path) / "meta/sizes").is_file()


def read_carray_set(path: files.PathLike) -> CarraySet:
    """Open a set; its name is that of the folder.

    Raises:
        DataError: a part is missing, damaged or of another shape or type.
    """
    folder = Path(path)
    rows = _CarrayRows(folder)
    issame = _read_list(folder.with_name(folder.name + _LIST_SUFFIX))
    if len(rows) != 2 * len(issame) or not len(issame):
        raise DataError(f"{path}: {len(rows)} pictures for {len(issame)} pairs; expected two pictures per pair")
    return CarraySet(folder.name, rows, issame, rows)


class _CarrayRows(Sequence[bytes]):
    """The pictures of a folder, encoded as PNG when they are asked for."""

    def __init__(self, folder: Path) -> None:
        sizes, storage = (_read_meta(folder / "meta" / name) for name in ("sizes", "storage"))
        shape: Any = sizes.get("shape")
        chunk_rows: Any = storage.get("chunklen")
        dtype = _DTYPES.get(str(storage.get("dtype")))
        if dtype is None:
            raise DataError(
                f"{folder}: values of the type {str(storage.get('dtype'))[:40]!r}; allowed: float32, float64"
            )
        if not _is_shape(shape):
            raise DataError(f"{folder}: the shape {str(shape)[:60]}; expected (pictures, 3, height, width)")
        self._shape: tuple[int, ...] = tuple(shape)
        row_bytes = dtype.itemsize * self._shape[1] * self._shape[2] * self._shape[3]
        if not _is_count(chunk_rows) or chunk_rows * row_bytes > _MAX_CHUNK_BYTES:
            raise DataError(
                f"{folder}: chunks of {str(chunk_rows)[:40]} rows; allowed: 1 to {_MAX_CHUNK_BYTES // row_bytes}"
            )
        self._folder, self._dtype, self._chunk_rows, self._row_bytes = folder, dtype, chunk_rows, row_bytes
        self._chunk = functools.lru_cache(maxsize=2)(self._read_chunk)

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: Any) -> Any:
        return images.encode_image(self.picture(index), suffix=".png")

    def picture(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB.

        Raises:
            DataError: the chunk is missing or damaged, or the values are not from -1 to 1.
        """
        if not 0 <= index < len(self):  # which also ends a loop over all of them
            raise IndexError(index)
        number, row = divmod(index, self._chunk_rows)
        planes = self._chunk(number)[row]
        if not (np.abs(planes) <= 1 + _TOLERANCE).all():
            raise DataError(f"{self._folder}: picture {index} has values beyond -1 to 1; expected (x/255 - 0.5)/0.5")
        pixels = np.clip(np.rint((planes * 0.5 + 0.5) * 255), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0))

    def _read_chunk(self, number: int) -> np.ndarray:
        path = self._folder / f"data/__{number}.blp"
        rows = min(self._chunk_rows, len(self) - number * self._chunk_rows)
        most_bytes = self._chunk_rows * self._row_bytes
        content = _unpack(_read_bounded(path, most_bytes + _MAX_OVERHEAD), most_bytes=most_bytes, name=str(path))
        if len(content) < rows * self._row_bytes:
            raise DataError(f"{path}: {len(content)} bytes for {rows} pictures of {self._row_bytes}; copy it again")
        count = rows * self._row_bytes // self._dtype.itemsize
        return np.frombuffer(content, dtype=self._dtype, count=count).reshape(rows, *self._shape[1:])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) == 4
        and all(map(_is_count, shape))
        and shape[0] <= _MAX_ROWS
        and shape[1] == 3
        and shape[2] * shape[3] <= images.MAX_CROP_PIXELS
    )


def _read_meta(path: Path) -> dict[str, Any]:
    content = _read_bounded(path, _MAX_META_BYTES)
    try:
        loaded = json.loads(content)
    except (ValueError, RecursionError):
        loaded = None
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: not the description of a bcolz array")
    return loaded


def _read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file, unless it is longer than it can be."""
    with contextlib.suppress(OSError):  # which reading it will tell
        size = path.stat().st_size
        if size > most_bytes:
            raise DataError(f"{path}: {size} bytes; allowed: {most_bytes}, so this is no part of a bcolz array")
    return read_small_file(str(path))


def _read_list(path: Path) -> np.ndarray:
    try:
        issame = parse_npy(files.read_bytes(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it says which pairs show one person, copy it too") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise DataError(f"{path}: not an array of truth values, or damaged") from None
    if issame.ndim != 1 or issame.dtype.kind not in "bui" or not np.isin(issame, (0, 1)).all():
        raise DataError(f"{path}: an array {issame.shape} of {issame.dtype}; expected (pairs,) truth values")
    return issame.astype(bool)


def _unpack(content: bytes, *, most_bytes: int, name: str) -> bytes:
    """Return what a chunk file holds, at most ``most_bytes``; every size is checked before the decoder sees it."""
    chunk = content[_PACK_HEADER_BYTES:]
    if content[:4] != b"blpk" or len(chunk) < _BLOSC_HEADER.size:
        raise DataError(f"{name}: not a chunk of a bcolz array, or truncated")
    version, _, flags, _, num_bytes, _, compressed = _BLOSC_HEADER.unpack_from(chunk)
    if version != 2 or num_bytes > most_bytes or compressed != len(chunk):
        raise DataError(
            f"{name}: Blosc version {version}, {num_bytes} bytes in {compressed} of {len(chunk)}; expected version 2, "
            f"at most {most_bytes} bytes, and the file as long as it says; it is damaged"
        )
    if flags & _STORED:
        stored = chunk[_BLOSC_HEADER.size :]
        if len(stored) != num_bytes:
            raise DataError(f"{name}: truncated: {num_bytes} bytes wanted, {len(stored)} are there")
        return stored
    return _decompressed(chunk, name=name)


def _decompressed(chunk: bytes, *, name: str) -> bytes:
    try:
        from numcodecs.blosc import Blosc
    except ImportError:
        raise MissingDependencyError("numcodecs", extra="bcolz", purpose=f"reading the bcolz array {name}") from None
    try:
        return bytes(Blosc().decode(chunk))
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{name}: cannot be decompressed ({error}); copy it again") from None
