"""What an engine and its precision may change: nothing that a user sees."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import load_image
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import (
    Analyzer,
    PipelineSettings,
    RuntimeOptions,
    build_detector,
    build_recognizer,
    open_pipeline,
)
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.types import UNKNOWN

pytest.importorskip("openvino")

DEMO = Path(__file__).resolve().parents[2] / "demo"
PORTRAITS = sorted((DEMO / "gallery").glob("*/*.jpg"))
QUERIES = sorted((DEMO / "queries").glob("*.jpg"))
EXACT = RuntimeOptions(engine="paddle", threads=1, precision="fp32")
WAYS = {
    "openvino fp32": RuntimeOptions(engine="openvino", threads=1, precision="fp32"),
    "auto": RuntimeOptions(threads=1),
    "paddle": RuntimeOptions(engine="paddle", threads=1),
}
by_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@by_way
@pytest.mark.parametrize("name", ["MobileFace", "ResNet29"])
def test_embeddings_of_the_same_crops(name: str, way: RuntimeOptions) -> None:
    detector, recognizer = build_detector(options=EXACT), build_recognizer(name, options=EXACT)
    images = [load_image(picture) for picture in (*PORTRAITS, *QUERIES)]
    crops = np.concatenate([recognizer.align(image, detector.detect(image)) for image in images])
    exact, other = recognizer.embed(crops).vectors, build_recognizer(name, options=way).embed(crops).vectors
    cosines = np.sum(exact.astype(np.float64) * other, axis=1)
    assert len(crops) >= 12
    assert cosines.min() > (1 - 1e-6 if way.precision == "fp32" else 0.999)


@by_way
def test_values_that_are_not_finite_are_refused(tmp_path: Path, way: RuntimeOptions) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(open_model("MobileFace").path, folder)
    weights = (folder / "inference.pdiparams").read_bytes()
    (folder / "inference.pdiparams").write_bytes(weights[:-40] + np.full(10, np.nan, np.float32).tobytes())
    (folder / "model.json").unlink()
    recognizer = build_recognizer(folder, options=way)
    with pytest.raises(ModelFileError, match="not finite"):
        recognizer.embed([np.zeros((112, 112, 3), np.uint8)])


@pytest.mark.parametrize("detector", ["BlazeFace", "CenterFace"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_names_of_the_demo_photographs(detector: str, way: RuntimeOptions) -> None:
    """A gallery made in one way serves the other: the same faces, the same names, the same strangers."""
    named = [
        names_given(gallery, probes, detector=detector)
        for gallery, probes in ((EXACT, EXACT), (EXACT, way), (way, EXACT), (way, way))
    ]
    assert len(named[0]) == 9 and UNKNOWN in named[0] and len(set(named[0])) == 4
    assert named[1:] == named[:1] * 3


def names_given(gallery: RuntimeOptions, probes: RuntimeOptions, *, detector: str) -> list[str]:
    names, embeddings = faces_of(PORTRAITS, gallery, detector)
    _, asked = faces_of(QUERIES, probes, detector)
    similarities = asked @ embeddings.T
    return [names[row.argmax()] if row.max() >= 0.58 else UNKNOWN for row in similarities]


def faces_of(pictures: list[Path], options: RuntimeOptions, detector: str) -> tuple[list[str], np.ndarray]:
    key = (tuple(pictures), options, detector)
    if key not in _FOUND:
        analyzer = Analyzer(build_detector(detector, options=options), build_recognizer(options=options))
        faces = [(picture.parent.name, face) for picture in pictures for face in in_order(analyzer, picture)]
        _FOUND[key] = [name for name, _ in faces], np.stack([face.embedding for _, face in faces])
    return _FOUND[key]


def in_order(analyzer: Analyzer, picture: Path) -> list:
    return sorted(analyzer.analyze(load_image(picture)).faces, key=lambda face: float(face.detection.box_xyxy[0]))


_FOUND: dict = {}


def test_the_facts_say_what_ran() -> None:
    for way in (EXACT, *WAYS.values()):
        pipeline = open_pipeline(PipelineSettings(runtime=way))
        execution = build_recognizer(options=way).execution
        assert {name: pipeline.facts[name] for name in ("engine", "precision", "threads")} == asdict(execution)
        assert execution.engine in ("paddle", "openvino") and execution.threads == 1
