"""Reading dlib's network files (``.dat``), as far as the face recognition network needs it.

An integer is a byte whose low four bits are the number of bytes that follow (little endian) and whose bit 7 is the
sign. A tensor is the integer 2 (the version of the format), four dimensions, then little-endian float32. Layers stand
from the input to the output, each behind its name:

- ``con_4``: a tensor of filters, then biases; filters, rows, columns, stride y, stride x, padding y, padding x;
- ``affine_``: a tensor of factors, then of offsets, one per channel;
- ``fc_2``: outputs, inputs, a tensor (inputs, outputs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_LAYERS = re.compile(rb"con_4|affine_|fc_2")
_TENSOR_VERSION = 2
_MOST_BYTES = 8


@dataclass(frozen=True, eq=False)
class DlibConvolution:
    """A convolution with the affine layer behind it multiplied in.

    Attributes:
        weight: (filters, channels, rows, columns) float32.
        bias: (filters,) float32.
        stride: of both axes.
        padding: of both axes.
    """

    weight: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int


class DlibFile:
    """A ``.dat`` file in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = path.read_bytes()
        self._position = 0

    def read(self) -> tuple[list[DlibConvolution], np.ndarray]:
        """Return the convolutions from input to output, and the last layer's matrix (inputs, outputs) float32."""
        raw: list[tuple[np.ndarray, list[int]]] = []
        affine: list[np.ndarray] = []
        matrix = np.zeros((0, 0), np.float32)
        for match in _LAYERS.finditer(self._data):
            self._position = match.end()
            if match.group() == b"con_4":
                raw.append((self._tensor().ravel(), [self._integer() for _ in range(7)]))
            elif match.group() == b"affine_":
                affine.append(self._tensor().ravel())
            else:
                outputs, inputs = self._integer(), self._integer()
                matrix = self._tensor().ravel()[: inputs * outputs].reshape(inputs, outputs)
        if len(raw) != len(affine) or matrix.size == 0:
            raise ValueError(f"{self._path}: {len(raw)} convolutions, {len(affine)} affine layers")
        return [_folded(values, shape, scale) for (values, shape), scale in zip(raw, affine)], matrix

    def _integer(self) -> int:
        head = self._data[self._position]
        count = head & 0x0F
        if count > _MOST_BYTES:
            raise ValueError(f"{self._path}: an integer of {count} bytes at offset {self._position}")
        end = self._position + 1 + count
        value = int.from_bytes(self._data[self._position + 1 : end], "little")
        self._position = end
        return -value if head & 0x80 else value

    def _tensor(self) -> np.ndarray:
        version = self._integer()
        if version != _TENSOR_VERSION:
            raise ValueError(f"{self._path}: a tensor of version {version} at offset {self._position}")
        shape = [self._integer() for _ in range(4)]
        values = np.frombuffer(self._data, "<f4", int(np.prod(shape)), self._position).reshape(shape)
        self._position += values.nbytes
        return values


def _folded(values: np.ndarray, shape: list[int], affine: np.ndarray) -> DlibConvolution:
    filters, rows, columns, stride, _, padding, _ = shape
    factor, offset = affine[:filters], affine[filters:]
    channels = values.size // (filters * rows * columns)
    weight = values[: filters * channels * rows * columns].reshape(filters, channels, rows, columns)
    bias = values[weight.size :] if values.size > weight.size else np.zeros(filters, np.float32)
    return DlibConvolution(weight * factor[:, None, None, None], bias * factor + offset, stride, padding)
