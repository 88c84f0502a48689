"""Commands whose N-th write, sync, rename, open or read fails, for every N: what they say and what they leave.

    python tests/cli/failing_calls.py                            all of them (hours)
    python tests/cli/failing_calls.py --only "gallery" --most 20 at most twenty places of a kind of call
    python tests/cli/failing_calls.py --only train --most 6 --in_turn    one way to fail at each of these places
    python tests/cli/failing_calls.py --only "people" --calls inputs     calls on what is read (or: around)

A library under the command (``failing_calls.c``, built here with gcc) counts its calls on files below its folder, also
those of threads, children and libraries in C, and lets one fail, or all from one on, as on a disk that is full.

A command that ends as it does undisturbed has written what it writes then. Else it says in one line why, and what lies
there is the old or the new state. When it runs again, without a fault, it comes through, its result is that of the
undisturbed run, and nothing else is left.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import hashlib
import json
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import fault_matrix
from fault_matrix import Area, Case, Ended

KINDS = ("write", "fsync", "rename", "open", "mkdir", "unlink", "truncate", "read")
ERRORS = {
    "write": ("ENOSPC", "EIO"),
    "fsync": ("EIO",),
    "rename": ("EIO",),
    "open": ("ENOSPC", "EMFILE"),
    "mkdir": ("ENOSPC",),
    "unlink": ("EIO",),
    "truncate": ("ENOSPC",),
    "read": ("EIO",),
}
_LINE_OF_ERROR = re.compile(
    r"^(arcface-paddle[\w -]*: error: .|.*\.mp4: (cannot|.* could not) be written)", re.MULTILINE
)
"""A film is told without the command's name: all other results are there."""
LIBRARY, PLAN = "LD_PRELOAD", "FAILING_CALLS_PLAN"

COMMANDS = """
gallery build {out}.index --img_dir {people}
gallery build faiss:{out} --img_dir {people}
gallery add =gallery --img_dir {others}
gallery remove =gallery one
gallery rename =gallery one three
gallery merge {out}.index {gallery} {gallery}
gallery export {gallery} {out}.npz
gallery export {gallery} {out}.h5
gallery export {gallery} {out}.parquet
gallery convert {gallery} {out}.index
gallery convert {gallery} faiss:{out}
gallery check {gallery} --json {out}.json
gallery key {out}.key
calibrate =model --data {dataset}
calibrate =model --photographs {portraits} --json {out}.json
data convert --to folder {dataset} {out} --workers 1
data convert --to bin {dataset} {out} --workers 1
data convert --to packed {dataset} {out} --workers 1
data convert --to recordio {dataset} {out} --workers 1
data convert --to tfrecord {dataset} {out} --workers 1
data convert --to image {dataset} {out} --workers 1
data pairs --dataset {dataset} --pairs 4 {out}.bin
data align {people} {out}
data align {people} {out} --label {label}
data preview {dataset} --output {out}.png
data doctor {dataset} --no_embedding --json {out}.json --html {out}.html --fix {out}.txt
data doctor {dataset} --cache {out}
encode {photos} --output {out}.npz
encode {photos} --output {out}.npy
encode {photos} --output {out}.h5
encode {photos} --output {out}.parquet
encode {photos} --output {out}.npz --shard_size 1 --resume
embed {photos} --output {out} --encode=--workers=1
recognize --det --input {photos} --output {out}
recognize --det --no_draw --input {photos} --json {out}.json --csv {out}.csv
recognize --det --no_draw --input {photos} --save_crops {out}
recognize --rec --build_index {out}.index --img_dir {people} --label {label}
recognize --det --input {film} --write_video --output {out}
recognize --det --rec --input {visit} --index {gallery} --output {out} --json {out}.json --csv {out}.csv
recognize --det --rec --no_draw --input {visit} --index {gallery} $tracks
recognize --det --rec --no_draw --input {film} --index {gallery} --timeline {out}.json
people {photos} --output {out} --store {out}.store --xmp --xmp_dir {out}.xmp
people {people} --output =photos-people --tree copies
people {photos} --output =photos-people --corrections {said} --to_gallery {out}.index
people {photos} --output =photos-people --to_gallery =family --corrections {said}
people {photos} --output =named --undo_corrections
people {photos} --output =named --corrections {nobody}
find one {photos} --gallery {family}
find one {photos} --gallery {family} --format json --output {out}.json --html {out}.html --links {out}
find Person1 {named} --format paths --output {out}.txt --links {out}
find {picture} {photos} --format csv --output {out}.csv --links {out} --copies
synth {out} --identities 2 --images_per_identity 1 --resume --contact_sheet {out}.png
train --data_dir {dataset} --output {out} $tiny --steps 2
train --data_dir {dataset} --output {out} $tiny --steps 3 --keep_last 1 --resume auto
train --data_dir {dataset} --output {out} $tiny --steps 2 --val_targets val --validate_every 1 --resume auto
train --data_dir {dataset} --output {out} $tiny --steps 2 --logdir {out}.log --logger visualdl --resume auto
valid --model {model} --data_dir {dataset} --val_targets val --report {out}
valid --model {model} --data_dir {dataset} --val_targets val --json {out}.json
valid --model {weights} --network MobileFaceNet_128 --data_dir {dataset} --val_targets val --report {out}
identify --data_dir {dataset} --model {model} --report {out} --json {out}.json
export --pretrained_model {weights} --output {out}
export --pretrained_model {weights} --output {out} --format json
export --pretrained_model {weights} --output {out} --format onnx
import {weights} --output {out}
import {weights} --output {out} --format onnx
quantize --model {model} --images {dataset} --pairs {pairs} --output {out}
demo --output {out}
"""


