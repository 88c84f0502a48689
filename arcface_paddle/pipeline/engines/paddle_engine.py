"""Paddle Inference: on CPU with oneDNN, or on a GPU, there in 16 bits and with TensorRT where asked.

Three settings make it as fast as its rivals (measured on the shipped models, one thread of a 2-core AMD EPYC, Paddle
3.3.1; tools/benchmarks/inference.py measures again):

- Paddle 3's new intermediate representation also for .pdmodel files, which Paddle itself would run the old way:
  detector 17 to 9.7 ms, embedding 10.2 to 7.6 ms, and loading takes a third.
- Kernels that were made for an input's shape are kept for ten shapes: one that was there before costs 3 to 4 ms less
  (CenterFace), and a picture goes through several in turn.
- glibc returns freed blocks of more than 128 KB to the system at once, and every run of a network allocates all its
  feature maps anew, so that the time goes into page faults: detector 22 to 9.2 ms when the C library keeps them.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import warnings
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from arcface_paddle import signals
from arcface_paddle.errors import ConfigError, MissingDependencyError, ModelFileError
from arcface_paddle.pipeline.engines.heaps import keep_freed_memory
from arcface_paddle.pipeline.engines.lasting_threads import LastingThreads
from arcface_paddle.pipeline.engines.processor import has_bfloat16_instructions
from arcface_paddle.pipeline.graph_checks import operators_of
from arcface_paddle.pipeline.runtime import Execution, RuntimeOptions, check_inputs, first_line
from arcface_paddle.pipeline.settings import AUTO

# Networks of these operators run in bfloat16 where the processor has it, unless the user says otherwise: CenterFace at
# 640x480 takes 32 ms instead of 62, ResNet29 3 ms a face instead of 5.9. Others stay in float32: with prelu bfloat16
# gives NaN, see _refuse_broken.
_RIGHT_IN_BFLOAT16 = {
    *("feed", "fetch", "conv2d", "conv2d_transpose", "depthwise_conv2d", "elementwise_add", "relu", "pool2d"),
    *("concat", "fill_any_like", "flatten_contiguous_range", "matmul_v2", "reshape2", "slice"),
}
_GPU_POOL_MB = 256
_TENSORRT_WORKSPACE = 1 << 30  # bytes; Paddle's default
_LEAST_SUBGRAPH = 3  # operators; the same
_KEPT_SHAPES = 10  # of inputs; with more, the sizes of a folder's photographs would fill the memory
# oneDNN's primitives are cached by thread. Once a thread has ended, the next one that finds its entries fails with
# "std::exception" (Paddle 3.3.1). Networks therefore run in threads that never end.
_THREADS = LastingThreads("paddle")
# What Paddle raises on files and inputs that it cannot use.
_PADDLE_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    OSError,
    NotImplementedError,
    SystemError,
    MemoryError,
)


_THREADS_BESIDE = 8
"""Paddle's pools besides those that compute, and some more."""


def _require_threads(count: int) -> None:
    """Refuse a system that starts no more threads: Paddle would wait for its own for ever.

    Raises:
        ConfigError: it does not start as many.
    """
    end, started = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise ConfigError(
            f"the system lets this user start {len(started)} more threads, and Paddle needs {count}: raise the limit "
            "(ulimit -u, or that of the container)"
        ) from None
    finally:
        end.set()
        for thread in started:
            thread.join()


class PaddleRuntime:
    """A network in Paddle Inference; see ``runtime.InferenceRuntime``."""

    def __init__(self, graph_file: Path, weights_file: Optional[Path], options: RuntimeOptions) -> None:
        if weights_file is None:
            raise ModelFileError(
                f"{graph_file}: the engine paddle runs .pdmodel and .json; use onnxruntime or openvino"
            )
        inference = _import_inference()
        if options.device == "cpu":
            keep_freed_memory()
        # Where the user asked for 16 bits, their NaN are told from those of a damaged network.
        self._doubts_precision = options.precision in ("bf16", "fp16")
        options = dataclasses.replace(options, precision=_precision(graph_file, options))
        self._on_gpu = options.device != "cpu"
        config = _configure(inference, graph_file, weights_file, options)
        _require_threads(options.thread_count + _THREADS_BESIDE)
        try:
            self._predictor = inference.create_predictor(config)
        except _PADDLE_ERRORS as error:
            raise ModelFileError(f"{graph_file}: Paddle cannot load it: {first_line(error)}") from None
        self.input_names = tuple(self._predictor.get_input_names())
        self.output_names = tuple(self._predictor.get_output_names())
        self._inputs = [self._predictor.get_input_handle(name) for name in self.input_names]
        self._graph_file = graph_file
        self.execution = Execution("paddle", options.precision, options.thread_count)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"PaddleRuntime({self._graph_file}, {self.execution})"

    def twin(self) -> PaddleRuntime:
        """Return itself: sizes may change from run to run."""
        return self

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        check_inputs(inputs, self.input_names, self._graph_file)
        with self._lock:
            try:
                outputs = _THREADS.call(lambda: self._run(inputs))
            except _PADDLE_ERRORS as error:
                shapes = ", ".join(str(array.shape) for array in inputs)
                raise ModelFileError(f"{self._graph_file}: cannot run on input {shapes}: {first_line(error)}") from None
        if self._doubts_precision:
            self._refuse_broken(outputs)
        return outputs

    def _run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        for handle, array in zip(self._inputs, inputs):
            handle.copy_from_cpu(np.ascontiguousarray(array))
        self._predictor.run()
        return [self._predictor.get_output_handle(name).copy_to_cpu() for name in self.output_names]

    def _refuse_broken(self, outputs: list[np.ndarray]) -> None:
        if all(np.isfinite(output).all() for output in outputs):
            return
        if self._on_gpu:
            raise ModelFileError(f"{self._graph_file}: gives NaN in {self.execution.precision}; use precision fp32")
        raise ModelFileError(
            f"{self._graph_file}: gives NaN in bfloat16 (Paddle's oneDNN PReLU is at fault); use precision fp32, "
            "or the engine openvino for bf16"
        )


