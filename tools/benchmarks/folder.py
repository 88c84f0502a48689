"""Pictures a second in a folder of photographs, by the number of workers, against one worker on one core.

Variants of the demonstration's photographs, of 200 to 2,000 pixels, are found, named, drawn and written as
``test_recognition --det --rec`` does. Rounds of all ways alternate and their order turns around, so that a busy machine
slows all of them; the fastest round counts for the speed and the cheapest for the CPU time. "possible" is what the CPU
time alone would allow on free cores: workers x CPU of one worker / CPU of these workers.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arcface_paddle import images
from arcface_paddle.pipeline import settings
from arcface_paddle.pipeline.demo_photographs import GALLERY, QUERIES, photographs_folder
from arcface_paddle.pipeline.gallery.enrolment import EnrolmentSettings, build_gallery, list_people
from arcface_paddle.pipeline.inputs import Listing, find_pictures
from arcface_paddle.pipeline.opening import open_pipeline
from arcface_paddle.pipeline.picture_workers import share_out
from arcface_paddle.pipeline.recognition_session import RecognitionSession

NAME = "folder"

BASELINE = "1 worker, 1 thread"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--pictures", type=int, default=60, help="in the folder (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="to compare with one (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="of each (%(default)s)")
    parser.add_argument("--engine", choices=[settings.AUTO, *settings.ENGINES], default=settings.AUTO)
    parser.add_argument("--det_model", default=settings.DEFAULT_DETECTOR)
    parser.add_argument("--rec_model", default=settings.DEFAULT_RECOGNIZER)


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each way of using the cores."""
    most = max(args.workers)
    ways = {BASELINE: (1, 1), f"1 worker, {most} threads": (1, most)}
    ways.update({f"{count} workers, 1 thread each": (count, count) for count in args.workers if count > 1})
    with tempfile.TemporaryDirectory() as folder:
        listing = write_variants(Path(folder) / "in", count=args.pictures)
        sessions = {
            name: open_session(args, Path(folder), workers=workers, threads=threads)
            for name, (workers, threads) in ways.items()
        }
        rounds = time_alternately(sessions, listing, rounds=args.rounds)
    baseline = best_of(rounds[BASELINE])
    return [
        row_of(name, best_of(rounds[name]), baseline=baseline, workers=workers, pictures=len(listing.pictures))
        for name, (workers, _) in ways.items()
    ]


@dataclass(frozen=True)
class Round:
    """What one run over the folder took; ``load`` is the machine's, of the last minute, at its end."""

    wall_s: float
    cpu_s: float
    load: float


def write_variants(folder: Path, *, count: int) -> Listing:
    """Write photographs of the demonstration at mixed sizes."""
    photographs = find_pictures([photographs_folder() / QUERIES, photographs_folder() / GALLERY]).pictures
    originals = [images.read_image(found.path) for found in photographs]
    rng = np.random.default_rng(0)
    for number in range(count):
        image = originals[number % len(originals)]
        scale = rng.uniform(200, 2000) / max(image.shape[:2])
        size_wh = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        images.write_image(folder / f"{number:04}.jpg", images.resize(image, size_wh), quality=90)
    return find_pictures([folder])


def open_session(args: argparse.Namespace, folder: Path, *, workers: int, threads: int) -> RecognitionSession:
    """Load the models of all workers, with a gallery of the demonstration's people."""
    count, runtime = share_out(
        settings.RuntimeOptions(engine=args.engine, threads=threads), pictures=args.pictures, workers=workers
    )
    pipeline = settings.PipelineSettings(det_model=args.det_model, rec_model=args.rec_model, runtime=runtime)
    index = folder / "people.index"
    if not index.exists():
        people = list_people(EnrolmentSettings(photographs_folder() / GALLERY))
        build_gallery(index, people, pipeline=open_pipeline(pipeline))
    outputs = settings.OutputSettings(drawn=folder / f"out{workers}x{threads}")
    return RecognitionSession.open(
        settings.SessionSettings(pipeline=pipeline, index=index, workers=count, outputs=outputs)
    )


def time_alternately(
    sessions: dict[str, RecognitionSession], listing: Listing, *, rounds: int
) -> dict[str, list[Round]]:
    """Run every session over the folder once to warm up and then ``rounds`` times."""
    taken: dict[str, list[Round]] = {name: [] for name in sessions}
    names = list(sessions)
    for number in range(rounds + 1):
        for name in names:
            result = timed(sessions[name], listing)
            if number > 0:
                taken[name].append(result)
        names.reverse()
    return taken


def timed(session: RecognitionSession, listing: Listing) -> Round:
    before, start = cpu_seconds(), time.perf_counter()
    for finding in session.pictures(listing.pictures):
        assert not finding.problems, finding.problems
    return Round(time.perf_counter() - start, cpu_seconds() - before, os.getloadavg()[0])


def cpu_seconds() -> float:
    """Return user and system time of this process with all of its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def best_of(rounds: list[Round]) -> Round:
    """Return the shortest time, the least CPU time, and the lowest load under which they were taken."""
    return Round(*(min(getattr(one, name) for one in rounds) for name in ("wall_s", "cpu_s", "load")))


def row_of(name: str, best: Round, *, baseline: Round, workers: int, pictures: int) -> dict[str, Any]:
    return {
        "way": name,
        "pictures/s": round(pictures / best.wall_s, 2),
        "CPU ms a picture": round(best.cpu_s / pictures * 1e3, 1),
        f"times {BASELINE!r}": round(baseline.wall_s / best.wall_s, 2),
        "possible": round(workers * baseline.cpu_s / best.cpu_s, 2),
        "least load": round(best.load, 1),
    }
