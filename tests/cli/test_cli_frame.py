"""The frame of all commands: dispatch, one-line errors, exit codes, and a command behind every name."""

import contextlib
import errno
import importlib
import os
import runpy
import signal
import subprocess
import sys
import time
import types
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from arcface_paddle import errors
from arcface_paddle.cli import main as frame

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(monkeypatch):
    """Register a module as a command whose ``run`` is given by the test."""

    def register(run):
        module = types.ModuleType("arcface_paddle.cli.commands.probe", "A command for the test.")
        module.configure = lambda parser: parser.add_argument("--number", type=int)
        module.run = run
        monkeypatch.setitem(sys.modules, "arcface_paddle.cli.commands.probe", module)

    return register


def test_errors_are_one_line_and_code_two(command, capsys):
    def run(args):
        raise errors.DataError("first\nsecond")

    command(run)
    assert frame.run_module("probe", []) == frame.EXIT_ERROR
    assert capsys.readouterr().err == "probe: error: first second\n"


@pytest.mark.parametrize(
    "raised, line",
    [
        (PermissionError(13, "Permission denied", "closed/a\udcff"), "closed/a\\xff: Permission denied"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (OSError(28, "No space left on device", 3), "No space left on device"),
        (MemoryError(), "out of memory; smaller batches, fewer workers or a smaller input need less"),
    ],
)
def test_what_the_system_refuses_is_one_line(command, capsys, raised, line):
    """Wherever a path is looked at on the way; closed folders were tracebacks in four commands."""

    def run(args):
        raise raised

    command(run)
    assert frame.run_module("probe", []) == frame.EXIT_ERROR
    assert capsys.readouterr().err == f"probe: error: {line}\n"


def test_without_paddle_a_command_that_needs_it_says_so_in_one_line(tmp_path):
    (tmp_path / "paddle.py").write_text("raise ModuleNotFoundError(\"No module named 'paddle'\", name='paddle')")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    program = [sys.executable, "-m", "arcface_paddle.cli.main", "train", "--data_dir", str(tmp_path)]
    done = subprocess.run(
        program, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == frame.EXIT_ERROR
    (line,) = done.stderr.splitlines()
    assert line.startswith("arcface-paddle train: error: this command needs the package 'paddlepaddle', which is not")


@pytest.mark.parametrize(
    ("program", "package"),
    [
        (["train.py", "--data_dir", "set"], "tqdm"),
        (["-m", "arcface_paddle", "recognize", "--det", "--input", "a.jpg"], "numpy"),
    ],
)
def test_a_copy_of_the_repository_without_any_package_says_so_in_one_line(program, package):
    """A fresh clone and the system's Python; it was a traceback."""
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    bare = [sys.executable, "-S", *program]
    done = subprocess.run(bare, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == frame.EXIT_ERROR
    (line,) = done.stderr.splitlines()
    assert f"error: the package '{package}', without which nothing works, is not installed for {sys.executable}" in line


def test_the_packages_without_which_nothing_works_are_those_of_setup():
    declared = runpy.run_path(str(ROOT / "tools" / "requirements" / "declared.py"))["declared"]()
    assert sorted(frame.PACKAGES_OF_ALL.values()) == sorted(line.partition(">=")[0] for line in declared)


def test_who_has_too_new_a_python_is_not_told_to_install_what_has_no_build():
    told = errors.how_to_install("paddlepaddle", extra="cpu", python=(3, 14))
    assert told == "it has no build for Python 3.14; use Python 3.9 to 3.13"
    assert "3.9 to 3.12" in errors.how_to_install("paddle2onnx", extra="onnx", python=(3, 13))
    assert errors.how_to_install("paddlepaddle", extra="cpu", python=(3, 13)).startswith("pip install")


def test_another_module_that_is_missing_is_a_fault_of_ours(command):
    def run(args):
        raise ModuleNotFoundError("No module named 'nothing'", name="nothing")

    command(run)
    with pytest.raises(ModuleNotFoundError):
        frame.run_module("probe", [])


def test_interrupt(command, capsys):
    def run(args):
        raise KeyboardInterrupt

    command(run)
    assert frame.run_module("probe", []) == frame.EXIT_INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("moment", ["__enter__", "__exit__"])
def test_an_interrupt_while_the_frame_is_put_up_or_taken_down(command, capsys, monkeypatch, moment):
    """Found by stopping ``data convert`` 130 times at random moments."""
    command(lambda args: 0)
    original = getattr(frame._Interrupts, moment)

    def interrupted(self, *ending):
        original(self, *ending)
        raise KeyboardInterrupt

    monkeypatch.setattr(frame._Interrupts, moment, interrupted)
    before = {number: signal.getsignal(number) for number in frame._STOPPING}
    try:
        assert frame.run_module("probe", []) == frame.EXIT_INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert capsys.readouterr().err == "probe: error: interrupted\n"


def test_an_interrupt_that_a_library_turned_into_an_error_is_an_interrupt(command, capsys):
    def run(args):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise errors.ConfigError("cannot be loaded") from None

    command(run)
    assert frame.run_module("probe", []) == frame.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "probe: error: interrupted: cannot be loaded\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_subcommand_inside_of_a_command_sees_the_interrupt_too(command, capsys):
    def run(args):
        if args.number:
            return frame.run_module("probe", [], prog="inner")
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise errors.ConfigError("cannot be loaded")

    command(run)
    assert frame.run_module("probe", ["--number", "1"]) == frame.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "inner: error: interrupted: cannot be loaded\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_import_error_is_an_interrupt_only_after_ctrl_c(command, capsys):
    def run(args):
        if args.number:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        raise ImportError("numpy cannot be imported")

    command(run)
    assert frame.run_module("probe", ["--number", "1"]) == frame.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "probe: error: interrupted\n"
    with pytest.raises(ImportError, match="numpy"):
        frame.run_module("probe", [])


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), BlockingIOError(errno.EAGAIN, "again")])
def test_a_system_that_starts_no_more_threads_is_one_line(command, capsys, error):
    def run(args):
        raise error if args.number is None else RuntimeError("of ours")

    command(run)
    assert frame.run_module("probe", []) == frame.EXIT_ERROR
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("probe: error: the system lets this user start no more threads or processes (ulimit -u")
    with pytest.raises(RuntimeError, match="of ours"):
        frame.run_module("probe", ["--number", "1"])


