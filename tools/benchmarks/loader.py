"""Training batches: loader against bare decoding, loose files against packed shards, start-up on millions of lines.

Two baselines loop over the same encoded pictures in memory, on one thread, into a batch. "numpy" is what a user writes:
cv2.imdecode, cv2.flip, cv2.cvtColor, (x / 255 - 0.5) / 0.5 on float32, transpose. "lean" is imdecode with the loader's
own normalisation, so that what is left between it and the loader is reading, order and hand-over to the consumer.

All variants run in turn, several rounds; the table gives the median of images per second and, because other work on
the machine disturbs it, the CPU time per image, that of worker processes included (Linux, in steps of 10 ms). "of" is
the row that the ratio of wall times is taken against, one worker of the same kind for several; the last two columns
are ratios of CPU times, which show the overhead. Several workers need as many cores that do nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.data import BatchLoader, FaceDataset, LoaderOptions, open_dataset
from arcface_paddle.data.dataset import normalize_into
from arcface_paddle.data.label_file import write_label_file
from arcface_paddle.data.packed import pack_dataset

NAME = "loader"

WORKER_NOUNS = {"thread": ("thread", "threads"), "process": ("process", "processes")}
NUMPY = "bare cv2 + numpy, in memory"
LEAN = "bare cv2, lean, in memory"

STARTUP_PROGRAM = """
import re, sys, time
from arcface_paddle.data.label_file import read_label_file
def peak_kb():  # of this program alone; getrusage would include the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak_kb()
begin = time.perf_counter()
samples = read_label_file(sys.argv[1])
seconds = time.perf_counter() - begin
peak = peak_kb()
paths = samples.paths
kept = paths.buffer.nbytes + paths.starts.nbytes + paths.lengths.nbytes + samples.labels.nbytes
print(seconds, peak, peak - before, kept / len(samples))
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--dataset", help="dataset to read (default: pictures made for the purpose)")
    parser.add_argument("--samples", type=int, default=4000, help="pictures to make (%(default)s)")
    parser.add_argument("--batch_size", type=int, default=256, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the median counts (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (%(default)s)")
    parser.add_argument(
        "--cold", action="store_true", help="also read with a cold cache: drops the system's; needs root"
    )
    parser.add_argument("--lines", type=int, default=5_822_653, help="lines of the start-up test (%(default)s)")


def run(args: argparse.Namespace) -> list[dict]:
    """Measure and return the rows."""
    cv2.setNumThreads(1)  # OpenCV's own threads would share the work of one worker
    with tempfile.TemporaryDirectory(prefix="arcface_loader_") as folder:
        root = Path(folder)
        loose = open_dataset(args.dataset) if args.dataset else make_dataset(root / "loose", args.samples)
        pack_dataset(loose, root / "packed")
        rows = measure_throughput(args, {"loose": loose, "packed": open_dataset(root / "packed")})
        if args.cold:
            rows += measure_cold_reading(loose, open_dataset(root / "packed"))
        rows += measure_startup(root / "label.txt", args.lines)
    return rows


def make_dataset(root: Path, count: int) -> FaceDataset:
    """Write pictures whose JPEG size is about that of aligned photographs (6 KB)."""
    generator = np.random.default_rng(0)
    lines = []
    (root / "images").mkdir(parents=True)
    for number in range(count):
        tiles = generator.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        picture = cv2.resize(tiles, (112, 112), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(picture + generator.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        name = f"images/{number:08d}.jpg"
        (root / name).write_bytes(images.encode_image(noisy, suffix=".jpg", quality=92))
        lines.append((name, number // 20))
    write_label_file(root / "label.txt", lines)
    return open_dataset(root)


def measure_throughput(args: argparse.Namespace, datasets: dict[str, FaceDataset]) -> list[dict]:
    """Run every variant in turn, round after round, so that all see the same disturbance."""
    encoded = [datasets["loose"].read_encoded(index) for index in range(len(datasets["loose"]))]
    side = cv2.imdecode(np.frombuffer(encoded[0], np.uint8), cv2.IMREAD_COLOR).shape[0]
    batch = np.empty((args.batch_size, 3, side, side), dtype=np.float32)
    variants: dict[str, Callable[[int], int]] = {
        NUMPY: functools.partial(decode_with_numpy, encoded, batch),
        LEAN: functools.partial(decode_lean, encoded, batch),
    }
    baselines = {NUMPY: NUMPY, LEAN: NUMPY}
    with contextlib.ExitStack() as stack:
        for workers in args.workers:
            for worker_kind, (layout, dataset) in itertools.product(WORKER_NOUNS, datasets.items()):
                options = LoaderOptions(args.batch_size, workers=workers, worker_kind=worker_kind)
                loader = stack.enter_context(BatchLoader(dataset, options))
                name, one_worker = (row_name(layout, count, worker_kind) for count in (workers, 1))
                baselines[name] = one_worker if one_worker in variants else NUMPY
                variants[name] = functools.partial(drain, loader)
        wall: dict[str, list[float]] = {name: [] for name in variants}
        cpu: dict[str, list[float]] = {name: [] for name in variants}
        for epoch in range(args.rounds + 1):
            for name, variant in variants.items():
                wall_begin, cpu_begin = time.perf_counter(), cpu_seconds()
                count = variant(epoch)
                if epoch > 0:  # the first epoch warms caches and allocates the batches, once in a training run
                    wall[name].append(count / (time.perf_counter() - wall_begin))
                    cpu[name].append((cpu_seconds() - cpu_begin) / count)
    return [throughput_row(name, baselines[name], wall, cpu) for name in variants]


def row_name(layout: str, workers: int, worker_kind: str) -> str:
    """Name a variant of the loader, for example "loose, 2 threads"."""
    return f"{layout}, {workers} {WORKER_NOUNS[worker_kind][workers != 1]}"


def cpu_seconds() -> float:
    """Return the CPU time so far of this process and, on Linux, of its running worker processes."""
    seconds = time.process_time()
    for worker in multiprocessing.active_children():
        stat = Path(f"/proc/{worker.pid}/stat")
        if stat.exists():
            user, system = stat.read_text().rpartition(")")[2].split()[11:13]
            seconds += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return seconds


def throughput_row(name: str, baseline: str, wall: dict[str, list[float]], cpu: dict[str, list[float]]) -> dict:
    """Compare a variant with its baseline."""
    # The ratio is taken within each round, whose variants ran within the same seconds.
    ratio = statistics.median(mine / other for mine, other in zip(wall[name], wall[baseline]))
    return {
        "what": name,
        "images/s": round(statistics.median(wall[name])),
        "best": round(max(wall[name])),
        "ratio": round(ratio, 2),
        "of": baseline,
        "CPU us/image": round(statistics.median(cpu[name]) * 1e6, 1),
        "CPU: of numpy": cpu_ratio(cpu[NUMPY], cpu[name]),
        "CPU: of lean": cpu_ratio(cpu[LEAN], cpu[name]),
    }


def cpu_ratio(baseline: list[float], mine: list[float]) -> float:
    """Return how many images a variant gives in the CPU time of one of the baseline."""
    return round(statistics.median(other / own for own, other in zip(mine, baseline)), 2)


def decode_with_numpy(encoded: list[bytes], batch: np.ndarray, epoch: int) -> int:
    """Fill batches the way a user's own loop does."""
    for number, content in enumerate(encoded):
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if (number + epoch) % 2:
            picture = cv2.flip(picture, 1)
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        batch[number % len(batch)] = ((rgb.astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)
    return len(encoded)


def decode_lean(encoded: list[bytes], batch: np.ndarray, epoch: int) -> int:
    """Fill batches with the loader's own normalisation."""
    for number, content in enumerate(encoded):
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        normalize_into(batch[number % len(batch)], picture, mirror=(number + epoch) % 2 == 1)
    return len(encoded)


def drain(loader: BatchLoader, epoch: int) -> int:
    """Consume an epoch and do nothing with it."""
    return sum(len(batch.labels) for batch in loader.epoch(epoch))


def measure_cold_reading(loose: FaceDataset, packed: FaceDataset) -> list[dict]:
    """Read all samples in random order after dropping the system's cache."""
    order = np.random.default_rng(1).permutation(len(loose)).tolist()
    rows = []
    for name, dataset in (("loose", loose), ("packed", packed)):
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
        begin = time.perf_counter()
        for index in order:
            dataset.read_encoded(index)
        rate = len(order) / (time.perf_counter() - begin)
        rows.append({"what": f"{name}, cold cache, reading only", "images/s": round(rate)})
    rows[1].update(ratio=round(rows[1]["images/s"] / rows[0]["images/s"], 2), of=rows[0]["what"])
    return rows


def measure_startup(path: Path, lines: int) -> list[dict]:
    """Open a label file of many lines in a process of its own."""
    write_label_file(path, ((f"images/{number:08d}.bin", number * 85_742 // lines) for number in range(lines)))
    done = subprocess.run(
        [sys.executable, "-c", STARTUP_PROGRAM, str(path)], capture_output=True, text=True, check=True
    )
    seconds, peak_kb, added_kb, per_sample = map(float, done.stdout.split())
    return [
        {
            "what": f"start-up, {lines:,} lines",
            "seconds": round(seconds, 2),
            "peak MB": round(peak_kb / 1024),
            "of it for the file MB": round(added_kb / 1024),
            "bytes/sample kept": round(per_sample, 1),
        }
    ]
