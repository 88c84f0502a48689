"""OpenVINO on CPU, for .onnx files and for Paddle's: the fastest engine here.

On one thread of an AMD EPYC with AVX512-BF16, CPU milliseconds: CenterFace at 640x480 53 in float32 and 24 in bfloat16
(``tools/benchmark.py inference`` measures again). What was tried and gained nothing: networks of one fixed shape (as
fast as those of any shape), and pixels as bytes that the network converts (slower than numpy's conversion).

A size of input or of batch that was not there before costs 10 to 40 ms once. From then on a change of size costs 1 to 2
ms, which ``twin`` saves where two kinds of input take turns. Batches of 2 to 16 faces take 3.4 to 3.7 ms a face
(MobileFace, bfloat16).

OpenVINO itself reads .pdmodel files except for the operator prelu, which is taught here. Paddle 3's .json files and
what else it cannot read go through paddle2onnx, in memory, if the user asked for this engine. The engine ``auto`` does
not: paddle2onnx imports Paddle, and ends the whole process at an operator that it does not know.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from arcface_paddle.errors import ConfigError, MissingDependencyError, ModelFileError
from arcface_paddle.pipeline.engines.compiled_cache import CompiledCache
from arcface_paddle.pipeline.engines.processor import has_bfloat16_instructions
from arcface_paddle.pipeline.engines.telemetry import forbid_telemetry
from arcface_paddle.pipeline.onnx_conversion import onnx_from_paddle
from arcface_paddle.pipeline.runtime import Execution, RuntimeOptions, check_inputs, first_line
from arcface_paddle.pipeline.settings import AUTO

_OPSET = 13
_DEVICE = "CPU"
_BUILD = "1"  # to be counted up when this module changes what it compiles: kept networks of old become strangers
# Kernels that a network keeps for sizes of input that it has seen. A folder of photographs of 144 sizes took 740 MB
# with OpenVINO's own 5000 and takes 380 MB, in the same time, with these; a size of CenterFace's needs about 60.
_KEPT_KERNELS = 1500
_NO_BOUND = 1e30  # no network of ours gives such values; infinity would let OpenVINO see that nothing is done
_making_core = threading.Lock()


class OpenVinoRuntime:
    """A network in OpenVINO; see ``InferenceRuntime``."""

    def __init__(self, graph_file: Path, weights_file: Optional[Path], options: RuntimeOptions) -> None:
        openvino = _import_openvino()
        core = _core()
        precision = _precision(core, options.precision)
        settings = {
            "INFERENCE_NUM_THREADS": options.thread_count,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads of several processes or runtimes would all sit on the first cores.
            "ENABLE_CPU_PINNING": False,
        }
        source = _Source(graph_file, weights_file, options.engine != AUTO)
        self._compile = functools.partial(_compile, openvino, core, source, settings)
        compiled = self._compile()
        self.input_names = tuple(port.get_any_name() for port in compiled.inputs)
        self.output_names = tuple(port.get_any_name() for port in compiled.outputs)
        self.execution = Execution("openvino", precision, options.thread_count)
        self._request = compiled.create_infer_request()
        self._graph_file = graph_file
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"OpenVinoRuntime({self._graph_file}, {self.execution})"

    def twin(self) -> OpenVinoRuntime:
        """Return the same network, compiled once more, that prepares for its own sizes of input."""
        twin = copy.copy(self)
        twin._request = self._compile().create_infer_request()
        twin._lock = threading.Lock()
        return twin

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        check_inputs(inputs, self.input_names, self._graph_file)
        with self._lock:
            try:
                results = self._request.infer(list(inputs), share_inputs=True, share_outputs=True)
            except RuntimeError as error:
                raise ModelFileError(
                    f"{self._graph_file}: cannot run on input {', '.join(str(array.shape) for array in inputs)}: "
                    f"OpenVINO: {first_line(error)}"
                ) from None
            return [np.array(values) for values in results.values()]


@dataclass(frozen=True)
class _Source:
    """A model's files, and whether they may go through paddle2onnx."""

    graph_file: Path
    weights_file: Optional[Path]
    may_convert: bool

    def files(self) -> list[Path]:
        return [self.graph_file, *([self.weights_file] if self.weights_file else [])]


def _precision(core: Any, wanted: str) -> str:
    """Return fp32 or bf16: what was asked for, or bf16 where the processor computes in it."""
    if wanted == "fp32":
        return wanted
    able = "BF16" in _abilities(core) and has_bfloat16_instructions()
    if wanted == AUTO:
        return "bf16" if able else "fp32"
    if not able:
        raise ConfigError("precision bf16 needs a processor with AVX512-BF16 or AMX; use auto or fp32")
    return wanted


def _abilities(core: Any) -> list[str]:
    """Return what OpenVINO can compute in here; asking loads the part that computes, which needs memory and threads."""
    try:
        return list(core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))
    except RuntimeError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1].strip()
        raise ConfigError(f"OpenVINO cannot start here: {reason}; limits (ulimit) may be too low for it") from None


