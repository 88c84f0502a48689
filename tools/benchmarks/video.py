"""Frames a second of the whole recognise command on a 720p video of one face, and its memory over a long one.

The video is rendered from a photograph of the demonstration: one face that moves and changes its size, 25 frames a
second, H.264 where PyAV is installed. Each way runs ``recognize --det --rec`` with its annotated video and ``--json``
in a process of its own, gallery built beforehand; the ways take turns, in rounds that change their order, and the
fastest round counts. "frames/s" is of the whole command; "after its start" leaves out what the same command takes for
a video of one frame. With ``--against DIR``, a checkout of an earlier commit is the baseline, else one worker on one
core.

``--minutes N`` then runs the defaults once over N minutes of the same video, looped, and samples the memory of the
process: at a tenth of the run, when models and caches are there, in the middle, at the end, and at most.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.pipeline.demo_photographs import GALLERY, QUERIES, photographs_folder
from arcface_paddle.video.writing import VideoWriter

NAME = "video"

ROOT = Path(__file__).resolve().parents[2]
SEQUENTIAL = "1 worker, 1 thread"
SIZE_WH, FPS = (1280, 720), 25
_SAMPLE_S = 1.0


@dataclass(frozen=True)
class Way:
    """One command.

    Attributes:
        title: for the table.
        root: the checkout whose package runs.
        flags: beside input and output.
    """

    title: str
    root: Path
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """What a command took, with all of its threads and children."""

    wall_s: float
    cpu_s: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--against", type=Path, help="checkout of an earlier commit, which runs with its defaults")
    parser.add_argument("--frames", type=int, default=300, help="of the video (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="of each way (%(default)s)")
    parser.add_argument("--minutes", type=float, default=0, help="of looped video, for the memory (%(default)s: none)")
    parser.add_argument("--more", nargs="*", default=[], metavar="FLAG", help="a further way: the defaults with =FLAG")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each way, and one for the memory."""
    ways = [] if args.against is None else [Way(f"defaults of {args.against.name}", args.against.resolve())]
    ways += [Way(SEQUENTIAL, ROOT, ("--workers", "1", "--threads", "1")), Way("defaults", ROOT)]
    if args.more:
        ways.append(Way(f"with {' '.join(args.more)}", ROOT, tuple(flag.lstrip("=") for flag in args.more)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, single = write_clip(folder / "clip.mp4", frames=args.frames), write_clip(folder / "one.mp4", frames=1)
        indices = {way: build_index(way, folder / f"{number}.index") for number, way in enumerate(ways)}
        starts = {way: recognise(way, indices[way], single) for way in ways}
        rounds: dict[Way, list[Run]] = {way: [] for way in ways}
        order = list(ways)
        for _ in range(args.rounds):
            for way in order:
                rounds[way].append(recognise(way, indices[way], clip))
            order.reverse()
        rows = [row_of(way, rounds, starts, frames=args.frames) for way in ways]
        if args.minutes:
            rows.append(memory_row(indices[ways[-1]], clip, ways[-1], minutes=args.minutes))
    return rows


def row_of(way: Way, rounds: dict[Way, list[Run]], starts: dict[Way, Run], *, frames: int) -> dict[str, Any]:
    def least(which: Way, name: str) -> float:
        return min(getattr(taken, name) for taken in rounds[which])

    first = next(iter(rounds))
    wall_s, cpu_s = least(way, "wall_s"), least(way, "cpu_s")
    after_s, first_after_s = (least(one, "wall_s") - starts[one].wall_s for one in (way, first))
    return {
        "way": way.title,
        "frames/s": round(frames / wall_s, 2),
        "after its start": round(frames / after_s, 2),
        "CPU ms a frame": round((cpu_s - starts[way].cpu_s) / frames * 1e3, 1),
        f"times {first.title!r}": round(least(first, "wall_s") / wall_s, 2),
        "times, after the start": round(first_after_s / after_s, 2),
    }


def memory_row(index: Path, clip: Path, way: Way, *, minutes: float) -> dict[str, Any]:
    """Run over a long video and say how the resident memory of the process went, in MB."""
    long_clip = loop(clip, clip.with_name("long.mp4"), seconds=60 * minutes)
    process = start(way, index, long_clip)
    samples: list[float] = []
    while process.poll() is None:
        samples.append(resident_mb(process.pid))
        time.sleep(_SAMPLE_S)
    assert process.returncode == 0, process.returncode
    settled = samples[len(samples) // 10 :]
    return {
        "way": f"{minutes:g} minutes, {len(samples) * _SAMPLE_S:.0f} s",
        "MB at a tenth": round(settled[0]),
        "in the middle": round(samples[len(samples) // 2]),
        "at the end": round(float(np.median(samples[-10:-1]))),
        "at most": round(max(samples)),
        "MB a minute of run": round(float(np.polyfit(np.arange(len(settled)) * _SAMPLE_S / 60, settled, 1)[0]), 2),
    }


def resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def command_of(way: Way, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(way.root)}
    return [sys.executable, "-m", "arcface_paddle", "recognize", *arguments], environment


def build_index(way: Way, index: Path) -> Path:
    command, environment = command_of(way, f"--build_index={index}", f"--img_dir={photographs_folder() / GALLERY}")
    done = subprocess.run(command, env=environment, cwd=way.root, capture_output=True, text=True, check=False)
    assert index.exists(), done.stderr
    return index


def recognise(way: Way, index: Path, clip: Path) -> Run:
    """Run the whole command and wait for its end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = start(way, index, clip, f"--json={clip.parent / 'found.json'}")
    assert process.wait() == 0, process.returncode
    after, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return Run(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def start(way: Way, index: Path, clip: Path, *flags: str) -> subprocess.Popen[bytes]:
    command, environment = command_of(
        way, "--det", "--rec", f"--index={index}", f"--input={clip}", f"--output={clip.parent / 'out'}", *flags
    )
    return subprocess.Popen(
        [*command, *way.flags], env=environment, cwd=way.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def write_clip(path: Path, *, frames: int) -> Path:
    with VideoWriter(path, fps=FPS) as writer:
        for image in rendered(frames):
            writer.write(image)
    return path


def rendered(frames: int) -> Iterator[np.ndarray]:
    """Give frames of one photograph that swings to and fro and comes nearer, before a textured wall."""
    person = images.read_image(photographs_folder() / QUERIES / "biden_relit.jpg")
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(60, 190, (45, 80, 3), dtype=np.uint8), SIZE_WH, interpolation=cv2.INTER_CUBIC)
    height, width = person.shape[:2]
    for index in range(frames):
        scale = SIZE_WH[1] / 2 / height * (1 + 0.15 * np.sin(index / 20))
        left = SIZE_WH[0] / 2 - width * scale / 2 + 200 * np.sin(index / 30)
        place = np.array([[scale, 0, left], [0, scale, SIZE_WH[1] / 2 - height * scale / 2]])
        canvas = wall.copy()
        cv2.warpAffine(person, place, SIZE_WH, dst=canvas, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
        yield canvas


def loop(clip: Path, target: Path, *, seconds: float) -> Path:
    """Write the packets of a clip again and again."""
    import av

    with av.open(str(target), "w") as output, av.open(str(clip)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size]
        kept = output.add_stream_from_template(stream)
        length = int(stream.duration)
        for turn in range(max(1, round(seconds / float(length * stream.time_base)))):
            for packet in packets:
                shifted = av.Packet(bytes(packet))
                shifted.pts, shifted.dts = packet.pts + turn * length, packet.dts + turn * length
                shifted.time_base, shifted.duration = stream.time_base, packet.duration
                shifted.is_keyframe, shifted.stream = packet.is_keyframe, kept
                output.mux(shifted)
    return target
