"""Attack one target for a while in this process, which may die: what ``tools/fuzz.py`` starts, slice after slice.

    python tests/fuzz/fuzz_slice.py TARGET --row FILE [--engine E] [--seed S] [--first N] [--inputs N] [--seconds S]

The row of figures is written to FILE. Beside it lies, as FILE.input, the input that was parsed last: who starts this
finds there what killed the process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import mmap
import os
import resource
import struct
import sys
import time
from pathlib import Path
from typing import Any, Iterator, NoReturn, Optional

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fuzz")]

ENGINES = ("mutation", "atheris")
MOST_ADDRESS_SPACE = 8 << 30
"""Of a process: libraries take 3 GB of addresses; what asks for more fails instead of filling the machine."""
_GRACE_CPU_S = 60  # beyond the seconds of a slice: imports, and a hang of C code that no alarm interrupts
_LENGTH = struct.Struct("<Q")
_BETWEEN_LOOKS = 50  # inputs of libFuzzer between looks at the clock


class LastInput:
    """The input that is being parsed, in a file that outlives the process."""

    def __init__(self, path: Path, *, most_bytes: int) -> None:
        self._most = most_bytes
        with path.open("wb+") as stream:
            stream.truncate(_LENGTH.size + most_bytes)
            self._map = mmap.mmap(stream.fileno(), _LENGTH.size + most_bytes)

    def note(self, content: bytes) -> None:
        shown = content[: self._most]
        self._map[: _LENGTH.size] = _LENGTH.pack(len(shown))
        self._map[_LENGTH.size : _LENGTH.size + len(shown)] = shown


def read_last_input(path: Path) -> bytes:
    """Return what ``LastInput`` noted; nothing where it noted nothing."""
    content = path.read_bytes() if path.is_file() else b""
    if len(content) < _LENGTH.size:
        return b""
    (length,) = _LENGTH.unpack_from(content)
    return content[_LENGTH.size : _LENGTH.size + length]


def main() -> int:
    args = arguments()
    limit(args.seconds)
    with quiet():
        if args.engine == "atheris":
            guided(args)
        mutating(args)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--row", type=Path, required=True)
    parser.add_argument("--engine", choices=ENGINES, default="mutation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, help="of CPU time")
    parser.add_argument("--found", type=Path, default=Path("output/fuzz"))
    parser.add_argument("--corpus", type=Path, default=Path("output/fuzz_corpus"))
    return parser.parse_args()


def limit(seconds: Optional[float]) -> None:
    """Bound what the process may take; threads of FAISS that wait for work would take most of it."""
    os.environ["OMP_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_SPACE, MOST_ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if seconds is not None:
        most = int(seconds) + _GRACE_CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))


def mutating(args: argparse.Namespace) -> None:
    """Attack with mutations, each a function of seed and number."""
    from fuzz_mutation import MOST_BYTES
    from fuzz_running import attack
    from fuzz_targets import TARGETS

    last = LastInput(Path(f"{args.row}.input"), most_bytes=4 * MOST_BYTES)
    outcome = attack(
        TARGETS[args.target],
        seed=args.seed,
        count=args.inputs,
        seconds=args.seconds,
        first=args.first,
        note=last.note,
    )
    write_row(args, outcome)


def guided(args: argparse.Namespace) -> NoReturn:
    """Attack with libFuzzer, which keeps what reaches new branches of the package, and mutates that."""
    import atheris

    contexts = contextlib.ExitStack()
    contexts.enter_context(atheris.instrument_imports(include=["arcface_paddle"]))  # for ever: many imports come late
    from fuzz_mutation import MOST_BYTES
    from fuzz_running import Guided
    from fuzz_targets import TARGETS

    corpus = prepare_corpus(args.corpus / args.target, TARGETS[args.target].seeds())
    words = write_words(args.corpus / f"{args.target}.dict")
    last = LastInput(Path(f"{args.row}.input"), most_bytes=4 * MOST_BYTES)
    attacked = Guided(TARGETS[args.target], note=last.note)
    begin = time.process_time()

    def one(content: bytes) -> None:
        attacked.one(content)
        done = attacked.outcome.inputs
        if done < args.inputs and done % _BETWEEN_LOOKS:
            return
        attacked.outcome.cpu_s = time.process_time() - begin
        if done >= args.inputs or (args.seconds is not None and attacked.outcome.cpu_s > args.seconds):
            write_row(args, attacked.outcome)
            attacked.close()
            os._exit(0)  # libFuzzer knows no other end than its own

    flags = [f"-seed={args.seed + args.first + 1}", f"-max_len={MOST_BYTES}", f"-dict={words}"]
    # The guard looks at time and memory; with a timeout of 0 the first import that takes a second ends the process.
    flags += ["-timeout=86400", "-rss_limit_mb=0", "-verbosity=0"]
    atheris.Setup([sys.argv[0], str(corpus), *flags], one)
    atheris.Fuzz()
    raise SystemExit("libFuzzer has ended by itself")


def prepare_corpus(folder: Path, sound: list[bytes]) -> Path:
    """Put the sound inputs into the folder of what libFuzzer begins with."""
    folder.mkdir(parents=True, exist_ok=True)
    for content in sound:
        path = folder / hashlib.sha1(content).hexdigest()  # as libFuzzer names them
        if not path.exists():
            path.write_bytes(content)
    return folder


def write_words(path: Path) -> Path:
    """Write what parsers stumble over as libFuzzer's dictionary."""
    from fuzz_mutation import INTERESTING

    lines = ('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in INTERESTING if len(word) <= 64)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_row(args: argparse.Namespace, outcome: Any) -> None:
    """Keep what failed and write the figures."""
    from fuzz_running import keep

    keep(outcome, args.found)
    row = {
        "target": args.target,
        "engine": args.engine,
        "inputs": outcome.inputs,
        "answers": outcome.answers,
        "cpu_s": round(outcome.cpu_s, 1),
        "violations": sorted(outcome.violations),
    }
    args.row.write_text(json.dumps(row))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries print about damaged pictures, from C and from Python, away from the report."""
    if os.environ.get("FUZZ_LOUD"):
        yield
        return
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
