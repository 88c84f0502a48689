from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.images import read_image
from arcface_paddle.pipeline.builders import build_detector
from arcface_paddle.pipeline.engines import openvino_engine, paddle_engine
from arcface_paddle.pipeline.engines.processor import has_bfloat16_instructions
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, available_cores, first_line, open_runtime

PADDLE = RuntimeOptions(engine="paddle", threads=1)
OPENVINO = RuntimeOptions(engine="openvino", threads=1, precision="fp32")
both_engines = pytest.mark.parametrize("options", [PADDLE, OPENVINO], ids=["paddle", "openvino"])


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
        ({"threads": "2"}, "threads is '2'; allowed: 1 to 1024"),
        ({"threads": [2]}, r"threads is \[2\]; allowed: 1 to 1024"),
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
    plain = outputs_of(RuntimeOptions(engine="paddle", threads=1, onednn=False), crops)
    for fast, slow in zip(outputs_of(PADDLE, crops), plain):
        np.testing.assert_allclose(fast, slow, atol=1e-4)


def test_openvino_agrees_with_paddle(crops: np.ndarray) -> None:
    for ours, theirs in zip(outputs_of(PADDLE, crops), outputs_of(OPENVINO, crops)):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_onnx_runtime_agrees_with_paddle(crops: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    paddle2onnx = pytest.importorskip("paddle2onnx")
    model = open_model("FaceRefiner")
    target = tmp_path / "inference.onnx"
    target.write_bytes(paddle2onnx.export(str(model.graph_file), str(model.weights_file), opset_version=13))
    runtime = open_runtime(target, options=RuntimeOptions(engine="onnxruntime", threads=1))
    for ours, theirs in zip(outputs_of(PADDLE, crops), runtime.run([crops])):
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


@both_engines
def test_wrong_inputs_are_one_line(crops: np.ndarray, options: RuntimeOptions) -> None:
    model = open_model("FaceRefiner")
    runtime = open_runtime(model.graph_file, model.weights_file, options=options)
    with pytest.raises(ModelFileError, match="takes 1 inputs"):
        runtime.run([crops, crops])
    with pytest.raises(ModelFileError, match="cannot run on input") as caught:
        runtime.run([np.zeros((1, 3, 8, 8), np.float32)])
    assert "\n" not in str(caught.value)
    assert runtime.run([crops])[0].shape == (3, 4)  # still usable


@pytest.mark.parametrize("options", [PADDLE, OPENVINO, RuntimeOptions()], ids=["paddle", "openvino", "auto"])
def test_weights_of_another_network_are_one_line(tmp_path: Path, options: RuntimeOptions) -> None:
    shutil.copy(open_model("FaceRefiner").graph_file, tmp_path / "inference.pdmodel")
    shutil.copy(open_model("BlazeFace").weights_file or "", tmp_path / "inference.pdiparams")
    if options is OPENVINO:  # what it cannot read goes through paddle2onnx, or is told to need it
        pytest.importorskip("paddle2onnx")
    with pytest.raises(ModelFileError) as caught:
        runtime = open_runtime(tmp_path / "inference.pdmodel", tmp_path / "inference.pdiparams", options=options)
        runtime.run([np.zeros((1, 3, 48, 48), np.float32)])
    assert "\n" not in str(caught.value)


@both_engines
def test_threads_may_share_a_runtime(crops: np.ndarray, options: RuntimeOptions) -> None:
    model = open_model("FaceRefiner")
    runtime = open_runtime(model.graph_file, model.weights_file, options=options)
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


FIRST_ARRAYS = """
import os, signal, sys, threading
import openvino
from arcface_paddle.pipeline.engines import openvino_engine

openvino_engine._core()
begun = False

def meet():
    while not begun:
        pass
    openvino.Type.f32.to_dtype()

for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        sys.setswitchinterval(1e-6)  # threads come between each other at every opportunity
        threads = [threading.Thread(target=meet) for _ in range(8)]
        for thread in threads:
            thread.start()
        begun = True
        for thread in threads:
            thread.join()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "two threads wait for each other"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="five processes would take long to start")
def test_first_arrays_of_several_threads_do_not_stand_still() -> None:
    """In OpenVINO's ``Tensor`` and ``infer``, which look up the type of an array; in two of three tries, by itself."""
    pytest.importorskip("openvino")
    subprocess.run([sys.executable, "-c", FIRST_ARRAYS], check=True, timeout=120)


@both_engines
def test_a_twin_gives_the_same_at_once(crops: np.ndarray, options: RuntimeOptions) -> None:
    """The detector's windows go through a twin, so that OpenVINO need not prepare for other sizes all the time."""
    model = open_model("FaceRefiner")
    runtime = open_runtime(model.graph_file, model.weights_file, options=options)
    twin = runtime.twin()
    assert (twin is runtime) == (options is PADDLE)
    assert (twin.execution, twin.input_names, twin.output_names) == (
        *(runtime.execution, runtime.input_names),
        runtime.output_names,
    )
    for batch in (crops, crops[:1], crops):
        for ours, theirs in zip(twin.run([batch]), runtime.run([batch])):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("engine", ["paddle", "openvino"])
def test_bfloat16_is_close_or_refused_but_never_nan(crops: np.ndarray, engine: str) -> None:
    try:
        outputs = outputs_of(RuntimeOptions(engine=engine, threads=1, precision="bf16"), crops)
    except (ModelFileError, ConfigError) as error:
        assert "fp32" in str(error)
    else:
        for rough, exact in zip(outputs, outputs_of(PADDLE, crops)):
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's limit on processes")
def test_a_system_that_starts_no_threads_is_refused_and_not_waited_for() -> None:
    import resource

    paddle_engine._require_threads(2)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(PermissionError):
            os.setuid(65534)  # the administrator is not bound by the limit
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        try:
            paddle_engine._require_threads(2)
        except ConfigError as error:
            os._exit(0 if "0 more threads, and Paddle needs 2" in str(error) else 3)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_openvino_that_cannot_start_is_one_line() -> None:
    """As under ``ulimit -u 1``, which the administrator is not bound by."""

    class Core:
        def get_property(self, *_: str) -> None:
            raise RuntimeError(
                "Exception from src/inference/src/cpp/core.cpp:268:\nFailed to create plugin for device CPU\n"
                "Exception from src/plugins/intel_cpu/src/plugin.cpp:921:\nResource temporarily unavailable\n\n\n"
            )

    with pytest.raises(ConfigError, match=r"^OpenVINO cannot start here: Resource temporarily unavailable; limits"):
        openvino_engine._abilities(Core())


def test_first_line_finds_the_reason_in_a_stack_trace() -> None:
    trace = "\n\n---\nC++ Traceback (most recent call last):\n0 paddle::Run()\n\n(InvalidArgument) Bad shape.\n  [Hint]"
    assert first_line(RuntimeError(trace)) == "(InvalidArgument) Bad shape."
    assert first_line(RuntimeError("")) == "RuntimeError"
    trace = "Exception from src/core.cpp:84:\nCheck 'a == b' failed at src/x.cpp:9:\nCannot clone with {8, 8}.\n\n"
    assert first_line(RuntimeError(trace)) == "Cannot clone with {8, 8}."


def installed_only(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name in packages else None)


@pytest.mark.parametrize(
    ("packages", "file", "expected"),
    [
        (("openvino", "paddle"), "inference.pdmodel", ("openvino", "paddle")),
        (("openvino",), "inference.pdmodel", ("openvino",)),
        (("paddle",), "inference.pdmodel", ("paddle",)),
        ((), "inference.pdmodel", ("paddle",)),
        (("openvino", "paddle", "paddle2onnx"), "inference.json", ("paddle",)),
        (("openvino", "paddle", "onnxruntime"), "inference.onnx", ("openvino", "onnxruntime")),
        (("paddle", "onnxruntime"), "inference.onnx", ("onnxruntime",)),
    ],
)
def test_auto_takes_the_fastest_that_is_installed(
    monkeypatch: pytest.MonkeyPatch, packages: tuple, file: str, expected: tuple
) -> None:
    installed_only(monkeypatch, *packages)
    assert RuntimeOptions().candidates(Path(file)) == expected


def test_what_is_said_goes_before_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_only(monkeypatch, "openvino", "paddle")
    graph = Path("inference.pdmodel")
    assert RuntimeOptions().candidates(graph, preferred="onnxruntime") == ("onnxruntime",)
    assert RuntimeOptions(engine="paddle").candidates(graph, preferred="openvino") == ("paddle",)
    assert RuntimeOptions().candidates(Path("inference.onnx"), preferred="paddle") == ("openvino",)
    assert RuntimeOptions(onednn=False).candidates(graph) == ("paddle",)
    assert RuntimeOptions(device="gpu").candidates(graph) == ("paddle",)
    assert RuntimeOptions().resolved(graph).engine == "openvino"


@pytest.mark.parametrize("model_format", ["pdmodel", "json"])
def test_a_network_that_openvino_cannot_read_runs_in_paddle(tmp_path: Path, model_format: str) -> None:
    paddle = pytest.importorskip("paddle")
    pytest.importorskip("openvino")
    from arcface_paddle.export.saving import save_model

    class Digamma(paddle.nn.Layer):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = paddle.nn.Linear(112, 2)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return paddle.digamma(self.linear(x) + 3)

    save_model(Digamma(), tmp_path, model_format=model_format)
    files = tmp_path / f"inference.{model_format}", tmp_path / "inference.pdiparams"
    runtime = open_runtime(*files)
    assert runtime.execution.engine == "paddle"
    assert runtime.run([np.zeros((1, 3, 112, 112), np.float32)])[0].shape == (1, 3, 112, 2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [(PADDLE, "paddle, fp32, 1 thread"), (OPENVINO, "openvino, fp32, 1 thread")],
    ids=["paddle", "openvino"],
)
def test_what_runs_is_said(options: RuntimeOptions, expected: str) -> None:
    model = open_model("FaceRefiner")
    runtime = open_runtime(model.graph_file, model.weights_file, options=options)
    assert str(runtime.execution) == expected
    assert expected in repr(runtime)


@pytest.mark.parametrize("able", [True, False])
def test_paddle_takes_bfloat16_where_processor_and_network_allow_it(
    monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    monkeypatch.setattr(paddle_engine, "has_bfloat16_instructions", lambda: able)
    for name, stands_it in (("CenterFace", True), ("ResNet29", True), ("MobileFace", False), ("FaceRefiner", False)):
        chosen = paddle_engine._precision(open_model(name).graph_file, PADDLE)
        assert chosen == ("bf16" if able and stands_it else "fp32"), name
    graph = open_model("CenterFace").graph_file
    for said in ("fp32", "bf16"):
        assert paddle_engine._precision(graph, dataclasses.replace(PADDLE, precision=said)) == said
    for other in (RuntimeOptions(onednn=False), RuntimeOptions(device="gpu")):
        assert paddle_engine._precision(graph, other) == "fp32"
    assert paddle_engine._precision(Path("inference.json"), PADDLE) == "fp32"


@pytest.mark.skipif(not has_bfloat16_instructions(), reason="this processor has no bfloat16")
def test_paddle_in_bfloat16_finds_the_same_faces() -> None:
    group = read_image(Path(__file__).parents[2] / "demo" / "queries" / "group.jpg")
    fast, exact = (build_detector(options=dataclasses.replace(PADDLE, precision=said)) for said in ("auto", "fp32"))
    found, expected = fast.detect(group), exact.detect(group)
    assert len(found) == len(expected) == 4
    for face, other in zip(found, expected):
        width = other.box_xyxy[2] - other.box_xyxy[0]
        assert np.abs(face.landmarks - other.landmarks).max() < 0.05 * width and abs(face.score - other.score) < 0.02


def test_precision_auto_follows_the_processor() -> None:
    openvino = pytest.importorskip("openvino")
    model = open_model("FaceRefiner")
    found = open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(engine="openvino")).execution
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert found.precision == ("bf16" if able and has_bfloat16_instructions() else "fp32")
    paddle = open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(engine="paddle"))
    assert paddle.execution.precision == "fp32"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ANALYZE = """
from arcface_paddle import load_image
from arcface_paddle.pipeline import Analyzer, build_detector, build_recognizer
detector, recognizer = build_detector(), build_recognizer()
faces = Analyzer(detector, recognizer).analyze(load_image("demo/queries/group.jpg")).faces
print(len(faces), sys.modules.get("paddle") is not None)
"""


