"""Images per second of whole training steps (forward, classifier, backward, update), by processes and threads.

Each case (processes x threads) runs in processes of its own, on random pictures from memory. Every process has the
same batch, so the global batch grows with the processes. ``speedup`` compares with the first case of the same
network: one process, one thread. ``processor_s`` counts processor time of rank 0, which a busy machine disturbs less
than the clock. ``--against`` measures another checkout too, as ``git worktree add /tmp/before COMMIT`` makes one, and
says how many times as fast this one is, by the clock and by processor time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Sequence

NAME = "train_step"
ROOT = Path(__file__).resolve().parents[2]
_BATCH_SIZES = {"MobileFaceNet_128": 32, "iresnet50": 8}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--networks", nargs="+", default=list(_BATCH_SIZES))
    parser.add_argument("--cases", nargs="+", default=["1x1", "1x2", "2x1"], help="processes x threads of each")
    parser.add_argument("--batch_size", type=int, help="images per process (default: 32 MobileFaceNet, 8 iResNet50)")
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--batch_norm", default="local", choices=("local", "sync", "frozen"))
    parser.add_argument("--steps", type=int, default=5, help="timed steps after two to warm up; the median counts")
    parser.add_argument("--cpu_kernels", default="auto", choices=("auto", "off"), help="as train.py has it")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turn with this one")
    parser.add_argument("--rounds", type=int, default=1, help="fresh processes per case; the median counts")


def run(args: argparse.Namespace) -> list[dict]:
    """Return one row per network and case, with ``--against`` two: the other tree's first."""
    trees = [ROOT] if args.against is None else [args.against.resolve(), ROOT]
    rows: list[dict] = []
    for network in args.networks:
        first = None
        for case in args.cases:
            processes, threads = map(int, case.split("x"))
            batch_size = args.batch_size or _BATCH_SIZES.get(network, 8)
            settings = {"network": network, "batch_size": batch_size, "classes": args.classes, "steps": args.steps}
            settings.update(batch_norm=args.batch_norm, cpu_kernels=args.cpu_kernels)
            figures = _measure_in_turn(settings, trees, rounds=args.rounds, processes=processes, threads=threads)
            first = first or figures[-1]["images_per_s"]
            for tree, result in zip(trees, figures):
                row = {"what": f"{network}, {case}", "network": network, "processes": processes, "threads": threads}
                if args.against is not None:
                    row["tree"] = "this" if tree == ROOT else args.against.name
                    result["against"] = round(result["images_per_s"] / figures[0]["images_per_s"], 2)
                    result["against_processor"] = round(figures[0]["processor_s"] / result["processor_s"], 2)
                rows.append({**row, **result, "speedup": round(result["images_per_s"] / first, 2)})
    return rows


def _measure_in_turn(settings: dict, trees: Sequence[Path], *, rounds: int, processes: int, threads: int) -> list[dict]:
    """Return the figures of every tree: the median round of each, the trees taking turns."""
    found: list[list[dict]] = [[] for _ in trees]
    for _ in range(rounds):
        for own, tree in zip(found, trees):
            own.append(_measure(settings, tree, processes=processes, threads=threads))
    return [sorted(own, key=lambda figures: figures["step_s"])[len(own) // 2] for own in found]


def _measure(settings: dict, tree: Path, *, processes: int, threads: int) -> dict:
    """Run one case in fresh processes with the package of a tree, and return the figures that rank 0 writes."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "result.json"
        command = [sys.executable]
        if processes > 1:
            command += ["-m", "paddle.distributed.launch", f"--nproc_per_node={processes}", f"--log_dir={folder}/log"]
        command += [__file__, json.dumps({**settings, "target": str(target)})]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(tree)}
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
        if process.returncode != 0 or not target.is_file():
            raise SystemExit(f"{' '.join(command)} failed:\n{process.stdout[-2000:]}{process.stderr[-2000:]}")
        return dict(json.loads(target.read_text()))


def _prepared(cpu_kernels: str) -> tuple[Callable[..., Any], dict]:
    """Return ``build_run`` and the settings for the operators, as this or an earlier version has them."""
    from arcface_paddle.training.config import options

    if "cpu_kernels" not in {option.name for option in options()}:  # dad12dc has its build_run elsewhere
        place = "run" if importlib.util.find_spec("arcface_paddle.training.assembly") is None else "assembly"
        return importlib.import_module(f"arcface_paddle.training.{place}").build_run, {}
    from arcface_paddle.training.processor_setup import prepare_processor
    from arcface_paddle.training.run import build_run

    if cpu_kernels != "off":
        prepare_processor()
    return build_run, {"cpu_kernels": cpu_kernels}


def _work(settings: dict) -> None:
    """Train for some steps in this process and write the figures."""
    import numpy as np
    import paddle

    from arcface_paddle import distributed
    from arcface_paddle.data import FaceDataset
    from arcface_paddle.training.config import config_from
    from arcface_paddle.training.run_log import memory_megabytes
    from arcface_paddle.training.step import train_step

    class RandomFaces(FaceDataset):
        """Pictures of noise, from memory."""

        def read_encoded(self, index: int) -> bytes:
            raise NotImplementedError

        def path_of(self, index: int) -> str:
            return f"random picture {index}"

        def read_image(self, index: int) -> np.ndarray:
            return np.random.default_rng(index).integers(0, 256, (112, 112, 3), dtype=np.uint8)

    build_run, chosen = _prepared(settings["cpu_kernels"])
    total = settings["steps"] + 2
    size = 512 if settings["network"].startswith("iresnet") else 128
    config = config_from(
        {"network": settings["network"], "embedding_size": size, "batch_size": settings["batch_size"], "num_workers": 0,
         "steps": total, "val_targets": "", "batch_norm": settings["batch_norm"], **chosen}
    )  # fmt: skip
    paddle.set_device("cpu")
    with distributed.process_group():
        labels = np.arange(total * settings["batch_size"] * distributed.world_size()) % settings["classes"]
        dataset = RandomFaces(labels, name="random", num_classes=settings["classes"])
        run = build_run(config, say=lambda _text: None, dataset=dataset)
        times, processor_times = [], []
        for batch in run.loader.epoch(0):
            distributed.barrier()
            begin, processor_begin = time.perf_counter(), time.process_time()
            train_step(run, [batch]).numpy()
            times.append(time.perf_counter() - begin)
            processor_times.append(time.process_time() - processor_begin)
            run.state.advance(images=run.identity.global_batch, epoch_images=len(dataset))
        seconds = float(np.median(times[2:]))
        if distributed.is_main():
            figures = {
                "batch": settings["batch_size"],
                "step_s": round(seconds, 3),
                "processor_s": round(float(np.median(processor_times[2:])), 3),
                "images_per_s": round(run.identity.global_batch / seconds, 2),
                "memory_mb": round(memory_megabytes()),
            }
            Path(settings["target"]).write_text(json.dumps(figures))


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
