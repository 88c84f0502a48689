"""Every command with every fault of a disk: closed and full folders, pipes and devices, links in a circle, no output.

    python tests/cli/fault_matrix.py                     all of them (some minutes)
    python tests/cli/fault_matrix.py --only "gallery"    commands that begin so
    python tests/cli/fault_matrix.py --share 20          every twentieth case

A command must end within a minute (longer where the machine is loaded) with exit code 0, 1 or 2, without a traceback,
and with 2 it says in one line why, and names what is at fault. It leaves no temporary file and no half of a result. As
root every command gives up its privileges, so that folders can be closed to it. Packages are imported once; each
case is a fork.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import fcntl
import json
import os
import re
import resource
import select
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "training")]

LONGEST_S = 60.0
"""On a machine with a core for it; see ``_patience_s``."""
_FEW_CASES = 50
"""For which it does not pay to import everything."""
_PIPE_BYTES = 1 << 20
_TEMPORARY = re.compile(r"\.af-[0-9a-f]{4}-[0-9a-f]{8}\.|\.tmp|\.lock$|^\.export_|^tmp|to_static_tmp")
_OF_OTHERS = {"faulty_input", "home"}
"""Folders of a case whose files we do not write; in the home lie the caches of libraries."""
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)  # the constant of Linux, which Python 3.9 does not name
_PR_SET_SECUREBITS, _SECBIT_NOROOT, _CAPABILITY_VERSION = 28, 0b11, 0x20080522  # of Linux's headers

COMMANDS = """
recognize --det --no_draw --input <picture
recognize --det --no_draw --input <photos
recognize --det --rec --no_draw --input {picture} --index <gallery
recognize --det --rec --no_draw --input {picture} --index {gallery} --rec_model <model
recognize --det --no_draw --input {picture} --det_model <detector
recognize --det --input {picture} --output >folder
recognize --det --no_draw --input {picture} --json >file.json
recognize --det --no_draw --input {picture} --csv >file.csv
recognize --det --no_draw --input {picture} --save_crops >folder
recognize --det --rec --no_draw --input {film} --index {gallery} --timeline >file.json
recognize --det --input <film --output {out}
recognize --det --input {film} --write_video --output >folder
recognize --rec --build_index >file.index --img_dir {people} --label {label}
recognize --rec --build_index {out} --img_dir <people --label {label}
recognize --rec --build_index {out} --img_dir {people} --label <label
gallery build {out} --img_dir <people
gallery build >file.index --img_dir {people}
gallery build faiss:>folder --img_dir {people}
gallery add =gallery --img_dir {others}
gallery list <gallery
gallery list {gallery} --json >file.json
gallery remove =gallery one
gallery rename =gallery one three
gallery merge {out} {gallery} <gallery
gallery merge >file.index {gallery} {gallery}
gallery import {out} <gallery
gallery import >file.index {gallery}
gallery export {gallery} >file.npz
gallery export {gallery} >file.h5
gallery export {gallery} >file.parquet
gallery export <gallery {out}.npz
gallery check <gallery
gallery check {gallery} --json >file.json
gallery convert {gallery} >file.index
gallery convert {gallery} faiss:>folder
gallery convert <gallery {out}.index
gallery key >file.key
gallery rekey =gallery --plain
people <photos --output {out} --store {out}.store
people {photos} --output >folder --store {out}.store
people {photos} --output {out} --store >folder
people {photos} --output {out} --store {out}.store --to_gallery >file.index
people {photos} --output {out} --store {out}.store --xmp --xmp_dir >folder
people {photos} --output {out} --store {out}.store --corrections <text
find one <photos
find <picture {photos}
find one {photos} --people <text
find one {photos} --gallery <gallery
encode <picture --output {out}.npz
encode <photos --output {out}.npz
encode {photos} --output >file.npz
encode {photos} --output >file.npy
encode {photos} --output >file.h5
encode {photos} --output >file.parquet
encode {photos} --output >file.npz --shard_size 1
encode {picture} --rec_model <model --output {out}.npz
embed <photos --output {out}
embed <archive --output {out}
embed {photos} --output >folder
compare {picture} <picture
compare {picture} {picture} --rec_model <model
data info <dataset
data info <label
data info {dataset} --label_file <ids
data preview <dataset --output {out}.png
data preview {dataset} --output >file.png
data convert --to folder <dataset {out}
data convert --to folder {dataset} >folder
data convert --to bin {dataset} >folder
data convert --to packed {dataset} >folder
data convert --to recordio {dataset} >folder
data convert --to tfrecord {dataset} >folder
data convert --to image {dataset} >folder
data pairs --dataset <dataset --pairs 4 {out}.bin
data pairs --dataset {dataset} --pairs 4 >file.bin
data pairs --list <pictures {out}.bin
data align <people {out}
data align {people} >folder
data align {people} {out} --label <label
data doctor <dataset --no_embedding
data doctor {dataset} --no_embedding --json >file.json
data doctor {dataset} --no_embedding --html >file.html
data doctor {dataset} --no_embedding --fix >file.txt
data doctor {dataset} --copy_rejected >folder
data doctor {dataset} --cache >folder
data doctor {dataset} --no_embedding --val <pairs
data noisy <run
synth >folder --identities 2 --images_per_identity 1
synth {out} --identities 2 --images_per_identity 1 --contact_sheet >file.png
train --config <text --data_dir {dataset} --output {out} $tiny
train --data_dir <dataset --output {out} $tiny
train --data_dir {dataset} --output >folder $tiny
train --data_dir {dataset} --label_file <ids --output {out} $tiny
train --data_dir {dataset} --output {out} --pretrained <weights $tiny --width 1 --embedding_size 128
train $tiny --data_dir {dataset} --output {out} --logdir >folder
train --explain <run
valid --model <model --data_dir {dataset} --val_targets val
valid --model MobileFace --data_dir <dataset --val_targets val
valid --model MobileFace --data_dir {dataset} --val_targets <pairs
valid --model MobileFace --data_dir {dataset} --val_targets val --report >folder
valid --model MobileFace --data_dir {dataset} --val_targets val --json >file.json
valid --checkpoint <run --data_dir {dataset} --val_targets val
identify --data_dir <dataset --model MobileFace
identify --data_dir {dataset} --model <model
identify --data_dir {dataset} --model MobileFace --json >file.json
identify --data_dir {dataset} --model MobileFace --report >folder
identify --ijb <photos --model MobileFace
calibrate =model --data {dataset}
calibrate {model} --data <dataset --dry_run
calibrate {model} --data <hundred --dry_run
calibrate {model} --photographs <portraits --dry_run
calibrate {model} --data {dataset} --dry_run --json >file.json
export --pretrained_model <weights --output {out}
export --pretrained_model {weights} --output >folder
export --pretrained_model {weights} --format onnx --output >folder
import <weights --output {out}
import {weights} --output >folder
quantize --model <model --images {dataset} --pairs {pairs} --output {out}
quantize --model {model} --images <dataset --pairs {pairs} --output {out}
quantize --model {model} --images {dataset} --pairs <pairs --output {out}
quantize --model {model} --images {dataset} --pairs {pairs} --output >folder
models check <model
models show <model
demo --output >folder
serve --port 0 --gallery <gallery
serve --port 0 --gallery {gallery} --state >folder
"""
"""``<x`` is the input of a fault, ``>x`` an output, ``=x`` a copy of an input that the command changes."""
TINY = "--val_targets= --logdir= --network MobileFaceNet_128 --width 0.125 --embedding_size 8 --batch_size 2 --steps 1 "
TINY += "--num_workers 0 --save_every 1 --log_every 1"

OF_FILES = (
    "closed",
    "in_closed",
    "pipe",
    "zero_link",
    "zero",
    "null",
    "is_folder",
    "missing",
    "empty",
    "circle",
    "long",
)
OF_FOLDERS = ("closed", "in_closed", "pipe", "is_file", "missing", "circle", "long", "bad_content", "closed_content")
OF_OUTPUTS = (
    "read_only",
    "in_closed",
    "below_file",
    "wrong_kind",
    "full",
    "nearly_full",
    "circle",
    "long",
    "full_device",
)
OF_SURROUNDINGS = ("home_closed", "no_scratch", "stdout_closed", "stdout_full", "stderr_closed", "folder_gone")
_FOLDERS = ("photos", "people", "dataset", "run", "model", "portraits", "detector")
HEALTHY = "healthy"
"""No fault: the command does its work, so that with a fault it fails for that."""
NEVER_HEALTHY = (
    *("serve", "identify --ijb <photos", "data noisy", "train --explain", "valid --checkpoint", "data info <label"),
    *("people {photos} --output {out} --store {out}.store --to_gallery", "find one"),
    "people {photos} --output {out} --store {out}.store --corrections",
)
"""Serves for ever; or needs a run, IJB's files, or names that somebody gave on the page."""
MAY_SUCCEED = {HEALTHY, "bad_content", "closed_content", "nearly_full", *OF_SURROUNDINGS}
"""Faults that do not take everything away."""