def _import_inference() -> Any:
    try:
        os.environ.setdefault("GLOG_minloglevel", "1")  # it says on stderr that it knows bfloat16
        with warnings.catch_warnings():
            # About compiling C++ extensions, which nobody does here; users took it for an error of theirs.
            warnings.filterwarnings("ignore", message="No ccache found")
            from paddle import inference
    except ModuleNotFoundError as error:
        if error.name != "paddle":
            raise ConfigError(f"paddlepaddle is installed, but lacks the module {error.name!r}") from None
        raise MissingDependencyError("paddlepaddle", extra="cpu", purpose="running models") from None
    except ImportError as error:
        raise ConfigError(f"paddlepaddle is installed, but cannot be loaded: {first_line(error)}") from None
    signals.take_back_from_paddle()
    from arcface_paddle import devices

    devices.require_paddle()
    return inference


def _precision(graph_file: Path, options: RuntimeOptions) -> str:
    """Return fp32 or bf16: what was asked for, or bf16 where the processor computes in it and the network stands it."""
    if options.precision != AUTO:
        return options.precision
    able = options.device == "cpu" and options.onednn and has_bfloat16_instructions()
    operators = operators_of(graph_file) if able else frozenset()
    return "bf16" if operators and operators <= _RIGHT_IN_BFLOAT16 else "fp32"


def _configure(inference: Any, graph_file: Path, weights_file: Path, options: RuntimeOptions) -> Any:
    config = inference.Config(str(graph_file), str(weights_file))
    config.disable_glog_info()
    config.enable_new_ir(True)
    config.enable_new_executor(True)
    if options.device == "cpu":
        _choose_cpu(config, options)
    else:
        _choose_gpu(inference, config, graph_file, options)
    return config


def _choose_cpu(config: Any, options: RuntimeOptions) -> None:
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(options.thread_count)
    if options.onednn:
        config.enable_mkldnn()
        config.set_mkldnn_cache_capacity(_KEPT_SHAPES)
    else:
        config.disable_mkldnn()
    if options.precision == "bf16":
        _require_bfloat16(options)
        config.enable_mkldnn_bfloat16()


def _choose_gpu(inference: Any, config: Any, graph_file: Path, options: RuntimeOptions) -> None:
    index = _gpu_index(options.device)
    kinds = inference.PrecisionType
    kind = {"fp32": kinds.Float32, "fp16": kinds.Half, "bf16": kinds.Bfloat16}[options.precision]
    if not options.tensorrt:
        config.enable_use_gpu(_GPU_POOL_MB, index, kind)
        return
    _require_tensorrt(inference, graph_file)
    config.enable_use_gpu(_GPU_POOL_MB, index)
    config.enable_new_ir(False)  # this way to TensorRT is that of the old representation
    config.enable_tensorrt_engine(
        workspace_size=_TENSORRT_WORKSPACE,
        max_batch_size=1,  # of networks whose sizes do not change; those of ours do
        min_subgraph_size=_LEAST_SUBGRAPH,
        precision_mode=kind,
        use_static=False,
        use_calib_mode=False,
    )
    config.enable_tuned_tensorrt_dynamic_shape()  # ranges of sizes come from the inputs, as they come


def _require_tensorrt(inference: Any, graph_file: Path) -> None:
    """Refuse what Paddle's engine cannot give to TensorRT; it would only warn, and compute by itself.

    https://github.com/PaddlePaddle/Paddle-Inference-Demo, docs/api_reference/python_api_doc/Config/GPUConfig.md

    Raises:
        ConfigError: a Paddle or a machine without TensorRT, or a .json file.
    """
    if not any(inference.get_trt_compile_version()):
        raise ConfigError("tensorrt: this Paddle is built without TensorRT; leave it out")
    if not any(inference.get_trt_runtime_version()):
        raise ConfigError("tensorrt: its libraries are not found on this machine; install TensorRT, or leave it out")
    if graph_file.suffix == ".json":
        raise ConfigError(f"tensorrt takes .pdmodel files, this is {graph_file}; export as pdmodel, or leave it out")


def _require_bfloat16(options: RuntimeOptions) -> None:
    from paddle.base import core

    if not options.onednn or not core.supports_bfloat16():
        raise ConfigError("precision bf16 needs oneDNN and a CPU with AVX512; use fp32")


def _gpu_index(device: str) -> int:
    import paddle

    if not paddle.is_compiled_with_cuda():
        raise ConfigError(f"device is {device!r}, but this Paddle is built for CPU only (install paddlepaddle-gpu)")
    index = int(device.partition(":")[2] or 0)
    count = paddle.device.cuda.device_count()
    if index >= count:
        raise ConfigError(f"device is {device!r}, but this machine has {count} GPU(s)")
    return index
