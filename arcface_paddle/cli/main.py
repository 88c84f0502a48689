"""The umbrella command ``arcface-paddle SUBCOMMAND`` and the frame in which every command runs.

A command is a module with two functions: ``configure(parser)`` declares its flags, ``run(args)`` does the work
and returns the exit code. ``COMMANDS`` names them; only the module of the chosen command is imported.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from typing import NoReturn, Optional, Sequence

from arcface_paddle import __version__
from arcface_paddle.errors import ArcfaceError

EXIT_OK = 0
EXIT_PARTIAL = 1
"""The command went through, but some inputs were bad; each was reported."""
EXIT_ERROR = 2
"""Wrong use or an error: nothing was done, or what was begun was undone."""
EXIT_INTERRUPTED = 130

COMMANDS = {
    "recognize": ("recognize", "find, align and name the faces of pictures, folders or video (= test_recognition)"),
    "gallery": ("gallery", "build, list, change and merge galleries of known people"),
    "models": ("models", "list, check and fetch models"),
    "encode": ("encode", "turn pictures into embeddings (.npy, .npz, HDF5, Parquet)"),
    "compare": ("compare", "tell whether two pictures show the same person"),
    "data": ("data", "convert, pack, align and check datasets; build verification sets"),
    "synth": ("synth", "render synthetic identities"),
    "train": ("train", "train a recogniser"),
    "plan": ("plan", "predict memory and communication of a training run"),
    "valid": ("valid", "verify a model on lfw-style sets, with report"),
    "identify": ("identify", "identification, open-set and IJB-style evaluation"),
    "calibrate": ("calibrate", "write similarity thresholds into a model's card"),
    "export": ("export", "export a trained network as an inference model, with parity gate"),
    "quantize": ("quantize", "make an INT8 model for CPU, with accuracy gate"),
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_ERROR, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run_module(module_name: str, argv: Optional[Sequence[str]] = None, *, prog: Optional[str] = None) -> int:
    """Run the command in ``arcface_paddle.cli.<module_name>`` with ``argv`` and return its exit code."""
    module = importlib.import_module(f"arcface_paddle.cli.{module_name}")
    parser = _Parser(
        prog=prog or module_name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"arcface_paddle {__version__}")
    module.configure(parser)
    args = parser.parse_args(argv)
    _never_fail_on_characters()
    try:
        return int(module.run(args))
    except ArcfaceError as error:
        _complain(parser.prog, str(error))
        return EXIT_ERROR
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; a second complaint at exit would reach nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        _complain(parser.prog, "interrupted")
        return EXIT_INTERRUPTED


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Dispatch ``arcface-paddle SUBCOMMAND ...``."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        return run_module(COMMANDS[arguments[0]][0], arguments[1:], prog=f"arcface-paddle {arguments[0]}")
    if arguments in (["-V"], ["--version"]):
        print(f"arcface_paddle {__version__}")
        return EXIT_OK
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return EXIT_OK if arguments else EXIT_ERROR
    _complain("arcface-paddle", f"no subcommand {arguments[0]!r}; choose from {', '.join(COMMANDS)}")
    return EXIT_ERROR


def test_recognition() -> int:
    """Console script ``test_recognition`` of the wheel."""
    return run_module("recognize", prog="test_recognition")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {help_text}" for name, (_, help_text) in COMMANDS.items()]
    return "usage: arcface-paddle SUBCOMMAND [-h] ...\n\n" + "\n".join(lines)


def _never_fail_on_characters() -> None:
    """Let a terminal that lacks Chinese characters show question marks instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _complain(prog: str, message: str) -> None:
    print(f"{prog}: error: {' '.join(message.splitlines())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
