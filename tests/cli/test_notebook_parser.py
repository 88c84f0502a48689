"""The parser of the Python interface: in scripts, in notebooks, and when it is given nonsense."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

import arcface_paddle
from arcface_paddle.errors import ConfigError

ROOT = Path(__file__).parents[2]
LAUNCHERS = (
    "/usr/lib/python3/site-packages/ipykernel_launcher.py",
    "/usr/lib/python3/site-packages/ipykernel/__main__.py",
    "/usr/lib/python3/site-packages/colab_kernel_launcher.py",
    "/usr/lib/python3/site-packages/spyder_kernels/console/__main__.py",
)


@pytest.fixture
def kernel(monkeypatch) -> None:
    """Leave the mark of a kernel: its package is loaded before any cell runs."""
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("arguments", [["-f", "/run/kernel-1.json"], ["--f=/run/kernel-1.json"]])
def test_a_notebook_gets_the_defaults(monkeypatch, kernel, launcher, arguments):
    monkeypatch.setattr(sys, "argv", [launcher, *arguments])
    assert arcface_paddle.parser().parse_args() == arcface_paddle.parser().parse_args([])


def test_a_script_run_inside_of_a_notebook_keeps_its_arguments(monkeypatch, kernel):
    monkeypatch.setattr(sys, "argv", ["recognise.py", "--det", "--cdd_num=3"])
    args = arcface_paddle.parser().parse_args()
    assert args.det and args.cdd_num == 3


def test_a_script_of_the_published_interface_reads_its_arguments(tmp_path):
    script = tmp_path / "kernel_methods.py"  # the name alone makes no kernel
    script.write_text("import arcface_paddle\nprint(arcface_paddle.parser().parse_args().index)\n")
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    command = [sys.executable, str(script), "--rec", "--index=people.index"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "people.index", done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no_such_flag"], "unrecognized arguments: --no_such_flag"),
        (["--cdd_num", "many"], "--cdd_num: invalid int value: 'many'"),
        (["--index"], "--index: expected one argument"),
        (["--decision", "dice"], "--decision: invalid choice"),
    ],
)
def test_nonsense_is_an_error_to_catch(arguments, message, capsys):
    with pytest.raises(ConfigError, match=message) as caught:
        arcface_paddle.parser().parse_args(arguments)
    assert "\n" not in str(caught.value) and "print_help()" in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_help_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        arcface_paddle.parser().parse_args(["-h"])
    assert ended.value.code == 0 and "--build_index" in capsys.readouterr().out
