"""The gate itself: against a slow twin, and with exported models that are wrong in one way each."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import paddle
import pytest

from arcface_paddle import images
from arcface_paddle.backbones import build_backbone
from arcface_paddle.data import open_dataset
from arcface_paddle.errors import ConfigError, ImageError, ModelFileError
from arcface_paddle.evaluation.embedder import network_embedder
from arcface_paddle.export import exporter
from arcface_paddle.export.exporter import export_model, install, parity_crops, staging_beside
from arcface_paddle.export.graph import EmbeddingGraph, GraphSettings, build_graph
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.export.parity import check_parity
from arcface_paddle.export.quantization import sample_crops
from arcface_paddle.pipeline.cards import read_card, write_card
from arcface_paddle.pipeline.model_files import preset_card
from arcface_paddle.weight_files import write_state_dict

CROPS = np.random.default_rng(0).integers(0, 256, (9, 112, 112, 3), dtype=np.uint8)


def small(crops):
    """A model: the picture as 4x4 means, (N, 112, 112, 3) uint8 → (N, 48) float32."""
    return (
        np.stack([cv2.resize(crop, (4, 4), interpolation=cv2.INTER_AREA) for crop in crops])
        .reshape(len(crops), -1)
        .astype(np.float32)
    )


def disturbed(crops):
    return small(crops) * 1.5 + np.linspace(0, 40, 48, dtype=np.float32)


def test_report_equals_a_slow_twin():
    report = check_parity(small, disturbed, crops=CROPS, min_cosine=0.5)
    cosines, errors = [], []
    for crop in CROPS:
        a, b = small(crop[None])[0].astype(float), disturbed(crop[None])[0].astype(float)
        cosines.append(a @ b / np.sqrt((a @ a) * (b @ b)))
        errors.append(abs(np.sqrt(b @ b) / np.sqrt(a @ a) - 1))
    assert report.images == 9
    # All nine one by one; of the batches of seven only the first, which holds the same pictures again.
    assert report.min_cosine == pytest.approx(min(cosines), abs=1e-9)
    assert report.max_relative_norm_error == pytest.approx(max(errors), abs=1e-6)


def test_equal_models_pass_and_a_smaller_angle_is_allowed_on_request():
    assert check_parity(small, small, crops=CROPS).min_cosine == pytest.approx(1, abs=1e-9)
    lowest = check_parity(small, disturbed, crops=CROPS, min_cosine=0.0).min_cosine
    with pytest.raises(ModelFileError, match=rf"smallest cosine {lowest:.7f}, allowed 1\); nothing was written"):
        check_parity(small, disturbed, crops=CROPS, min_cosine=1)


def test_a_batch_dimension_that_was_frozen_is_found():
    def frozen(crops):
        return small(crops[:1])

    with pytest.raises(ModelFileError, match=r"for a batch of 7 the exported model gives \(1, 48\)"):
        check_parity(small, frozen, crops=CROPS)


def test_crops_that_are_mixed_up_within_a_batch_are_found():
    with pytest.raises(ModelFileError, match="differs from the network"):
        check_parity(small, lambda crops: small(crops[::-1]), crops=CROPS)


def test_a_network_that_overflows_is_not_the_exporters_fault():
    def overflown(crops):
        return small(crops) * np.inf

    with pytest.raises(ModelFileError, match="the network itself gives values that are not finite"):
        check_parity(overflown, overflown, crops=CROPS)


def test_the_gate_looks_at_real_faces_and_at_noise():
    crops = parity_crops()
    assert crops.shape == (14, 112, 112, 3) and crops.dtype == np.uint8
    np.testing.assert_array_equal(crops, parity_crops())
    roughness = np.abs(np.diff(crops.astype(int), axis=2)).mean(axis=(1, 2, 3))
    assert roughness[:7].max() < 20 < 70 < roughness[7:].min()


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> NetworkSource:
    paddle.seed(0)
    network = build_backbone("MobileFaceNet_128", embedding_size=16, width=0.125)
    path = tmp_path_factory.mktemp("weights") / "run.pdparams"
    write_state_dict(path, {key: value.numpy() for key, value in network.state_dict().items()})
    return NetworkSource("MobileFaceNet_128", str(path))


def test_a_card_that_feeds_the_model_wrongly_does_not_pass(tmp_path, source, monkeypatch):
    """The gate feeds crops through the card, so that preprocessing is part of what is proven."""
    honest = exporter._card

    def without_mean(*arguments, **options):
        card = honest(*arguments, **options)
        return dataclasses.replace(card, input=dataclasses.replace(card.input, mean=(0.0, 0.0, 0.0)))

    monkeypatch.setattr(exporter, "_card", without_mean)
    with pytest.raises(ModelFileError, match="parity gate: the exported model differs"):
        export_model(source, tmp_path / "m", model_format="json", settings=GraphSettings())
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_what_the_graph_gives(tmp_path, source):
    for settings, words in (
        (GraphSettings(), ("features (N, 16)", "not normalised")),
        (GraphSettings(mirror=True, normalize=True), ("embeddings (N, 16)", "the sum over the picture and its mirror")),
    ):
        result = export_model(source, tmp_path / "m", model_format="json", settings=settings)
        card = read_card(tmp_path / "m" / "model.json")
        assert all(word in card.output for word in words)
        assert card.recognizer.embedding_size == 16
        assert (card.name, result.files[-1]) == ("run", "model.json")
        assert "Its thresholds are those of no model" in card.notice


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_graph_against_plain_arithmetic(source, mirror, normalize):
    network = source.load()
    graph = build_graph(network, GraphSettings(mirror=mirror, normalize=normalize, fold=False))
    assert isinstance(graph, EmbeddingGraph) and not graph.training
    embed = network_embedder(network).embed
    expected = embed(CROPS)
    if mirror:
        expected = expected + embed(CROPS[:, :, ::-1])
    if normalize:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(network_embedder(graph).embed(CROPS), expected, rtol=1e-4, atol=1e-5)


def test_install_takes_away_what_an_older_export_left_and_nothing_else(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    for name in ("inference.onnx", "inference.json", "notes.txt"):
        (target / name).write_text("old")
    with staging_beside(target) as staging:
        for name in ("inference.pdmodel", "inference.pdiparams"):
            (staging / name).write_text("new")
        write_card(staging, preset_card("aligned-112"))
        assert install(staging, target) == ("inference.pdiparams", "inference.pdmodel", "model.json")
    found = sorted(path.name for path in target.iterdir())
    assert found == ["inference.pdiparams", "inference.pdmodel", "model.json", "notes.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # no staging folder is left


def test_staging_is_cleared_when_the_work_fails(tmp_path):
    with pytest.raises(RuntimeError), staging_beside(tmp_path / "model") as staging:
        (staging / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def write_crops(folder, *, count=10):
    for index in range(count):
        size = 112 if index % 2 else 120
        images.write_image(folder / f"p{index % 3}" / f"{index}.png", np.full((size, size, 3), 10 * index, np.uint8))
    return open_dataset(folder)


def test_calibration_crops_are_a_seeded_choice_without_repeats(tmp_path):
    dataset = write_crops(tmp_path / "set")
    chosen = sample_crops(dataset, count=4, seed=1)
    assert chosen.shape == (4, 112, 112, 3) and chosen.dtype == np.uint8
    assert len({int(crop[0, 0, 0]) for crop in chosen}) == 4
    np.testing.assert_array_equal(chosen, sample_crops(dataset, count=4, seed=1))
    assert not np.array_equal(chosen, sample_crops(dataset, count=4, seed=2))
    everything = sample_crops(dataset, count=300)
    assert sorted(int(crop[0, 0, 0]) for crop in everything) == [10 * index for index in range(10)]


def test_calibration_needs_a_picture_and_names_a_broken_one(tmp_path):
    dataset = write_crops(tmp_path / "set", count=3)
    with pytest.raises(ConfigError, match="count is 0; allowed: 1 or more"):
        sample_crops(dataset, count=0)
    (tmp_path / "set" / "p1" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"1\.png"):
        sample_crops(dataset, count=3)
