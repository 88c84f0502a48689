"""Is this file whole? Asked before Paddle is, which answers damaged files with a C++ stack trace or a crash."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Iterator, Optional

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError

_PROGRAM_FIELDS = {1: 2, 4: 2, 5: 2}  # ProgramDesc of framework.proto: blocks, version, op_version_map; wire type 2


def check_graph(path: Path) -> None:
    """Refuse a .pdmodel, .json or .onnx that is empty, cut off or something else.

    Raises:
        ModelFileError: with the reason.
    """
    content = files.read_bytes(path)
    if not content:
        raise ModelFileError(f"{path}: the file is empty")
    if path.suffix == ".json":
        problem = _json_problem(content)
    elif path.suffix == ".pdmodel":
        problem = _program_problem(content)
    else:
        problem = ""  # ONNX Runtime and OpenVINO report damaged files properly
    if problem:
        raise ModelFileError(f"{path}: not a Paddle model, or damaged: {problem}")


def check_weights(path: Path) -> None:
    """Walk through the tensors of a .pdiparams without reading their values.

    Each is: uint32 0, uint64 number of LoD levels (each a uint64 size and its bytes), uint32 0, int32 length of a
    protobuf with type and dimensions, that protobuf, the values.

    Raises:
        ModelFileError: empty, cut off, or of another format.
    """
    content = files.read_bytes(path)
    if not content:
        raise ModelFileError(f"{path}: the file is empty")
    position, count = 0, 0
    while position < len(content):
        after = _skip_tensor(content, position)
        if after is None or after > len(content):
            raise ModelFileError(f"{path}: damaged or cut off: no whole tensor {count} at byte {position}")
        position, count = after, count + 1


_BYTES_OF_TYPE = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}  # VarType.Type of framework.proto


def _skip_tensor(content: bytes, position: int) -> Optional[int]:
    try:
        version, levels = struct.unpack_from("<IQ", content, position)
        position += 12
        if version != 0 or levels > 8:
            return None
        for _ in range(levels):
            position += 8 + struct.unpack_from("<Q", content, position)[0]
        version, length = struct.unpack_from("<Ii", content, position)
        position += 8
        if version != 0 or length < 2 or position + length > len(content):
            return None
        return position + length + _tensor_bytes(content[position : position + length])
    except (struct.error, IndexError, KeyError, OverflowError):  # the last: a length of more than 63 bits
        return None


def _tensor_bytes(description: bytes) -> int:
    """Return the size of a tensor's values from its TensorDesc: field 1 the type, field 2 (repeated) a dimension."""
    size, position = 1, 0
    item = None
    while position < len(description):
        tag, position = _varint(description, position)
        value, position = _varint(description, position)
        if tag == 0x08:
            item = value
        elif tag == 0x10:
            size *= value
        else:
            raise KeyError(tag)
    return size * _BYTES_OF_TYPE[-1 if item is None else item]


def _program_problem(content: bytes) -> str:
    """Walk over the outermost protobuf fields of a program."""
    position, blocks = 0, 0
    while position < len(content):
        try:
            tag, start = _varint(content, position)
            length, start = _varint(content, start)
        except IndexError:
            return f"cut off at byte {position}"
        if _PROGRAM_FIELDS.get(tag >> 3) != tag & 7:
            return f"unexpected field at byte {position}"
        if start + length > len(content):
            return f"cut off in the field at byte {position}"
        blocks += tag >> 3 == 1
        position = start + length
    return "" if blocks else "it holds no block of operators"


def operators_of(path: Path) -> frozenset[str]:
    """Return the names of the operators in a .pdmodel; none for other formats and for what cannot be read.

    They are field 3 of each OpDesc, which is field 4 of a BlockDesc, which is field 1 of the ProgramDesc.
    """
    if path.suffix != ".pdmodel":
        return frozenset()
    try:
        blocks = _fields(path.read_bytes(), 1)
        operators = [operator for block in blocks for operator in _fields(block, 4)]
        return frozenset(name.decode() for operator in operators for name in _fields(operator, 3))
    except (OSError, IndexError, KeyError, UnicodeDecodeError):  # whoever loads it will say what is wrong
        return frozenset()


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """Give the content of each field with a length (wire type 2) that has some number."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag & 7 == 0:
            _, position = _varint(message, position)
        elif tag & 7 == 2:
            length, position = _varint(message, position)
            if tag >> 3 == wanted:
                yield message[position : position + length]
            position += length
        else:
            position += {1: 8, 5: 4}[tag & 7]


def _json_problem(content: bytes) -> str:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        return f"not valid JSON ({error})"
    if not isinstance(document, dict) or not {"base_code", "program"} <= set(document):
        return "JSON without 'base_code' and 'program'"
    return ""


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise IndexError("varint of more than 64 bits")