def test_paddle_serves_everything_where_openvino_is_missing() -> None:
    assert run_python('import sys; sys.modules["openvino"] = None' + ANALYZE) == "4 True"


def test_openvino_serves_everything_without_paddle() -> None:
    pytest.importorskip("openvino")
    assert run_python("import sys" + ANALYZE) == "4 False"
    assert run_python('import sys; sys.modules["paddle"] = sys.modules["paddle2onnx"] = None' + ANALYZE) == "4 False"


def test_ctrl_c_after_a_network_was_closed_by_another_thread() -> None:
    pytest.importorskip("openvino")
    code = """
import gc, signal, threading
import numpy as np
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime
model = open_model("FaceRefiner")
opened = [open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(engine="openvino", threads=1))]
opened[0].run([np.zeros((1, 3, 48, 48), np.float32)])
closing = threading.Thread(target=opened.clear)
closing.start()
closing.join()
gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert run_python(code) == "interrupted"


def test_memory_stays_flat_over_pictures_of_many_sizes() -> None:
    pytest.importorskip("openvino")
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    code = """
import numpy as np
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime
model = open_model("CenterFace")
options = RuntimeOptions(engine="openvino", threads=1)
runtime = open_runtime(model.graph_file, model.weights_file, options=options)
taken = []
for heights in (range(64, 320, 32), range(320, 576, 32)):
    for height in heights:
        for width in range(64, 352, 32):
            runtime.run([np.zeros((1, 3, height, width), np.float32)])
    taken.append(int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6)
