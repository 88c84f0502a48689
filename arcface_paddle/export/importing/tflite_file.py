"""Read the operators and constants of a .tflite file without TensorFlow.

A .tflite file is a flatbuffer (https://flatbuffers.dev/internals/): a table starts with a signed offset back to its
vtable, whose entries give each field's place within the table. The field numbers below are those of TensorFlow's
``lite/schema/schema.fbs``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import DataError, ModelFileError
from arcface_paddle.pickle_machine import Budget

IDENTIFIER = b"TFL3"
_MOST_OPERATORS = 4096
_MOST_TABLES = 1 << 16
# What damage leads to in struct, in numpy and in the tables.
_DAMAGE = (struct.error, IndexError, KeyError, ValueError, OverflowError, MemoryError, DataError)

_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64}
_OPERATOR_NAMES = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    17: "MAX_POOL_2D",
    18: "MUL",
    19: "RELU",
    22: "RESHAPE",
    34: "PAD",
    41: "SUB",
    101: "ABS",
}


@dataclass(frozen=True)
class Convolution:
    """A convolution's weights as Paddle wants them.

    Attributes:
        weight: (out, in / groups, height, width) float32.
        bias: (out,) float32.
    """

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class _Operator:
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class TfliteFile:
    """The first subgraph of a .tflite file.

    Raises:
        ModelFileError: the file is missing, damaged or something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            data = files.read_bytes(path)
        except OSError as error:
            raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
        if data[4:8] != IDENTIFIER:
            raise ModelFileError(f"{path}: not a .tflite file (identifier {data[4:8]!r})")
        self._path = path
        self._budget = Budget(len(data))
        try:
            self._read(data)
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _read(self, data: bytes) -> None:
        model = _Table(data, struct.unpack_from("<I", data, 0)[0])
        graph = model.tables(2)[0]
        self._buffers = model.tables(4)
        self._tensors = graph.tables(0)
        names = [_operator_name(code) for code in model.tables(1)]
        operators = graph.tables(3)
        if len(operators) > _MOST_OPERATORS:
            raise ValueError(f"{len(operators)} operators; allowed: {_MOST_OPERATORS}")
        self.operators = [
            _Operator(names[table.integer(0, "<I")], table.integers(1), table.integers(2)) for table in operators
        ]
        # Half-precision weights stand behind a DEQUANTIZE each.
        self._source_of = {op.outputs[0]: op.inputs[0] for op in self.operators if op.name == "DEQUANTIZE"}

    def constant(self, tensor: int) -> np.ndarray:
        """Return a constant tensor as float32 in its stored shape.

        Raises:
            ValueError: the tensor is not constant.
        """
        values = self._stored(tensor)
        for _ in range(len(self._source_of)):
            if values is not None or tensor not in self._source_of:
                break
            tensor = self._source_of[tensor]
            values = self._stored(tensor)
        if values is None:
            raise ValueError(f"tensor {tensor} is not constant")
        return values.astype(np.float32)

    def convolutions(self) -> list[Convolution]:
        """Return all convolutions in the order of execution. Raises ``ModelFileError`` when one is damaged."""
        try:
            return self._convolutions()
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _convolutions(self) -> list[Convolution]:
        found = []
        for operator in self.operators:
            if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                weight = self.constant(operator.inputs[1])
                # Stored as (out, height, width, in); depthwise as (1, height, width, out).
                axes = (0, 3, 1, 2) if operator.name == "CONV_2D" else (3, 0, 1, 2)
                found.append(
                    Convolution(np.ascontiguousarray(weight.transpose(axes)), self.constant(operator.inputs[2]))
                )
        return found

    def prelu_slopes(self) -> list[np.ndarray]:
        """Return the slopes of all PReLUs, which are spelled relu(x) + c * (x - abs(x)): slope = 2 c.

        Raises:
            ModelFileError: one is damaged.
        """
        try:
            return self._prelu_slopes()
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _prelu_slopes(self) -> list[np.ndarray]:
        return [2 * self.constant(operator.inputs[0]) for operator in self.operators if operator.name == "MUL"]

    def _damaged(self, error: Exception) -> ModelFileError:
        return ModelFileError(f"{self._path}: damaged, or not a .tflite file of this kind ({str(error)[:120]})")

    def _stored(self, tensor: int) -> Optional[np.ndarray]:
        table = self._tensors[tensor]
        content = self._buffers[table.integer(2, "<I")].bytes(0)
        if not content:
            return None
        self._budget.spend(2 * len(content))  # half precision is widened
        return np.frombuffer(content, _DTYPES[table.integer(1, "<b")]).reshape(table.integers(0))


class _Table:
    """One table of a flatbuffer."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - struct.unpack_from("<i", data, position)[0]
        self._vtable_bytes = struct.unpack_from("<H", data, self._vtable)[0]

    def _field(self, number: int) -> Optional[int]:
        entry = 4 + 2 * number
        if entry >= self._vtable_bytes:
            return None
        offset = struct.unpack_from("<H", self._data, self._vtable + entry)[0]
        return self._position + offset if offset else None

    def _vector(self, number: int) -> tuple[int, int]:
        """Return the position and the length of a vector, (0, 0) when the field is absent."""
        field = self._field(number)
        if field is None:
            return 0, 0
        start = field + struct.unpack_from("<I", self._data, field)[0]
        return start + 4, struct.unpack_from("<I", self._data, start)[0]

    def integer(self, number: int, kind: str) -> int:
        field = self._field(number)
        return 0 if field is None else int(struct.unpack_from(kind, self._data, field)[0])

    def integers(self, number: int) -> tuple[int, ...]:
        start, length = self._vector(number)
        return struct.unpack_from(f"<{length}i", self._data, start)

    def bytes(self, number: int) -> bytes:
        start, length = self._vector(number)
        return self._data[start : start + length]

    def tables(self, number: int) -> list[_Table]:
        start, length = self._vector(number)
        if length > _MOST_TABLES:
            raise ValueError(f"a list of {length} tables; allowed: {_MOST_TABLES}")
        places = range(start, start + 4 * length, 4)
        return [_Table(self._data, place + struct.unpack_from("<I", self._data, place)[0]) for place in places]


def _operator_name(code: _Table) -> str:
    # Old files keep the number in the first field, new ones in the fourth.
    number = max(code.integer(0, "<b"), code.integer(3, "<i"))
    return _OPERATOR_NAMES.get(number, f"operator {number}")
