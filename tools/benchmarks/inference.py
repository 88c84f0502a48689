"""Time of the shipped networks, the default engine against Paddle, ONNX Runtime and OpenVINO in the same run.

Rounds of all engines alternate, so that a busy machine slows all of them. A round's time is the lowest of five runs, an
engine's the median over its rounds. ONNX Runtime and OpenVINO, as rivals, run the ONNX file that paddle2onnx makes of
the same network. The clock ``cpu`` counts the processor's time of this process: on one thread, what a quiet machine
would need, also on a busy one.
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
from arcface_paddle.pipeline.runtime import InferenceRuntime, open_runtime
from arcface_paddle.pipeline.settings import PRECISIONS

NAME = "inference"

INPUTS = {
    "one embedding": ("MobileFace", (1, 3, 112, 112)),
    "16 embeddings": ("MobileFace", (16, 3, 112, 112)),
    "one embedding, ResNet29": ("ResNet29", (1, 3, 150, 150)),
    "16 embeddings, ResNet29": ("ResNet29", (16, 3, 150, 150)),
    "detector 256x256": ("BlazeFace", (1, 3, 256, 256)),
    "detector 640x480": ("BlazeFace", (1, 3, 480, 640)),
    "CenterFace 320x192": ("CenterFace", (1, 3, 192, 320)),
    "CenterFace 640x480": ("CenterFace", (1, 3, 480, 640)),
    "refiner, 4 crops": ("FaceRefiner", (4, 3, 48, 48)),
}
OPSET = 13
RUNS_PER_ROUND = 5
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=20, help="rounds per engine (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the default engine (%(default)s)")
    parser.add_argument("--only", choices=INPUTS, help="one of the networks' inputs (default: all)")
    parser.add_argument("--image", type=Path, help="also time detection and the whole analysis of this picture")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="which time is counted (%(default)s)")


def run(args: argparse.Namespace) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for title, (name, shape) in INPUTS.items():
            if args.only not in (None, title):
                continue
            blob = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            engines = open_engines(open_model(name), Path(folder) / f"{name}.onnx", args)
            actions = {engine: functools.partial(runtime.run, [blob]) for engine, runtime in engines.items()}
            medians = time_alternately(actions, rounds=args.rounds, clock=CLOCKS[args.clock])
            rows.append(compared(title, engines, medians))
    if args.image is not None:
        rows += time_analysis(args)
    return rows


def open_engines(model: ModelFolder, onnx_file: Path, args: argparse.Namespace) -> dict[str, InferenceRuntime]:
    """Return one runtime per engine; the rivals share an ONNX file that is made on first use."""
    options = functools.partial(RuntimeOptions, threads=args.threads)
    default = open_runtime(model.graph_file, model.weights_file, options=options(precision=args.precision))
    paddle = open_runtime(model.graph_file, model.weights_file, options=options(engine="paddle"))
    if not onnx_file.exists():
        import paddle2onnx

        exported = paddle2onnx.export(
            str(model.graph_file), str(model.weights_file), opset_version=OPSET, verbose=False
        )
        onnx_file.write_bytes(exported)
    rivals = {
        "onnxruntime": options(engine="onnxruntime"),
        "openvino fp32": options(engine="openvino", precision="fp32"),
    }
    if default.execution.precision == "bf16":
        rivals["openvino bf16"] = options(engine="openvino", precision="bf16")
    opened = {engine: open_runtime(onnx_file, options=chosen) for engine, chosen in rivals.items()}
    return {"default": default, "paddle": paddle, **opened}


def time_alternately(
    actions: dict[str, Callable[[], object]], *, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median milliseconds of each action; the order is turned around every round."""
    for action in actions.values():
        for _ in range(3):
            action()
    taken: dict[str, list[float]] = {name: [] for name in actions}
    names = list(actions)
    for _ in range(rounds):
        for name in names:
            taken[name].append(min(milliseconds(actions[name], clock) for _ in range(RUNS_PER_ROUND)))
        names.reverse()
    return {name: float(np.median(values)) for name, values in taken.items()}


def milliseconds(action: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    action()
    return (clock() - start) * 1e3


def compared(title: str, engines: dict[str, InferenceRuntime], medians: dict[str, float]) -> dict:
    """Return a row: all times, and the default's against the fastest engine that computes in the same precision."""
    precision = engines["default"].execution.precision
    rivals = [medians[name] for name in engines if engines[name].execution.precision == precision and name != "default"]
    times = {f"{name} ms": round(value, 2) for name, value in medians.items()}
    ratio = round(medians["default"] / min(rivals), 2)
    return {"what": title, "default runs": str(engines["default"].execution), **times, "default / fastest": ratio}


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
    medians = time_alternately(actions, rounds=max(5, args.rounds // 4), clock=CLOCKS[args.clock])
    return [{"what": f"{name} {size}", "default ms": round(value, 2)} for name, value in medians.items()]
