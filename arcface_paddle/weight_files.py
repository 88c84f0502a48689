"""The ``.pdparams`` file: a network's state_dict, which paddle writes as a pickle, read without running a pickle.

``paddle.load`` executes whatever a file tells it to; here the file goes through ``safe_pickle``, which knows numpy
arrays and paddle's ``tuple((name, array))`` and nothing else. Files written here are read by ``paddle.load``.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Mapping

import numpy as np

from arcface_paddle import files, safe_pickle
from arcface_paddle.errors import DataError, ModelFileError
from arcface_paddle.files import PathLike, write_bytes
from arcface_paddle.pickle_machine import PLAIN_CONTENT, Budget, StandIn

_ZIP = b"PK\x03\x04"
_NAME_TABLE = "StructuredToParameterName@@"  # paddle's note of its generated names; of no use outside of that run


def read_state_dict(path: PathLike) -> dict[str, np.ndarray]:
    """Read a ``.pdparams`` file into arrays by structured name; bfloat16 (stored as uint16) becomes float32.

    Raises:
        ModelFileError: the file is missing, damaged, refused as unsafe, or not a state_dict.
    """
    try:
        content = files.read_bytes(path)
    except OSError as error:
        raise ModelFileError(f"cannot read the weights {path}: {error.strerror or error}") from None
    return parse_state_dict(content, name=str(path))


def parse_state_dict(content: bytes, *, name: str) -> dict[str, np.ndarray]:
    """Parse the bytes of a ``.pdparams`` file; see ``read_state_dict``."""
    if content.startswith(_ZIP):
        raise ModelFileError(
            f"{name}: damaged pickle, or not a pickle at all: a zip archive, as torch writes it; import it first: "
            f"arcface-paddle import {name}"
        )
    try:
        value = safe_pickle.load_arrays(content, name=name)
    except DataError as error:
        raise ModelFileError(str(error)) from None
    if not isinstance(value, dict):
        raise ModelFileError(f"{name}: holds a {type(value).__name__}, not a state_dict (names with arrays)")
    widened: dict[int, np.ndarray] = {}  # by id: weights that are shared stay shared
    return {
        _text(key): _array(_text(key), item, name, widened) for key, item in value.items() if _text(key) != _NAME_TABLE
    }


def read_parameter(path: PathLike) -> np.ndarray:
    """Read a file that holds one parameter alone, as ``paddle.save`` writes it; bfloat16 becomes float32.

    Dynamic graphs give ``tuple((name, array))``. Static graphs give a call of ``eval`` with a fixed text, which is not
    run: its only argument is the array.

    Raises:
        ModelFileError: the file is missing, damaged, refused as unsafe, or not one array.
    """
    try:
        content = files.read_bytes(path)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        value, _ = safe_pickle.load_part(content, name=str(path), budget=Budget(len(content)), extension=_ONE_PARAMETER)
    except DataError as error:
        raise ModelFileError(str(error)) from None
    return _array(Path(path).name, value, str(path), {})


def _refuse_reference(_: object) -> object:
    raise DataError("the pickle refers to an object outside of it; refused")


def _only_data(text: object, names: object) -> object:
    """Stand in for ``eval`` of a static graph's tensor; there is one spelling of it: eval('data', {'data': array})."""
    if text != "data" or not isinstance(names, dict) or set(names) != {"data"}:
        raise DataError("the pickle asks for eval of something, which was refused and not run")
    return names["data"]


_ONE_PARAMETER = safe_pickle.Extension(
    {("builtins", "eval"): StandIn(_only_data), ("__builtin__", "eval"): StandIn(_only_data)},
    _refuse_reference,
    PLAIN_CONTENT,
)


def write_state_dict(path: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by structured name as a ``.pdparams`` file, atomically.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    write_bytes(path, dump_state_dict(arrays))


def dump_state_dict(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a ``.pdparams`` file; they do not depend on the versions of numpy and paddle."""
    parts = [b"\x80\x04}("]  # protocol 4, an empty dict, mark
    for key, array in arrays.items():
        encoded = key.encode("utf-8")
        parts += [b"X", struct.pack("<I", len(encoded)), encoded]
        parts.append(safe_pickle.dump_array(np.asarray(array))[2:-1])  # without its protocol and stop opcodes
    return b"".join([*parts, b"u."])  # store all pairs, stop


def _text(key: object) -> str:
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _array(key: str, item: object, name: str, widened: dict[int, np.ndarray]) -> np.ndarray:
    if isinstance(item, tuple) and len(item) == 2:  # paddle.save of live tensors: (generated name, array)
        item = item[1]
    if not isinstance(item, np.ndarray) or item.dtype.kind not in "fiub":
        raise ModelFileError(f"{name}: entry {key!r} is not an array of numbers; this is not a network's state_dict")
    if item.dtype == np.uint16:  # numpy has no bfloat16: these are the upper halves of float32
        if id(item) not in widened:
            widened[id(item)] = (item.astype(np.uint32) << 16).view(np.float32)
        return widened[id(item)]
    return item
