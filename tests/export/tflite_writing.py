"""Writes a .tflite file as TensorFlow Lite lays it out: a flatbuffer of operators, tensors and buffers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Union

import numpy as np

CONV, DEPTHWISE, DEQUANTIZE, MUL = 3, 4, 6, 18
_TYPES = {"float32": 0, "float16": 1}


class _Table:
    """A table: fields by number, each a scalar or something that lies elsewhere."""

    def __init__(self, **fields: object) -> None:
        self.fields = {int(name[1:]): value for name, value in fields.items()}


Value = Union[int, bytes, np.ndarray, list]


class _Buffer:
    """Lays out tables one behind the other; offsets to what comes later are filled in when it is there."""

    def __init__(self) -> None:
        self.content = bytearray(struct.pack("<I4s", 0, b"TFL3"))

    def place(self, value: object) -> int:
        if isinstance(value, _Table):
            return self._table(value)
        if isinstance(value, bytes):
            return self._vector(len(value), value)
        if isinstance(value, np.ndarray):  # of int32
            return self._vector(len(value), value.astype("<i4").tobytes())
        return self._tables(value)

    def _vector(self, count: int, content: bytes) -> int:
        start = self._aligned()
        self.content += struct.pack("<I", count) + content
        return start

    def _tables(self, tables: object) -> int:
        assert isinstance(tables, list)
        start = self._vector(len(tables), bytes(4 * len(tables)))
        for index, table in enumerate(tables):
            self._point(start + 4 + 4 * index, self.place(table))
        return start

    def _table(self, table: _Table) -> int:
        vtable = self._aligned()
        entries = max(table.fields, default=-1) + 1
        offsets = [4 + 4 * list(table.fields).index(n) if n in table.fields else 0 for n in range(entries)]
        self.content += struct.pack(f"<HH{entries}H", 4 + 2 * entries, 4 + 4 * len(table.fields), *offsets)
        start = self._aligned()
        self.content += struct.pack("<i", start - vtable) + bytes(4 * len(table.fields))
        for index, value in enumerate(table.fields.values()):
            place = start + 4 + 4 * index
            if isinstance(value, int):
                struct.pack_into("<i", self.content, place, value)
            else:
                self._point(place, self.place(value))
        return start

    def _aligned(self) -> int:
        self.content += bytes(-len(self.content) % 4)
        return len(self.content)

    def _point(self, place: int, target: int) -> None:
        struct.pack_into("<I", self.content, place, target - place)


class TfliteWriter:
    """Collects operators and their constants."""

    def __init__(self) -> None:
        self._tensors: list[_Table] = []
        self._buffers = [_Table()]  # the first is empty, as always
        self._operators: list[_Table] = []
        self._kinds: list[int] = []

    def constant(self, values: np.ndarray) -> int:
        self._buffers.append(_Table(_0=values.tobytes()))
        self._tensors.append(_Table(_0=np.array(values.shape), _1=_TYPES[str(values.dtype)], _2=len(self._buffers) - 1))
        return len(self._tensors) - 1

    def operator(self, kind: int, inputs: Sequence[int]) -> int:
        """Add an operator; returns its output."""
        self._tensors.append(_Table(_0=np.array([1]), _1=0, _2=0))
        if kind not in self._kinds:
            self._kinds.append(kind)
        output = len(self._tensors) - 1
        self._operators.append(_Table(_0=self._kinds.index(kind), _1=np.array(inputs), _2=np.array([output])))
        return output

    def half(self, values: np.ndarray) -> int:
        """Store a constant in half precision behind a DEQUANTIZE."""
        return self.operator(DEQUANTIZE, [self.constant(values.astype(np.float16))])

    def write(self, path: Path) -> Path:
        codes = [_Table(_0=kind, _3=kind) for kind in self._kinds]
        graph = _Table(_0=self._tensors, _3=self._operators)
        buffer = _Buffer()
        root = buffer.place(_Table(_0=3, _1=codes, _2=[graph], _4=self._buffers))
        struct.pack_into("<I", buffer.content, 0, root)
        path.write_bytes(bytes(buffer.content))
        return path