@dataclass(frozen=True)
class Case:
    """A command whose one path, or whose surroundings, have a fault."""

    command: str
    fault: str

    def __str__(self) -> str:
        return f"{self.fault:<15} {self.command}"


@dataclass(frozen=True)
class Ended:
    """How a case ended; ``code`` is None after too long a time, negative for a signal.

    ``left`` are temporary files and halves of results; ``named`` tells whether the message names the faulty path.
    """

    case: Case
    code: int | None
    said: str
    seconds: float
    left: tuple[str, ...] = ()
    named: bool = True

    def problem(self) -> str:
        """Return what is wrong with it, or nothing."""
        if self.code is None:
            return f"no end after {self.seconds:.0f} s"
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        if "Traceback" in self.said or "Exception ignored" in self.said:
            return "traceback"
        lines = self.said.count("error: ")  # results that are there, without the annotated film: a line without it
        if self.code == 2 and (lines > 1 or not self.said) and self.case.fault != "stderr_closed":
            return "not one line of error"
        of_shards = self.case.fault == "full_device" and "--shard_size" in self.case.command  # files beside, not it
        no_differences = self.case.fault == "empty" and "--config <" in self.case.command  # from the defaults
        if self.code == 0 and self.case.fault not in MAY_SUCCEED and not of_shards and not no_differences:
            return "accepted"
        if self.code == 2 and self.case.fault == HEALTHY:
            return "fails without a fault"
        if self.left:
            return f"left behind: {', '.join(self.left)}"
        if self.code == 2 and not self.named:
            return "the message does not name what is at fault"
        return ""


