"""The ways of a GPU without one: placement, precision, copies and waits of one process on the fake device."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_device import environment, missing_tool

from arcface_paddle import devices
from arcface_paddle.errors import ConfigError

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).parent / "one_process_checks.py"
PACKAGE = ROOT / "arcface_paddle"
NAMES = [
    node.name
    for node in ast.parse(WORKER.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and "check" in [ast.unparse(mark) for mark in node.decorator_list]
]


@pytest.fixture(scope="module")
def ended(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """How every check has ended: its traceback, or nothing."""
    folder = tmp_path_factory.mktemp("checks")
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment(plugin)}
    for name in [name for name in variables if name.startswith("PADDLE_")]:
        del variables[name]
    command = [sys.executable, str(WORKER), str(folder)]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return json.loads((folder / "checks.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_on_the_fake_device(ended: dict[str, str], name: str) -> None:
    assert ended[name] == "", ended[name]


def test_every_check_has_run(ended: dict[str, str]) -> None:
    assert sorted(ended) == sorted(NAMES)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fake device needs Linux")
def test_without_a_compiler_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.paddle, "is_compiled_with_cuda", lambda: False)
    monkeypatch.setenv("PATH", "")
    assert "g++ is not installed" in (missing_tool() or "")
    monkeypatch.setattr(devices.paddle, "is_compiled_with_cuda", lambda: True)
    assert "built for CUDA" in (missing_tool() or "")


@pytest.mark.parametrize("room", ["training", "heads", "distributed", "evaluation"])
def test_nothing_waits_for_the_device_with_the_lock_of_python(room: str) -> None:
    """``to_tensor`` of an array and ``item`` keep it, and a healthy rank would be taken for dead; see ``devices``."""
    complaints = [
        f"{path}:{node.lineno} calls {ast.unparse(node.func)}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        if ast.unparse(node.func) == "paddle.to_tensor" or getattr(node.func, "attr", "") == "item"
    ]
    assert not complaints


@pytest.mark.parametrize("wanted", ["cuda", "gpu:x", "cpu:0", "auto:1", "gpu:-1", ""])
def test_names_of_no_device_are_refused(wanted: str) -> None:
    with pytest.raises(ConfigError, match="allowed: auto, cpu, gpu, or one of several as gpu:1"):
        devices.choose_device(wanted)


@pytest.mark.parametrize("version", ["2.6.2", "2.5", "1.8.0"])
def test_an_old_paddle_is_one_clear_line(version: str) -> None:
    """The common package index still gives 2.6.2 to whoever asks for a GPU build."""
    with pytest.raises(ConfigError, match=r"too old: inference and export need 3\.0 or newer") as caught:
        devices.require_paddle(version)
    assert devices.PADDLE_INDEX in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["3.0.0", "3.3.1", "3.0.0rc1", "10.0", "0.0.0", "develop"])
def test_newer_and_nightly_paddles_are_taken(version: str) -> None:
    devices.require_paddle(version)


def test_on_cpu_comes_back_even_from_an_error() -> None:
    before = devices.paddle.get_device()
    with pytest.raises(ZeroDivisionError), devices.on_cpu():
        raise ZeroDivisionError
    assert devices.paddle.get_device() == before
