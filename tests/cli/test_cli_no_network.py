"""No command talks to anybody or leaves anything in the home folder unless it was asked to."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arcface_paddle.data.verification_set import write_verification_set

sys.path.insert(0, str(Path(__file__).parent))
from command_examples import ASKED_FOR, EXAMPLES, QUICK, commands, prepare

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo"

# Python runs sitecustomize before anything else, in child processes too; an audit hook cannot be removed or avoided.
WATCH = """
import os, sys
def note(event, arguments):
    if event.startswith("socket.") and "AF_UNIX" not in repr(arguments):
        with open(os.environ["SOCKET_EVENTS"], "a") as events:
            events.write(f"{event} {arguments[1:]!r} {os.environ.get('COMMAND', sys.argv)}\\n")
sys.addaudithook(note)
"""

RUN = """
import json, sys
from arcface_paddle.cli.main import run_module
for command in json.load(sys.stdin):
    status = run_module(command[0], command[1:])
    assert status == 0, (command, status)
"""

RUN_EXAMPLES = """
import json, os, sys
from arcface_paddle.cli.main import main
for name, arguments, expected in json.load(sys.stdin):
    os.environ["COMMAND"] = name
    status = main(name.split() + arguments.split())
    assert status == expected, (name, arguments, status)
"""

# A service is asked to stop as soon as it listens.
SERVE = """
import uvicorn
from arcface_paddle.cli.main import main
started = uvicorn.Server.startup
async def startup(self, sockets=None):
    await started(self, sockets)
    self.should_exit = True
uvicorn.Server.startup = startup
assert main(["serve", "--demo", "--port", "0", "--threads", "1", "--workers", "1"]) == 0
"""

RUN_ONNX = """
import numpy, pathlib, paddle2onnx
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime
model, target = open_model("FaceRefiner"), pathlib.Path("inference.onnx")
target.write_bytes(paddle2onnx.export(str(model.graph_file), str(model.weights_file), opset_version=13))
runtime = open_runtime(target, options=RuntimeOptions(engine="onnxruntime", threads=1))
runtime.run([numpy.zeros((1, 3, 48, 48), numpy.float32)])
"""


def run_watched(tmp_path: Path, *python: str, stdin: str = "") -> None:
    """Run Python with an empty home folder and assert that it used no socket and wrote nothing there.

    Our own folder is the exception, which keeps what was compiled for the next start. So is matplotlib's list of fonts,
    which it keeps in the user's cache folder wherever curves are drawn.
    """
    home, watch, events = tmp_path / "home", tmp_path / "watch", tmp_path / "events.txt"
    home.mkdir()
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    for name in ("CI", "ORT_DISABLE_TELEMETRY"):  # with them, telemetry keeps quiet by itself
        environment.pop(name, None)
    environment.update(HOME=str(home), USERPROFILE=str(home), SOCKET_EVENTS=str(events))
    environment["PYTHONPATH"] = os.pathsep.join([str(watch), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *python], input=stdin, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not events.exists(), events.read_text()
    allowed = {home / ".arcface_paddle", home / ".cache" / "matplotlib"}
    assert [path for path in home.rglob("*") if path.is_file() and allowed.isdisjoint(path.parents)] == []


def test_the_watch_sees_sockets_and_files(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"socket\.connect"):
        run_watched(tmp_path, "-c", "import socket; socket.socket().connect_ex(('127.0.0.1', 9))")


def test_the_watch_sees_files_at_home(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"noted\.txt"):
        run_watched(tmp_path, "-c", "from pathlib import Path; (Path.home() / 'noted.txt').write_text('x')")


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_openvino_sends_no_telemetry(tmp_path: Path) -> None:
    code = "from arcface_paddle.pipeline.engines import openvino_engine as o; o._import_openvino().Core()"
    run_watched(tmp_path, "-c", code)


def test_onnx_runtime_and_its_converter_use_no_network(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("paddle2onnx")
    run_watched(tmp_path, "-c", RUN_ONNX)


def test_the_quantiser_uses_no_network(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run_watched(tmp_path, "-c", "from arcface_paddle.export import quantization as q; q._import_quantizer()")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["paddle", "openvino", "auto"])
def test_default_commands_use_no_network(tmp_path: Path, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip(engine)
    run_watched(tmp_path, "-c", RUN, stdin=json.dumps(commands_of(tmp_path, engine)))


def test_every_command_has_an_example() -> None:
    """Whoever adds a command adds an example to command_examples.py, or says there why there is none."""
    shown = {name for name, _, _ in EXAMPLES}
    assert shown.isdisjoint(ASKED_FOR)
    assert commands() - shown - set(ASKED_FOR) == set()
    assert shown | set(ASKED_FOR) == commands()


def test_quick_commands_use_no_network(tmp_path: Path) -> None:
    run_examples(tmp_path, QUICK)


@pytest.mark.long
def test_all_commands_use_no_network(tmp_path: Path) -> None:
    for package in ("onnxruntime", "pyarrow", "numba", "visualdl"):
        pytest.importorskip(package)
    run_examples(tmp_path, EXAMPLES)
    assert (tmp_path / "log").is_dir()  # a run with scalars, whose library would make a folder at home


@pytest.mark.long
def test_a_service_listens_and_calls_nobody(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    with pytest.raises(AssertionError, match=r"socket\.bind") as found:
        run_watched(tmp_path, "-c", SERVE)
    events = [line for line in str(found.value).splitlines() if "socket." in line]
    assert not any("connect" in line or "sendto" in line for line in events)
    bound = [line for line in events if "socket.bind" in line]
    assert bound and all("127.0.0.1" in line for line in bound)


def run_examples(folder: Path, examples: list[tuple[str, str, int]]) -> None:
    prepare(folder)
    run_watched(folder, "-c", RUN_EXAMPLES, stdin=json.dumps(examples))


def commands_of(folder: Path, engine: str) -> list[list[str]]:
    """Return the everyday commands with their flags."""
    photographs = sorted((DEMO / "gallery").rglob("*.jpg"))
    pictures = [photographs[index].read_bytes() for index in (0, 0, 1, 2)] * 5
    write_verification_set(folder / "lfw.bin", pictures, [True, False] * 5)
    index, group = str(folder / "people.index"), str(DEMO / "queries" / "group.jpg")
    flags = ["--backend", engine]
    return [
        ["models", "list"],
        ["gallery", "build", index, "--img_dir", str(DEMO / "gallery"), *flags],
        ["recognize", "--det", "--rec", "--index", index, "--input", group, "--json", str(folder / "a.json"), *flags],
        ["encode", str(DEMO / "gallery"), "--output", str(folder / "e.npz"), *flags],
        ["compare", str(photographs[0]), str(photographs[0]), *flags],
        ["valid", "--model", "MobileFace", "--data_dir", str(folder), "--val_targets", "lfw", "--engine", engine],
    ]
