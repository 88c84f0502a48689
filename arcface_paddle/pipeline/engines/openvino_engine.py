"""OpenVINO on CPU, for .onnx files and for Paddle's.

OpenVINO itself reads .pdmodel files, but neither Paddle 3's .json nor the operator prelu; so Paddle's files all go
through paddle2onnx, in memory.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from arcface_paddle.errors import MissingDependencyError, ModelFileError
from arcface_paddle.pipeline.engines.telemetry import forbid_telemetry
from arcface_paddle.pipeline.onnx_conversion import onnx_from_paddle
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
        return core.read_model(onnx_from_paddle(graph_file, weights_file, opset=_OPSET))
    except RuntimeError as error:
        raise ModelFileError(f"{graph_file}: OpenVINO cannot read it: {first_line(error)}") from None


def _import_openvino() -> Any:
    forbid_telemetry()
    try:
        import openvino
    except ImportError:
        raise MissingDependencyError("openvino", extra="openvino", purpose="the engine openvino") from None
    return openvino