def test_a_library_that_the_system_cannot_load_is_one_line(command, capsys, tmp_path, monkeypatch):
    """As Paddle's, of 250 MB, under ``ulimit -v``."""
    library = tmp_path / f"of_no_system{EXTENSION_SUFFIXES[-1]}"
    library.write_bytes(b"no library")
    monkeypatch.syspath_prepend(tmp_path)
    command(lambda args: importlib.import_module("of_no_system"))
    assert frame.run_module("probe", []) == frame.EXIT_ERROR
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"probe: error: {library}: is installed, but cannot be loaded: ")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["gallery", "--help"]])
def test_a_closed_pipe_is_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "arcface_paddle.cli.main", *arguments]
    finished = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_wrong_flag_is_one_line(command, capsys):
    command(lambda args: 0)
    with pytest.raises(SystemExit) as stop:
        frame.run_module("probe", ["--number", "many"])
    assert stop.value.code == frame.EXIT_ERROR
    assert capsys.readouterr().err.count("\n") == 1


def test_unknown_subcommand(capsys):
    assert frame.main(["dance"]) == frame.EXIT_ERROR
    assert "recognize" in capsys.readouterr().err


def test_overview_names_every_command(capsys):
    assert frame.main(["--help"]) == frame.EXIT_OK
    shown = capsys.readouterr().out
    assert all(name in shown for name in frame.COMMANDS)


