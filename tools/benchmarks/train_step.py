"""Images per second of whole training steps (forward, classifier, backward, update), by processes and threads.

Each case runs in processes of its own, on random pictures from memory. Every process has the same batch, so the global
batch grows with the processes. ``speedup`` compares with the first case of the same network: one process, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def run(args: argparse.Namespace) -> list[dict]:
    """Return one row per network and case."""
    rows: list[dict] = []
    for network in args.networks:
        first = None
        for case in args.cases:
            processes, threads = map(int, case.split("x"))
            batch_size = args.batch_size or _BATCH_SIZES.get(network, 8)
            settings = {"network": network, "batch_size": batch_size, "classes": args.classes, "steps": args.steps}
            settings["batch_norm"] = args.batch_norm
            result = _measure(settings, processes=processes, threads=threads)
            first = first or result["images_per_s"]
            result["speedup"] = round(result["images_per_s"] / first, 2)
            rows.append({"network": network, "processes": processes, "threads": threads, **result})
    return rows


def _measure(settings: dict, *, processes: int, threads: int) -> dict:
    """Run one case in fresh processes and return the figures that rank 0 writes."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "result.json"
        command = [sys.executable]
        if processes > 1:
            command += ["-m", "paddle.distributed.launch", f"--nproc_per_node={processes}", f"--log_dir={folder}/log"]
        command += [__file__, json.dumps({**settings, "target": str(target)})]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
        if process.returncode != 0 or not target.is_file():
            raise SystemExit(f"{' '.join(command)} failed:\n{process.stdout[-2000:]}{process.stderr[-2000:]}")
        return dict(json.loads(target.read_text()))


def _work(settings: dict) -> None:
    """Train for some steps in this process and write the figures."""
    import numpy as np
    import paddle

    from arcface_paddle import distributed
    from arcface_paddle.data import FaceDataset
    from arcface_paddle.training.config import config_from
    from arcface_paddle.training.run import build_run
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

    total = settings["steps"] + 2
    size = 512 if settings["network"].startswith("iresnet") else 128
    config = config_from(
        {"network": settings["network"], "embedding_size": size, "batch_size": settings["batch_size"], "num_workers": 0,
         "steps": total, "val_targets": "", "batch_norm": settings["batch_norm"]}
    )  # fmt: skip
    paddle.set_device("cpu")
    with distributed.process_group():
        labels = np.arange(total * settings["batch_size"] * distributed.world_size()) % settings["classes"]
        dataset = RandomFaces(labels, name="random", num_classes=settings["classes"])
        run = build_run(config, say=lambda _text: None, dataset=dataset)
        times = []
        for batch in run.loader.epoch(0):
            distributed.barrier()
            begin = time.perf_counter()
            train_step(run, [batch]).numpy()
            times.append(time.perf_counter() - begin)
            run.state.advance(images=run.identity.global_batch, epoch_images=len(dataset))
        seconds = float(np.median(times[2:]))
        if distributed.is_main():
            figures = {
                "batch": settings["batch_size"],
                "step_s": round(seconds, 3),
                "images_per_s": round(run.identity.global_batch / seconds, 2),
                "memory_mb": round(memory_megabytes()),
            }
            Path(settings["target"]).write_text(json.dumps(figures))


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
