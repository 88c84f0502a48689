"""A command of ours in a process of its own, which ends when the process that started it is gone, however it went.

Who is killed with SIGKILL cannot end children. So a child holds one end of a pipe whose other end lies with its parent
alone: the system closes that end with the parent, and the child sees it.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from pathlib import Path
from typing import Sequence

_PROGRAM = f"import sys; sys.path = [path for path in sys.path if path]; from {__name__} import main; main()"
"""Without the folder it is started in, where the pictures of strangers lie: a file numpy.py among them would be run."""


def run_command(arguments: Sequence[str], *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``arcface-paddle`` with ``arguments`` in ``folder`` and return its exit code and what it said.

    Raises:
        OSError: the system starts no more processes, or the folder is gone.
    """
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    theirs, ours = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-c", _PROGRAM, *arguments],
            cwd=folder, env=environment, stdin=theirs, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    finally:
        os.close(theirs)
        os.close(ours)


def main() -> None:
    """Run the command of ``sys.argv`` until it ends or the other end of standard input is closed."""
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    runpy.run_module("arcface_paddle", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    while os.read(0, 1):  # nothing is ever written: it returns when the other end is closed
        pass
    os._exit(1)
