"""A process that has Paddle and the tests in memory and runs some of them in a child, once for each mutant.

    python server.py collected|fresh COMMANDS_FD ANSWERS_FD BASETEMP LIBRARIES TESTS...

Commands and answers are JSON, one a line. ``collected`` imports all tests once; its children put the changed code into
the functions that live already, which costs nothing. What runs at import cannot be changed that way: ``fresh`` only
imports the libraries, and its children import the package and collect the tests themselves.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Callable, Optional

import pytest

sys.path.append(str(Path(__file__).resolve().parent))
from reach import Reach

_MEMORY = 6 << 30
"""Bytes that a child may have: what loses its bound must not take the machine with it."""
_OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", "-m", "not slow")


class Asked:
    """One command after another, each worked off in a child."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = os.fdopen(commands)
        self._answers = os.fdopen(answers, "w")

    def serve(self, work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.say({"ready": True})
        for line in self._commands:
            command = json.loads(line)
            self.say(in_child(lambda told=command: work(told), wall_s=command["wall_s"], cpu_s=command["cpu_s"]))

    def say(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()


def in_child(work: Callable[[], dict[str, Any]], *, wall_s: float, cpu_s: float) -> dict[str, Any]:
    """Run something in a fork of this process.

    Returns:
        What it returned; ``{"timeout": True}`` where it took too long, ``{"died": status}`` where it ended otherwise.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_child(work, writing, int(cpu_s))
    os.close(writing)
    with os.fdopen(reading) as answers:
        answered = _answer(answers, wall_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # and what it has started
    _, status = os.waitpid(child, 0)
    if answered is None:
        return {"timeout": True}
    if answered:
        return json.loads(answered)
    return {"timeout": True} if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU else {"died": status}


def _answer(answers: Any, wall_s: float) -> Optional[str]:
    ready, _, _ = select.select([answers], [], [], wall_s)
    return answers.readline() if ready else None


def _be_child(work: Callable[[], dict[str, Any]], writing: int, cpu_s: int) -> None:
    status = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answer = json.dumps(work()) + "\n"
        os.write(writing, answer.encode())
        status = 0
    finally:
        os._exit(status)


class Noted:
    """The pytest plugin that remembers the first failure."""

    def __init__(self) -> None:
        self.failed: Optional[str] = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid


class Collected:
    """The pytest plugin that serves instead of running the tests."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._items: dict[str, pytest.Item] = {}
        self._noted = Noted()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config.pluginmanager.register(self._noted)
        self._items = {item.nodeid: item for item in session.items}
        self._live = live_functions()
        gc.collect()
        gc.freeze()  # the children share these pages
        self._asked.serve(self._work)
        return True

    def _work(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["what"] == "list":
            return {"tests": list(self._items)}
        if command["what"] == "reach":
            return self._reach(command)
        if not patch(self._live, Path(command["path"])):
            return {"not patched": True}
        return self._run(command["tests"])

    def _reach(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run one test file with watched lines, writing a line for each of its tests."""
        items = [item for name, item in self._items.items() if name.split("::")[0] == command["file"]]
        reach = Reach(command["files"])
        with open(command["output"], "w") as written:
            for item, following in zip(items, [*items[1:], None]):
                began = time.process_time()
                with reach.watched() as lines:
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                cpu_s = round(time.process_time() - began, 3)
                failed = self._noted.failed == item.nodeid
                written.write(
                    json.dumps({"test": item.nodeid, "cpu_s": cpu_s, "failed": failed, "lines": lines}) + "\n"
                )
                written.flush()
                self._noted.failed = None
        return {"measured": len(items)}

    def _run(self, tests: list[str]) -> dict[str, Any]:
        items = [self._items[name] for name in tests]
        for item, following in zip(items, [*items[1:], None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._noted.failed:
                break
        return {"failed": self._noted.failed}


def live_functions() -> dict[tuple[str, int, str], list[FunctionType]]:
    """Return all functions of this process by file, first line and name of their code."""
    found: dict[tuple[str, int, str], list[FunctionType]] = {}
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType):
            found.setdefault(_place(thing.__code__), []).append(thing)
    return found


def patch(live: dict[tuple[str, int, str], list[FunctionType]], path: Path) -> bool:
    """Give all functions of a file the code that the file has now.

    Returns:
        Whether that was possible; it is not where a closure would need other variables.
    """
    module = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    for code in _codes(module):
        for function in live.get(_place(code), []):
            if function.__code__.co_freevars != code.co_freevars:
                return False
            function.__code__ = code
    return True


def _codes(code: CodeType) -> Iterable[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _place(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_name


def fresh(command: dict[str, Any]) -> dict[str, Any]:
    """Import everything anew and run the tests."""
    noted = Noted()
    pytest.main([*_OPTIONS, "--basetemp", command["basetemp"], *command["tests"]], plugins=[noted])
    return {"failed": noted.failed}


def main() -> None:
    mode, commands, answers, basetemp, libraries, *tests = sys.argv[1:]
    for name in libraries.split():
        importlib.import_module(name)  # all children share it
    asked = Asked(int(commands), int(answers))
    if mode == "fresh":
        asked.serve(fresh)
    else:
        pytest.main([*_OPTIONS, "--basetemp", basetemp, *tests], plugins=[Collected(asked)])


if __name__ == "__main__":
    main()
