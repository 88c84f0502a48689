"""Time of the shipped networks and of a whole detection, ours against ONNX Runtime and OpenVINO in the same run.

Rounds of all engines alternate, so that a busy machine slows all of them. A round's time is the lowest of five runs, an
engine's the median over its rounds. The rivals run the ONNX file that paddle2onnx makes of the same network.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from pathlib import Path
from typing import Callable

import numpy as np

from arcface_paddle.pipeline import Analyzer, RuntimeOptions, build_detector, build_recognizer
from arcface_paddle.pipeline.model_files import ModelFolder, open_model
from arcface_paddle.pipeline.runtime import open_runtime

NAME = "inference"

INPUTS = {
    "one embedding": ("MobileFace", (1, 3, 112, 112)),
    "16 embeddings": ("MobileFace", (16, 3, 112, 112)),
    "detector 256x256": ("BlazeFace", (1, 3, 256, 256)),
    "detector 640x480": ("BlazeFace", (1, 3, 480, 640)),
    "refiner, 4 crops": ("FaceRefiner", (4, 3, 48, 48)),
}
RIVALS = ("onnxruntime", "openvino")
OPSET = 13
RUNS_PER_ROUND = 5


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=20, help="rounds per engine (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of OpenVINO (%(default)s)")
    parser.add_argument("--only", choices=INPUTS, help="one of the networks' inputs (default: all)")
    parser.add_argument("--image", type=Path, help="also time detection and the whole analysis of this picture")


def run(args: argparse.Namespace) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for title, (name, shape) in INPUTS.items():
            if args.only not in (None, title):
                continue
            blob = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            engines = open_engines(open_model(name), Path(folder) / f"{name}.onnx", args)
            actions = {engine: functools.partial(run, [blob]) for engine, run in engines.items()}
            medians = time_alternately(actions, rounds=args.rounds)
            rows.append(compared(title, medians))
    if args.image is not None:
        rows += time_analysis(args)
    return rows


def open_engines(model: ModelFolder, onnx_file: Path, args: argparse.Namespace) -> dict[str, Callable]:
    """Return one ``run`` per engine; the rivals share an ONNX file that is made on first use."""
    ours = open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(threads=args.threads))
    engines: dict[str, Callable] = {"paddle": ours.run}
    if not onnx_file.exists():
        import paddle2onnx

        exported = paddle2onnx.export(
            str(model.graph_file), str(model.weights_file), opset_version=OPSET, verbose=False
        )
        onnx_file.write_bytes(exported)
    for engine in RIVALS:
        precision = args.precision if engine == "openvino" else "fp32"
        options = RuntimeOptions(engine=engine, threads=args.threads, precision=precision)
        engines[engine] = open_runtime(onnx_file, options=options).run
    return engines


def time_alternately(actions: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each action; the order is turned around every round."""
    for action in actions.values():
        for _ in range(3):
            action()
    taken: dict[str, list[float]] = {name: [] for name in actions}
    names = list(actions)
    for _ in range(rounds):
        for name in names:
            taken[name].append(min(milliseconds(actions[name]) for _ in range(RUNS_PER_ROUND)))
        names.reverse()
    return {name: float(np.median(values)) for name, values in taken.items()}


def milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def compared(title: str, medians: dict[str, float]) -> dict:
    fastest = min(medians[name] for name in RIVALS)
    times = {f"{name} ms": round(value, 2) for name, value in medians.items()}
    return {"what": title, **times, "ours / faster rival": round(medians["paddle"] / fastest, 2)}


def time_analysis(args: argparse.Namespace) -> list[dict]:
    """Time detection, and detection with embedding, of a photograph."""
    from arcface_paddle import load_image

    options = RuntimeOptions(threads=args.threads)
    image = load_image(args.image)
    detector = build_detector(options=options)
    analyzer = Analyzer(detector, build_recognizer(options=options))
    faces = len(detector.detect(image))
    size = f"{image.shape[1]}x{image.shape[0]}, {faces} faces"
    actions = {"detect": lambda: detector.detect(image), "analyze": lambda: analyzer.analyze(image)}
    medians = time_alternately(actions, rounds=max(5, args.rounds // 4))
    return [{"what": f"{name} {size}", "paddle ms": round(value, 2)} for name, value in medians.items()]
