"""The umbrella command ``arcface-paddle SUBCOMMAND`` and the frame in which every command runs.

A command is a module with two functions: ``configure(parser)`` declares its flags, ``run(args)`` does the work
and returns the exit code. ``COMMANDS`` names them; only the module of the chosen command is imported.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import functools
import importlib
import os
import signal
import sys
import threading
import warnings
from types import FrameType, ModuleType
from typing import Any, Callable, Iterable, NoReturn, Optional, Sequence

from arcface_paddle import __version__, files
from arcface_paddle.cli import terminal
from arcface_paddle.errors import ArcfaceError, ConfigError, MissingDependencyError

EXIT_OK = 0
EXIT_PARTIAL = 1
"""The command went through, but some inputs were bad; each was reported."""
EXIT_ERROR = 2
"""Wrong use or an error: nothing was done, or what was begun was undone."""
EXIT_INTERRUPTED = 130

COMMANDS = {
    "demo": ("demo", "a first look: name the faces of the photographs that come along"),
    "recognize": ("recognize", "find, align and name the faces of pictures, folders or video (= test_recognition)"),
    "gallery": ("gallery", "build, list, change and merge galleries of known people"),
    "people": ("people", "group the faces of a photo library by person"),
    "serve": ("serve", "serve face recognition over HTTP, with a page for the browser"),
    "models": ("models", "list, check and fetch models"),
    "encode": ("encode", "turn pictures into embeddings (.npy, .npz, HDF5, Parquet)"),
    "embed": ("embed", "embed very large picture sets, shard by shard, on one machine or many"),
    "compare": ("compare", "tell whether two pictures show the same person"),
    "data": ("data", "convert, pack, align and check datasets; build verification sets"),
    "synth": ("synth", "render synthetic identities"),
    "train": ("train", "train a recogniser"),
    "plan": ("plan", "predict memory and communication of a training run"),
    "valid": ("valid", "verify a model on lfw-style sets, with report"),
    "find": ("find", "find all pictures of a person in a photo library"),
    "identify": ("identify", "identification, open-set and IJB-style evaluation"),
    "calibrate": ("calibrate", "write similarity thresholds into a model's card"),
    "export": ("export", "export a trained network as an inference model, with parity gate"),
    "import": ("import_model", "import a model of insightface, Arcface-Paddle, PLSC or TensorFlow Lite"),
    "quantize": ("quantize", "make an INT8 model for CPU, with accuracy gate"),
    "completion": ("completion", "print the script that completes flags in bash, zsh or tcsh"),
}


PACKAGES_OF_ALL = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "prettytable": "prettytable",
    "tqdm": "tqdm",
}
"""By the module that is imported: the packages that setup.py requires whatever extras are chosen."""

_NO_MORE_PROCESSES = (
    "the system lets this user start no more threads or processes (ulimit -u, or the limit of the container); fewer "
    "workers and threads need less"
)
_SHARED_LIBRARIES = (".so", ".pyd")
_AGAIN_S = 0.02  # until a request that a callback has dropped is sent again: callbacks are shorter
_STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest flag where one was misspelt."""

    def error(self, message: str) -> NoReturn:
        hint = self._hint(message)
        said = files.one_line(f"{self.prog}: error: {message}{hint} (see {self.prog} --help)")
        self.exit(EXIT_ERROR, f"{said}\n")

    def _hint(self, message: str) -> str:
        unknown = message.partition("unrecognized arguments: ")[2].split()
        flags = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        return did_you_mean(flags[0], self._option_string_actions) if flags else ""


def run_module(module_name: str, argv: Optional[Sequence[str]] = None, *, prog: Optional[str] = None) -> int:
    """Run the command in ``arcface_paddle.cli.<module_name>`` with ``argv`` and return its exit code."""
    name = prog or module_name

    def command() -> int:
        args = command_parser(module_name, prog=name).parse_args(argv)
        return int(_module_of(module_name).run(args))

    return _framed(name, command)


