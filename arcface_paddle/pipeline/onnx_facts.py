"""What an ``.onnx`` file takes and gives, read off the file itself without a library for ONNX.

An ONNX file is a protobuf: fields of (number, wire type), of which those with wire type 2 have a length and may hold
messages. Only a few fields matter here and the weights are stepped over, so that a file of 170 MB takes milliseconds.
The numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional, Union

from arcface_paddle.errors import ModelFileError

_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 5, 11, 12, 15  # of GraphProto
_MOST_NESTED = 8  # graphs within graphs
_LOCATION = 14  # of TensorProto; 1: the values are in another file
_FIRST_OPERATORS = 8
Buffer = Union[bytes, mmap.mmap]


@dataclass(frozen=True)
class Port:
    """An input or output: its name and sides, None for each that may vary; no sides where the file says nothing."""

    name: str
    sides: tuple[Optional[int], ...]


@dataclass(frozen=True)
class OnnxFacts:
    """What a graph takes and gives.

    Attributes:
        inputs: without those that are weights.
        outputs: in the order of the file.
        first_operators: types of the first eight operators.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    first_operators: tuple[str, ...]


def read_onnx_facts(path: Path) -> OnnxFacts:
    """Read the facts of a file.

    Raises:
        ModelFileError: the file is missing, cut off or no ONNX model, or its weights are in other files, whose paths a
            hostile one could choose.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _facts(content, path)
    except (_DamagedError, UnicodeDecodeError, struct.error, IndexError) as error:
        raise ModelFileError(f"{path}: not an ONNX model, or damaged: {error}") from None
    except ValueError:  # mmap's word for an empty file; texts that are not UTF-8 are ValueErrors, too, and come first
        raise ModelFileError(f"{path}: the file is empty") from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None


class _DamagedError(Exception):
    pass


def _facts(content: Buffer, path: Path) -> OnnxFacts:
    graphs = [span for number, span in _messages(content, 0, len(content)) if number == _GRAPH]
    if len(graphs) != 1:
        raise _DamagedError("it holds no graph" if not graphs else "it holds several graphs")
    weights, inputs, outputs, operators = set(), [], [], []
    for number, (start, end) in _messages(content, *graphs[0]):
        if number == _INITIALIZER:
            weights.add(_tensor_name(content, start, end, path))
        elif number == _INPUT:
            inputs.append(_port(content, start, end))
        elif number == _OUTPUT:
            outputs.append(_port(content, start, end))
        elif number == _NODE:
            operators.append(_operator(content, start, end, path, depth=0))
    fed = tuple(port for port in inputs if port.name not in weights)
    return OnnxFacts(fed, tuple(outputs), tuple(operators[:_FIRST_OPERATORS]))


def _port(content: Buffer, start: int, end: int) -> Port:
    """Read a ValueInfoProto: name 1, type 2 → tensor 1 → shape 2 → dimensions 1 → value 1 (or a name 2)."""
    name, sides = "", []
    for number, span in _messages(content, start, end):
        if number == 1:
            name = _text(content, *span)
        elif number == 2:
            for shape in _inner(content, span, 1, 2):
                sides = [_side(content, *one) for one in _inner(content, shape, 1)]
    return Port(name, tuple(sides))


def _side(content: Buffer, start: int, end: int) -> Optional[int]:
    value = next((value for number, value in _numbers(content, start, end) if number == 1), None)
    return value if value is not None and 0 < value < 1 << 31 else None  # 0 and -1 are words for "varies"


def _inner(content: Buffer, span: tuple[int, int], *path: int) -> list[tuple[int, int]]:
    """Follow field numbers from a message to those inside of it."""
    spans = [span]
    for wanted in path:
        spans = [found for one in spans for number, found in _messages(content, *one) if number == wanted]
    return spans


def _tensor_name(content: Buffer, start: int, end: int, path: Path) -> str:
    for number, value in _numbers(content, start, end):
        if number == _LOCATION and value == 1:
            raise ModelFileError(
                f"{path}: keeps its weights in another file, whose path the model chooses; refused: save it as one "
                "file (onnx.save without external data)"
            )
    names = [span for number, span in _messages(content, start, end) if number == 8]
    return _text(content, *names[0]) if names else ""


def _operator(content: Buffer, start: int, end: int, path: Path, *, depth: int) -> str:
    """Read a NodeProto's type 4; look for other files in tensors 5, 10 and graphs 6, 11 of its attributes 5."""
    kind = ""
    for number, span in _messages(content, start, end):
        if number == 4:
            kind = _text(content, *span)
        elif number == 5:
            for inner, (first, last) in _messages(content, *span):
                if inner in (5, 10):
                    _tensor_name(content, first, last, path)
                elif inner in (6, 11):
                    _look_through(content, first, last, path, depth=depth + 1)
    return kind


def _look_through(content: Buffer, start: int, end: int, path: Path, *, depth: int) -> None:
    if depth > _MOST_NESTED:
        raise _DamagedError(f"graphs nested deeper than {_MOST_NESTED}")
    for number, (first, last) in _messages(content, start, end):
        if number == _INITIALIZER:
            _tensor_name(content, first, last, path)
        elif number == _NODE:
            _operator(content, first, last, path, depth=depth)


def _text(content: Buffer, start: int, end: int) -> str:
    return bytes(content[start:end]).decode("utf-8")


def _messages(content: Buffer, start: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    for number, value in _fields(content, start, end):
        if isinstance(value, tuple):
            yield number, value


def _numbers(content: Buffer, start: int, end: int) -> Iterator[tuple[int, int]]:
    for number, value in _fields(content, start, end):
        if isinstance(value, int):
            yield number, value


def _fields(content: Buffer, start: int, end: int) -> Iterator[tuple[int, Union[int, tuple[int, int]]]]:
    """Walk over the fields of a message: a number, or where the content begins and ends."""
    position = start
    while position < end:
        tag, position = _varint(content, position, end)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(content, position, end)
            yield number, value
        elif wire == 2:
            length, position = _varint(content, position, end)
            if position + length > end:
                raise _DamagedError(f"cut off in the field at byte {position}")
            yield number, (position, position + length)
            position += length
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise _DamagedError(f"unknown kind of field at byte {position}")
    if position > end:
        raise _DamagedError(f"cut off at byte {end}")


def _varint(content: Buffer, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise _DamagedError(f"cut off at byte {end}")
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
    raise _DamagedError(f"a number of more than 64 bits at byte {position}")
