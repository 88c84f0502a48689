"""Training step of a network (forward and backward, no classifier) on CPU: plain, faster layers, compiled operators.

Each case runs in a process of its own. ``images_per_cpu_s`` counts processor time, which a busy machine disturbs less
than the clock; the fastest of the repetitions counts. ``activations_mb`` is the planner's estimate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

NAME = "backbone_step"
ROOT = Path(__file__).resolve().parents[2]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", default=["MobileFaceNet_128", "iresnet18"])
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> list[dict]:
    rows = []
    for network in args.networks:
        found = [_measure_in_process(network, args, layers) for layers in ("plain", "cpu", "compiled")]
        plain = found[0]
        for row in found:
            row["gain"] = row["images_per_cpu_s"] / plain["images_per_cpu_s"]
            rows.append(row)
    return rows


def _measure_in_process(network: str, args: argparse.Namespace, layers: str) -> dict:
    case = {"network": network, "layers": layers, "batch_size": args.batch_size, "repetitions": args.repetitions}
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__)), json.dumps(case)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=900).stdout
    return json.loads(output.splitlines()[-1])


def _measure(case: dict) -> dict:
    """Run the case in this process."""
    import resource

    import numpy as np
    import paddle

    from arcface_paddle.backbones import build_backbone
    from arcface_paddle.backbones.cpu_kernels.building import load_build
    from arcface_paddle.backbones.cpu_kernels.layers import use_kernels
    from arcface_paddle.backbones.cpu_kernels.operators import Kernels
    from arcface_paddle.backbones.cpu_speed import use_cpu_layers
    from arcface_paddle.pipeline.model_files import cache_folder
    from arcface_paddle.training.planner import measure_backbone
    from arcface_paddle.training.processor import threads_per_process
    from arcface_paddle.training.processor_setup import prepare_processor

    size = measure_backbone(case["network"], embedding_size=128)
    network = build_backbone(case["network"], embedding_size=128)
    if case["layers"] == "cpu":
        use_cpu_layers(network)
    elif case["layers"] == "compiled":
        prepare_processor()
        use_kernels(network, Kernels(load_build(cache_folder().parent / "kernels"), threads=threads_per_process()))
    network.train()
    random = np.random.default_rng(0)
    images = paddle.to_tensor(random.normal(size=(case["batch_size"], 3, 112, 112)).astype(np.float32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock, processor = [], []
    for _ in range(case["repetitions"] + 1):  # the first one warms up
        begin, begin_processor = time.perf_counter(), time.process_time()
        network(images).square().mean().backward()
        network.clear_gradients()
        clock.append(time.perf_counter() - begin)
        processor.append(time.process_time() - begin_processor)
    return {
        "network": case["network"],
        "layers": case["layers"],
        "images_per_s": case["batch_size"] / min(clock[1:]),
        "images_per_cpu_s": case["batch_size"] / min(processor[1:]),
        "peak_growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "activations_mb": size.activations_per_image * case["batch_size"] * 4 / 2**20,
    }


if __name__ == "__main__":
    print(json.dumps(_measure(json.loads(sys.argv[1]))))
