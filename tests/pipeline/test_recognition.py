from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Callable, Sequence

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, ImageError, ModelFileError
from arcface_paddle.pipeline import build_recognizer
from arcface_paddle.pipeline.model_files import ModelFolder, open_model
from arcface_paddle.pipeline.recognition import Recognizer
from arcface_paddle.pipeline.runtime import RuntimeOptions

FACES = np.load(Path(__file__).parent.parent / "fixtures" / "model_references.npz")["faces"]
CROPS = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)


@dataclasses.dataclass
class FakeRuntime:
    """A network that is a function of its input; counts the batches."""

    function: Callable[[np.ndarray], np.ndarray]
    input_names: tuple[str, ...] = ("image",)
    output_names: tuple[str, ...] = ("features",)
    batches: list[int] = dataclasses.field(default_factory=list)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.batches.append(len(inputs[0]))
        return [self.function(inputs[0])]


def model_of_size(embedding_size: int) -> ModelFolder:
    model = open_model("MobileFace")
    assert model.card.recognizer is not None
    spec = dataclasses.replace(model.card.recognizer, embedding_size=embedding_size)
    return dataclasses.replace(model, card=dataclasses.replace(model.card, recognizer=spec))


def columns(blob: np.ndarray) -> np.ndarray:
    """Four features that tell left from right: means of vertical stripes."""
    return blob.reshape(len(blob), 3, 112, 4, 28).mean(axis=(1, 2, 4)).astype(np.float32)


def test_batches_do_not_change_the_result_and_respect_the_limit() -> None:
    results = []
    for limit, expected in ((1, [1] * 5), (2, [2, 2, 1]), (16, [5])):
        runtime = FakeRuntime(columns)
        recognizer = Recognizer(model_of_size(4), runtime, max_batch_size=limit, mirrored=False)
        results.append(recognizer.embed(CROPS))
        assert runtime.batches == expected
    for result in results:
        np.testing.assert_allclose(result.vectors, results[0].vectors, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-6)


def test_norms_are_those_of_the_features() -> None:
    runtime = FakeRuntime(lambda blob: np.tile(np.array([[3.0, 4.0]], np.float32), (len(blob), 1)))
    found = Recognizer(model_of_size(2), runtime).embed(CROPS[:1])
    np.testing.assert_allclose(found.vectors, [[0.6, 0.8]], atol=1e-6)
    np.testing.assert_allclose(found.norms, [5.0])


def test_mirroring_averages_features_before_normalisation() -> None:
    found = Recognizer(model_of_size(4), FakeRuntime(columns), mirrored=True).embed(CROPS)
    plain = columns(((CROPS.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2))
    expected = (plain + plain[:, ::-1]) / 2
    np.testing.assert_allclose(found.vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(found.vectors, found.vectors[:, ::-1], atol=1e-5)


def test_nothing_in_gives_nothing_out() -> None:
    found = Recognizer(model_of_size(4), FakeRuntime(columns)).embed(np.zeros((0, 112, 112, 3), np.uint8))
    assert found.vectors.shape == (0, 4) and found.norms.shape == (0,) and len(found) == 0


def test_features_are_what_the_network_gave_even_if_not_finite() -> None:
    runtime = FakeRuntime(lambda blob: np.where(columns(blob) > 0, np.nan, columns(blob)).astype(np.float32))
    recognizer = Recognizer(model_of_size(4), runtime, max_batch_size=2, mirrored=False)
    plain = columns(((CROPS.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(recognizer.features(CROPS), np.where(plain > 0, np.nan, plain), atol=1e-5)
    assert runtime.batches == [2, 2, 1]
    assert recognizer.features(CROPS[:0]).shape == (0, 4)


def test_the_network_is_asked_for_its_size_when_the_card_does_not_say() -> None:
    assert Recognizer(model_of_size(0), FakeRuntime(columns)).embedding_size == 4


@pytest.mark.parametrize("crops", [CROPS[:, :100], CROPS.astype(np.float32), CROPS[:, :, :, :1]])
def test_crops_of_another_shape_or_type(crops: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"crop 0 is .* allowed: uint8 of \(112, 112, 3\)"):
        Recognizer(model_of_size(4), FakeRuntime(columns)).embed(crops)


@pytest.mark.parametrize("crops", [None, 5, "a.jpg", b"ab", memoryview(b"ab"), ["a.jpg"], [[1, 2]], iter([])])
def test_crops_of_another_kind(crops: object) -> None:
    with pytest.raises(ImageError, match=r"type \w+; allowed: an array"):
        Recognizer(model_of_size(4), FakeRuntime(columns)).embed(crops)  # type: ignore[arg-type]


def test_a_network_that_breaks_its_promise() -> None:
    with pytest.raises(ModelFileError, match="not finite"):
        Recognizer(model_of_size(4), FakeRuntime(lambda blob: columns(blob) * np.nan)).embed(CROPS)
    with pytest.raises(ModelFileError, match="the card says 8 values"):
        Recognizer(model_of_size(8), FakeRuntime(columns)).embed(CROPS)


def test_unsuitable_arguments() -> None:
    with pytest.raises(ConfigError, match="max_batch_size is 0"):
        build_recognizer("MobileFace", max_batch_size=0)
    with pytest.raises(ModelFileError, match="not for face recognition"):
        Recognizer(open_model("BlazeFace"), FakeRuntime(columns))


def test_the_shipped_recognizer_gives_192_numbers_in_any_batch() -> None:
    recognizer = build_recognizer("MobileFace", options=RuntimeOptions(threads=1))
    both = recognizer.embed(FACES)
    assert both.vectors.shape == (2, 192) and both.vectors.dtype == np.float32
    for index, face in enumerate(FACES):
        np.testing.assert_allclose(recognizer.embed([face]).vectors[0], both.vectors[index], atol=1e-5)
    assert recognizer.weights_sha256 == open_model("MobileFace").weights_sha256()
