"""The parser for callers from Python: mistakes are errors to catch, and a notebook's own arguments are not ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn, Optional, Sequence

from arcface_paddle.errors import ConfigError


class NotebookParser(argparse.ArgumentParser):
    """An argument parser that raises ``ConfigError`` where argparse would end the process.

    Without arguments it reads those of the program, as argparse does. In a notebook these belong to the kernel
    (``-f /run/user/1000/jupyter/kernel-….json``), so that all defaults are given there. ``-h`` prints the help and
    ends the program, as a script's user expects; a kernel is never started with it.
    """

    def parse_known_args(  # type: ignore[override]  # argparse declares three overloads
        self, args: Optional[Sequence[str]] = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        return super().parse_known_args(program_arguments() if args is None else args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and ending the process. Raises ``ConfigError``."""
        raise ConfigError(f"{message} (parser().print_help() shows all options)")


def program_arguments() -> list[str]:
    """Return the arguments that the user gave to this program: none where the program is a notebook's kernel.

    A kernel is known by its launcher: ``ipykernel_launcher.py``, ``ipykernel/__main__.py``, Colab's
    ``colab_kernel_launcher.py``, ``spyder_kernels/console/__main__.py``. A script inside of a notebook (``%run``) has
    its own name there and keeps its arguments.
    """
    program = Path(sys.argv[0]) if sys.argv else Path()
    launched_as_kernel = any("kernel" in part for part in program.parts[-3:])
    if launched_as_kernel and "ipykernel" in sys.modules:
        return []
    return sys.argv[1:]