def command_parser(module_name: str, *, prog: str) -> argparse.ArgumentParser:
    """Return the parser of the command in ``arcface_paddle.cli.commands.<module_name>``, as ``--help`` shows it."""
    module = _module_of(module_name)
    parser = _Parser(prog=prog, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"arcface_paddle {__version__}")
    module.configure(parser)
    return parser


def _module_of(module_name: str) -> ModuleType:
    return importlib.import_module(f"arcface_paddle.cli.commands.{module_name}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Dispatch ``arcface-paddle SUBCOMMAND ...``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        return run_module(COMMANDS[arguments[0]][0], arguments[1:], prog=f"arcface-paddle {arguments[0]}")
    return _framed("arcface-paddle", lambda: _without_subcommand(arguments))


def test_recognition() -> int:
    """Console script ``test_recognition`` of the wheel."""
    return run_module("recognize", prog="test_recognition")


def insightfacepaddle() -> int:
    """Console script of the published wheel, with its flags."""
    return run_module("recognize", prog="insightfacepaddle")


def _without_subcommand(arguments: Sequence[str]) -> int:
    if list(arguments) in (["-V"], ["--version"]):
        print(f"arcface_paddle {__version__}")
        return EXIT_OK
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return EXIT_OK if arguments else EXIT_ERROR
    hint = did_you_mean(arguments[0], COMMANDS)
    raise ConfigError(f"no subcommand {arguments[0]!r}{hint}; choose from {', '.join(COMMANDS)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``", did you mean X?"`` with the nearest known word, or nothing when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def _framed(prog: str, command: Callable[[], int]) -> int:
    """Run a command; what ends it early becomes one line on stderr and the documented exit code."""
    _quiet_libraries()
    try:
        return _in_frame(prog, command)
    except KeyboardInterrupt:  # while the frame was put up or taken down
        _complain(prog, "interrupted")
        return EXIT_INTERRUPTED


def _in_frame(prog: str, command: Callable[[], int]) -> int:
    with _Interrupts() as interrupts, terminal.safe_streams():
        try:
            _note_narrow_names()
            return _flushed(command)
        except BrokenPipeError:
            # The reader of our output (head, less) has gone; a second complaint at exit would reach nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_OK
        except KeyboardInterrupt:
            _complain(prog, "interrupted")
            return EXIT_INTERRUPTED
        except ArcfaceError as error:
            # A library that is interrupted while it is imported reports that it cannot be imported.
            _complain(prog, f"interrupted: {error}" if interrupts.seen else str(error))
            return EXIT_INTERRUPTED if interrupts.seen else EXIT_ERROR
        except OSError as error:  # where a path was looked at on the way: a closed folder, a link to itself
            _complain(prog, _of_the_system(error))
            return EXIT_ERROR
        except RuntimeError as error:
            if "can't start new thread" not in str(error):  # Python has no class of its own for that
                raise
            _complain(prog, _NO_MORE_PROCESSES)
            return EXIT_ERROR
        except MemoryError:
            _complain(prog, "out of memory; smaller batches, fewer workers or a smaller input need less")
            return EXIT_ERROR
        except ImportError as error:
            if interrupts.seen:
                _complain(prog, "interrupted")
                return EXIT_INTERRUPTED
            if error.path and error.path.endswith(_SHARED_LIBRARIES):  # too little memory for it, a system too old
                _complain(prog, f"{error.path}: is installed, but cannot be loaded: {error}")
                return EXIT_ERROR
            missing = _missing(error)
            if missing is None:
                raise
            _complain(prog, missing)
            return EXIT_ERROR


def _missing(error: ImportError) -> Optional[str]:
    """Say how to install what was imported in vain, of what most rooms import at their top; None: something else."""
    if error.name == "paddle":
        return str(MissingDependencyError("paddlepaddle", extra="cpu", purpose="this command"))
    package = PACKAGES_OF_ALL.get(error.name or "")
    if package is None or not isinstance(error, ModuleNotFoundError):  # there, and damaged or without its libraries
        return None
    return (
        f"the package '{package}', without which nothing works, is not installed for {sys.executable}: "
        "pip install 'arcface-paddle[cpu]' (in a copy of the repository: pip install -e '.[cpu,all]')"
    )


@functools.lru_cache(maxsize=1)
def _note_narrow_names() -> None:
    """Say once that this Python cannot read names of files in other scripts; by itself none does that any more."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower() not in ("utf-8", "utf8"):
        note = f"names of files are read as {encoding}; set PYTHONUTF8=1 for those with other characters"
        print(f"arcface-paddle: note: {note}", file=sys.stderr)


def _flushed(command: Callable[[], int]) -> int:
    """Run a command and send off what it printed, so that a closed pipe shows here and not at exit."""
    try:
        return command()
    finally:
        sys.stdout.flush()


class _Interrupts:
    """Remembers requests to stop and passes them on: to an outer frame (of a subcommand), at last as Ctrl-C.

    SIGTERM (docker stop, systemd) and SIGHUP (logout) end a command as Ctrl-C does: what was found is kept. A signal
    that the parent has set to be ignored (nohup) stays ignored. One that comes while Python runs a callback whose
    errors it drops (of a weak reference, of numba's compiler, a ``__del__``) is sent again until it arrives elsewhere.
    """

    def __init__(self) -> None:
        self.seen = False
        self._outer: dict[int, Any] = {}
        self._outer_hook: Optional[Callable[..., object]] = None
        self._latest = 0
        self._again: Optional[threading.Timer] = None

    def __enter__(self) -> _Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                outer = signal.getsignal(number)
                if callable(outer) or (outer is signal.SIG_DFL and number != signal.SIGINT):
                    self._outer[number] = outer
                    signal.signal(number, self._notice)
            self._outer_hook, sys.unraisablehook = sys.unraisablehook, self._dropped
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._again is not None:
                self._again.cancel()
                self._again.join()
        finally:  # it may just have been sent
            if self._outer_hook is not None:
                sys.unraisablehook = self._outer_hook
            for number, outer in self._outer.items():
                signal.signal(number, outer)

    def _notice(self, number: int, frame: Optional[FrameType]) -> None:
        # Logout sends SIGTERM and SIGHUP together: the second must not interrupt the writing of what was found.
        if self.seen and number != signal.SIGINT:
            return
        self.seen, self._latest = True, number
        outer = self._outer[number]
        if callable(outer):
            outer(number, frame)
        raise KeyboardInterrupt

    def _dropped(self, unraisable: Any) -> None:
        if self._outer_hook is not None and not (self.seen and unraisable.exc_type is KeyboardInterrupt):
            self._outer_hook(unraisable)
            return
        self.seen = False
        if self._again is not None:
            self._again.cancel()
        self._again = threading.Timer(_AGAIN_S, _send_to_main_thread, [self._latest])
        self._again.daemon = True
        self._again.start()


def _send_to_main_thread(number: int) -> None:
    main_thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main_thread is not None:
        signal.pthread_kill(main_thread, number)
    else:
        signal.raise_signal(number)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {help_text}" for name, (_, help_text) in COMMANDS.items()]
    return "usage: arcface-paddle SUBCOMMAND [-h] ...\n\n" + "\n".join(lines)


def _of_the_system(error: OSError) -> str:
    """Say which file the system refused, and why."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno == errno.EAGAIN:  # of fork; what is read and written waits
        reason = _NO_MORE_PROCESSES
    named = isinstance(error.filename, (str, bytes))  # and not the number of an open file
    return f"{files.printable(error.filename)}: {reason}" if named else reason


def _quiet_libraries() -> None:
    """Keep Paddle's notes to its own developers from standing beside our one line; its warnings stay."""
    os.environ.setdefault("GLOG_minloglevel", "1")  # read by Paddle's C++ part when it is loaded
    warnings.filterwarnings("ignore", message="No ccache found")  # about compiling C++ extensions, which nobody does


def _complain(prog: str, message: str) -> None:
    print(f"{prog}: error: {files.one_line(message)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
