"""Read the tensors of a torch weight file in the format before 1.6 (a row of pickles) without torch.

Only ordered dictionaries and the two functions that describe a tensor are let through; any other global in the pickle
is an error, so that a file cannot execute anything.
"""

from __future__ import annotations

import collections
import pickle
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
}


def read_torch_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the state dict of a legacy .pt file as arrays.

    Raises:
        pickle.UnpicklingError: the file names anything that a state dict does not need.
    """
    dtype_of: dict[str, Any] = {}
    with path.open("rb") as stream:
        if _Unpickler(stream, dtype_of).load() != _MAGIC:
            raise pickle.UnpicklingError(f"{path}: not a torch file of the format before 1.6")
        for _ in ("protocol version", "system information"):
            _Unpickler(stream, dtype_of).load()
        tensors = _Unpickler(stream, dtype_of).load()
        keys = _Unpickler(stream, dtype_of).load()
        storages = {key: _read_storage(stream, dtype_of[key]) for key in keys}
    return {name: _as_array(tensor, storages) for name, tensor in tensors.items()}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, dtype_of: dict[str, Any]) -> None:
        super().__init__(stream)
        self._dtype_of = dtype_of

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _describe_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return name
        raise pickle.UnpicklingError(f"the file names {module}.{name}, which a state dict does not need")

    def persistent_load(self, pid: Any) -> str:
        _, storage_type, key = pid[:3]
        self._dtype_of[key] = _STORAGE_DTYPES[storage_type]
        return str(key)


def _describe_tensor(storage: str, offset: int, shape: tuple, strides: tuple, *_: Any) -> tuple:
    return storage, offset, shape, strides


def _read_storage(stream: BinaryIO, dtype: Any) -> np.ndarray:
    (length,) = struct.unpack("<q", stream.read(8))
    content = stream.read(length * np.dtype(dtype).itemsize)
    return np.frombuffer(content, dtype, count=length)


def _as_array(tensor: tuple, storages: dict[str, np.ndarray]) -> np.ndarray:
    storage, offset, shape, strides = tensor
    values = storages[storage][offset:]
    if not shape:
        return values[0].copy()
    needed = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if needed > values.size:
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(shape)} reaches beyond its storage")
    byte_strides = [stride * values.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(values, shape, byte_strides).copy()
