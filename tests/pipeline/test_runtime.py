from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, available_cores, first_line, open_runtime

ONE_THREAD = RuntimeOptions(threads=1)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 3, 48, 48)).astype(np.float32)


def outputs_of(options: RuntimeOptions, crops: np.ndarray) -> list[np.ndarray]:
    model = open_model("FaceRefiner")
    return open_runtime(model.graph_file, model.weights_file, options=options).run([crops])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "engine is 'tensorrt'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"device": "gpu:x"}, "device is 'gpu:x'"),
        ({"threads": 0}, "threads is 0"),
        ({"precision": "int4"}, "precision is 'int4'"),
        ({"engine": "openvino", "device": "gpu"}, "runs on cpu only"),
        ({"engine": "onnxruntime", "precision": "bf16"}, "no bfloat16"),
    ],
)
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RuntimeOptions(**options)


def test_threads_default_to_what_the_process_may_use() -> None:
    assert RuntimeOptions().thread_count == available_cores() >= 1
    assert RuntimeOptions(threads=7).thread_count == 7


def test_with_and_without_onednn_agree(crops: np.ndarray) -> None:
    plain = outputs_of(RuntimeOptions(threads=1, onednn=False), crops)
    for fast, slow in zip(outputs_of(ONE_THREAD, crops), plain):
        np.testing.assert_allclose(fast, slow, atol=1e-4)


def test_openvino_agrees_with_paddle(crops: np.ndarray) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("paddle2onnx")
    other = outputs_of(RuntimeOptions(engine="openvino", threads=1), crops)
    for ours, theirs in zip(outputs_of(ONE_THREAD, crops), other):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_onnx_runtime_agrees_with_paddle(crops: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    paddle2onnx = pytest.importorskip("paddle2onnx")
    model = open_model("FaceRefiner")
    target = tmp_path / "inference.onnx"
    target.write_bytes(paddle2onnx.export(str(model.graph_file), str(model.weights_file), opset_version=13))
    runtime = open_runtime(target, options=RuntimeOptions(engine="onnxruntime", threads=1))
    for ours, theirs in zip(outputs_of(ONE_THREAD, crops), runtime.run([crops])):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    target.write_bytes(b"rubbish")
    with pytest.raises(ModelFileError, match="ONNX Runtime cannot load it"):
        open_runtime(target, options=RuntimeOptions(engine="onnxruntime"))
    with pytest.raises(ModelFileError, match="OpenVINO cannot read it"):
        open_runtime(target, options=RuntimeOptions(engine="openvino"))


def test_onnx_runtime_refuses_paddle_files() -> None:
    pytest.importorskip("onnxruntime")
    model = open_model("FaceRefiner")
    with pytest.raises(ModelFileError, match=r"runs \.onnx files"):
        open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(engine="onnxruntime"))


def test_wrong_inputs_are_one_line(crops: np.ndarray) -> None:
    model = open_model("FaceRefiner")
    runtime = open_runtime(model.graph_file, model.weights_file, options=ONE_THREAD)
    with pytest.raises(ModelFileError, match="takes 1 inputs"):
        runtime.run([crops, crops])
    with pytest.raises(ModelFileError, match="cannot run on input") as caught:
        runtime.run([np.zeros((1, 3, 8, 8), np.float32)])
    assert "\n" not in str(caught.value)
    assert runtime.run([crops])[0].shape == (3, 4)  # still usable


def test_weights_of_another_network_are_one_line(tmp_path: Path) -> None:
    shutil.copy(open_model("FaceRefiner").graph_file, tmp_path / "inference.pdmodel")
    shutil.copy(open_model("BlazeFace").weights_file or "", tmp_path / "inference.pdiparams")
    with pytest.raises(ModelFileError) as caught:
        runtime = open_runtime(tmp_path / "inference.pdmodel", tmp_path / "inference.pdiparams", options=ONE_THREAD)
        runtime.run([np.zeros((1, 3, 48, 48), np.float32)])
    assert "\n" not in str(caught.value)


def test_threads_may_share_a_runtime(crops: np.ndarray) -> None:
    model = open_model("FaceRefiner")
    runtime = open_runtime(model.graph_file, model.weights_file, options=ONE_THREAD)
    inputs = [crops * factor for factor in (0.5, 1.0, 1.5, 2.0)]
    expected = [runtime.run([one])[1] for one in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            if not np.array_equal(runtime.run([inputs[index]])[1], expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_bfloat16_is_close_or_refused_but_never_nan(crops: np.ndarray) -> None:
    try:
        outputs = outputs_of(RuntimeOptions(threads=1, precision="bf16"), crops)
    except (ModelFileError, ConfigError) as error:
        assert "fp32" in str(error)
    else:
        for rough, exact in zip(outputs, outputs_of(ONE_THREAD, crops)):
            np.testing.assert_allclose(rough, exact, atol=0.05)


def test_gpu_on_a_cpu_build_is_refused() -> None:
    paddle = pytest.importorskip("paddle")
    if paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle has CUDA")
    with pytest.raises(ConfigError, match="built for CPU only"):
        outputs_of(RuntimeOptions(device="gpu"), np.zeros((1, 3, 48, 48), np.float32))


def test_a_run_writes_nothing_to_stdout_or_stderr() -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import numpy as np\n"
        "from arcface_paddle.pipeline.model_files import open_model\n"
        "from arcface_paddle.pipeline.runtime import open_runtime\n"
        "m = open_model('FaceRefiner')\n"
        "open_runtime(m.graph_file, m.weights_file).run([np.zeros((1, 3, 48, 48), np.float32)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_first_line_finds_the_reason_in_a_stack_trace() -> None:
    trace = "\n\n---\nC++ Traceback (most recent call last):\n0 paddle::Run()\n\n(InvalidArgument) Bad shape.\n  [Hint]"
    assert first_line(RuntimeError(trace)) == "(InvalidArgument) Bad shape."
    assert first_line(RuntimeError("")) == "RuntimeError"


def test_auto_stands_for_the_card_then_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    options = RuntimeOptions()
    assert options.resolved(Path("inference.pdmodel")).engine == "paddle"
    assert options.resolved(Path("inference.onnx")).engine == "onnxruntime"
    assert options.resolved(Path("inference.onnx"), preferred="openvino").engine == "openvino"
    assert RuntimeOptions(engine="paddle").resolved(Path("x.json"), preferred="openvino").engine == "paddle"
    half = RuntimeOptions(precision="bf16")
    for installed, engine in ((object(), "openvino"), (None, "paddle")):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, found=installed: found)
        assert half.resolved(Path("inference.pdmodel")).engine == engine
