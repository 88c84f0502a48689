"""A process that has Paddle and the tests in memory and runs some of them in a child, once for each mutant.

    python server.py collected|fresh COMMANDS_FD ANSWERS_FD BASETEMP LIBRARIES TESTS...

Commands and answers are JSON, one a line. ``collected`` imports all tests once; its children put the changed code into
the functions that live already, which costs nothing. What runs at import cannot be changed that way: ``fresh`` only
imports the libraries, and its children import the package and collect the tests themselves. LIBRARIES is a file with
their names.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Callable, Optional

import pytest

sys.path.append(str(Path(__file__).resolve().parent))
from children import in_child, limited
from reach import Reach

_IDLE_PLUGINS = ("cacheprovider", "xdist", "randomly", "hypothesispytest", "unraisableexception", "threadexception")
"""What they cost is four times what a few tests cost: that of hypothesis imports it at the end, to say nothing."""
_OPTIONS = ("-q", "-x", "-m", "not slow", *(word for name in _IDLE_PLUGINS for word in ("-p", f"no:{name}")))


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


class Noted:
    """The pytest plugin that remembers the first failure."""

    def __init__(self) -> None:
        self.failed: Optional[str] = None
        self.limit_s: Optional[dict[str, float]] = None  # CPU seconds of a test, by test file

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        limit_s = (self.limit_s or {}).get(item.nodeid.split("::")[0])
        with limited(limit_s) if limit_s else contextlib.nullcontext():
            yield

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
        self._reach_now: Optional[Reach] = None
        self._by_fixture: dict[str, dict[str, set[int]]] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Note what a fixture of several tests reaches: the first of them makes it, and all depend on it."""
        if self._reach_now is None or fixturedef.scope == "function":
            yield
            return
        with self._reach_now.apart() as lines:
            yield
        known = self._by_fixture.setdefault(fixturedef.argname, {})
        for file, reached in lines.items():
            known.setdefault(file, set()).update(reached)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config.pluginmanager.register(self._noted)
        self._items = {item.nodeid: item for item in session.items}
        self._live = live_functions()
        sys.dont_write_bytecode = True  # the compiled tests are kept from here on, no compiled mutant is
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        gc.collect()
        gc.freeze()  # the children share these pages
        self._asked.serve(self._work)
        return True

    def _work(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["what"] == "list":
            return {"tests": list(self._items), "libraries": foreign_modules()}
        if command["what"] == "reach":
            return self._reach(command)
        if not patch(self._live, Path(command["path"])):
            return {"not patched": True}
        self._noted.limit_s = command["limit_s"]
        return self._run(command["tests"])

    def _reach(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run one test file with watched lines, writing a line for each of its tests."""
        items = [item for name, item in self._items.items() if name.split("::")[0] == command["file"]]
        reach = self._reach_now = Reach(command["files"])
        with open(command["output"], "w") as written:
            for item, following in zip(items, [*items[1:], None]):
                began = time.process_time()
                with reach.watched() as lines:
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                cpu_s = round(time.process_time() - began, 3)
                failed = self._noted.failed == item.nodeid
                lines = self._with_fixtures(lines, item)
                written.write(
                    json.dumps({"test": item.nodeid, "cpu_s": cpu_s, "failed": failed, "lines": lines}) + "\n"
                )
                written.flush()
                self._noted.failed = None
        return {"measured": len(items)}

    def _with_fixtures(self, lines: dict[str, list[int]], item: pytest.Item) -> dict[str, list[int]]:
        """Add what the fixtures of a test have reached, for whichever test they were made."""
        united = {file: set(reached) for file, reached in lines.items()}
        for name in getattr(item, "fixturenames", ()):
            for file, reached in self._by_fixture.get(name, {}).items():
                united.setdefault(file, set()).update(reached)
        return {file: sorted(reached) for file, reached in united.items()}

    def _run(self, tests: list[str]) -> dict[str, Any]:
        items = [self._items[name] for name in tests]
        for item, following in zip(items, [*items[1:], None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._noted.failed:
                break
        return {"failed": self._noted.failed}


def foreign_modules() -> list[str]:
    """Return all that was imported and lies outside of this folder: no mutant changes it."""
    here = str(Path.cwd())
    places = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    own = {name.split(".")[0] for name, place in places.items() if place.startswith(here)} | {"__main__"}
    return [name for name, place in places.items() if place and name.split(".")[0] not in own]


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
    noted.limit_s = command["limit_s"]
    pytest.main([*_OPTIONS, "--basetemp", command["basetemp"], *command["tests"]], plugins=[noted])
    return {"failed": noted.failed}


def main() -> None:
    mode, commands, answers, basetemp, libraries, *tests = sys.argv[1:]
    for name in Path(libraries).read_text().split():
        with contextlib.suppress(ImportError):  # a part of a library that was made, not read
            importlib.import_module(name)  # all children share it
    sys.dont_write_bytecode = mode == "fresh"
    asked = Asked(int(commands), int(answers))
    if mode == "fresh":
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        asked.serve(fresh)
    else:
        pytest.main([*_OPTIONS, "--basetemp", basetemp, *tests], plugins=[Collected(asked)])


if __name__ == "__main__":
    main()
