"""Makes ONNX files with the ports of insightface's SCRFD detectors and recognisers, whose outputs are known."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Side = Union[int, str]
DYNAMIC = (1, 3, "?h", "?w")
WHITE_LOGIT = 30.0
"""Of a cell that is all white, where black has -30."""


def marked_cells(strides: tuple[int, ...], anchors: int, columns: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return for each stride the weights and biases of a 1x1 convolution over the mean colour of a cell.

    A cell's first anchor fires where red is white, and is silent where it is black; the second never fires. Distances
    are constants that differ from stride to stride.
    """
    layers = {}
    for level, stride in enumerate(strides):
        weight, bias = np.zeros((columns * anchors, 3), np.float32), np.zeros(columns * anchors, np.float32)
        if columns == 1:
            weight[0, 0], bias[1:] = WHITE_LOGIT, -WHITE_LOGIT
        else:
            bias[:] = np.tile(np.linspace(1, 2, columns) + level, anchors)
        layers[stride] = weight, bias
    return layers


def random_cells(
    strides: tuple[int, ...], anchors: int, columns: int, *, seed: int
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return weights that make something else of every colour, so that all anchors have boxes of their own."""
    random = np.random.default_rng(seed)
    count = columns * anchors
    return {
        stride: (
            random.standard_normal((count, 3)).astype(np.float32),
            random.uniform(1, 3, count).astype(np.float32)
            if columns > 1
            else random.uniform(-3, 0, count).astype("f4"),
        )
        for stride in strides
    }


def write_scrfd(
    path: Path,
    *,
    strides: tuple[int, ...] = (8, 16, 32),
    anchors: int = 2,
    kinds: tuple[int, ...] = (1, 4, 10),
    seed: Optional[int] = None,
    shape: tuple[Side, ...] = DYNAMIC,
    batched: bool = False,
) -> Path:
    """Write a detector: the mean colour of a cell, a 1x1 convolution, and the tables, in the order of insightface.

    Args:
        path: of the file.
        strides: of the levels.
        anchors: of a cell.
        kinds: columns of the tables.
        seed: of random weights; None for ``marked_cells``.
        shape: of the input.
        batched: give the tables a first axis of 1.
    """
    nodes, weights, outputs = [], [], []
    for columns in kinds:
        layers = (
            marked_cells(strides, anchors, columns)
            if seed is None
            else random_cells(strides, anchors, columns, seed=seed + columns)
        )
        for stride in strides:
            name = f"t{columns}_{stride}"
            weight, bias = layers[stride]
            weights += [
                numpy_helper.from_array(weight[:, :, None, None], f"{name}_w"),
                numpy_helper.from_array(bias, f"{name}_b"),
                numpy_helper.from_array(np.array([*([1] if batched else []), -1, columns]), f"{name}_shape"),
            ]
            nodes += [
                helper.make_node(
                    "AveragePool", ["input.1"], [f"{name}_m"], kernel_shape=[stride] * 2, strides=[stride] * 2
                ),
                helper.make_node("Conv", [f"{name}_m", f"{name}_w", f"{name}_b"], [f"{name}_c"]),
                helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_t", f"{name}_shape"], [f"{name}_r"]),
                helper.make_node("Sigmoid" if columns == 1 else "Identity", [f"{name}_r"], [name]),
            ]
            sides = [*([1] if batched else []), f"rows{name}", columns]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sides))
    _save(path, nodes, weights, list(shape), outputs)
    return path


def write_recognizer(
    path: Path,
    *,
    size: int = 32,
    shape: tuple[Side, ...] = ("None", 3, 112, 112),
    output: Optional[tuple[Side, ...]] = None,
    normalising: bool = False,
    scale: float = 1.0,
) -> Path:
    """Write a recogniser that multiplies the means of 16x16 pixels by a fixed matrix.

    Args:
        path: of the file.
        size: D.
        shape: of the input.
        output: what the file says of its output; None for (batch, D).
        normalising: begin with (x - 127.5) / 128, as files of MXNet do.
        scale: factor on the matrix; NaN for weights that are broken.
    """
    matrix = np.random.default_rng(3).standard_normal((3 * 49, size)).astype(np.float32) * np.float32(scale)
    weights = [numpy_helper.from_array(matrix, "matrix"), numpy_helper.from_array(np.array([0, -1]), "flat")]
    nodes, start = [], "input.1"
    if normalising:
        weights += [
            numpy_helper.from_array(np.array(127.5, np.float32), "mean"),
            numpy_helper.from_array(np.array(1 / 128, np.float32), "factor"),
        ]
        nodes += [helper.make_node("Sub", [start, "mean"], ["a"]), helper.make_node("Mul", ["a", "factor"], ["b"])]
        start = "b"
    nodes += [
        helper.make_node("AveragePool", [start], ["m"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Reshape", ["m", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "matrix"], ["683"]),
    ]
    sides = list(output or (shape[0], size))
    _save(path, nodes, weights, list(shape), [helper.make_tensor_value_info("683", TensorProto.FLOAT, sides)])
    return path


def _save(path: Path, nodes: list, weights: list, shape: list[Side], outputs: list) -> None:
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "net", [picture], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