def all_cases() -> list[Case]:
    cases = []
    for command in filter(None, COMMANDS.splitlines()):
        faults: tuple[str, ...] = OF_OUTPUTS
        if "<" in command:
            faults = OF_FOLDERS if _slot(command, "<") in _FOLDERS else OF_FILES
        elif "=" in command.replace("--val_targets=", "").replace("--logdir=", ""):
            faults = ("closed", "in_closed", "missing", "read_only", "full")
        faults = faults if command.startswith(NEVER_HEALTHY) else (HEALTHY, *faults)
        cases += [Case(command, fault) for fault in faults]
    first = {}
    for command in filter(None, COMMANDS.splitlines()):
        first.setdefault(" ".join(word for word in command.split()[:2] if word.isalpha()), command)
    first.pop("serve")  # which is to go on for ever there
    cases += [Case(command, fault) for command in first.values() for fault in OF_SURROUNDINGS]
    cases.remove(Case("serve --port 0 --gallery <gallery", "missing"))  # is made, and served for ever
    return cases


def run_all(folder: Path, cases: list[Case], *, tell: bool = False) -> Iterator[Ended]:
    """Run cases below a folder that everybody may enter."""
    area = Area(folder, needs_networks=not all(case.command.startswith("data info") for case in cases))
    if len(cases) > _FEW_CASES:
        _import_all()
    for number, case in enumerate(cases):
        place = folder / f"case{number}"
        ended = _run(case, area, place)
        if tell:
            print(f"{ended.seconds:5.1f} s  {ended.code}  {case}  {ended.problem()}", flush=True)
            print("          " + ended.said[-160:].strip().replace("\n", " | "), flush=True)
        yield ended
        _open_again(place)
        shutil.rmtree(place, ignore_errors=True)


_MADE_BY_COMMANDS = """
import paddle
from arcface_paddle.backbones import build_backbone
from arcface_paddle.cli.main import main
paddle.save(build_backbone("MobileFaceNet_128").state_dict(), "weights.pdparams")
assert main(["gallery", "build", "gallery.index", "--img_dir", "people"]) == 0
assert main(["people", "photos"]) == 0
"""


