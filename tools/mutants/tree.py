"""A copy of the program that may be changed, and the processes that test it."""

from __future__ import annotations

import compileall
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mutants.rooms import Room

_ENDING_S = 10.0
_SERVER = Path(__file__).resolve().parent / "server.py"


class Tree:
    """A temporary copy of all files that git knows or could know."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, stdout=-1, check=True
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (root / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                _copy(root / name, folder / name)
        compileall.compile_dir(str(folder / "arcface_paddle"), quiet=2)

    def write(self, file: str, source: str) -> None:
        """Put other text into a file, and forget what was compiled of it."""
        path = self.folder / file
        path.write_text(source, encoding="utf-8")
        with suppress(FileNotFoundError):
            Path(importlib.util.cache_from_source(str(path))).unlink()


def _copy(source: Path, target: Path) -> None:
    """Copy a file, and what is compiled of it already: it stays good, because the time of the file is copied, too."""
    shutil.copy2(source, target)
    if source.suffix == ".py":
        compiled = Path(importlib.util.cache_from_source(str(target)))
        with suppress(FileNotFoundError):
            compiled.parent.mkdir(exist_ok=True)
            shutil.copy2(importlib.util.cache_from_source(str(source)), compiled)


class Server:
    """One process of ``server.py``; ``libraries`` are imported before it forks, as far as they are there."""

    def __init__(self, tree: Tree, mode: str, room: Room, libraries: Iterable[str]) -> None:
        self.basetemp = str(tree.folder.with_name(f"{tree.folder.name}_{mode}"))
        commands_out, commands_in = os.pipe()
        answers_out, answers_in = os.pipe()
        environment = {**os.environ, "PYTHONPATH": str(tree.folder)}
        shared = tree.folder.with_name(f"{tree.folder.name}_{mode}.libraries")
        shared.write_text("\n".join(libraries))
        self._log = open(tree.folder.with_name(f"{tree.folder.name}_{mode}.log"), "wb")  # noqa: SIM115  (closed by end)
        asked = [mode, str(commands_out), str(answers_in), self.basetemp, str(shared), *room.tests]
        self._process = subprocess.Popen(
            [sys.executable, str(_SERVER), *asked],
            cwd=tree.folder,
            env=environment,
            pass_fds=(commands_out, answers_in),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        os.close(commands_out)
        os.close(answers_in)
        self._commands, self._answers = os.fdopen(commands_in, "w"), os.fdopen(answers_out)
        self._receive()

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Have a command worked off."""
        self._commands.write(json.dumps({"basetemp": self.basetemp, **command}) + "\n")
        self._commands.flush()
        return self._receive()

    def end(self) -> None:
        """Leave no process behind."""
        self._process.terminate()  # it ends its child, which leads a session of its own
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _receive(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"the process that runs the tests ended; {self._log.name} says why")
        return json.loads(line)
