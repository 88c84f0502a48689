"""OpenVINO on CPU, for .onnx files and for Paddle's.

OpenVINO itself reads .pdmodel files, but neither Paddle 3's .json nor the operator prelu; so Paddle's files all go
through paddle2onnx, in memory.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle.errors import MissingDependencyError, ModelFileError
from arcface_paddle.pipeline.runtime import RuntimeOptions, check_inputs, first_line

_OPSET = 13


class OpenVinoRuntime:
    """A network in OpenVINO; see ``InferenceRuntime``."""

    def __init__(self, graph_file: Path, weights_file: Optional[Path], options: RuntimeOptions) -> None:
        openvino = _import_openvino()
        core = openvino.Core()
        network = _read(core, graph_file, weights_file)
        settings = {
            "INFERENCE_NUM_THREADS": options.thread_count,
            "INFERENCE_PRECISION_HINT": "bf16" if options.precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            compiled = core.compile_model(network, "CPU", settings)
        except RuntimeError as error:
            raise ModelFileError(f"{graph_file}: OpenVINO cannot compile it: {first_line(error)}") from None
        self.input_names = tuple(port.get_any_name() for port in compiled.inputs)
        self.output_names = tuple(port.get_any_name() for port in compiled.outputs)
        self._request = compiled.create_infer_request()
        self._graph_file = graph_file
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        check_inputs(inputs, self.input_names, self._graph_file)
        with self._lock:
            try:
                results = self._request.infer(list(inputs), share_inputs=True)
            except RuntimeError as error:
                raise ModelFileError(f"{self._graph_file}: OpenVINO: {first_line(error)}") from None
            return [np.array(values) for values in results.values()]


def _read(core: Any, graph_file: Path, weights_file: Optional[Path]) -> Any:
    try:
        if graph_file.suffix == ".onnx":
            return core.read_model(str(graph_file))
        return core.read_model(_onnx_from_paddle(graph_file, weights_file))
    except RuntimeError as error:
        raise ModelFileError(f"{graph_file}: OpenVINO cannot read it: {first_line(error)}") from None


def _onnx_from_paddle(graph_file: Path, weights_file: Optional[Path]) -> bytes:
    try:
        import paddle2onnx
    except ImportError:
        purpose = "running a Paddle model in OpenVINO"
        raise MissingDependencyError("paddle2onnx", extra="onnx", purpose=purpose) from None
    with _stdout_to_stderr():
        content = paddle2onnx.export(str(graph_file), str(weights_file), opset_version=_OPSET, verbose=False)
    if content is None:
        raise ModelFileError(f"{graph_file}: paddle2onnx cannot convert it")
    return bytes(content)


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep paddle2onnx's C++ messages off stdout, where a command may be writing JSON."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise MissingDependencyError("openvino", extra="openvino", purpose="the engine openvino") from None
    return openvino
