"""The weights of an .onnx file in the order of its nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

WITH_WEIGHTS = ("Conv", "ConvTranspose", "BatchNormalization")


def read_weights(path: Path) -> list[tuple[str, list[np.ndarray]]]:
    """Return, for every convolution and batch normalisation, its kind and its tensors in the order of its inputs."""
    graph = onnx.load(str(path)).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [
        (node.op_type, [constants[name] for name in node.input if name in constants])
        for node in graph.node
        if node.op_type in WITH_WEIGHTS
    ]
