"""Running exported networks: one contract, several engines.

    runtime = open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(threads=1))
    [features] = runtime.run([crops])

The engine ``paddle`` needs nothing more; ``onnxruntime`` runs .onnx files, ``openvino`` runs .onnx files and Paddle's.
``auto``, the default, takes the engine that the model's card asks for, else the one that reads the file.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol, Sequence

import numpy as np

from arcface_paddle.errors import ConfigError, ModelFileError

ENGINES = {
    "paddle": ("arcface_paddle.pipeline.engines.paddle_engine", "PaddleRuntime"),
    "onnxruntime": ("arcface_paddle.pipeline.engines.onnx_engine", "OnnxRuntime"),
    "openvino": ("arcface_paddle.pipeline.engines.openvino_engine", "OpenVinoRuntime"),
}
"""Engines by name: module and class; the module is imported when the engine is first used."""

AUTO = "auto"
PRECISIONS = ("fp32", "bf16")
_DEVICE = re.compile(r"cpu|gpu(:\d+)?")


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how networks run.

    Attributes:
        engine: one of ``ENGINES``, or ``"auto"``.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:1"`` (paddle only).
        threads: CPU threads of one network; None for as many as this process may use.
        onednn: use oneDNN on CPU (paddle only); without it, networks take three to four times as long.
        precision: ``"fp32"``, or ``"bf16"`` on CPUs with AVX512-BF16 or AMX. Similarities change in the third
            decimal; a gallery made in one precision serves the other. Paddle's oneDNN kernel for PReLU gives NaN in
            bfloat16 (3.3.1), so that recognisers with PReLU need the engine openvino for it; that is reported, not
            passed on.
    """

    engine: str = AUTO
    device: str = "cpu"
    threads: Optional[int] = None
    onednn: bool = True
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.engine not in (AUTO, *ENGINES):
            raise ConfigError(f"engine is {self.engine!r}; allowed: {AUTO}, {', '.join(ENGINES)}")
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(f"device is {self.device!r}; allowed: cpu, gpu, gpu:0, gpu:1, ...")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise ConfigError(f"threads is {self.threads}; allowed: 1 to 1024")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")
        if self.engine not in (AUTO, "paddle") and self.device != "cpu":
            raise ConfigError(f"the engine {self.engine} runs on cpu only here; device is {self.device!r}")
        if self.engine == "onnxruntime" and self.precision != "fp32":
            raise ConfigError("the engine onnxruntime has no bfloat16 on CPU; use paddle or openvino")

    def resolved(self, graph_file: Path, *, preferred: str = "") -> RuntimeOptions:
        """Return the options with an engine in place of ``auto``: the preferred one, else one that reads the file.

        For bfloat16 that is OpenVINO where it is installed, because Paddle cannot run every network in it.
        """
        if self.engine != AUTO:
            return self
        by_file = "onnxruntime" if graph_file.suffix == ".onnx" else "paddle"
        if self.precision == "bf16" and self.device == "cpu" and importlib.util.find_spec("openvino"):
            by_file = "openvino"
        return dataclasses.replace(self, engine=preferred or by_file)

    @property
    def thread_count(self) -> int:
        return self.threads or available_cores()


class InferenceRuntime(Protocol):
    """A loaded network. ``run`` may be called from several threads; calls wait for each other.

    Attributes:
        input_names: names of the inputs, in the order of ``run``.
        output_names: names of the outputs, in the order in which ``run`` gives them.
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the network on one array per input.

        Returns:
            One array per output, owned by the caller.

        Raises:
            ModelFileError: the inputs do not fit the network, or it cannot run here.
        """


def open_runtime(
    graph_file: Path,
    weights_file: Optional[Path] = None,
    *,
    options: Optional[RuntimeOptions] = None,
    preferred_engine: str = "",
) -> InferenceRuntime:
    """Load a network.

    Args:
        graph_file: ``.pdmodel``, ``.json`` or ``.onnx``.
        weights_file: ``.pdiparams``; None for ONNX.
        options: engine, device, threads and precision.
        preferred_engine: what ``auto`` stands for, from the model's card; empty: by the file.

    Raises:
        ModelFileError: the files cannot be loaded by the engine.
        ConfigError: this machine lacks the device or the precision.
        MissingDependencyError: the engine's package is not installed.
    """
    chosen = (options or RuntimeOptions()).resolved(graph_file, preferred=preferred_engine)
    module_name, class_name = ENGINES[chosen.engine]
    engine = getattr(importlib.import_module(module_name), class_name)
    runtime: InferenceRuntime = engine(graph_file, weights_file, chosen)
    return runtime


def check_inputs(inputs: Sequence[np.ndarray], names: Sequence[str], graph_file: Path) -> None:
    """Refuse a wrong number of inputs before an engine does so in words of its own."""
    if len(inputs) != len(names):
        raise ModelFileError(f"{graph_file}: takes {len(names)} inputs ({', '.join(names)}), {len(inputs)} were given")


def first_line(error: BaseException) -> str:
    """Return the line of an engine's error that says what happened, without its stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"\(?(Error|Invalid|Unavailable|NotFound|Fatal|Unimpl|Out)", line)]
    return (telling or lines or [type(error).__name__])[0][:300]


def available_cores() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
