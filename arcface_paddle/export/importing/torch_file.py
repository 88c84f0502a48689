"""Read what ``torch.save`` wrote, without torch and without running its pickle.

Two formats. Since torch 1.6: a zip archive, nothing in it compressed, with ``NAME/data.pkl`` and the values of each
storage in ``NAME/data/KEY``. Before: pickles one after the other (a magic number, a version, facts of the machine, the
object, the keys of the storages), then of each storage its number of items and its values. In both the pickle refers to
a storage by type, key and number of items, and calls a function of torch to cut a tensor out of it by offset, shape and
strides. Those functions have stand-ins here, which check every number against the bytes that are there; anything else
that the pickle names is refused by its name (``pickle_machine``).

Source: torch/serialization.py and torch/_utils.py (_rebuild_tensor_v2) as documented in the torch notes on
serialization semantics.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from arcface_paddle import files, safe_pickle
from arcface_paddle.errors import DataError, ModelFileError
from arcface_paddle.files import PathLike
from arcface_paddle.pickle_machine import Budget, StandIn, shown

_MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_BYTES = _MAGIC.to_bytes(10, "little")
_ZIP = b"PK\x03\x04"
_VERSION = 1001  # of the format before 1.6; torch has never written another

_TYPE_OF_STORAGE = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",  # the upper halves of float32
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_BFLOAT16 = "BFloat16Storage"
_MOST_AXES = 8
_BYTES_PER_TENSOR = 64  # beside its content
_LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name
_ALLOWED = "tensors, numbers, strings, lists, tuples and dicts, as a state_dict has them"


def is_torch_file(head: bytes) -> bool:
    """Tell by its first 16 bytes whether a file may be one of torch: a zip archive, or the older format's number."""
    return head.startswith(_ZIP) or head[2:4] + head[4:14] == b"\x8a\x0a" + _MAGIC_BYTES


def read_torch_file(path: PathLike) -> object:
    """Read a ``.pt`` or ``.pth`` file: nested dicts, lists, tuples, numbers and text, with arrays in place of tensors.

    bfloat16 becomes float32. Arrays are copies that own their memory.

    Raises:
        ModelFileError: the file is missing, damaged, of another format, or asks for anything but tensors.
    """
    try:
        content = files.read_bytes(path)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        if content.startswith(_ZIP):
            return _read_archive(content, name=str(path))
        if is_torch_file(content[:16]):
            return _read_row_of_pickles(content, name=str(path))
    except DataError as error:
        raise ModelFileError(str(error)) from None
    raise ModelFileError(f"{path}: not a file of torch.save (neither a zip archive nor the format before torch 1.6)")


@dataclass(frozen=True)
class _Storage:
    """A row of values outside of the pickle.

    Attributes:
        kind: name of its type, a key of ``_TYPE_OF_STORAGE``.
        key: its name in the file.
        count: number of items.
    """

    kind: str
    key: str
    count: int


ReadStorage = Callable[[_Storage], np.ndarray]
"""Gives the values of a storage, (count,) in the type that is stored."""