class Area:
    """What all cases read."""

    def __init__(self, folder: Path, *, needs_networks: bool) -> None:
        import cv2
        import numpy as np
        from tiny_data import write_dataset, write_validation

        from arcface_paddle.pipeline.model_files import open_model

        self.folder = folder / "area"
        photographs = sorted((ROOT / "demo" / "gallery").rglob("*.jpg"))
        for number, name in enumerate(("one", "two")):
            (self.folder / "people" / name).mkdir(parents=True)
            shutil.copy(photographs[number], self.folder / "people" / name / "a.jpg")
        (self.folder / "others" / "three").mkdir(parents=True)
        shutil.copy(photographs[-1], self.folder / "others" / "three" / "a.jpg")
        (self.folder / "label.txt").write_text("one/a.jpg\tone\ntwo/a.jpg\ttwo\n")
        (self.folder / "text.json").write_text("{}\n")
        shutil.copytree(self.folder / "people", self.folder / "photos")
        shutil.copy(photographs[0], self.folder / "picture.jpg")
        write_dataset(self.folder / "dataset", identities=5, pictures=4, pairs=12)  # enough to calibrate on
        shutil.copy(self.folder / "dataset" / "val.bin", self.folder / "pairs.bin")
        # A hundred pairs of two persons each, without which nothing is calibrated.
        write_validation(self.folder / "hundred.bin", identities=5, pairs=202)
        for name, photograph in zip(("one", "two"), photographs):
            (self.folder / "portraits" / name).mkdir(parents=True)
            for quality in range(80, 91):
                path = self.folder / "portraits" / name / f"{quality}.jpg"
                cv2.imwrite(str(path), cv2.imread(str(photograph)), [cv2.IMWRITE_JPEG_QUALITY, quality])
        (self.folder / "run").mkdir()
        for name, kind in (("MobileFace", "model"), ("BlazeFace", "detector")):
            shutil.copytree(open_model(name).graph_file.parent, self.folder / kind)
        shutil.copy(self.folder / "dataset" / "label.txt", self.folder / "ids.txt")
        pair = "{0}/one/a.jpg\t{0}/two/a.jpg\t0\n".format(self.folder / "people")
        (self.folder / "pictures.txt").write_text(pair + pair.replace("two", "one").replace("\t0", "\t1"))
        film = cv2.VideoWriter(str(self.folder / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, (112, 112))
        for _ in range(3):
            film.write(np.zeros((112, 112, 3), np.uint8))
        film.release()
        self._archive()
        if needs_networks:
            made = [sys.executable, "-c", _MADE_BY_COMMANDS]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            subprocess.run(made, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, env=environment)

    def _archive(self) -> None:
        with tarfile.open(self.folder / "archive.tar", "w") as archive:
            archive.add(self.folder / "people", arcname=".")

    def path(self, kind: str) -> Path:
        """Return the path of an input without a fault."""
        return next(path for path in self.folder.iterdir() if path.stem == kind)


def _slot(command: str, mark: str) -> str:
    return next(word.partition(mark)[2] for word in command.split() if mark in word and "--" not in word)


def _import_all() -> None:
    """Import what commands need before they are forked off; networks are not opened, which would start threads."""
    import importlib

    import arcface_paddle.cli.commands as commands

    for path in Path(commands.__path__[0]).glob("*.py"):
        importlib.import_module(f"arcface_paddle.cli.commands.{path.stem}")
    for name in (
        "cv2",
        "paddle",
        "openvino",
        "onnxruntime",
        "h5py",
        "pyarrow.parquet",
        "faiss",
        "av",
        "uvicorn",
        "fastapi",
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import paddle

    # Which Paddle loads at the first division. Without a current folder Intel's start calls exit, and the fork of a
    # process that had threads waits there for ever; a fresh process gives up the folder long before.
    with contextlib.suppress(OSError):
        ctypes.CDLL(str(Path(paddle.__file__).parent / "libs" / "libmklml_intel.so"))
    for path in (ROOT / "arcface_paddle").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not name.endswith("__main__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _run(case: Case, area: Area, place: Path) -> Ended:
    place.mkdir()
    ended = run_command(case, _arguments(case, area, place), place)
    _open_again(place)
    return replace(ended, left=tuple(_left_in(place)), named=_names_fault(case, ended.said, place))


def run_command(case: Case, arguments: list[str], place: Path) -> Ended:
    """Run a command in a fork, at a place of its own."""
    begun = time.monotonic()
    reading, said_to = os.pipe()  # not a file: some cases may write none
    fcntl.fcntl(said_to, _SET_PIPE_SIZE, _PIPE_BYTES)
    os.set_blocking(said_to, False)
    child = os.fork()
    if child == 0:
        os._exit(_as_child(case, arguments, place, said_to))
    os.close(said_to)
    code: int | None = None
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() - begun > _patience_s():
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.005)
    said = os.read(reading, _PIPE_BYTES).decode(errors="replace") if _is_ready(reading) else ""
    os.close(reading)
    return Ended(case, code, said, time.monotonic() - begun)


def _patience_s() -> float:
    """Return how long a command may take: where other programs want the cores, it gets a share of them."""
    return LONGEST_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _left_in(place: Path) -> Iterator[str]:
    """Find temporary files and folders, and results that cannot be read back."""
    for path in sorted(place.rglob("*")):
        if _TEMPORARY.search(path.name):
            yield path.name
        elif path.is_file() and not path.is_symlink() and not _OF_OTHERS & set(path.parts) and not _is_whole(path):
            yield f"half of {path.name}"


def _is_whole(path: Path) -> bool:
    import cv2
    import numpy as np

    content = path.read_bytes()
    try:
        if path.suffix == ".json":
            json.loads(content)
        elif path.suffix in (".npz", ".npy"):
            np.load(path)
        elif path.suffix in (".png", ".jpg"):
            return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None
        elif path.suffix == ".parquet":
            return content[-4:] == b"PAR1"
    except (ValueError, EOFError, cv2.error):
        return False
    return True


def _names_fault(case: Case, said: str, place: Path) -> bool:
    """Tell whether a path of the case is in the message; surroundings have none."""
    return case.fault in OF_SURROUNDINGS or str(place) in said


def _arguments(case: Case, area: Area, place: Path) -> list[str]:
    given = {path.stem: str(path) for path in area.folder.iterdir()}
    (place / "work").mkdir()
    (place / "faulty").mkdir()
    (place / "faulty_input").mkdir()
    arguments = []
    for word in case.command.replace("$tiny", TINY).format(out=place / "work" / "out", **given).split():
        for mark in "<>=":
            before, found, kind = word.partition(mark)
            if not found or "--" in before or "/" in before:
                continue
            healthy = case.fault in (HEALTHY, *OF_SURROUNDINGS)
            if mark == "<":
                path = area.path(kind)
                path = path if healthy else _faulty_input(case.fault, path, place / "faulty_input")
            elif mark == ">":
                path = _faulty_output("" if healthy else case.fault, kind, place / "faulty")
            else:
                path = _faulty_copy("" if healthy else case.fault, area.path(kind), place / "faulty")
            word = f"{before}{path}"
        arguments.append(word)
    return arguments


def _copy(source: Path, target: Path) -> Path:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    return target


def _faulty_input(fault: str, good: Path, folder: Path) -> Path:
    path = folder / good.name
    if fault == "closed":
        _copy(good, path).chmod(0)
    elif fault == "in_closed":
        _copy(good, path)
        folder.chmod(0)
    elif fault == "pipe":
        os.mkfifo(path)
    elif fault == "zero_link":
        path.symlink_to("/dev/zero")
    elif fault in ("zero", "null"):
        _make_device(path, fault)
    elif fault == "is_folder":
        path.mkdir()
    elif fault in ("empty", "is_file"):
        path.write_bytes(b"")
    elif fault == "circle":
        path.symlink_to(path)
    elif fault == "long":
        return folder / ("x" * 300 + good.suffix)
    elif fault in ("bad_content", "closed_content"):
        _spoil(_copy(good, path), fault)
    return path


def _make_device(path: Path, name: str) -> None:
    """Make a device of our own: what a command does to one in /dev would be done to every program."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, Path("/dev", name).stat().st_rdev)
    except OSError:  # not root
        path.symlink_to(Path("/dev", name))


def _spoil(folder: Path, fault: str) -> None:
    """Put a pipe, a link to a device without end and a link to itself in the place of files, or close them all."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for number, path in enumerate(found):
        if fault == "closed_content":
            path.chmod(0)
            continue
        if number % 2 and path.suffix in (".jpg", ".bin"):
            continue
        path.unlink()
        if number % 3 == 0:
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero" if number % 3 == 1 else path)  # read only
    (folder / "closed").mkdir(mode=0)


def _faulty_output(fault: str, kind: str, folder: Path) -> Path:
    path = folder / ("out" + Path(kind).suffix)
    if fault == "read_only":
        folder.chmod(0o555)
    elif fault == "in_closed":
        folder.chmod(0)
    elif fault == "below_file":
        (folder / "file").write_bytes(b"")
        return folder / "file" / path.name
    elif fault == "wrong_kind" and "." in kind:
        path.mkdir()
    elif fault == "wrong_kind":
        path.write_bytes(b"")
    elif fault == "circle":
        (folder / "circle").symlink_to(folder / "circle")
        return folder / "circle" / path.name
    elif fault == "long":
        return folder / ("x" * 300 + path.suffix)
    elif fault == "full_device":
        _make_device(path, "full")
    return path


def _faulty_copy(fault: str, good: Path, folder: Path) -> Path:
    path = folder / good.name
    if fault != "missing":
        _copy(good, path)
    if fault == "closed":
        path.chmod(0)
    elif fault == "in_closed":
        folder.chmod(0)
    elif fault == "read_only":
        folder.chmod(0o555)
        if path.is_dir():
            path.chmod(0o555)
    return path


def _open_again(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if stat.S_ISDIR(path.lstat().st_mode):
            path.chmod(0o755)


def _give_up_privileges() -> None:
    """Become somebody for whom permissions count, who is still the owner of the interpreter's files."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NOROOT, 0, 0, 0)
    header, nothing = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "privileges cannot be given up")


def _is_ready(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def _as_child(case: Case, arguments: list[str], place: Path, said_to: int) -> int:
    from arcface_paddle import temporaries
    from arcface_paddle.cli import main

    os.setpgid(0, 0)
    _set_up(case.fault, place, said_to)
    code = 99
    try:
        atexit._clear()
        atexit.register(temporaries._remove_unfinished)
        code = main.main(arguments)
        atexit._run_exitfuncs()
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  (the interpreter would print it)
        os.write(said_to, traceback.format_exc().encode())
    return code


def _set_up(fault: str, place: Path, said: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(os.open("/dev/full", os.O_WRONLY) if fault == "stdout_full" else nowhere, 1)
    os.dup2(said, 2)
    sys.stdout = None if fault == "stdout_closed" else os.fdopen(1, "w", closefd=False)
    sys.stderr = None if fault == "stderr_closed" else os.fdopen(2, "w", buffering=1, closefd=False)
    for number, name in ((1, "stdout_closed"), (2, "stderr_closed")):
        if fault == name:
            os.close(number)
    home = place / "home"
    home.mkdir(mode=0o555 if fault == "home_closed" else 0o777)
    os.environ.update(HOME=str(home), OMP_NUM_THREADS="1", TMPDIR=str(place / "work"))
    tempfile.tempdir = None
    if fault == "no_scratch":
        tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
    os.chdir(place / "work")
    if fault == "folder_gone":
        gone = place / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
    _give_up_privileges()
    if fault in ("full", "nearly_full"):
        room = 0 if fault == "full" else 2000
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="beginning of the commands")
    parser.add_argument("--fault", default="", help="one fault")
    parser.add_argument("--share", type=int, default=1, help="every n-th case")
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    chosen = [case for case in all_cases() if case.command.startswith(args.only) and args.fault in ("", case.fault)]
    bad, number = [], 0
    with tempfile.TemporaryDirectory(prefix="faults_") as folder:
        os.chmod(folder, 0o755)
        for ended in run_all(Path(folder), chosen[args.first :: args.share], tell=True):
            number += 1
            if ended.problem():
                bad.append(ended)
    for ended in bad:
        print(f"\n== {ended.problem()}: {ended.case}\n{ended.said[-1500:]}")
    print(f"{len(bad)} of {number} cases end badly")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
