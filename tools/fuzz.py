"""Give the parsers mutated inputs for as long as you like, within limits on memory, and keep what fails.

    python tools/fuzz.py [--target NAME ...] [--inputs N] [--seconds S] [--seed S] [--jobs N] [--found DIR]

The targets and what they may not do are described in tests/fuzz/. Each runs in a process of its own, so that a crash or
a bite into memory is told of the target that caused it. Exit code 1: something was found; the shortest input of each
fault stands in DIR/TARGET/, and belongs into tests/fuzz/found/TARGET/ once the fault is mended.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import resource
import sys
from pathlib import Path
from typing import Any, Iterator, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fuzz")]

from fuzz_running import attack, keep  # noqa: E402  (found through the path set above)
from fuzz_targets import TARGETS  # noqa: E402
from tqdm import tqdm  # noqa: E402

from arcface_paddle import files  # noqa: E402

MOST_ADDRESS_SPACE = 8 << 30
"""Of a process: libraries take 3 GB of addresses; what asks for more fails instead of filling the machine."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS), metavar="NAME")
    parser.add_argument("--inputs", type=int, default=100_000, help="mutated inputs of each target (%(default)s)")
    parser.add_argument("--seconds", type=float, help="CPU seconds of each target at most (default: no limit)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at a time (%(default)s)")
    parser.add_argument("--found", type=Path, default=Path("output/fuzz"), help="folder of what fails (%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    args = parser.parse_args()
    rows = list(run_all(args))
    total, cpu_s = sum(row["inputs"] for row in rows), sum(row["cpu_s"] for row in rows)
    failed = [row for row in rows if row["violations"]]
    print(f"{total:,} inputs, {len(rows)} targets, {cpu_s:,.0f} s of CPU time, seed {args.seed}")
    for row in failed:
        for violation in row["violations"]:
            print(f"  {row['target']}: {violation}")
    print(f"{len(failed)} targets failed" + (f"; inputs are in {args.found}" if failed else ""))
    if args.json:
        files.write_json(args.json, {"seed": args.seed, "rows": rows})
    return 1 if failed else 0


def run_all(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Give a row of figures for each target as it ends."""
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as threads:
        waiting = [threads.submit(run_apart, name, args) for name in args.target]
        for done in tqdm(concurrent.futures.as_completed(waiting), total=len(waiting), unit="target"):
            yield done.result()


def run_apart(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Attack one target in a process of its own, which may die."""
    options = {"seed": args.seed, "count": args.inputs, "seconds": args.seconds, "found": args.found}
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as process:
        try:
            return process.submit(functools.partial(run_one, name, **options)).result()
        except concurrent.futures.process.BrokenProcessPool:
            return {"target": name, "inputs": 0, "answers": 0, "cpu_s": 0.0, "violations": ["the process died"]}


def run_one(name: str, *, seed: int, count: int, seconds: Optional[float], found: Path) -> dict[str, Any]:
    """Attack one target in this process."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_SPACE, MOST_ADDRESS_SPACE))
    with quiet():
        outcome = attack(TARGETS[name], seed=seed, count=count, seconds=seconds)
    keep(outcome, found)
    return {
        "target": name,
        "inputs": outcome.inputs,
        "answers": outcome.answers,
        "cpu_s": round(outcome.cpu_s, 1),
        "violations": sorted(outcome.violations),
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries print about damaged pictures, from C and from Python, away from the report."""
    with open(os.devnull, "w") as nothing:
        kept = os.dup(2)
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


if __name__ == "__main__":
    sys.exit(main())
