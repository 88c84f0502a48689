"""Writes what ``torch.save`` writes, by hand: a zip archive whose pickle refers to storages; honestly or not."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any, Mapping, Optional

import numpy as np

_TYPES = {"f4": "FloatStorage", "f2": "HalfStorage", "f8": "DoubleStorage", "i8": "LongStorage"}


def seeded(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Make the values of a parameter from its name, as tools/model_conversion/record_torch_references.py does."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.array(1000)
    if name.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 1:
        return random.uniform(0.1, 0.9, shape).astype(np.float32)
    return (random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


class _Global:
    """Pickles as the name of a global."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, *_: object) -> None:  # picklers want the first part of a reduction to be callable
        raise AssertionError("only its name is written")


class Storage:
    """A reference to ``data/KEY``."""

    def __init__(self, key: str, kind: str, count: Any) -> None:
        self.reference = ("storage", _Global("torch", kind), key, "cpu", count)


class Tensor:
    """A tensor cut out of a storage; any number may be a lie."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        self.parts = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple:
        return _Global("torch._utils", "_rebuild_tensor_v2"), self.parts


class _Pickler(pickle._Pickler):  # type: ignore[name-defined]  # the one in Python, which lets names be written freely
    def persistent_id(self, value: object) -> Any:
        return value.reference if isinstance(value, Storage) else None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, _Global):
            self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        else:
            super().save(value, save_persistent_id)


def dump(document: object) -> bytes:
    """Pickle a document with tensors in protocol 2."""
    stream = io.BytesIO()
    _Pickler(stream, 2).dump(document)
    return stream.getvalue()


def tensors_of(arrays: Mapping[str, np.ndarray]) -> tuple[OrderedDict, dict[str, bytes]]:
    """Return the tensors of arrays, and the content of their storages by key."""
    tensors: OrderedDict = OrderedDict()
    storages = {}
    for key, (name, array) in enumerate(arrays.items()):
        array = np.asarray(array)
        strides = tuple(stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides)
        kind = _TYPES[array.dtype.str[1:]]
        tensors[name] = Tensor(Storage(str(key), kind, array.size), 0, tuple(array.shape), strides)
        storages[str(key)] = array.tobytes()
    return tensors, storages


def write_archive(
    path: Path, document: object, storages: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED
) -> Path:
    """Write a file of torch 1.6 or later."""
    content = document if isinstance(document, bytes) else dump(document)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", b"little")
        for key, values in storages.items():
            archive.writestr(f"archive/data/{key}", values)
        archive.writestr("archive/version", b"3\n")
    return path


def write_state_dict(path: Path, arrays: Mapping[str, np.ndarray], *, around: Optional[dict] = None) -> Path:
    """Write arrays as ``torch.save`` writes a state_dict, or a dict with it under ``state_dict_backbone``."""
    tensors, storages = tensors_of(arrays)
    document: object = tensors if around is None else {**around, "state_dict_backbone": tensors}
    return write_archive(path, document, storages)
