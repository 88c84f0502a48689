"""Memory, open files and threads of what runs for long: a trainer, a video, a service, an analyzer of many threads.

Each runs in a process of its own and is sampled with its children. "settled" is a third of the way, when models and
caches are there; from then on the figures have to be flat. The slope is that of a line through the samples since then.

    python tools/benchmark.py soak --minutes 30 --together --json soak.json --samples samples.json --plot soak.png
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import numpy as np
import psutil

from arcface_paddle import files, images
from arcface_paddle.data.bin_record import encode_record
from benchmarks import video
from benchmarks.service_process import make_gallery, started_server
from benchmarks.service_requests import Client, load_pictures

NAME = "soak"

ROOT = Path(__file__).resolve().parents[2]
THREADS = 8  # that share one analyzer
_CLIENTS = 4
_SAMPLE_S = 1.0
_POINTS = 60  # of a series in the rows
_SETTLED = 1 / 3  # of the time
_IDENTITIES, _PICTURES = 20, 200
_ENDLESS = 10_000_000  # steps


@dataclass
class Samples:
    """What was seen of a process and its children.

    Attributes:
        minutes: since the begin, one value a sample, as the lists below.
        resident_mb: memory that they hold.
        handles: open files, sockets and pipes.
        threads: of all of them.
    """

    minutes: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--minutes", type=float, default=3.0, help="of each (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="(all)")
    parser.add_argument("--together", action="store_true", help="all at the same time (one after the other)")
    parser.add_argument("--threads", type=int, default=THREADS, help="that share the analyzer (%(default)s)")
    parser.add_argument("--samples", type=Path, help="also write every sample to this file (JSON)")
    parser.add_argument("--plot", type=Path, help="also draw memory, handles and threads over time (PNG, SVG, PDF)")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Let each run for its time and return a row for it."""
    with ThreadPoolExecutor(len(args.kinds) if args.together else 1) as pool:
        drawn = dict(zip(args.kinds, pool.map(lambda kind: _soaked(kind, args), args.kinds)))
    if args.samples:
        files.write_json(args.samples, {kind: vars(samples) for kind, samples in drawn.items()})
    if args.plot:
        draw(args.plot, drawn)
    return [row_of(kind, samples) for kind, samples in drawn.items()]


def _soaked(kind: str, args: argparse.Namespace) -> Samples:
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, KINDS[kind](Path(folder), args) as process:
        samples = watch(process, minutes=args.minutes)
    facts = {name: value for name, value in row_of(kind, samples).items() if name != "series"}
    print(f"{kind}: {facts}", file=sys.stderr, flush=True)
    return samples


def watch(process: subprocess.Popen[Any], *, minutes: float) -> Samples:
    """Sample a process for some time. Raises ``RuntimeError`` when it ends before that."""
    samples, begun = Samples(), time.monotonic()
    root = psutil.Process(process.pid)
    while (passed := time.monotonic() - begun) < 60 * minutes:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r:.200} ended after {passed:.0f} s with status {process.returncode}")
        _sample(root, passed / 60, samples)
        time.sleep(_SAMPLE_S)
    return samples


def _sample(root: psutil.Process, minutes: float, samples: Samples) -> None:
    resident, handles, threads = 0, 0, 0
    for each in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # a child that has just ended
            resident += each.memory_info().rss
            handles += each.num_fds() if hasattr(each, "num_fds") else each.num_handles()
            threads += each.num_threads()
    samples.minutes.append(minutes)
    samples.resident_mb.append(resident / 1e6)
    samples.handles.append(handles)
    samples.threads.append(threads)


