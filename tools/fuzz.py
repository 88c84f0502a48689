"""Give the parsers hostile inputs for as long as you like, within limits on memory and time, and keep what fails.

    python tools/fuzz.py [--target NAME ...] [--inputs N] [--seconds S] [--engine E] [--seed S] [--jobs N]
    python tools/fuzz.py --ledger FILE --inputs 100000 --total 10000000     for hours; stopped, it goes on from FILE
    python tools/fuzz.py report FILE                                        what all runs of a ledger have tried

Engines: 'mutation' changes sound inputs, a function of seed and number; 'atheris' is libFuzzer, which keeps what
reaches new branches of the package in --corpus and goes on from there; 'both' takes turns. The targets and what they
may not do are described in tests/fuzz/. Each runs in a process of its own, so that a crash or a bite into memory is
told of the target and the input that caused it. Exit code 1: something was found; the shortest input of each fault
stands in FOUND/TARGET/, and belongs into tests/fuzz/found/TARGET/ once the fault is mended.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Iterator, NoReturn, Optional

ROOT = Path(__file__).resolve().parents[1]
FUZZ = ROOT / "tests" / "fuzz"
sys.path[:0] = [str(ROOT), str(FUZZ)]

from fuzz_ledger import Ledger  # noqa: E402  (found through the path set above)
from fuzz_slice import ENGINES, read_last_input  # noqa: E402
from fuzz_targets import TARGETS  # noqa: E402

from arcface_paddle import files  # noqa: E402
from arcface_paddle.cli.tables import text_table  # noqa: E402

BOTH = "both"
SLICE_INPUTS = 50_000
SLICE_CPU_S = 60.0
"""Of a slice, after which the ledger is written: what a run that is stopped loses at most."""
_HEAD = ("target", *ENGINES, "inputs", "answers", "CPU s", "violations")


def main() -> int:
    if sys.argv[1:2] == ["report"]:
        return report(sys.argv[2:])
    args = arguments()
    if args.engine != ENGINES[0] and importlib.util.find_spec("atheris") is None:
        print(
            "the engine atheris needs the package atheris (Linux): pip install 'arcface-paddle[fuzz]'", file=sys.stderr
        )
        return 2
    ledger = Ledger(args.ledger)
    signal.signal(signal.SIGTERM, stop)
    run = Run(args, ledger)
    try:
        run.work()
    except KeyboardInterrupt:
        print(f"stopped; {f'go on with --ledger {args.ledger}' if args.ledger else 'nothing is kept'}", file=sys.stderr)
        return 130
    finally:
        run.end()
    if args.json:
        files.write_json(args.json, {"seed": args.seed, "targets": ledger.targets})
    return tell(ledger, args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS), metavar="NAME")
    parser.add_argument("--engine", choices=(*ENGINES, BOTH), default=ENGINES[0], help="see above (%(default)s)")
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target (%(default)s)")
    parser.add_argument("--total", type=int, default=0, help="go round once more until there are so many in all")
    parser.add_argument("--seconds", type=float, help="CPU seconds of each target at most (default: no limit)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at a time (%(default)s)")
    parser.add_argument("--found", type=Path, default=Path("output/fuzz"), help="folder of what fails (%(default)s)")
    parser.add_argument("--corpus", type=Path, default=Path("output/fuzz_corpus"), help="of atheris (%(default)s)")
    parser.add_argument("--ledger", type=Path, help="file of all counts, to go on from")
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    return parser.parse_args()


def report(paths: list[str]) -> int:
    """Show the table of a ledger."""
    if len(paths) != 1 or not Path(paths[0]).is_file():
        print("python tools/fuzz.py report LEDGER: name the file that --ledger has written", file=sys.stderr)
        return 2
    ledger = Ledger(Path(paths[0]))
    print(text_table(list(_HEAD), ledger.rows(ENGINES)))
    for target, what in ledger.violations():
        print(f"  {target}: {what}")
    return 1 if ledger.violations() else 0


def tell(ledger: Ledger, args: argparse.Namespace) -> int:
    """Say what was tried and what failed."""
    targets, found = len(ledger.targets), ledger.violations()
    seconds = sum(map(ledger.cpu_s, ledger.targets))
    print(f"{ledger.total():,.0f} inputs, {targets} targets, {seconds:,.0f} s of CPU time, seed {args.seed}")
    for target, what in found:
        print(f"  {target}: {what}")
    failed = len({target for target, _ in found})
    print(f"{failed} targets failed" + (f"; inputs are in {args.found}" if failed else ""))
    return 1 if failed else 0


def stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class Run:
    """Gives slices to processes until every target has had enough."""

    def __init__(self, args: argparse.Namespace, ledger: Ledger) -> None:
        self._args = args
        self._ledger = ledger
        self._goal = args.inputs
        self._engines = ENGINES if args.engine == BOTH else (args.engine,)
        self._guard = threading.Lock()
        self._busy: set[str] = set()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._ended = threading.Event()

    def work(self) -> None:
        """Work on as many targets at a time as ``--jobs`` says."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._args.jobs)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(0.2)  # a join without an end would keep Ctrl-C waiting

    def end(self) -> None:
        """Leave no process behind."""
        self._ended.set()
        with self._guard:
            for child in self._children:
                child.kill()

    def _work(self) -> None:
        while not self._ended.is_set():
            with self._guard:
                target = self._next()
                if target is None:
                    return
                self._busy.add(target)
                engine = self._ledger.least_tried(target, self._engines)
                first = self._ledger.first(target, engine, self._args.seed)
                count = self._count(target)
            row = self._slice(target, engine, first=first, count=count)
            with self._guard:
                self._busy.discard(target)
                if not self._ended.is_set():
                    self._ledger.add(row, seed=self._args.seed)
                    for violation in row["violations"]:
                        print(f"{self._ledger.total():,.0f} inputs: {target}: {violation}", flush=True)

    def _count(self, target: str) -> int:
        missing = int(self._goal - self._ledger.inputs(target))
        return max(1, min(SLICE_INPUTS, missing)) if self._args.ledger else max(1, missing)

    def _next(self) -> Optional[str]:
        """Return the target that has had least and may have more; None when there is none."""
        while True:
            able = [
                name
                for name in self._args.target
                if self._args.seconds is None or self._ledger.cpu_s(name) < self._args.seconds
            ]
            waiting = [name for name in able if name not in self._busy and self._ledger.inputs(name) < self._goal]
            if waiting:
                return min(waiting, key=self._ledger.inputs)
            if self._busy or not able or self._ledger.total() >= self._args.total:
                return None
            self._goal += self._args.inputs

    def _slice(self, target: str, engine: str, *, first: int, count: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="fuzz_slice") as folder:
            row = Path(folder) / "row.json"
            command = [sys.executable, str(FUZZ / "fuzz_slice.py"), target, f"--row={row}", f"--engine={engine}"]
            command += [f"--seed={self._args.seed}", f"--first={first}", f"--inputs={count}"]
            command += [f"--found={self._args.found}", f"--corpus={self._args.corpus}"]
            if self._seconds(target) is not None:
                command.append(f"--seconds={self._seconds(target)}")
            with self._child(command) as child:
                code = child.wait()
            if row.is_file():
                return dict(json.loads(row.read_text()))
            return self._dead(target, engine, code=code, content=read_last_input(Path(f"{row}.input")))

    def _seconds(self, target: str) -> Optional[float]:
        limits = [] if self._args.seconds is None else [max(1.0, self._args.seconds - self._ledger.cpu_s(target))]
        return min([*limits, SLICE_CPU_S]) if self._args.ledger else (limits[0] if limits else None)

    @contextlib.contextmanager
    def _child(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        with self._guard:
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
            self._children.add(child)
        try:
            yield child
        finally:
            with self._guard:
                self._children.discard(child)

    def _dead(self, target: str, engine: str, *, code: int, content: bytes) -> dict[str, Any]:
        """Return the row of a process that died, and keep what it was parsing."""
        if not self._ended.is_set():
            path = self._args.found / target / hashlib.sha256(content).hexdigest()[:16]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        row = {"target": target, "engine": engine, "inputs": 1, "answers": 0, "cpu_s": 0.0}
        return {**row, "violations": [f"the process died ({code})"]}


if __name__ == "__main__":
    sys.exit(main())