TRACKS = "--timeline {out}.json --attendance {out}.csv --events {out}.jsonl --track_sheet {out}.html "
TRACKS += "--save_tracks {out}"
PLACES = {"results": "place/faulty", "inputs": "area", "around": "place"}
"""What ``--calls`` names: results, inputs, or results with the home and the folder for temporary files."""


@dataclass(frozen=True)
class Fault:
    """The ``nth`` call of a kind fails (0: none), and all after it if it is ``lasting``."""

    kind: str = "write"
    nth: int = 0
    error: str = "EIO"
    lasting: bool = False
    partial: bool = False

    def __str__(self) -> str:
        words = [self.kind, str(self.nth), self.error, "lasting" * self.lasting, "partial" * self.partial]
        return " ".join(filter(None, words))


class Plan(ctypes.Structure):
    """``struct plan`` of the library, in a file that every process maps."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("kind", "nth", "error", "lasting", "partial", "failed")),
        ("counts", ctypes.c_long * 16),
        ("below", ctypes.c_char * 4096),
    ]

    @classmethod
    def of_environment(cls) -> Plan:
        with open(os.environ[PLAN], "r+b") as stream:
            return cls.from_buffer(mmap.mmap(stream.fileno(), ctypes.sizeof(cls)))

    def arm(self, fault: Fault, below: Path) -> None:
        self.below = b""
        self.kind, self.nth, self.error = KINDS.index(fault.kind), fault.nth, getattr(errno, fault.error)
        self.lasting, self.partial, self.failed = fault.lasting, fault.partial, 0
        for number in range(len(self.counts)):
            self.counts[number] = 0
        self.below = os.fsencode(below)

    def disarm(self) -> None:
        self.below = b""

    def counted(self) -> dict[str, int]:
        return {kind: self.counts[number] for number, kind in enumerate(KINDS)}


@dataclass
class Undisturbed:
    """What a command writes, ``fixed`` being the same each time, its calls, and its code: 0, or 1 for bad input."""

    files: dict[str, str]
    fixed: set[str]
    counts: dict[str, int]
    code: int


@dataclass
class Bench:
    """Runs one command, again and again, at the same place."""

    command: str
    area: Area
    place: Path
    plan: Plan
    below: Path
    seconds: float = 0.0

    def undisturbed(self) -> Undisturbed:
        runs = []
        for _ in range(2):
            ended = self.run(Fault(), afresh=True)
            if ended.code not in (0, 1):
                raise RuntimeError(f"{self.command} fails undisturbed: {ended.said[-2000:]}")
            runs.append((self.files(), self.plan.counted()))
        (first, counts), (second, _) = runs
        if first.keys() != second.keys():
            raise RuntimeError(f"{self.command}: other files the second time: {first.keys() ^ second.keys()}")
        return Undisturbed(first, {name for name in first if first[name] == second[name]}, counts, ended.code)

    def run(self, fault: Fault, *, afresh: bool) -> Ended:
        if afresh:
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir()
            (self.place / "faulty").mkdir()
            self._put_inputs()
        for name in ("work", "home"):
            shutil.rmtree(self.place / name, ignore_errors=True)
        (self.place / "work").mkdir()
        case = Case(self.command, str(fault))
        self.plan.arm(fault, self.below)
        try:
            ended = fault_matrix.run_command(case, self._arguments(), self.place)
        finally:
            self.plan.disarm()
        self.seconds = ended.seconds
        return ended

    def _put_inputs(self) -> None:
        for word in self.command.split():
            if word.startswith("="):
                good = self.area.path(word[1:])
                fault_matrix._copy(good, self.place / "faulty" / good.name)

    def _arguments(self) -> list[str]:
        given = {path.stem: str(path) for path in self.area.folder.iterdir()}
        text = self.command.replace("$tiny", fault_matrix.TINY).replace("$tracks", TRACKS)
        text = text.format(out=self.place / "faulty" / "out", **given)
        words = text.split()
        return [str(self.place / "faulty" / self.area.path(w[1:]).name) if w.startswith("=") else w for w in words]

    def files(self) -> dict[str, str]:
        """Return names and digests of what lies there; folders have none, of a gallery the faces count."""
        found = {}
        for path in sorted((self.place / "faulty").rglob("*")):
            name = re.sub(r"vdlrecords\.\d+", "vdlrecords.TIME", str(path.relative_to(self.place / "faulty")))
            if path.name.endswith(".index.journal") or (path.parent / "gallery.sqlite").exists():
                continue
            if any(part.startswith("earlier_") for part in path.parts):  # a training that begins anew sets aside
                continue
            if path.suffix == ".index" or (path.is_dir() and (path / "gallery.sqlite").exists()):
                found[name] = _faces_in(path)
            else:
                found[name] = "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def broken(self) -> list[str]:
        return list(fault_matrix._left_in(self.place / "faulty"))


def _faces_in(path: Path) -> str:
    from arcface_paddle.errors import ArcfaceError
    from arcface_paddle.pipeline.gallery.stores import open_gallery

    try:
        with open_gallery(f"faiss:{path}" if path.is_dir() else str(path)) as store:
            faces = [
                (entry.name, entry.path, row.tobytes())
                for block in store.blocks()
                for entry, row in zip(block.entries, block.embeddings)
            ]
    except ArcfaceError as error:
        return f"not readable: {error}"
    return hashlib.sha256(repr(sorted(faces)).encode()).hexdigest()


def faults_of(counts: dict[str, int], *, kinds: tuple[str, ...], most: int, in_turn: bool = False) -> Iterator[Fault]:
    """Return faults for places that are spread over all calls of each kind; ``in_turn``: one at each place."""
    for kind in kinds:
        total = counts[kind]
        places = sorted({1 + (total - 1) * step // max(1, min(most, total) - 1) for step in range(min(most, total))})
        for number, nth in enumerate(places):
            found = list(_faults_at(kind, nth))
            yield from [found[number % len(found)]] if in_turn else found


def _faults_at(kind: str, nth: int) -> Iterator[Fault]:
    for error in ERRORS[kind]:
        yield Fault(kind, nth, error)
    if kind == "write":
        yield Fault(kind, nth, "ENOSPC", lasting=True, partial=True)
        yield Fault(kind, nth, "EIO", partial=True)
    if kind == "read":
        yield Fault(kind, nth, "EIO", partial=True)


MORE_INPUTS = ("visit", "said", "family", "named", "nobody")
_NAMED = """
from arcface_paddle.cli.main import main
assert main(["gallery", "build", "family.index", "--img_dir", "people", "--rec_model", "FaceFusion"]) == 0
assert main(["people", "photos", "--output", "named", "--corrections", "said.json"]) == 0
"""


def add_inputs(folder: Path) -> None:
    """Put beside the area's inputs a film of faces, names for the faces of its library, and what is made with them."""
    import cv2

    from arcface_paddle.library.documents import read_people

    frame = cv2.imread(str(folder / "picture.jpg"))
    film = cv2.VideoWriter(str(folder / "visit.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, frame.shape[1::-1])
    for _ in range(6):
        film.write(frame)
    film.release()
    faces = [face.face_id for face in read_people(folder / "photos-people" / "people.json").faces]
    actions = [{"do": "name", "faces": [face], "name": f"Person{number}"} for number, face in enumerate(faces)]
    document = {"format": "arcface-paddle-corrections", "version": 1, "actions": actions}
    (folder / "said.json").write_text(json.dumps(document))
    shutil.copytree(folder / "photos-people", folder / "named", symlinks=True)
    environment = {**os.environ, "PYTHONPATH": str(fault_matrix.ROOT)}
    subprocess.run([sys.executable, "-c", _NAMED], check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    groups = read_people(folder / "named" / "people.json").grouping.groups
    actions = [{"do": "unknown", "group": group.group_id} for group in groups]  # after which there are none
    (folder / "nobody.json").write_text(json.dumps({**document, "actions": actions}))


def problem_of(bench: Bench, fault: Fault, good: Undisturbed) -> str:
    """Run with a fault and once more without; return what is wrong with it, or nothing."""
    ended = bench.run(fault, afresh=True)
    failed = bench.plan.failed
    there, left = bench.files(), bench.broken()
    kind = {"unlinks": fault.kind == "unlink", "reads": fault.kind == "read", "short": _is_legal(fault)}
    problem = _of_first(ended, there, left, good, failed=failed, **kind)
    if problem:
        return f"{problem}: {ended.said[-1500:]}"
    if ended.code == 0 or not _different(there, good):  # made, and then something else failed
        return ""
    again = bench.run(Fault(), afresh=False)
    return _of_second(again, bench.files(), good, ended)


def _is_legal(fault: Fault) -> bool:
    """Tell whether nothing has failed: fewer bytes were taken or given, which the caller has to expect."""
    return fault.partial and not fault.lasting


def _of_first(
    ended: Ended,
    there: dict[str, str],
    left: list[str],
    good: Undisturbed,
    *,
    failed: int,
    unlinks: bool,
    reads: bool,
    short: bool,
) -> str:
    if ended.code is None:
        return f"no end after {ended.seconds:.0f} s"
    if ended.code not in (0, 1, 2):
        return f"exit code {ended.code}"
    if "Traceback" in ended.said or "Exception ignored" in ended.said:
        return "traceback"
    if ended.code == 2 and len(_LINE_OF_ERROR.findall(ended.said)) != 1:
        return "not one line of error"
    if short and ended.code != good.code:
        return f"exit code {ended.code} though nothing failed"
    if unlinks:
        left, there = [], {name: digest for name, digest in there.items() if not fault_matrix._TEMPORARY.search(name)}
    if failed and ended.code == 2 and reads and "Input/output error" not in ended.said:
        return "does not name the error of the disk"
    if left:
        return f"left behind: {', '.join(left)}"
    if ended.code == 0 and (different := _different(there, good)):
        return f"code {ended.code} though {failed} calls failed, but different: {different}"
    return ""


def _different(there: dict[str, str], good: Undisturbed) -> list[str]:
    names = there.keys() ^ good.files.keys()
    return [
        *sorted(names)[:6],
        *sorted(name for name in good.fixed & there.keys() if there[name] != good.files[name])[:6],
    ]


def _of_second(again: Ended, there: dict[str, str], good: Undisturbed, first: Ended) -> str:
    said = f"first: {first.said[-700:]}\nagain: {again.said[-700:]}"
    if again.code != good.code:
        return f"does not come through the second time ({again.code}): {said}"
    if different := _different(there, good):
        return f"different the second time: {different}: {said}"
    return ""


Choice = Callable[[dict[str, int]], Iterator[Fault]]
"""Which faults to try on a command that makes so many calls of each kind."""


def run_all(
    folder: Path, commands: list[str], *, choose: Choice, calls: str = "results", tell: bool = False
) -> tuple[int, int]:
    """Run cases below a folder; returns how many were run and how many end badly."""
    area = Area(folder, needs_networks=True)
    if any(name in command for command in commands for name in MORE_INPUTS):
        add_inputs(area.folder)
    fault_matrix._import_all()
    plan = Plan.of_environment()
    cases = bad = 0
    for command in commands:
        bench = Bench(command, area, folder / "place", plan, folder / PLACES[calls])
        try:
            good = bench.undisturbed()
        except RuntimeError as error:
            print(f"== {error}", flush=True)
            bad += 1
            continue
        begun, flagged, of_command = time.monotonic(), 0, 0
        for fault in choose(good.counts):
            of_command += 1
            problem = problem_of(bench, fault, good)
            if tell:
                print(f"{bench.seconds:5.1f} s  {fault}", flush=True)
            if problem:
                flagged += 1
                print(f"== {command}\n   {fault}: {problem}", flush=True)
        cases, bad = cases + of_command, bad + flagged
        seconds = time.monotonic() - begun
        counted = " ".join(f"{kind}={count}" for kind, count in good.counts.items() if count)
        print(f"{of_command:4} cases, {flagged} bad, {seconds:4.0f} s  {command}  ({counted})", flush=True)
    return cases, bad


def build_library(folder: Path) -> Path:
    """Build the library. Raises ``CalledProcessError``."""
    library = folder / "failing_calls.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def _again_with_library(folder: Path) -> int:
    plan = folder / "plan"
    plan.write_bytes(bytes(ctypes.sizeof(Plan)))
    plan.chmod(0o666)
    environment = {**os.environ, LIBRARY: str(build_library(folder)), PLAN: str(plan)}
    return subprocess.run([sys.executable, *sys.argv], env=environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="TEXT", help="beginning of the commands; may be repeated")
    parser.add_argument("--kind", choices=KINDS, help="one kind of call")
    parser.add_argument("--most", type=int, default=1_000_000, help="places for each kind of call")
    parser.add_argument("--nth", type=int, default=0, help="this place alone")
    parser.add_argument("--in_turn", action="store_true", help="one way to fail at each place, not all")
    parser.add_argument("--calls", choices=PLACES, default="results", help="on which files (%(default)s)")
    parser.add_argument("--tell", action="store_true", help="a line for each case")
    args = parser.parse_args()
    kinds = (args.kind,) if args.kind else KINDS
    with tempfile.TemporaryDirectory(prefix="failing_") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if PLAN not in os.environ:
            return _again_with_library(folder)
        chosen = [line for line in filter(None, COMMANDS.splitlines()) if line.startswith(tuple(args.only or [""]))]

        def choose(counts: dict[str, int]) -> Iterator[Fault]:
            found = faults_of(counts, kinds=kinds, most=args.most, in_turn=args.in_turn)
            return (fault for fault in found if args.nth in (0, fault.nth))

        cases, bad = run_all(folder, chosen, choose=choose, calls=args.calls, tell=args.tell)
    print(f"{bad} of {cases} cases end badly")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
