"""Sharded classifier: time and peak memory per step against the planner, one process, each case in its own process.

The baseline of a sampled case is the case with all classes. Memory is the growth of the peak resident set from before
the classifier is made to after its steps; ``plan_mb`` is what ``arcface-paddle plan`` predicts for the classifier.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

NAME = "classifier"
ROOT = Path(__file__).resolve().parents[2]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--sample_rates", type=float, nargs="+", default=[1.0, 0.1])
    parser.add_argument("--embedding_size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="timed steps after one to warm up")
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> list[dict]:
    rows = []
    for classes in args.classes:
        baseline_s = None
        for rate in sorted(args.sample_rates, reverse=True):
            case = {
                "classes": classes,
                "sample_rate": rate,
                "embedding_size": args.embedding_size,
                "batch_size": args.batch_size,
                "steps": args.steps,
            }
            row = {**_measure_in_process(case, threads=args.threads), "plan_mb": _planned_mb(case)}
            baseline_s = baseline_s or row["step_s"]
            row["faster_than_all_classes"] = baseline_s / row["step_s"]
            row["measured_to_plan"] = row["peak_mb"] / row["plan_mb"]
            rows.append({"classes": classes, "sample_rate": rate, **row})
    return rows


def _planned_mb(case: dict) -> float:
    from arcface_paddle.training.planner import BackboneSize, PlanSettings, make_plan

    names = ("embedding_size", "batch_size", "sample_rate")
    settings = PlanSettings(num_classes=case["classes"], **{name: case[name] for name in names})
    return make_plan(settings, BackboneSize(0, 0)).memory.classifier_peak / 2**20


def _measure_in_process(case: dict, *, threads: int) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__)), json.dumps(case)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=900).stdout
    return json.loads(output.splitlines()[-1])


def _measure(case: dict) -> dict:
    """Run the case in this process."""
    import numpy as np
    import paddle

    from arcface_paddle.heads.margins import build_margin
    from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier

    def make(classes: int) -> ShardedClassifier:
        settings = ClassifierSettings(classes, case["embedding_size"], sample_rate=case["sample_rate"])
        return ShardedClassifier(settings, build_margin("ArcFace"))

    def step(classifier: ShardedClassifier, index: int) -> None:
        random = np.random.default_rng(index)
        features = paddle.to_tensor(
            random.normal(size=(case["batch_size"], case["embedding_size"])).astype(np.float32), stop_gradient=False
        )
        labels = random.integers(0, classifier.settings.num_classes, case["batch_size"])
        classifier.loss(features, classifier.choose_classes(labels, step=index)).backward()
        classifier.step(0.1)

    step(make(1000), 0)  # load kernels and libraries before memory is looked at
    before = _resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
    classifier = make(case["classes"])
    step(classifier, 0)
    begin = time.perf_counter()
    for index in range(case["steps"]):
        step(classifier, index + 1)
    elapsed = time.perf_counter() - begin
    return {"step_s": elapsed / case["steps"], "peak_mb": (_resident_bytes("VmHWM") - before) / 2**20}


def _resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    print(json.dumps(_measure(json.loads(sys.argv[1]))))