def _compile(openvino: Any, core: Any, source: _Source, settings: dict[str, Any]) -> Any:
    """Compile a network for this processor, or take what an earlier process compiled."""
    facts = (
        _BUILD,
        openvino.__version__,
        core.get_property(_DEVICE, "FULL_DEVICE_NAME"),
        *_abilities(core),
        settings["INFERENCE_PRECISION_HINT"],
    )
    cache = CompiledCache.for_model(source.files(), facts=facts)
    content = cache.load()
    if content is not None:
        try:
            return core.import_model(content, _DEVICE, settings)
        except RuntimeError:  # written by a build of OpenVINO that calls itself the same
            cache.discard()
    network = _read(core, source)
    if settings["INFERENCE_PRECISION_HINT"] == "bf16":
        _keep_results_in_float32(network)
    try:
        compiled = core.compile_model(network, _DEVICE, settings)
        cache.store(_bytes_of(compiled.export_model()))
    except RuntimeError as error:
        raise ModelFileError(f"{source.graph_file}: OpenVINO cannot compile it: {first_line(error)}") from None
    return compiled


def _keep_results_in_float32(network: Any) -> None:
    """Let the last layers write float32 though they compute in bfloat16.

    OpenVINO would round their results to bfloat16, which moves a box of 200 pixels by 2. An operation that changes
    nothing stands behind them: OpenVINO leaves what follows the last convolution in float32, and joins it with that.
    A NaN becomes a bound, whose square is infinite in float32: the check of the features' norms finds it.
    """
    from openvino import opset8

    for result in network.get_results():
        clamped = opset8.clamp(result.input_value(0), -_NO_BOUND, _NO_BOUND)
        names = result.input_value(0).get_names()
        result.input(0).replace_source_output(clamped.output(0))
        clamped.output(0).set_names(names)


def _bytes_of(exported: Any) -> bytes:
    return bytes(exported if isinstance(exported, (bytes, bytearray)) else exported.getvalue())


def _read(core: Any, source: _Source) -> Any:
    try:
        if source.graph_file.suffix == ".onnx":
            return core.read_model(str(source.graph_file))
        if source.graph_file.suffix == ".pdmodel":
            network = _read_pdmodel(core, source)
            if network is not None:
                return network
        if not source.may_convert:
            raise ModelFileError(f"{source.graph_file}: OpenVINO cannot read it without paddle2onnx")
        return core.read_model(onnx_from_paddle(source.graph_file, source.weights_file, opset=_OPSET))
    except RuntimeError as error:
        raise ModelFileError(f"{source.graph_file}: OpenVINO cannot read it: {first_line(error)}") from None


def _read_pdmodel(core: Any, source: _Source) -> Any:
    """Read a .pdmodel by OpenVINO's own reader; None when it cannot read this one."""
    try:
        return core.read_model(str(source.graph_file), str(source.weights_file))
    except RuntimeError:
        return None


def _core() -> Any:
    """Return the one ``Core`` of this process; threads that ask first wait for each other."""
    with _making_core:
        return _made_core()


@functools.lru_cache(maxsize=1)
def _made_core() -> Any:
    """Make the ``Core``, which lives as long as the process.

    OpenVINO gives the thread that loads it a stack for signal handlers, and takes the memory back when the last network
    is gone. If that happens in another thread, the first one's next Ctrl-C finds no stack and the process crashes.
    """
    openvino = _import_openvino()
    _fill_tables_of_types(openvino)
    core = openvino.Core()
    with contextlib.suppress(RuntimeError):  # a property that OpenVINO documents nowhere, and may drop
        core.set_property(_DEVICE, {"CPU_RUNTIME_CACHE_CAPACITY": _KEPT_KERNELS})
    with contextlib.suppress(ImportError):  # a build of OpenVINO without the reader of Paddle's files
        _teach_prelu(core)
    return core


def _fill_tables_of_types(openvino: Any) -> None:
    """Have OpenVINO's Python part fill its tables of element types, as each first array does.

    It gives up Python's lock for a moment meanwhile, and whoever comes next with a first array waits for the table with
    that lock in hand: two threads whose first pictures come together stand still for ever, and with them the process.
    """
    tensor = openvino.Tensor(np.zeros(1, np.float32))
    tensor.element_type.to_dtype()
    tensor.data.sum()


def _teach_prelu(core: Any) -> None:
    from openvino import opset8
    from openvino.frontend.paddle import ConversionExtension

    def prelu(node: Any) -> dict[str, Any]:
        return {"Out": [opset8.prelu(node.get_input("X"), node.get_input("Alpha")).output(0)]}

    core.add_extension(ConversionExtension("prelu", prelu))


def _import_openvino() -> Any:
    forbid_telemetry()
    try:
        import openvino
    except ImportError:
        raise MissingDependencyError("openvino", extra="cpu", purpose="the engine openvino") from None
    return openvino
