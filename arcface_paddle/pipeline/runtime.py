"""Running exported networks: one contract, several engines.

    runtime = open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(threads=1))
    [features] = runtime.run([crops])

``openvino`` runs .onnx files and Paddle's, ``paddle`` its own, ``onnxruntime`` .onnx files. ``auto``, the default,
takes the engine that the model's card asks for, else the fastest that is installed and knows the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Protocol, Sequence

import numpy as np

from arcface_paddle.errors import MissingDependencyError, ModelFileError
from arcface_paddle.pipeline.engines.heaps import limit_heaps
from arcface_paddle.pipeline.settings import AUTO, ENGINES, PRECISIONS, RuntimeOptions, available_cores

__all__ = [
    "AUTO",
    "ENGINES",
    "PRECISIONS",
    "Execution",
    "InferenceRuntime",
    "RuntimeOptions",
    "available_cores",
    "check_inputs",
    "first_line",
    "open_runtime",
]


@dataclass(frozen=True)
class Execution:
    """What runs a network, after every ``auto`` was decided.

    Attributes:
        engine: one of ``ENGINES``.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        threads: CPU threads at most.
    """

    engine: str
    precision: str
    threads: int

    def __str__(self) -> str:
        return f"{self.engine}, {self.precision}, {self.threads} thread{'s' if self.threads > 1 else ''}"


class InferenceRuntime(Protocol):
    """A loaded network. ``run`` may be called from several threads; calls wait for each other.

    Attributes:
        input_names: names of the inputs, in the order of ``run``.
        output_names: names of the outputs, in the order in which ``run`` gives them.
        execution: engine, precision and threads in use.
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    execution: Execution

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the network on one array per input.

        Returns:
            One array per output, owned by the caller.

        Raises:
            ModelFileError: the inputs do not fit the network, or it cannot run here.
        """

    def twin(self) -> InferenceRuntime:
        """Return a runtime of the same network for inputs of another kind of size, which take turns with this one's.

        It is this runtime itself where a change of size costs nothing.
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
        preferred_engine: what ``auto`` stands for, from the model's card; empty: ``RuntimeOptions.candidates``.

    Raises:
        ModelFileError: the files cannot be loaded by the engine.
        ConfigError: this machine lacks the device or the precision.
        MissingDependencyError: the engine's package is not installed.
    """
    limit_heaps()  # before the engine starts threads
    wanted = options or RuntimeOptions()
    *others, last = wanted.candidates(graph_file, preferred=preferred_engine)
    for engine in others:  # under the name "auto" they may give up on a network that the last one surely runs
        with contextlib.suppress(ModelFileError, MissingDependencyError):
            return _class_of(engine)(graph_file, weights_file, wanted)
    return _class_of(last)(graph_file, weights_file, dataclasses.replace(wanted, engine=last))


def _class_of(engine: str) -> Callable[[Path, Optional[Path], RuntimeOptions], InferenceRuntime]:
    module_name, class_name = ENGINES[engine]
    found: Callable[[Path, Optional[Path], RuntimeOptions], InferenceRuntime] = getattr(
        importlib.import_module(module_name), class_name
    )
    return found


def check_inputs(inputs: Sequence[np.ndarray], names: Sequence[str], graph_file: Path) -> None:
    """Refuse a wrong number of inputs before an engine does so in words of its own."""
    if len(inputs) != len(names):
        raise ModelFileError(f"{graph_file}: takes {len(names)} inputs ({', '.join(names)}), {len(inputs)} were given")


def first_line(error: BaseException) -> str:
    """Return the line of an engine's error that says what happened, without its stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO names its own source files first.
    lines = [line for line in lines if not re.match(r"Exception from |Check '.*' failed at ", line)] or lines
    telling = [line for line in lines if re.match(r"\(?(Error|Invalid|Unavailable|NotFound|Fatal|Unimpl|Out)", line)]
    return (telling or lines or [type(error).__name__])[0][:300]
