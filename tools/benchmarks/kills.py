"""What a gallery holds after its writer was killed at any moment: every acknowledged change, and none by half.

A process makes one transaction after the other, each of several steps: two people are added, one of those before gets
another name, one of those before that is removed. It says so when a transaction has returned. It is killed (SIGKILL) at
a random moment, the gallery is opened again, and must be that of the last acknowledged transaction or of the next one.

    python tools/benchmark.py kills --rounds 20 --engines file,encrypted,faiss,milvus,postgres

With ``--commands`` it is commands that are stopped, see ``killed_commands``; a row for each.

    python tools/benchmark.py kills --rounds 30 --engines= --commands all
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from arcface_paddle.pipeline.gallery import GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.keys import VARIABLE
from arcface_paddle.pipeline.gallery.stores import GalleryStore, create_gallery, open_gallery
from benchmarks import gallery_servers, killed_commands

NAME = "kills"
ENGINES = ("file", "encrypted", "faiss", "milvus", "postgres")
SIZE = 16
MODEL = ModelIdentity("killed", SIZE, "", "", mirrored=False)

_WRITER = """
import sys
sys.path.insert(0, {tools!r})
from benchmarks import kills
kills.write({uri!r}, int(sys.argv[1]))
"""


@dataclass
class Survived:
    """What was found.

    Attributes:
        acknowledged: transactions that were said to be made.
        lost: rounds after which one of them was not there.
        half: rounds after which something was that no whole transaction leaves.
        unacknowledged: rounds after which the one that was being made was there as a whole.
    """

    acknowledged: int = 0
    lost: int = 0
    half: int = 0
    unacknowledged: int = 0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--rounds", type=int, default=20, help="kills on each engine (%(default)s)")
    parser.add_argument("--engines", default="file,encrypted,faiss", help=f"of {', '.join(ENGINES)} (%(default)s)")
    parser.add_argument("--commands", default="", help=f"of {', '.join(killed_commands.JOBS)}, or all (none)")
    parser.add_argument("--fresh", type=float, default=0.2, help="share of processes started anew (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Kill and return a row for each engine and command."""
    return [*_rows_of_engines(args), *_rows_of_commands(args)]


def _rows_of_commands(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    jobs = list(killed_commands.JOBS) if args.commands == "all" else list(filter(None, args.commands.split(",")))
    for name in jobs:
        begin = time.perf_counter()
        found = killed_commands.stop_often(
            killed_commands.JOBS[name], kills=args.rounds, fresh_share=args.fresh, seed=args.seed
        )
        yield {"command": name, **vars(found), "seconds": time.perf_counter() - begin}


def _rows_of_engines(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for engine in filter(None, args.engines.split(",")):
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, place_of(engine, Path(folder)) as uri:
            found = kill_writers(uri, rounds=args.rounds, seed=args.seed)
        rows.append({"engine": engine, "rounds": args.rounds, **vars(found), "seconds": time.perf_counter() - begin})
    return rows


@contextlib.contextmanager
def place_of(engine: str, folder: Path) -> Iterator[str]:
    """Give an empty place in an engine, whose server runs until the block ends."""
    if engine in ("milvus", "postgres"):
        start = gallery_servers.milvus_server if engine == "milvus" else gallery_servers.postgres_server
        os.chmod(folder, 0o755)  # PostgreSQL runs as a user of its own
        with start(folder) as server:
            yield server.place()
        return
    before = os.environ.pop(VARIABLE, None)
    if engine == "encrypted":
        os.environ[VARIABLE] = base64.b64encode(bytes(range(32))).decode()
    try:
        yield f"faiss:{folder / 'people'}" if engine == "faiss" else str(folder / "people.index")
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def kill_writers(uri: str, *, rounds: int, seed: int = 0) -> Survived:
    """Kill a writer as often as asked, and look at the gallery after each time."""
    moments = random.Random(seed)
    found = Survived()
    create_gallery(uri, MODEL).close()
    made = 0
    for _ in range(rounds):
        said = _killed(uri, made, moments)
        found.acknowledged += said - made
        with open_gallery(uri) as store:
            there = facts_of(store)
        whole = [number for number in (said, said + 1) if there == expected(number)]
        if not whole:  # what follows would tell nothing
            found.lost += not (expected(said) <= there or expected(said + 1) <= there)
            found.half += 1
            return found
        made = whole[0]
        found.unacknowledged += made > said
    return found


def write(uri: str, made: int) -> None:
    """Make transactions until somebody kills this process; ``made`` of them are there."""
    with open_gallery(uri) as store:
        print("ready", flush=True)
        for number in range(made, made + 10_000):
            change(store, number)
            print(number + 1, flush=True)


def change(store: GalleryStore, number: int) -> None:
    """Make transaction ``number``."""
    with store.transaction():
        pair = [f"a{number}", f"b{number}"]
        store.add([GalleryEntry(name, f"{name}.jpg") for name in pair], np.stack([_row(name) for name in pair]))
        if number >= 1:
            store.rename(f"a{number - 1}", f"c{number - 1}")
        if number >= 2:
            store.remove(f"b{number - 2}")


def expected(made: int) -> set[tuple[str, str, bytes]]:
    """Return the faces after so many transactions: name, picture and row of each."""
    faces = set()
    for number in range(made):
        name = f"a{number}" if number == made - 1 else f"c{number}"
        faces.add((name, f"a{number}.jpg", _row(f"a{number}").tobytes()))
        if number >= made - 2:
            faces.add((f"b{number}", f"b{number}.jpg", _row(f"b{number}").tobytes()))
    return faces


def facts_of(store: GalleryStore) -> set[tuple[str, str, bytes]]:
    return {
        (entry.name, entry.path, row.tobytes())
        for block in store.blocks()
        for entry, row in zip(block.entries, block.embeddings)
    }


def _row(name: str) -> np.ndarray:
    row = np.random.default_rng(list(name.encode())).normal(size=SIZE)
    return (row / np.linalg.norm(row)).astype(np.float32)


def _killed(uri: str, made: int, moments: random.Random) -> int:
    """Run a writer and kill it; returns how many transactions it has acknowledged, with those ``made`` before."""
    program = _WRITER.format(tools=str(Path(__file__).resolve().parents[1]), uri=uri)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program, str(made)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        begin = time.perf_counter()
        lines.extend(child.stdout.readline() for _ in range(moments.randint(1, 2)))
        taken = (time.perf_counter() - begin) / (len(lines) - 1)
        time.sleep(moments.uniform(0, 1.2) * taken)
        child.kill()
        lines.extend(child.stdout.read().splitlines(keepends=True))
    said = [int(line) for line in lines[1:] if line.endswith("\n")]
    if not said:
        raise RuntimeError(f"the writer did not start: {''.join(lines)}")
    return said[-1]
