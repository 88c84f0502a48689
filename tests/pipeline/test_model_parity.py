"""The shipped models against what the original runtimes made of the original weights (recorded, see tools/)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.detection.blazeface import decode_heads
from arcface_paddle.pipeline.detection.centerface_maps import decode_batch, decode_maps
from arcface_paddle.pipeline.detection.network_detector import detector_spec
from arcface_paddle.pipeline.model_files import ModelFolder, open_model
from arcface_paddle.pipeline.preprocessing import to_blob
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime


@pytest.fixture(scope="module")
def references() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent.parent / "fixtures" / "model_references.npz", allow_pickle=False) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def second_references() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent.parent / "fixtures" / "second_references.npz", allow_pickle=False) as archive:
        return dict(archive)


def run(model: ModelFolder, pictures: np.ndarray, *, onednn: bool = True) -> list[np.ndarray]:
    options = RuntimeOptions(engine="paddle", threads=1, onednn=onednn, precision="fp32")
    runtime = open_runtime(model.graph_file, model.weights_file, options=options)
    return runtime.run([to_blob(list(pictures), model.card.input)])


def anchors_of(card: ModelCard, side: int) -> np.ndarray:
    """Centres of all anchors in the original's order, as a plain loop."""
    spec = detector_spec(card)
    return np.array(
        [
            ((column + 0.5) * stride, (row + 0.5) * stride)
            for stride, count in zip(spec.strides, spec.anchors)
            for row in range(side // stride)
            for column in range(side // stride)
            for _ in range(count)
        ]
    )


@pytest.mark.parametrize("onednn", [True, False])
def test_mobileface_matches_tflite(references: dict[str, np.ndarray], onednn: bool) -> None:
    [features] = run(open_model("MobileFace"), references["faces"], onednn=onednn)
    expected = references["mobileface_features"]
    assert features.shape == expected.shape == (2, 192)
    ours, theirs = features.astype(np.float64), expected.astype(np.float64)  # float32 itself rounds at 1e-7
    cosine = np.sum(ours * theirs, axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.9999999
    assert np.abs(features - expected).max() < 2e-5 * np.abs(expected).max()


def test_blazeface_matches_tflite(references: dict[str, np.ndarray]) -> None:
    model = open_model("BlazeFace")
    points, scores = decode_heads(run(model, references["scene"][None]), detector_spec(model.card), input_hw=(256, 256))
    original = references["blazeface_boxes"].reshape(-1, 8, 2).astype(np.float64)
    anchors = anchors_of(model.card, 256)
    center = original[:, 0] + anchors
    keypoints = original[:, 2:] + anchors[:, None]
    expected = np.concatenate(
        [(center - original[:, 1] / 2)[:, None], (center + original[:, 1] / 2)[:, None], keypoints], axis=1
    )
    assert np.abs(points - expected).max() < 3.4e-4  # pixels; coordinates go to 256
    expected_scores = 1 / (1 + np.exp(-np.clip(references["blazeface_logits"].astype(np.float64), -80, 80)))
    assert np.abs(scores - expected_scores).max() < 1e-5
    assert (scores > 0.5).sum() >= 1  # the photograph shows a face


def test_refiner_matches_torch(references: dict[str, np.ndarray]) -> None:
    box, landmarks, probability = run(open_model("FaceRefiner"), references["crops"])
    np.testing.assert_allclose(box, references["refiner_box"], atol=1e-5)
    np.testing.assert_allclose(landmarks, references["refiner_landmarks"], atol=1e-5)
    np.testing.assert_allclose(probability, references["refiner_probability"], atol=1e-5)
    assert probability[0, 1] > 0.99 and probability[1, 1] < 0.5  # a face, and a piece of a flag


@pytest.mark.parametrize("onednn", [True, False])
def test_centerface_matches_the_original_runtime(references, second_references, onednn: bool) -> None:
    heat, *others = run(open_model("CenterFace"), references["scene"][None], onednn=onednn)
    found = [1 / (1 + np.exp(-heat.astype(np.float64))), *others]
    for values, name in zip(found, ("heat", "size", "offset", "landmarks")):
        expected = second_references[f"centerface_{name}"]
        assert values.shape == expected.shape
        assert np.abs(values - expected).max() < 1e-4, name


@pytest.mark.parametrize("onednn", [True, False])
def test_resnet29_matches_dlib(second_references, onednn: bool) -> None:
    [features] = run(open_model("ResNet29"), second_references["resnet29_crops"], onednn=onednn)
    expected = second_references["resnet29_features"]
    assert features.shape == expected.shape == (2, 128)
    assert np.abs(features - expected).max() < 1e-5


def test_rows_of_several_pictures_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(3, channels, 6, 7)).astype(np.float32) for channels in (1, 2, 2, 10)]
    rows, pictures = decode_batch(maps, stride=4, threshold=0.7)
    assert (np.diff(rows[:, 4]) <= 0).all() and set(pictures) == {0, 1, 2}
    for number in range(3):
        alone = decode_maps([one[number : number + 1] for one in maps], stride=4, threshold=0.7)
        np.testing.assert_array_equal(rows[pictures == number], alone)


def test_centerface_rows_match_a_plain_loop(references, second_references) -> None:
    probability = second_references["centerface_heat"].astype(np.float64)
    maps = [np.log(probability / (1 - probability))]
    maps += [second_references[f"centerface_{name}"] for name in ("size", "offset", "landmarks")]
    rows = decode_maps(maps, stride=4, threshold=0.35)
    _, size, offset, landmarks = (values[0].astype(np.float64) for values in maps)
    expected = []
    for y in range(64):
        for x in range(64):
            if probability[0, 0, y, x] < 0.35:
                continue
            high, wide = np.exp(size[:, y, x]) * 4
            left = (x + offset[1, y, x] + 0.5) * 4 - wide / 2
            top = (y + offset[0, y, x] + 0.5) * 4 - high / 2
            points = [(left + landmarks[2 * k + 1, y, x] * wide, top + landmarks[2 * k, y, x] * high) for k in range(5)]
            row = [left, top, left + wide, top + high, probability[0, 0, y, x], *np.ravel(points)]
            expected.append(row)
    expected.sort(key=lambda row: -row[4])
    assert len(rows) == len(expected) > 3
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
