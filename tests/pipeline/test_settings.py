"""Bounds of what may be chosen, and which engines stand for ``auto``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import settings
from arcface_paddle.pipeline.settings import DetectionSettings, OutputSettings, RuntimeOptions


@pytest.mark.parametrize(
    ("kind", "name", "good", "bad"),
    [
        (DetectionSettings, "threshold", [None, 0.001, 1], [0, 1.001, -1]),
        (DetectionSettings, "min_face", [None, 1, 100_000], [0, 100_001]),
        (DetectionSettings, "rotate", ["auto", "0", "270"], ["45", ""]),
        (OutputSettings, "font_size", [None, 4, 1000], [3, 1001]),
        (OutputSettings, "unknown", [None, "stranger", "谁"], ["", " ", "a\nb"]),
        (OutputSettings, "distance", [None, "cosine"], ["l1"]),
        (RuntimeOptions, "engine", ["auto", "paddle", "openvino", "onnxruntime"], ["tensorrt"]),
        (RuntimeOptions, "device", ["cpu", "gpu", "gpu:12"], ["gpu:", "gpu:x", "cpu:0", "xgpu"]),
        (RuntimeOptions, "threads", [None, 1, 1024], [0, 1025]),
        (RuntimeOptions, "precision", ["auto", "fp32", "bf16"], ["fp16", "int8"]),
    ],
)
def test_all_up_to_the_bounds_is_allowed_and_nothing_beyond(kind: Any, name: str, good: list, bad: list) -> None:
    for value in good:
        assert getattr(kind(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(ConfigError, match=name if name not in ("threshold", "unknown", "distance") else "is"):
            kind(**{name: value})


def test_engines_devices_and_precisions_that_go_together() -> None:
    """Against a table: CPU engines on a CPU, fp16 and TensorRT on a GPU, no bf16 in ONNX Runtime and TensorRT."""
    choices = itertools.product(
        ("auto", "paddle", "openvino", "onnxruntime"), ("cpu", "gpu:1"), ("auto", "fp32", "bf16", "fp16"), (False, True)
    )
    for engine, device, precision, tensorrt in choices:
        on_cpu = device == "cpu"
        refused = (
            (engine in ("openvino", "onnxruntime") and not on_cpu)
            or (engine == "onnxruntime" and precision == "bf16")
            or (precision == "fp16" and on_cpu)
            or (tensorrt and (on_cpu or precision == "bf16"))
        )
        try:
            RuntimeOptions(engine=engine, device=device, precision=precision, tensorrt=tensorrt)
        except ConfigError:
            assert refused, (engine, device, precision, tensorrt)
        else:
            assert not refused, (engine, device, precision, tensorrt)


@pytest.mark.parametrize(
    ("options", "suffix", "preferred", "missing", "expected"),
    [
        ({"engine": "paddle"}, ".onnx", "openvino", (), ("paddle",)),
        ({}, ".pdmodel", "openvino", ("openvino",), ("openvino",)),
        ({}, ".pdmodel", "paddle", (), ("paddle",)),
        ({}, ".onnx", "paddle", (), ("openvino", "onnxruntime")),
        ({}, ".pdmodel", "", (), ("openvino", "paddle")),
        ({}, ".pdmodel", "", ("openvino",), ("paddle",)),
        ({}, ".pdmodel", "", ("paddle",), ("openvino",)),
        ({}, ".onnx", "", ("onnxruntime",), ("openvino",)),
        ({}, ".onnx", "", ("openvino",), ("onnxruntime",)),
        ({}, ".json", "", (), ("paddle",)),
        ({"device": "gpu"}, ".pdmodel", "", (), ("paddle",)),
        ({"onednn": False}, ".pdmodel", "", (), ("paddle",)),
    ],
)
def test_what_auto_stands_for(
    options: dict[str, Any],
    suffix: str,
    preferred: str,
    missing: tuple[str, ...],
    expected: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "_installed", lambda package: package not in missing)
    chosen = RuntimeOptions(**options)
    assert chosen.candidates(Path(f"a{suffix}"), preferred=preferred) == expected
    assert chosen.resolved(Path(f"a{suffix}"), preferred=preferred).engine == expected[0]


def test_onnx_files_run_on_a_cpu_only() -> None:
    with pytest.raises(ConfigError, match="the engine onnxruntime runs on cpu only here"):
        RuntimeOptions(device="gpu").resolved(Path("a.onnx"))


def test_threads_are_those_asked_for_or_all_that_there_are() -> None:
    assert RuntimeOptions(threads=3).thread_count == 3
    assert RuntimeOptions().thread_count == settings.available_cores() >= 1
