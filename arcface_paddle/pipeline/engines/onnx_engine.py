"""ONNX Runtime on CPU, for .onnx files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from arcface_paddle.errors import MissingDependencyError, ModelFileError
from arcface_paddle.pipeline.engines.telemetry import forbid_telemetry
from arcface_paddle.pipeline.runtime import Execution, RuntimeOptions, available_cores, check_inputs, first_line


class OnnxRuntime:
    """A network in ONNX Runtime, whose sessions are safe to share between threads; see ``InferenceRuntime``."""

    def __init__(self, graph_file: Path, weights_file: Optional[Path], options: RuntimeOptions) -> None:
        if graph_file.suffix != ".onnx":
            raise ModelFileError(f"{graph_file}: the engine onnxruntime runs .onnx files; see 'arcface-paddle export'")
        self._ort = _import_onnxruntime()
        settings = self._ort.SessionOptions()
        threads = min(options.thread_count, available_cores())  # it would start more than there are cores
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        # A pool that waits by spinning takes the cores from the network that runs next, and from other processes.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = self._ort.InferenceSession(str(graph_file), settings, providers=["CPUExecutionProvider"])
        except self._errors() as error:
            raise ModelFileError(f"{graph_file}: ONNX Runtime cannot load it: {first_line(error)}") from None
        self.input_names = tuple(item.name for item in self._session.get_inputs())
        self.output_names = tuple(item.name for item in self._session.get_outputs())
        self.execution = Execution("onnxruntime", "fp32", threads)
        self._graph_file = graph_file

    def __repr__(self) -> str:
        return f"OnnxRuntime({self._graph_file}, {self.execution})"

    def twin(self) -> OnnxRuntime:
        """Return itself: sizes may change from run to run."""
        return self

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        check_inputs(inputs, self.input_names, self._graph_file)
        try:
            return list(self._session.run(None, dict(zip(self.input_names, inputs))))
        except self._errors() as error:
            raise ModelFileError(f"{self._graph_file}: ONNX Runtime: {first_line(error)}") from None

    def _errors(self) -> tuple[type[BaseException], ...]:
        state = self._ort.capi.onnxruntime_pybind11_state
        return (
            state.Fail,
            state.InvalidArgument,
            state.InvalidGraph,
            state.InvalidProtobuf,
            state.NoSuchFile,
            state.NotImplemented,
            state.RuntimeException,
            ValueError,
        )


def _import_onnxruntime() -> Any:
    forbid_telemetry()
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError("onnxruntime", extra="onnx", purpose="the engine onnxruntime") from None
    return onnxruntime