class _Tensors:
    """Stand-ins for what torch calls to rebuild a tensor, over the storages of one file."""

    def __init__(self, read: ReadStorage, budget: Budget) -> None:
        self._read = read
        self._budget = budget

    def extension(self) -> safe_pickle.Extension:
        table = {
            ("collections", "OrderedDict"): StandIn(lambda: _StateDict()),
            ("torch", "Size"): StandIn(self._size),
            ("torch._utils", "_rebuild_tensor"): StandIn(self._rebuild),
            ("torch._utils", "_rebuild_tensor_v2"): StandIn(self._rebuild),
            ("torch._utils", "_rebuild_parameter"): StandIn(lambda tensor, *_: tensor),
            **{("torch", kind): _StorageType(kind) for kind in _TYPE_OF_STORAGE},
        }
        return safe_pickle.Extension(table, self._refer, _ALLOWED)

    def _refer(self, reference: Any) -> _Storage:
        """Understand ('storage', type, key, device, number of items), which the older format ends with None."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            raise DataError(f"the pickle refers to an object outside of it ({shown(reference)}); refused")
        kind, key, count = reference[1], reference[2], reference[4]
        if not isinstance(kind, _StorageType) or not isinstance(key, str) or type(count) is not int or count < 0:
            raise DataError(f"the pickle refers to a storage in an unknown way ({shown(reference[2:])}); refused")
        if len(reference) == 6 and reference[5] is not None:
            raise DataError("a tensor is a view of a part of a storage, as torch before 0.4 wrote it; save it again")
        return _Storage(kind.kind, key, count)

    def _size(self, sides: Any = ()) -> tuple:
        return tuple(sides) if isinstance(sides, (list, tuple)) else ()

    def _rebuild(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> object:
        """Cut a tensor out of its storage; the further arguments are about gradients."""
        if not isinstance(storage, _Storage) or not _are_sizes([offset]):
            raise DataError(f"the pickle makes a tensor of {shown(storage)}; a storage is needed")
        if not _are_sizes(shape) or not _are_sizes(strides) or len(shape) != len(strides) or len(shape) > _MOST_AXES:
            raise DataError(f"the pickle holds a tensor of shape {shown(shape)} and strides {shown(strides)}")
        count = math.prod(shape)
        reach = offset + (1 + sum((side - 1) * stride for side, stride in zip(shape, strides)) if count else 0)
        if reach > storage.count:
            raise DataError(
                f"a tensor of shape {tuple(shape)} reaches {reach} values into a storage that has {storage.count}"
            )
        stored = np.dtype(_TYPE_OF_STORAGE[storage.kind])
        widening = 2 if storage.kind == _BFLOAT16 else 1
        self._budget.spend(_BYTES_PER_TENSOR + widening * max(count, 1) * stored.itemsize)
        values = self._read(storage)[offset:reach]
        array = np.lib.stride_tricks.as_strided(values, shape, [stride * values.itemsize for stride in strides])
        array = array.astype(stored) if count else np.empty(shape, stored)  # a copy, in the machine's byte order
        if storage.kind == _BFLOAT16:
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return safe_pickle.made_array(array, self._budget)


class _StateDict(dict):
    """An ordered dict; what torch notes on it beside its items (versions of layers) is dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