print(taken[1] - taken[0] < 120, taken)
"""
    assert run_python(code).startswith("True")


def test_runtimes_of_one_thread_stay_on_one_thread() -> None:
    pytest.importorskip("openvino")
    code = """
import os, sys, time
import numpy as np
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime
model = open_model("MobileFace")
options = RuntimeOptions(engine="openvino", threads=1)
runtimes = [open_runtime(model.graph_file, model.weights_file, options=options) for _ in range(6)]
crops = np.zeros((4, 3, 112, 112), np.float32)
for runtime in runtimes:
    runtime.run([crops])
processor, clock = time.process_time(), time.perf_counter()
for _ in range(3):
    for runtime in runtimes:
        runtime.run([crops])
print(time.process_time() - processor < 1.3 * (time.perf_counter() - clock))
print(all(os.sched_getaffinity(int(task)) == os.sched_getaffinity(0) for task in os.listdir("/proc/self/task")))
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    assert run_python(code).split() == ["True", "True"]


def test_threads_that_come_and_go_share_a_detector() -> None:
    """As those of a web server do; oneDNN's cache once held on to threads that had ended."""
    detector = build_detector("BlazeFace", options=RuntimeOptions(engine="paddle", threads=1))
    image = read_image(Path(__file__).parents[2] / "demo" / "queries" / "group.jpg")
    found: list[int] = []
    failed: list[str] = []

    def look() -> None:
        try:
            found.append(len(detector.detect(image)))
        except ModelFileError as error:
            failed.append(str(error))

    for _ in range(12):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert failed == [] and found == [4] * 12


def test_a_system_that_starts_too_few_threads_is_told_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []

    class Limited(threading.Thread):
        def start(self) -> None:
            if len(started) == 3:
                raise RuntimeError("can't start new thread")
            super().start()
            started.append(self)

    monkeypatch.setattr(paddle_engine.threading, "Thread", Limited)
    with pytest.raises(ConfigError, match="lets this user start 3 more threads, and Paddle needs 4"):
        paddle_engine._require_threads(4)
    assert len(started) == 3 and not any(thread.is_alive() for thread in started)
    started.clear()
    paddle_engine._require_threads(3)
    assert len(started) == 3 and not any(thread.is_alive() for thread in started)
