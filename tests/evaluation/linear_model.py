"""A linear recogniser as an ONNX file: quick, and its features can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

SIZE = 3 * 112 * 112


def linear_weights():
    return np.random.default_rng(0).normal(size=(SIZE, 8)).astype(np.float32) / 200


def write_onnx(path, *, weight=None):
    """A linear recogniser as an ONNX file with a dynamic batch."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    matrix = linear_weights()
    if weight is not None:
        matrix[:] = weight
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["feature"])]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(matrix, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path
