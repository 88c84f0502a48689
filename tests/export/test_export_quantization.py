"""INT8: the gate compares before and after; what passes runs in OpenVINO, what fails leaves nothing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.data.verification_set import VerificationSet
from arcface_paddle.errors import DataError, ModelFileError
from arcface_paddle.export.exporter import _REAL_FACES
from arcface_paddle.export.quantization import quantize_model
from arcface_paddle.pipeline import build_recognizer
from arcface_paddle.pipeline.cards import read_card

NEEDS_ONNX = pytest.mark.skipif(importlib.util.find_spec("paddle2onnx") is None, reason="paddle2onnx is not there")


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Return (7, 112, 112, 3) uint8: seven real aligned faces, in the order of demo/DEMO_PHOTOS.md's people."""
    strip = images.read_image(_REAL_FACES)
    return np.stack(np.split(strip, 7, axis=1))


@pytest.fixture(scope="module")
def pairs(faces) -> VerificationSet:
    """Pairs of a face with its darker self, and of two different pictures."""
    encoded, issame = [], []
    for index in range(20):
        first, other = faces[index % 7], faces[(index * 3 + 1) % 7]
        same = index % 2 == 0
        second = (first * 0.8).astype(np.uint8) if same else other
        encoded += [images.encode_image(first), images.encode_image(second)]
        issame.append(same)
    return VerificationSet("own", encoded, np.array(issame))


@pytest.mark.slow
@NEEDS_ONNX
def test_int8_model_drops_into_the_pipeline(tmp_path, faces, pairs):
    report = quantize_model("MobileFace", tmp_path / "int8", calibration=faces, pairs=pairs, max_auc_loss=0.05)
    assert report.calibration_images == 7 and report.pairs == "own, 20 pairs"
    card = read_card(tmp_path / "int8" / "model.json")
    assert card.engine == "openvino" and card.recognizer.embedding_size == 192
    before = build_recognizer("MobileFace").embed(faces).vectors
    after = build_recognizer(tmp_path / "int8").embed(faces).vectors
    cosines = (before * after).sum(axis=1)
    assert cosines.min() > 0.95
    assert not np.array_equal(before, after), "it is really another arithmetic"
    assert (tmp_path / "int8" / "inference.onnx").stat().st_size < 2_000_000, "weights of one byte"


@pytest.mark.slow
@NEEDS_ONNX
def test_a_failed_gate_leaves_nothing(tmp_path, faces, pairs):
    with pytest.raises(ModelFileError, match="accuracy gate"):
        quantize_model("MobileFace", tmp_path / "int8", calibration=faces, pairs=pairs, max_auc_loss=-1.0)
    assert list(tmp_path.iterdir()) == []


def test_no_pictures_and_pairs_of_one_kind(tmp_path, faces, pairs):
    with pytest.raises(DataError, match="calibration"):
        quantize_model("MobileFace", tmp_path / "m", calibration=np.zeros((0, 112, 112, 3), np.uint8), pairs=pairs)
    for one_kind in (np.ones(20, bool), np.zeros(20, bool)):
        alike = VerificationSet("alike", pairs.images, one_kind)
        with pytest.raises(DataError, match="alike: the gate needs pairs of one person and pairs of two"):
            quantize_model("MobileFace", tmp_path / "m", calibration=faces, pairs=alike)
    assert list(tmp_path.iterdir()) == []