@pytest.mark.parametrize("name", frame.COMMANDS)
def test_every_command_has_help(name, capsys):
    module = importlib.import_module(f"arcface_paddle.cli.commands.{frame.COMMANDS[name][0]}")
    assert module.__doc__
    with pytest.raises(SystemExit) as stop:
        frame.main([name, "--help"])
    assert stop.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_help_starts_without_paddle():
    code = "import sys; from arcface_paddle.cli.main import main; main(['--help']); assert 'paddle' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_is_an_interrupt(command, capsys, number):
    def run(args):
        signal.raise_signal(number)

    command(run)
    assert frame.run_module("probe", []) == frame.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "probe: error: interrupted\n"
    assert signal.getsignal(number) is signal.SIG_DFL


def test_the_second_request_does_not_interrupt_the_saving(command):
    saved = []

    def run(args):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGHUP)
            saved.append("all")
            raise

    command(run)
    assert frame.run_module("probe", []) == frame.EXIT_INTERRUPTED
    assert saved == ["all"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_that_comes_into_a_callback_is_not_lost(command, capsys, number):
    """Python drops what is raised there: in a finalizer, a callback of C code, the import system's weak references."""

    class Kept:
        def __del__(self):
            signal.raise_signal(number)

    def run(args):
        for _ in range(2):  # in a subcommand's frame, too
            kept = Kept()
            del kept
        time.sleep(20)

    command(run)
    assert frame._framed("outer", lambda: frame.run_module("probe", [])) == frame.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "probe: error: interrupted\n"


def test_a_dropped_request_does_not_reach_who_comes_after_the_command(command):
    class Kept:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def run(args):
        kept = Kept()
        del kept
        return 0

    hook = sys.unraisablehook
    command(run)
    assert frame.run_module("probe", []) in (frame.EXIT_OK, frame.EXIT_INTERRUPTED)
    time.sleep(2 * frame._AGAIN_S)
    assert sys.unraisablehook is hook


def test_a_signal_that_the_parent_ignores_stays_ignored(command):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        command(lambda args: signal.raise_signal(signal.SIGHUP) or 0)
        assert frame.run_module("probe", []) == frame.EXIT_OK
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigterm_counts_after_paddle_was_loaded(command):
    """Paddle's own handler would end the process with a stack trace."""
    code = (
        "import signal, sys, types\n"
        "from arcface_paddle.cli import main\n"
        "def run(args):\n"
        "    from arcface_paddle.pipeline.engines.paddle_engine import _import_inference\n"
        "    _import_inference()\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "probe = types.ModuleType('arcface_paddle.cli.commands.probe', 'probe')\n"
        "probe.configure, probe.run = lambda parser: None, run\n"
        "sys.modules['arcface_paddle.cli.commands.probe'] = probe\n"
        "sys.exit(main.run_module('probe', []))\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (frame.EXIT_INTERRUPTED, "probe: error: interrupted\n")


def test_the_pools_of_users_end_in_silence():
    code = (
        "import multiprocessing, time\n"
        "def load(_):\n"
        "    from arcface_paddle.pipeline.engines.paddle_engine import _import_inference\n"
        "    _import_inference()\n"
        "if __name__ == '__main__':\n"
        "    pool = multiprocessing.get_context('fork').Pool(1)\n"
        "    pool.map(load, [0])\n"
        "    pool.apply_async(time.sleep, (60,))\n"
        "    time.sleep(0.5)\n"
        "    pool.terminate()\n"
        "    pool.join()\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (finished.returncode, finished.stdout + finished.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "hint"), [(["recognise"], "recognize"), (["encode", "--ouput=x", "y", "--output=z"], "--output")]
)
def test_a_misspelt_word_gets_the_nearest_one(arguments, hint, capsys):
    try:
        code = frame.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == frame.EXIT_ERROR
    assert f"did you mean {hint}?" in capsys.readouterr().err
