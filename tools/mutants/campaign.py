"""A room's mutants, tested one after another; what is known already is not tested again."""

from __future__ import annotations

import hashlib
import json
import queue as queues
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

from arcface_paddle import files
from mutants.operators import Mutant, mutants
from mutants.rooms import Room
from mutants.tree import Server, Tree

CAUGHT, SURVIVED, UNREACHED = "caught", "survived", "not reached"
_WALL_OF_CPU = 12.0
"""A busy machine gives a process a part of a core; what sleeps is found by the wall, what turns by the CPU time."""
_MEASURING_S = 3600.0
_LEAST_S = 3.0
"""CPU seconds of the quickest test: it may be the one that imports a library."""
_WITH_PROCESSES_S = 120.0


class Ledger:
    """What is known of a room, in two JSON files of a folder.

    ``ROOM.json`` has the outcome of every mutant, with the hash of the changed file; ``ROOM.reach.json`` has CPU
    seconds and reached lines of every test, by test file with its hash and those of the sources that it reached.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path, self._reach_path = folder / f"{name}.json", folder / f"{name}.reach.json"
        self.mutants: dict[str, dict[str, Any]] = _read(self._path)
        self.tests: dict[str, dict[str, Any]] = _read(self._reach_path)
        self._guard = threading.Lock()

    def note(self, key: str, outcome: dict[str, Any]) -> None:
        """Keep what became of a mutant."""
        with self._guard:
            self.mutants[key] = outcome
            files.write_json(self._path, self.mutants)

    def note_test_file(self, name: str, measured: dict[str, Any]) -> None:
        """Keep what the tests of a file reach."""
        self.tests[name] = measured
        files.write_text(self._reach_path, json.dumps(self.tests))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


class Campaign:
    """Tests the chosen mutants of a room in ``jobs`` copies of the program.

    Args:
        root: Of the program.
        room: What is changed and which tests are asked.
        ledger: What is known, and where it is kept.
        budget_s: CPU seconds of tests that a mutant gets at most; the quickest are asked first.
        say: Takes a line for the user.
    """

    def __init__(
        self, root: Path, room: Room, *, ledger: Ledger, budget_s: float, jobs: int, say: Callable[[str], None]
    ) -> None:
        self._root, self._room, self._ledger = root, room, ledger
        self._budget_s, self._jobs, self._say = budget_s, jobs, say
        self._sources = {file: (root / file).read_text(encoding="utf-8") for file in room.source_files(root)}
        self._noticed: dict[str, list[str]] = {}  # tests that have caught something, by function: likely to do so again
        for key, known in ledger.mutants.items():
            if known["by"]:
                self._noticed.setdefault(_place(key), []).append(known["by"])
        self._test_files: list[str] = []
        self._measured: set[str] = set()
        self._measuring = threading.Lock()
        self._ended = threading.Event()
        self._failures: list[BaseException] = []

    def all_mutants(self) -> list[Mutant]:
        """Return every mutant of the room."""
        return [mutant for file, source in self._sources.items() for mutant in mutants(source, file)]

    def sample(self, count: Optional[int], seed: int) -> list[Mutant]:
        """Draw mutants; a larger sample of the same seed contains the smaller, and other edits leave it as it is."""
        everyone = sorted(self.all_mutants(), key=lambda mutant: _hash(f"{seed} {mutant.key}"))
        return everyone[:count]

    def unnoticed(self) -> list[Mutant]:
        """Return what no test noticed last time, whether or not its file has changed since."""
        outcomes = {key: known["outcome"] for key, known in self._ledger.mutants.items()}
        return [mutant for mutant in self.all_mutants() if outcomes.get(mutant.key, CAUGHT) != CAUGHT]

    def outcome(self, mutant: Mutant) -> Optional[dict[str, Any]]:
        """Return what is known of a mutant, if its file is still the same."""
        known = self._ledger.mutants.get(mutant.key)
        return known if known and known["source"] == _hash(self._sources[mutant.file]) else None

    def run(self, chosen: list[Mutant], *, again: bool) -> None:
        """Test what is not known yet; with ``again`` also what no test noticed last time."""
        todo = [m for m in chosen if self._open(m, again=again)]
        todo.sort(key=lambda mutant: mutant.live is None)  # what runs at import takes a new import for every mutant
        self._say(f"{len(chosen)} mutants, {len(chosen) - len(todo)} known")
        if not todo:
            return
        with tempfile.TemporaryDirectory(prefix="mutation_") as folder:
            workers = [_Worker(self._root, Path(folder) / f"copy{n}", self._room) for n in range(self._jobs)]
            try:
                for worker in workers:
                    self._test_files = sorted({test.split("::")[0] for test in worker.collected()})
                self._share(workers, todo, self._test)
                if self._room.with_processes:
                    left = [m for m in todo if self._outcome_is(m, SURVIVED)]
                    self._share(workers, left, self._test_with_processes)
            finally:
                self._ended.set()
                for worker in workers:
                    worker.end()
        if self._failures:
            raise self._failures[0]

    def _outcome_is(self, mutant: Mutant, outcome: str) -> bool:
        known = self.outcome(mutant)
        return known is not None and known["outcome"] == outcome

    def _open(self, mutant: Mutant, *, again: bool) -> bool:
        known = self.outcome(mutant)
        return known is None or (again and known["outcome"] != CAUGHT)

    def _measure(self, worker: _Worker, test_files: list[str]) -> None:
        """Learn what the tests of files reach, unless neither they nor a source that they reached has changed since."""
        sources = {name: _hash(source) for name, source in self._sources.items()}
        with self._measuring:
            for name in [name for name in test_files if name not in self._measured]:
                own = _hash((self._root / name).read_text(encoding="utf-8"))
                known = self._ledger.tests.get(name)
                if (
                    known is None
                    or known["own"] != own
                    or any(sources.get(n) != h for n, h in known["reached"].items())
                ):
                    self._say(f"measuring {name}")
                    tests = worker.reach(name, list(sources))
                    reached = {source: sources[source] for test in tests.values() for source in test["lines"]}
                    self._ledger.note_test_file(name, {"own": own, "reached": reached, "tests": tests})
                self._measured.add(name)

    def _share(self, workers: list[_Worker], todo: list[Mutant], test: _Test) -> None:
        queue: queues.SimpleQueue[Mutant] = queues.SimpleQueue()
        for mutant in todo:
            queue.put(mutant)
        threads = [threading.Thread(target=self._work, args=(worker, queue, test), daemon=True) for worker in workers]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(0.2)  # a join without an end would keep Ctrl-C waiting

    def _work(self, worker: _Worker, queue: queues.SimpleQueue[Mutant], test: _Test) -> None:
        try:
            while not self._ended.is_set():
                test(worker, queue.get_nowait())
        except queues.Empty:
            return
        except (OSError, RuntimeError, ValueError) as error:
            if not self._ended.is_set():
                self._failures.append(error)

    def _test(self, worker: _Worker, mutant: Mutant) -> None:
        """Ask the tests that reach a mutant."""
        told: dict[str, Any] = {"outcome": UNREACHED, "by": None}
        asked, began = 0, time.monotonic()
        for test_files in self._in_order(mutant):
            self._measure(worker, test_files)
            tests, cpu_s = self._tests_of(mutant, test_files)
            asked += len(tests)
            if tests:
                with self._changed(worker, mutant):
                    told = _told(worker.test(mutant, tests, 10 + 5 * cpu_s, self._limits(tests)))
            if told["outcome"] == CAUGHT:
                break
        self._note(mutant, {**told, "asked": asked, "wall_s": round(time.monotonic() - began, 1)})

    def _in_order(self, mutant: Mutant) -> tuple[list[str], list[str]]:
        """Return the test files that bear the name of the mutant's, or have caught one there, and the others.

        Most mutants are caught by the first ones: what the others reach, all of a training run perhaps, need not be
        known for these.
        """
        noticing = {test.split("::")[0] for test in self._noticed.get(_place(mutant.key), ())}
        stem = Path(mutant.file).stem
        first = [name for name in self._test_files if stem in Path(name).stem or name in noticing]
        return first, [name for name in self._test_files if name not in first]

    def _test_with_processes(self, worker: _Worker, mutant: Mutant) -> None:
        """Ask the tests of which nobody knows what they reach."""
        with self._changed(worker, mutant):
            told = _told(worker.test_fresh(list(self._room.with_processes), _WITH_PROCESSES_S, {}))
        if told["outcome"] == CAUGHT:
            self._note(mutant, told)

    @contextmanager
    def _changed(self, worker: _Worker, mutant: Mutant) -> Iterator[None]:
        source = self._sources[mutant.file]
        worker.tree.write(mutant.file, mutant.apply(source))
        try:
            yield
        finally:
            worker.tree.write(mutant.file, source)

    def _limits(self, tests: list[str]) -> dict[str, float]:
        """Return the CPU seconds of a test, by file: whichever comes first also pays for what its file shares."""
        slowest: dict[str, float] = {}
        for test in tests:
            file = test.split("::")[0]
            slowest[file] = max(known["cpu_s"] for known in self._ledger.tests[file]["tests"].values())
        return {file: _LEAST_S + 3.0 * cpu_s for file, cpu_s in slowest.items()}

    def _note(self, mutant: Mutant, told: dict[str, Any]) -> None:
        if told["by"]:
            self._noticed.setdefault(_place(mutant.key), []).append(told["by"])
        self._ledger.note(mutant.key, {**told, "source": _hash(self._sources[mutant.file])})
        self._say(f"{told['outcome']:12} {mutant.file}:{mutant.lines[0]} {mutant.change}")

    def _tests_of(self, mutant: Mutant, test_files: list[str]) -> tuple[list[str], float]:
        """Return the tests that reach the lines, grouped by file, the likely and quick ones first; and their time."""
        first, last = mutant.statement, mutant.lines[1]
        found = {}
        for file in test_files:
            # What runs at import is reached by no test; it may be read by those that name the module.
            named = mutant.live is None and Path(mutant.file).stem in (self._root / file).read_text(encoding="utf-8")
            for name, test in self._ledger.tests[file]["tests"].items():
                lines = test["lines"].get(mutant.file, ())
                reached = lines if mutant.live is None else any(first <= n <= last for n in lines)
                if not test["failed"] and (named or reached):
                    found[name] = test["cpu_s"]
        likely = self._noticed.get(_place(mutant.key), [])
        ordered = sorted(found, key=lambda name: (name not in likely, found[name]))
        chosen, spent = [], 0.0
        for name in ordered:
            if chosen and spent + found[name] > self._budget_s:
                break
            chosen.append(name)
            spent += found[name]
        places = {name.split("::")[0]: -place for place, name in reversed(list(enumerate(chosen)))}
        return sorted(chosen, key=lambda name: -places[name.split("::")[0]]), spent


class _Worker:
    """A copy of the program and the processes that test it, started when they are needed."""

    def __init__(self, root: Path, folder: Path, room: Room) -> None:
        self.tree = Tree(root, folder)
        self._room = room
        self._servers: dict[str, Server] = {}
        self._libraries = list(room.libraries)

    def collected(self) -> list[str]:
        """Return the names of the room's tests."""
        answer = self._ask("collected", {"what": "list", "wall_s": 60, "cpu_s": 60})
        self._libraries = answer["libraries"]
        return answer["tests"]

    def reach(self, name: str, sources: list[str]) -> dict[str, dict[str, Any]]:
        """Return CPU seconds, failure and reached lines of the tests of a file, by test."""
        output = self.tree.folder.with_name("reach.jsonl")
        command = {
            "what": "reach",
            "file": name,
            "files": {str(self.tree.folder / source): source for source in sources},
            "output": str(output),
            "wall_s": _MEASURING_S,
            "cpu_s": _MEASURING_S,
        }
        self._ask("collected", command)
        told = [json.loads(line) for line in output.read_text().splitlines()]
        return {test.pop("test"): test for test in told}

    def test(self, mutant: Mutant, tests: list[str], cpu_s: float, limit_s: dict[str, float]) -> dict[str, Any]:
        """Run tests on the changed program; ``limit_s`` are the CPU seconds of one test, by file."""
        limits = {"wall_s": 20 + _WALL_OF_CPU * cpu_s, "cpu_s": cpu_s, "limit_s": limit_s}
        if mutant.live is not None:
            path = str(self.tree.folder / mutant.file)
            told = self._ask("collected", {"what": "test", "path": path, "tests": tests, **limits})
            if "not patched" not in told:
                return told
        return self.test_fresh(tests, cpu_s, limit_s)

    def test_fresh(self, tests: list[str], cpu_s: float, limit_s: dict[str, float]) -> dict[str, Any]:
        """Run tests on the changed program in a process that has imported nothing of it yet."""
        cpu_s += 30  # importing and collecting
        limits = {"wall_s": 20 + _WALL_OF_CPU * cpu_s, "cpu_s": cpu_s, "limit_s": limit_s}
        return self._ask("fresh", {"tests": tests, **limits})

    def _ask(self, mode: str, command: dict[str, Any]) -> dict[str, Any]:
        if mode not in self._servers:
            self._servers[mode] = Server(self.tree, mode, self._room, self._libraries)
        return self._servers[mode].ask(command)

    def end(self) -> None:
        for server in self._servers.values():
            server.end()


_Test = Callable[[_Worker, Mutant], None]


def _place(key: str) -> str:
    """Return file and function of a mutant's key."""
    return " | ".join(key.split(" | ")[:2])


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    """Turn the answer of a server into an outcome; what hangs or dies was noticed."""
    if answer.get("failed"):
        return {"outcome": CAUGHT, "by": answer["failed"]}
    if "timeout" in answer or "died" in answer:
        return {"outcome": CAUGHT, "by": None, "how": "timeout" if "timeout" in answer else "died"}
    return {"outcome": SURVIVED, "by": None}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
