"""Time of one picture, from its pixels to the embeddings of its faces, by detector, recogniser, engine and threads.

Every way runs in a process of its own, with its models loaded before the clock starts; the processes take turns, in
rounds that change their order, so that a busy machine slows all of them alike. A round's time is the lowest of its
runs, a way's the median over its rounds. The baseline is the predecessor's way: the picture resized to 640x640
whatever its shape, one face at a time, Paddle without oneDNN, on the small models. With ``--against DIR``, a checkout
of an earlier commit runs its own defaults in the same run.

The pictures are composed of the demo photographs: a portrait of 96x81 pixels, a group of six in 1920x1080, a crowd of
sixty in 1920x1080, and the six again in 4000x3000.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator, Optional, Sequence

import cv2
import numpy as np

from arcface_paddle import load_image
from arcface_paddle.pipeline.settings import ENGINES

NAME = "picture"

ROOT = Path(__file__).resolve().parents[2]
BASELINE = "predecessor's way"
# Photographs of one person each.
PEOPLE = (
    "gallery/Barack Obama/portrait_2012.jpg",
    "gallery/Grace Hopper/portrait_1984.jpg",
    "gallery/Joe Biden/portrait_2013.jpg",
    "queries/stranger_collins.jpg",
    "queries/hopper_relit.jpg",
    "queries/biden_relit.jpg",
)


@dataclass(frozen=True)
class Way:
    """What one process does.

    Attributes:
        title: for the table.
        root: the checkout whose package runs.
        style: ``package`` for the analysis of the package, ``predecessor`` for the baseline.
        detector: name of the detector; None for the package's default.
        recognizer: likewise.
        engine: likewise.
        threads: CPU threads of a network.
    """

    title: str
    root: str
    style: str = "package"
    detector: Optional[str] = None
    recognizer: Optional[str] = None
    engine: Optional[str] = None
    threads: int = 1


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", nargs="+", choices=PICTURES, default=list(PICTURES), help="(all)")
    parser.add_argument("--detectors", nargs="+", default=["BlazeFace", "CenterFace"], help="(%(default)s)")
    parser.add_argument("--recognizers", nargs="+", default=["MobileFace"], help="(%(default)s)")
    parser.add_argument("--engines", nargs="+", choices=["auto", *ENGINES], default=["auto", "paddle"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1], help="CPU threads (%(default)s)")
    parser.add_argument("--against", type=Path, help="checkout of an earlier commit, which runs with its defaults")
    parser.add_argument("--rounds", type=int, default=7, help="rounds per way (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs per round (%(default)s)")


def run(args: argparse.Namespace) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        files = {title: save_picture(title, Path(name)) for title in args.pictures}
        processes = {way: stack.enter_context(started(way)) for way in ways_of(args)}
        for title, file in files.items():
            rows += measure(title, file, processes, args)
    return rows


def ways_of(args: argparse.Namespace) -> list[Way]:
    """Return the baseline, the older checkout with its defaults, and each combination of what was asked for."""
    ways = []
    for threads in args.threads:
        ways.append(Way(BASELINE, str(ROOT), "predecessor", "BlazeFace", "MobileFace", "paddle", threads))
        if args.against is not None:
            ways.append(Way(f"defaults of {args.against.name}", str(args.against.resolve()), threads=threads))
        ways.append(Way("defaults", str(ROOT), threads=threads))
        ways += [
            Way(f"{detector} + {recognizer}, {engine}", str(ROOT), "package", detector, recognizer, engine, threads)
            for detector in args.detectors
            for recognizer in args.recognizers
            for engine in args.engines
        ]
    return ways


@contextlib.contextmanager
def started(way: Way) -> Iterator[subprocess.Popen]:
    """Start the process of one way and wait until it has loaded its models."""
    environment = {**os.environ, "PYTHONPATH": way.root, "GLOG_minloglevel": "2"}
    command = [sys.executable, str(Path(__file__).with_name("picture_worker.py")), json.dumps(asdict(way))]
    process = subprocess.Popen(
        command, env=environment, cwd=way.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        ask(process, {})
        yield process
    finally:
        process.terminate()
        process.wait()


def ask(process: subprocess.Popen, question: dict) -> dict:
    """Send one line of JSON and return the answer."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("{"):  # libraries print, too
            return dict(json.loads(line))
    raise SystemExit(f"the benchmark's process ended: {process.args}")


def measure(title: str, file: Path, processes: dict[Way, subprocess.Popen], args: argparse.Namespace) -> list[dict]:
    """Return one row per way for one picture."""
    question = {"file": str(file), "runs": args.runs}
    faces = {way: ask(process, question)["faces"] for way, process in processes.items()}
    taken: dict[Way, list[dict]] = {way: [] for way in processes}
    order = list(processes)
    for _ in range(args.rounds):
        for way in order:
            taken[way].append(ask(processes[way], question))
        order.reverse()
    return [row for threads in args.threads for row in compared(title, taken, faces, threads)]


def compared(title: str, taken: dict[Way, list[dict]], faces: dict[Way, int], threads: int) -> list[dict]:
    """Return the rows of one picture and number of threads; factors say how much faster than what stands first."""
    ways = [way for way in taken if way.threads == threads]
    wall = {way: median_of(taken[way], "wall_ms") for way in ways}
    cpu = {way: median_of(taken[way], "cpu_ms") for way in ways}
    references = [way for way in ways if way.title == BASELINE or way.root != str(ROOT)]
    return [
        {
            "picture": title,
            "threads": threads,
            "way": way.title,
            "faces": faces[way],
            "ms": round(wall[way], 1),
            "CPU ms": round(cpu[way], 1),
            **{f"times {old.title}": round(wall[old] / wall[way], 2) for old in references},
            **{f"CPU times {old.title}": round(cpu[old] / cpu[way], 2) for old in references},
        }
        for way in ways
    ]


def median_of(answers: Sequence[dict], key: str) -> float:
    return float(np.median([answer[key] for answer in answers]))


def save_picture(title: str, folder: Path) -> Path:
    path = folder / f"{title}.npy"
    np.save(path, PICTURES[title]())
    return path


def portrait() -> np.ndarray:
    return cv2.resize(load_image(ROOT / "demo" / PEOPLE[0]), (81, 96), interpolation=cv2.INTER_AREA)


def tiled(size_wh: tuple[int, int], grid_wh: tuple[int, int]) -> np.ndarray:
    """Return a grey picture with one photograph of a person in each cell of a grid."""
    picture = np.full((size_wh[1], size_wh[0], 3), 96, np.uint8)
    width, height = size_wh[0] // grid_wh[0], size_wh[1] // grid_wh[1]
    for cell in range(grid_wh[0] * grid_wh[1]):
        person = load_image(ROOT / "demo" / PEOPLE[cell % len(PEOPLE)])
        factor = min(width / person.shape[1], height / person.shape[0])
        size = (int(person.shape[1] * factor), int(person.shape[0] * factor))
        scaled = cv2.resize(person, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        left, top = cell % grid_wh[0] * width, cell // grid_wh[0] * height
        picture[top : top + size[1], left : left + size[0]] = scaled
    return picture


PICTURES = {
    "portrait 96x81": portrait,
    "six in 1080p": lambda: tiled((1920, 1080), (3, 2)),
    "sixty in 1080p": lambda: tiled((1920, 1080), (12, 5)),
    "six in 12 MP": lambda: tiled((4000, 3000), (3, 2)),
}
