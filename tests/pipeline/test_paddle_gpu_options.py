"""What Paddle's engine is told for a GPU, and what is refused; without one: only a GPU shows what comes of it.

``Recorded`` notes the calls and passes each on to Paddle's own Config, which checks names and arguments, and then, on a
build without CUDA, has nothing to do.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from arcface_paddle.cli.flags import add_engine_options, runtime_options
from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.pipeline.engines import paddle_engine
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import Execution, RuntimeOptions

inference = pytest.importorskip("paddle").inference
VERSION = (10, 5, 0)


class Recorded:
    """Paddle's Config, and what it was told."""

    def __init__(self, *files: str) -> None:
        self.config = inference.Config(*files)
        self.calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.config, name)

        def call(*args: Any, **options: Any) -> Any:
            self.calls.setdefault(name, []).append((args, options))
            try:
                return method(*args, **options)
            except RuntimeError as error:  # wrong arguments would be a TypeError
                if "please compile with TENSORRT" not in str(error):
                    raise

        return call


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paddle_engine, "_gpu_index", lambda device: int(device.partition(":")[2] or 0))


def told(options: RuntimeOptions, *, version: tuple[int, ...] = VERSION) -> Recorded:
    """Configure the shipped recogniser, with a TensorRT of this version."""
    model = open_model("MobileFace")
    assert model.graph_file.suffix == ".pdmodel" and model.weights_file is not None
    fake = SimpleNamespace(
        Config=Recorded,
        PrecisionType=inference.PrecisionType,
        get_trt_compile_version=lambda: version,
        get_trt_runtime_version=lambda: version,
    )
    return paddle_engine._configure(fake, model.graph_file, model.weights_file, options)


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.parametrize(
    ("precision", "kind"), [("auto", "Float32"), ("fp32", "Float32"), ("fp16", "Half"), ("bf16", "Bfloat16")]
)
def test_precision_reaches_the_gpu(precision: str, kind: str) -> None:
    options = RuntimeOptions(device="gpu:1", precision=precision)
    resolved = paddle_engine._precision(Path("any.pdmodel"), options)
    config = told(RuntimeOptions(device="gpu:1", precision=resolved))
    [((pool, index, chosen), _)] = config.calls["enable_use_gpu"]
    assert pool == 256 and index == 1 and chosen == getattr(inference.PrecisionType, kind)
    assert "enable_tensorrt_engine" not in config.calls and config.calls["enable_new_ir"] == [((True,), {})]
    assert "enable_mkldnn" not in config.calls and "disable_gpu" not in config.calls


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.parametrize(("precision", "kind"), [("fp32", "Float32"), ("fp16", "Half")])
def test_tensorrt_is_told_the_precision_and_to_take_sizes_as_they_come(precision: str, kind: str) -> None:
    config = told(RuntimeOptions(device="gpu", precision=precision, tensorrt=True))
    [(_, engine)] = config.calls["enable_tensorrt_engine"]
    assert engine["precision_mode"] == getattr(inference.PrecisionType, kind)
    assert engine["use_calib_mode"] is False and engine["use_static"] is False
    assert config.calls["enable_tuned_tensorrt_dynamic_shape"] == [((), {})]
    assert config.calls["enable_new_ir"][-1] == ((False,), {})
    assert config.calls["enable_use_gpu"] == [((256, 0), {})]


@pytest.mark.usefixtures("one_gpu")
def test_a_paddle_without_tensorrt_is_one_line() -> None:
    options = RuntimeOptions(device="gpu", precision="fp32", tensorrt=True)
    with pytest.raises(ConfigError, match="this Paddle is built without TensorRT") as caught:
        told(options, version=(0, 0, 0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "graph", "message"),
    [
        ((0, 0, 0), "any.pdmodel", "its libraries are not found on this machine"),
        (VERSION, "any.json", r"tensorrt takes \.pdmodel files, this is any\.json"),
    ],
)
def test_what_tensorrt_cannot_run_is_one_line(version: tuple[int, ...], graph: str, message: str) -> None:
    fake = SimpleNamespace(get_trt_compile_version=lambda: VERSION, get_trt_runtime_version=lambda: version)
    with pytest.raises(ConfigError, match=message):
        paddle_engine._require_tensorrt(fake, Path(graph))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "precision fp16 is for GPUs, device is cpu"),
        ({"engine": "openvino", "precision": "fp16"}, "precision fp16 is for GPUs"),
        ({"tensorrt": True}, "tensorrt needs a GPU, device is cpu"),
        ({"tensorrt": True, "device": "gpu", "precision": "bf16"}, "tensorrt computes in fp32 or fp16"),
        ({"tensorrt": True, "device": "gpu", "engine": "onnxruntime"}, "runs on cpu only"),
    ],
)
def test_options_of_a_gpu_on_a_cpu_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RuntimeOptions(**options)


def test_nan_of_16_bits_on_a_gpu_is_told_from_a_damaged_network() -> None:
    runtime = object.__new__(paddle_engine.PaddleRuntime)
    runtime._on_gpu, runtime._graph_file = True, Path("any.pdmodel")
    runtime.execution = Execution("paddle", "fp16", 1)
    runtime._refuse_broken([np.zeros(3)])
    with pytest.raises(ModelFileError, match="gives NaN in fp16; use precision fp32"):
        runtime._refuse_broken([np.array([np.nan])])


def test_the_flags_reach_the_engine() -> None:
    parser = argparse.ArgumentParser()
    add_engine_options(parser)
    options = runtime_options(parser.parse_args(["--use_gpu", "--tensorrt", "--precision", "fp16"]))
    assert options == RuntimeOptions(device="gpu", precision="fp16", tensorrt=True)
    assert runtime_options(parser.parse_args([])) == RuntimeOptions()
    with pytest.raises(ConfigError, match="tensorrt needs a GPU"):
        runtime_options(parser.parse_args(["--tensorrt"]))