class _StorageType(StandIn):
    """The name of a type of storage, which may only be named."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


def _are_sizes(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


# ---------------------------------------------------------------------------------------------------------------
# The zip archive of torch 1.6 and later


def _read_archive(content: bytes, *, name: str) -> object:
    archive = _Archive(content, name)
    budget = Budget(len(content))
    tensors = _Tensors(archive.storage, budget)
    return safe_pickle.load_part(
        archive.entry(archive.pickle_name), name=name, budget=budget, extension=tensors.extension()
    )[0]


class _Archive:
    """The entries of a zip archive as slices of the file; nothing is unpacked to the disk, nothing decompressed."""

    def __init__(self, content: bytes, name: str) -> None:
        self._content = memoryview(content)
        self._name = name
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError) as error:
            raise DataError(f"{name}: damaged zip archive, or cut off ({error})") from None
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) != len(infos):
            raise DataError(f"{name}: a zip archive with two entries of one name; refused")
        self._checked: dict[str, memoryview] = {}
        self.pickle_name = self._find_pickle()
        self._prefix = self.pickle_name[: -len("data.pkl")]
        self._order = ">" if self._byte_order() == b"big" else "<"

    def _find_pickle(self) -> str:
        found = [name for name in self._infos if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(found) != 1:
            raise DataError(f"{self._name}: a zip archive without NAME/data.pkl, so not a file of torch.save")
        if f"{found[0][: -len('data.pkl')]}constants.pkl" in self._infos:
            raise DataError(
                f"{self._name}: a TorchScript program, not weights; save model.state_dict() with torch.save"
            )
        return found[0]

    def _byte_order(self) -> bytes:
        name = f"{self._prefix}byteorder"
        return self.entry(name) if name in self._infos else b"little"

    def entry(self, name: str) -> bytes:
        return bytes(self._slice(name))

    def storage(self, storage: _Storage) -> np.ndarray:
        dtype = np.dtype(self._order + _TYPE_OF_STORAGE[storage.kind])
        name = f"{self._prefix}data/{storage.key}"
        values = self._slice(name)
        if len(values) < storage.count * dtype.itemsize:
            raise DataError(f"{name} holds {len(values)} bytes; {storage.count * dtype.itemsize} are needed")
        return np.frombuffer(values, dtype, count=storage.count)

    def _slice(self, name: str) -> memoryview:
        """Return the bytes of an entry, which is looked up by its name and by nothing else."""
        if name not in self._checked:
            self._checked[name] = self._find(name)
        return self._checked[name]

    def _find(self, name: str) -> memoryview:
        info = self._infos.get(name)
        if info is None:
            raise DataError(f"{self._name}: the archive lacks its entry {name[:80]}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise DataError(f"{self._name}: {name[:80]} is compressed or encrypted, which torch never does; refused")
        header = self._content[info.header_offset : info.header_offset + _LOCAL_HEADER_BYTES]
        if len(header) != _LOCAL_HEADER_BYTES or bytes(header[:4]) != _ZIP:
            raise DataError(f"{self._name}: damaged zip archive: no entry at byte {info.header_offset}")
        name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
        start = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        values = self._content[start : start + info.file_size]
        if len(values) != info.file_size or zlib.crc32(values) != info.CRC:
            raise DataError(f"{self._name}: {name[:80]} is damaged or cut off: its checksum is not the one noted")
        return values


# ---------------------------------------------------------------------------------------------------------------
# The row of pickles of torch before 1.6


def _read_row_of_pickles(content: bytes, *, name: str) -> object:
    """Run the object's pickle twice: to find its end, behind which the storages stand, and with the storages known."""
    budget = Budget(len(content))
    magic, position = safe_pickle.load_part(content, name=name, budget=budget)
    version, position = safe_pickle.load_part(content, name=name, budget=budget, start=position)
    machine, position = safe_pickle.load_part(content, name=name, budget=budget, start=position)
    if magic != _MAGIC or version != _VERSION or not isinstance(machine, dict):
        raise DataError(f"{name}: not a file of torch.save")
    order = "<" if machine.get("little_endian", True) else ">"
    kinds: dict[str, _Storage] = {}

    def note(storage: _Storage) -> np.ndarray:
        known = kinds.setdefault(storage.key, storage)
        if known != storage:
            raise DataError(f"two descriptions of one storage {storage.key[:40]!r}; refused")
        return np.zeros(1, order + _TYPE_OF_STORAGE[storage.kind])

    noting = _Noting(note).extension()
    _, end = safe_pickle.load_part(content, name=name, budget=Budget(len(content)), start=position, extension=noting)
    keys, end = safe_pickle.load_part(content, name=name, budget=budget, start=end)
    rows = _rows(content, end, keys, kinds, order, name=name)
    tensors = _Tensors(lambda storage: rows[storage.key], budget)
    return safe_pickle.load_part(content, name=name, budget=budget, start=position, extension=tensors.extension())[0]


class _Noting(_Tensors):
    """Learns the types of the storages; the tensors are empty."""

    def __init__(self, note: ReadStorage) -> None:
        super().__init__(note, Budget(0))

    def _rebuild(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> object:
        if not isinstance(storage, _Storage):
            raise DataError(f"the pickle makes a tensor of {shown(storage)}; a storage is needed")
        self._read(storage)
        return safe_pickle.made_array(np.empty(0), self._budget)


def _rows(
    content: bytes, position: int, keys: object, kinds: dict[str, _Storage], order: str, *, name: str
) -> dict[str, np.ndarray]:
    """Find the values of each storage, which stand in the order of ``keys``, each behind its number of items."""
    if not isinstance(keys, list) or set(map(str, keys)) != set(kinds) or len(keys) != len(kinds):
        raise DataError(f"{name}: the list of storages does not fit the tensors")
    rows = {}
    for key in map(str, keys):
        storage = kinds[key]
        dtype = np.dtype(order + _TYPE_OF_STORAGE[storage.kind])
        noted = struct.pack(f"{order}q", storage.count)
        end = position + 8 + storage.count * dtype.itemsize
        if content[position : position + 8] != noted or end > len(content):
            raise DataError(f"{name}: damaged or cut off in the storage {key[:40]!r}")
        rows[key] = np.frombuffer(content, dtype, count=storage.count, offset=position + 8)
        position = end
    return rows
