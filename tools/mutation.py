"""Change the program in one place at a time and see whether a test notices.

    python tools/mutation.py --room safe_pickle heads --sample 100     some mutants of two rooms
    python tools/mutation.py --room heads --sample 0 --again           once more those that no test noticed
    python tools/mutation.py --room heads --only margins --all         all mutants of the files with that name
    python tools/mutation.py --report                                  what is known of all rooms

A mutant compares, computes, counts, cuts or returns otherwise than the program, or leaves out a call. Only the tests
that reach the changed line are asked, as one run of each room's tests has shown, those first that have caught something
in the same function; what hangs or dies counts as noticed. What nobody could notice is listed with its reason in
tests/mutation_equivalent.yaml, and so is why nothing notices a survivor. All outcomes are kept in --ledger FOLDER, so
that a run that was stopped goes on; REPORT.md there says what is known. Exit code 1: fewer than --least percent of the
mutants that make a difference were noticed. Needs Linux or macOS: every mutant is a fork of a process that has Paddle
in memory.

mutmut replaces functions by trampolines, which hides them from inspect, pickle and the tests that read the program;
cosmic-ray starts a process for each mutant, and importing Paddle takes longer than most tests.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from mutants.campaign import Campaign, Ledger  # noqa: E402  (found through the path set above)
from mutants.operators import Mutant  # noqa: E402
from mutants.report import write_report  # noqa: E402
from mutants.reviewed import Reviewed, read_reviewed, review_of  # noqa: E402
from mutants.rooms import ROOMS  # noqa: E402

from arcface_paddle import files  # noqa: E402

REVIEWED = ROOT / "tests" / "mutation_equivalent.yaml"


def main() -> int:
    args = arguments()
    signal.signal(signal.SIGTERM, stop)
    reviewed = read_reviewed(REVIEWED)
    campaigns = {name: campaign(name, args) for name in args.room}
    try:
        for name, running in [] if args.report else campaigns.items():
            print(f"{name}:", end=" ")
            running.run(chosen_mutants(running, args, reviewed), again=args.again)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from {args.ledger}", file=sys.stderr)
        return 130
    text, good = write_report(campaigns, reviewed, least=args.least)
    files.write_text(args.ledger / "REPORT.md", text)
    print(text)
    return 0 if good else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", nargs="+", choices=sorted(ROOMS), default=sorted(ROOMS), help="default: all")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="mutants of files or functions with it")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="ask these only (default: the tests of the room)")
    parser.add_argument("--sample", type=int, default=50, help="mutants of each room (%(default)s)")
    parser.add_argument("--all", action="store_const", const=None, dest="sample", help="every mutant")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (%(default)s)")
    parser.add_argument("--again", action="store_true", help="also all that no test noticed last time")
    parser.add_argument("--budget", type=float, default=30.0, help="CPU seconds of tests for a mutant (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="copies of the program, each takes 1 to 2 GB (%(default)s)")
    parser.add_argument("--ledger", type=Path, default=Path("output/mutation"), help="folder (%(default)s)")
    parser.add_argument("--least", type=float, default=95.0, help="percent that have to be noticed (%(default)s)")
    parser.add_argument("--report", action="store_true", help="test nothing, show what is known")
    return parser.parse_args()


def campaign(name: str, args: argparse.Namespace) -> Campaign:
    ledger = Ledger(args.ledger, name)
    room = ROOMS[name]
    if args.tests:
        room = dataclasses.replace(room, tests=tuple(args.tests), with_processes=())
    return Campaign(ROOT, room, ledger=ledger, budget_s=args.budget, jobs=args.jobs, say=say)


def chosen_mutants(running: Campaign, args: argparse.Namespace, reviewed: list[Reviewed]) -> list[Mutant]:
    """Return the sample, of which nothing is tested that was found to make no difference."""
    everyone = [m for m in running.sample(None, args.seed) if any(n in f"{m.file} {m.function}" for n in args.only)]
    chosen = {mutant.key: mutant for mutant in everyone[: args.sample]}
    if args.again:
        chosen.update({mutant.key: mutant for mutant in running.unnoticed() if mutant in everyone})
    reviews = [(mutant, review_of(mutant, reviewed)) for mutant in chosen.values()]
    return [mutant for mutant, review in reviews if review is None or review.noticeable]


def say(line: str) -> None:
    print(line, flush=True)


def stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
