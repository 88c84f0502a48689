"""The one contract: the same uint8 crops in, un-normalised features out, whatever runs behind it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from arcface_paddle.backbones import build_backbone
from arcface_paddle.data.augmentation import centre_crop
from arcface_paddle.errors import CheckpointError, ConfigError, ModelFileError
from arcface_paddle.evaluation.embedder import centre_cropped, model_embedder, network_embedder, network_input
from arcface_paddle.evaluation.model_opening import EmbedderSettings, open_embedder, open_embedders
from arcface_paddle.pipeline.cards import write_card
from arcface_paddle.pipeline.model_files import ModelFolder, open_model, preset_card
from arcface_paddle.pipeline.runtime import RuntimeOptions
from arcface_paddle.weight_files import write_state_dict

sys.path.insert(0, str(Path(__file__).parent))
from linear_model import linear_weights, write_onnx

CROPS = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)


def narrow_network(seed=0):
    paddle.seed(seed)
    network = build_backbone("MobileFaceNet_128", embedding_size=16, width=0.125)
    network.eval()
    return network


def linear_folder(tmp_path, **changes):
    """A lone ONNX file under a card whose input is changed."""
    card = preset_card("aligned-112")
    card = dataclasses.replace(card, input=dataclasses.replace(card.input, **changes))
    path = write_onnx(tmp_path / "linear.onnx")
    return ModelFolder(path, card, path, None)


def linear_features(pixels):
    return pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1) @ linear_weights()


def test_a_network_gets_the_input_of_training():
    network = narrow_network()
    found = network_embedder(network).embed(CROPS)
    planes = ((CROPS / 255 - 0.5) / 0.5).astype(np.float32).transpose(0, 3, 1, 2)
    expected = network(paddle.to_tensor(np.ascontiguousarray(planes))).numpy()
    assert found.dtype == np.float32 and found.shape == (5, 16)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_network_in_training_mode_is_no_embedder():
    network = narrow_network()
    embed = network_embedder(network).embed
    network.train()
    with pytest.raises(AssertionError):
        embed(CROPS)


def test_an_exported_model_gets_what_its_card_says(tmp_path):
    scaled = linear_folder(tmp_path, color_order="BGR", mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), scale=0.5)
    found = model_embedder(scaled, name="linear", options=RuntimeOptions(threads=1)).embed(CROPS)
    expected = linear_features((CROPS[..., ::-1].astype(np.float32) * 0.5 - [1, 2, 3]) / [4, 5, 6])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert not np.allclose(np.linalg.norm(found, axis=1), 1), "features, not embeddings"


def test_batches_of_any_size_run_at_once_and_equal_single_crops(tmp_path):
    embedder = model_embedder(linear_folder(tmp_path), name="linear")
    many = np.concatenate([CROPS] * 8)
    whole = embedder.embed(many)
    assert whole.shape == (40, 8)
    np.testing.assert_allclose(whole[37], embedder.embed(many[37:38])[0], rtol=1e-4, atol=1e-4)


def test_weights_and_the_model_exported_from_them_agree():
    # (x - 127.5)/128 of the card against (x/255 - .5)/.5 of training: half a percent of scale, hardly an angle.
    exported = model_embedder(open_model("MobileFace"), name="a").embed(CROPS)
    weights = Path(open_model("MobileFace").path) / "training.pdparams"
    trained = open_embedder(str(weights), settings=EmbedderSettings(network="MobileFaceNet_192")).embed(CROPS)
    lengths = np.linalg.norm(exported, axis=1) * np.linalg.norm(trained, axis=1)
    assert ((exported * trained).sum(axis=1) / lengths).min() > 0.999


def test_a_model_for_other_crops_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="takes 96x112 crops; evaluation gives 112x112"):
        model_embedder(linear_folder(tmp_path, size_wh=(96, 112)), name="linear")


def test_network_input_takes_a_list_or_an_array():
    np.testing.assert_array_equal(network_input(list(CROPS)), network_input(CROPS))


@pytest.fixture
def iresnet_run(tmp_path):
    network = build_backbone("iresnet18", embedding_size=8, width=0.125)
    state = {key: np.asarray(value.numpy()) for key, value in network.state_dict().items()}
    write_state_dict(tmp_path / "iResNet18.pdparams", state)
    write_state_dict(tmp_path / "MobileFaceNet_128.pdparams", {})
    return tmp_path


@pytest.mark.parametrize("network", ["iresnet18", "iResNet18", "IRESNET18"])
def test_names_of_networks_are_matched_without_case(iresnet_run, network):
    embedder = open_embedder(str(iresnet_run), settings=EmbedderSettings(network=network))
    assert embedder.name == "iResNet18"
    assert "(iresnet18, paddle)" in embedder.description
    assert embedder.embed(CROPS[:1]).shape == (1, 8)


def test_which_weights_are_meant_must_be_clear(iresnet_run):
    with pytest.raises(CheckpointError, match=r"MobileFaceNet_128.pdparams, iResNet18.pdparams; name the network"):
        open_embedder(str(iresnet_run))
    with pytest.raises(CheckpointError, match=r"iresnet50.pdparams: no such file; in the folder: MobileFaceNet_128"):
        open_embedder(str(iresnet_run), settings=EmbedderSettings(network="iresnet50"))
    with pytest.raises(ConfigError, match="did you mean iresnet50"):
        open_embedder(str(iresnet_run), settings=EmbedderSettings(network="iresnet5O"))
    (iresnet_run / "mine.pdparams").touch()
    with pytest.raises(ConfigError, match="which network is this"):
        open_embedder(str(iresnet_run / "mine.pdparams"))


def test_models_of_one_name_are_told_apart_by_their_paths(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_onnx(tmp_path / folder / "net.onnx")
    paths = [str(tmp_path / folder / "net.onnx") for folder in ("a", "b")]
    assert [one.name for one in open_embedders(paths, settings=EmbedderSettings())] == paths
    with pytest.raises(ConfigError, match="named twice"):
        open_embedders([paths[0], paths[0]], settings=EmbedderSettings())
    (tmp_path / "b" / "net.onnx").rename(tmp_path / "b" / "other.onnx")
    apart = open_embedders([paths[0], str(tmp_path / "b" / "other.onnx")], settings=EmbedderSettings())
    assert [one.name for one in apart] == ["net", "other"]


def test_the_middle_of_every_crop():
    network = network_embedder(narrow_network(), name="net", description="here")
    middle = centre_cropped(network)
    assert (middle.name, middle.description) == ("net", "here, centre crop")
    expected = network.embed(np.stack([centre_crop(crop) for crop in CROPS[:2]]))
    np.testing.assert_allclose(middle.embed(CROPS[:2]), expected, atol=1e-6)


def test_an_exported_folder_is_named_by_its_folder(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    graph = write_onnx(tmp_path / "mine" / "inference.onnx")
    card = preset_card("aligned-112")
    write_card(tmp_path / "mine", dataclasses.replace(card, input=dataclasses.replace(card.input, color_order="BGR")))
    monkeypatch.chdir(tmp_path / "mine")
    found = [open_embedder(path) for path in (str(tmp_path / "mine"), str(graph), ".")]
    assert [one.name for one in found] == ["mine"] * 3
    for one in found:
        np.testing.assert_allclose(one.embed(CROPS[:1]), found[0].embed(CROPS[:1]))
    graph.rename(tmp_path / "lone.onnx")
    lone = open_embedder(str(tmp_path / "lone.onnx"))
    assert lone.name == "lone" and not np.allclose(lone.embed(CROPS[:1]), found[0].embed(CROPS[:1])), "no card, RGB"


def test_what_is_no_model_is_said(tmp_path):
    with pytest.raises(ModelFileError, match=r"'nothing' is no model: expected .* MobileFace"):
        open_embedder("nothing")
    with pytest.raises(ModelFileError, match=r"gone\.onnx: no such file"):
        open_embedder(str(tmp_path / "gone.onnx"))
    with pytest.raises(CheckpointError, match=r"in the folder: no \.pdparams file"):
        open_embedder(str(tmp_path))


def test_the_only_weights_of_a_folder_need_no_name(iresnet_run):
    (iresnet_run / "MobileFaceNet_128.pdparams").unlink()
    assert open_embedder(str(iresnet_run)).name == "iResNet18"