def row_of(kind: str, samples: Samples) -> dict[str, Any]:
    """Say how the figures went since they had settled."""
    first = min(int(len(samples.minutes) * _SETTLED), len(samples.minutes) - 2)
    settled = samples.resident_mb[first:]
    slope = np.polyfit(samples.minutes[first:], settled, 1)[0]
    return {
        "runs": kind,
        "minutes": round(samples.minutes[-1], 1),
        "MB settled": round(settled[0]),
        "MB half-way": round(samples.resident_mb[len(samples.minutes) // 2]),
        "MB at the end": round(float(np.median(settled[-10:]))),
        "MB at most": round(max(samples.resident_mb)),
        "MB a minute": round(float(slope), 2),
        "handles": f"{samples.handles[first]} to {samples.handles[-1]}, at most {max(samples.handles[first:])}",
        "threads": f"{samples.threads[first]} to {samples.threads[-1]}, at most {max(samples.threads[first:])}",
        "series": series_of(samples),
    }


def series_of(samples: Samples) -> dict[str, list[float]]:
    """Return few enough points for a page: the most that was seen in each part of the time, which hides no peak."""
    count = len(samples.minutes)
    edges = np.linspace(0, count, min(_POINTS, count) + 1).astype(int)
    parts = list(zip(edges[:-1], edges[1:]))
    return {
        name: [round(float(max(getattr(samples, key)[begin:end])), 2) for begin, end in parts]
        for name, key in (("minutes", "minutes"), ("MB", "resident_mb"), ("handles", "handles"), ("threads", "threads"))
    }


def draw(path: Path, drawn: dict[str, Samples]) -> None:
    """Draw a row of three charts for each kind."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.6 * len(drawn)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(drawn), 3, squeeze=False)
    for axes, (kind, samples) in zip(grid, drawn.items()):
        for axis, name in zip(axes, ("resident_mb", "handles", "threads")):
            axis.plot(samples.minutes, getattr(samples, name), linewidth=1)
            axis.set_title(f"{kind}: {'resident MB' if name == 'resident_mb' else name}", fontsize=9)
            axis.set_ylim(bottom=0)
            axis.set_xlabel("minutes", fontsize=8)
    figure.savefig(path)


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start Python with the package of this checkout; ended with the block."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools")])}
    with subprocess.Popen(
        [sys.executable, *command], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _trainer(folder: Path, args: argparse.Namespace) -> contextlib.AbstractContextManager[subprocess.Popen[Any]]:
    """Train a narrow network without end, with validation and checkpoints on the way."""
    _write_dataset(folder / "set")
    flags = {
        "data_dir": folder / "set", "output": folder / "run", "logdir": folder / "log", "val_targets": "",
        "network": "MobileFaceNet_128", "width": 0.125, "embedding_size": 16, "batch_size": 16, "steps": _ENDLESS,
        "log_every": 20, "save_every": 50, "num_workers": 1,
    }  # fmt: skip
    return _started(["-m", "arcface_paddle", "train", *(f"--{name}={value}" for name, value in flags.items())])


def _write_dataset(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    generator, lines = np.random.default_rng(0), []
    for number in range(_PICTURES):
        pixels = generator.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        name = f"images/{number:04d}.bin"
        (folder / name).write_bytes(encode_record(f"{number}.jpg", images.encode_image(pixels, suffix=".jpg")))
        lines.append(f"{name}\t{number % _IDENTITIES}\n")
    (folder / "label.txt").write_text("".join(lines), encoding="utf-8")


def _video(folder: Path, args: argparse.Namespace) -> contextlib.AbstractContextManager[subprocess.Popen[Any]]:
    """Recognise a clip that is repeated for longer than anybody computes."""
    way = video.Way("defaults", ROOT)
    index = video.build_index(way, folder / "people.index")
    clip = video.write_clip(folder / "clip.mp4", frames=100)
    endless = video.loop(clip, folder / "long.mp4", seconds=60 * max(2.0, 4 * args.minutes))
    flags = ["--det", "--rec", f"--index={index}", f"--input={endless}", f"--output={folder / 'out'}"]
    return _started(["-m", "arcface_paddle", "recognize", *flags])


@contextlib.contextmanager
def _service(folder: Path, args: argparse.Namespace) -> Iterator[subprocess.Popen[Any]]:
    """Serve a gallery to clients that ask without a pause, now and then with an attack."""
    uri, until = make_gallery(folder, engine="file", faces=2000), threading.Event()
    with started_server(folder, uri) as server:
        clients = [Client(server, load_pictures(640), hostile=0.01, seed=seed) for seed in range(_CLIENTS)]
        threads = [threading.Thread(target=_ask_until, args=(client, until)) for client in clients]
        for thread in threads:
            thread.start()
        try:
            yield server.process
        finally:
            until.set()
            for thread in threads:
                thread.join()


def _ask_until(client: Client, end: threading.Event) -> None:
    while not end.is_set():
        client.ask()
    client.close()


def _analyzer(folder: Path, args: argparse.Namespace) -> contextlib.AbstractContextManager[subprocess.Popen[Any]]:
    """Let threads share one analyzer, each with pictures of many sizes."""
    return _started(["-c", f"from benchmarks import soak; soak.analyze_for_ever({args.threads})"])


def analyze_for_ever(count: int) -> None:
    """Analyse photographs of the demonstration, enlarged at random up to 12 megapixels, in some threads."""
    from arcface_paddle.pipeline.opening import PipelineSettings, open_pipeline

    analyzer = open_pipeline(PipelineSettings()).analyzer
    pictures = [_enlarged(content, side) for content in load_pictures(1400) for side in (640, 1000, 1600, 2400, 4000)]

    def work(seed: int) -> None:
        choices = random.Random(seed)
        while True:
            analyzer.analyze(choices.choice(pictures))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _enlarged(content: bytes, side: int) -> bytes:
    image = images.load_image(content)
    scale = side / max(image.shape[:2])
    size_wh = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return images.encode_image(images.resize(image, size_wh), suffix=".jpg", quality=90)


Started = Callable[[Path, argparse.Namespace], contextlib.AbstractContextManager["subprocess.Popen[Any]"]]
KINDS: dict[str, Started] = {
    "trainer": _trainer,
    "video": _video,
    "service": _service,
    "analyzer": _analyzer,
}
