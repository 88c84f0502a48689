"""Which network a run trains: defaults by network, names in any case, and everything that --pretrained decides."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import paddle
import pytest

from arcface_paddle.backbones import BACKBONES, build_backbone
from arcface_paddle.data.dataset import normalize
from arcface_paddle.errors import ArcfaceError, CheckpointError, ConfigError, ModelFileError
from arcface_paddle.pipeline.cards import InputSpec, read_card, write_card
from arcface_paddle.pipeline.model_files import open_model, shipped_folder
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime
from arcface_paddle.training.config import TrainConfig, config_from
from arcface_paddle.training.network import NetworkChoice, build_network, choose_network
from arcface_paddle.training.precision import mixed_precision, operators_in_half
from arcface_paddle.training.pretrained import open_pretrained
from arcface_paddle.weight_files import read_state_dict, write_state_dict

SHIPPED = shipped_folder("MobileFace")


def choose(**values):
    choice = choose_network(config_from(values).network)
    return choice.name, choice.embedding_size, choice.width


def model_folder(tmp_path, **spec):
    """The shipped model for training, with changes of its input."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(SHIPPED / "training.pdparams", folder)
    card = read_card(SHIPPED / "model.json")
    write_card(folder, dataclasses.replace(card, input=dataclasses.replace(card.input, **spec)))
    return folder


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("MobileFaceNet_128", 128, 1.0)),
        ({"network": "MobileFaceNet_128"}, ("MobileFaceNet_128", 128, 1.0)),
        ({"network": "iResNet50"}, ("iresnet50", 512, 1.0)),
        ({"network": "IRESNET100", "embedding_size": 256}, ("iresnet100", 256, 1.0)),
        ({"network": "mobilefacenet_192", "width": 0.5}, ("MobileFaceNet_192", 192, 0.5)),
    ],
)
def test_the_embedding_size_is_by_default_the_networks_own(values, expected):
    assert choose(**values) == expected


def test_the_choice_is_written_into_the_settings():
    config = config_from({"network": "iResNet18", "lr": 0.3})
    written = choose_network(config.network).written_into(config)
    assert (written.network.network, written.network.embedding_size, written.network.width) == ("iresnet18", 512, 1.0)
    assert written.optimizer == config.optimizer
    assert choose_network(written.network).written_into(written) == written


def test_the_shipped_model_brings_network_embedding_size_and_input():
    choice = choose_network(config_from({"pretrained": "MobileFace"}).network)
    assert (choice.name, choice.embedding_size, choice.width) == ("MobileFaceNet_192", 192, 1.0)
    assert choice.pretrained.path == SHIPPED / "training.pdparams"
    assert choose(pretrained="MobileFace", network="mobilefacenet_192", embedding_size=192, width=1) == (
        "MobileFaceNet_192", 192, 1.0,
    )  # fmt: skip


def test_the_network_that_is_trained_further_gives_the_features_of_the_shipped_model():
    """Padding and normalisation of the input included; the engine and the trainer each get their own input."""
    model = open_model("MobileFace")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3)).astype(np.uint8)
    runtime = open_runtime(model.graph_file, model.weights_file, options=RuntimeOptions(precision="fp32"))
    spec = model.card.input
    own_input = (pictures.astype(np.float32) * spec.scale - np.float32(spec.mean)) / np.float32(spec.std)
    expected = runtime.run([np.ascontiguousarray(own_input.transpose(0, 3, 1, 2))])[0]

    said: list[str] = []
    choice = choose_network(config_from({"pretrained": "MobileFace"}).network)
    network = build_network(choice, batch_norm="local", say=said.append)
    assert network.training
    network.eval()
    with paddle.no_grad():
        features = network(paddle.to_tensor(np.stack([normalize(picture) for picture in pictures]))).numpy()
    assert np.abs(features - expected).max() <= 1e-3 * np.abs(expected).max()
    assert any(
        "takes the training input (RGB, std 127.5) in place of the model's own (RGB, std 128)" in line for line in said
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding_size": 128}, "has embedding_size 192, which --embedding_size 128 contradicts: leave --embed"),
        ({"network": "MobileFaceNet_128"}, "has network MobileFaceNet_192, which --network MobileFaceNet_128"),
        ({"network": "iresnet50"}, "--network iresnet50 contradicts"),
        ({"width": 0.5}, "has width 1.0, which --width 0.5 contradicts"),
    ],
)
def test_what_contradicts_the_model_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        choose(pretrained="MobileFace", **values)


def test_a_weight_file_gives_what_its_name_and_its_shapes_say(tmp_path):
    network = build_backbone("iresnet18", embedding_size=24, width=0.25)
    path = tmp_path / "iResNet18.pdparams"
    write_state_dict(path, {key: tensor.numpy() for key, tensor in network.state_dict().items()})
    assert choose(pretrained=str(path)) == ("iresnet18", 24, 0.25)
    assert choose(pretrained=str(path), network="iresnet34", embedding_size=8, width=1) == ("iresnet34", 8, 1.0)
    path.rename(tmp_path / "teacher.pdparams")
    assert choose(pretrained=str(tmp_path / "teacher.pdparams"))[0] == "MobileFaceNet_128"
    with pytest.raises(CheckpointError, match="does not fit MobileFaceNet"):
        build_network(
            choose_network(config_from({"pretrained": str(tmp_path / "teacher.pdparams")}).network),
            batch_norm="local",
            say=print,
        )


@pytest.mark.parametrize(
    ("spec", "turned"),
    [
        (
            {"std": (128.0, 64.0, 255.0)},
            lambda weights: weights * (127.5 / np.array([128, 64, 255])).reshape(1, 3, 1, 1),
        ),
        ({"color_order": "BGR"}, lambda weights: weights[:, ::-1] * (127.5 / 128)),
        ({"scale": 1 / 255, "mean": (0.5,) * 3, "std": (0.5,) * 3}, lambda weights: weights),
    ],
    ids=["std", "order", "none"],
)
def test_the_first_convolution_takes_up_the_difference_in_the_input(tmp_path, spec, turned):
    raw = read_state_dict(SHIPPED / "training.pdparams")
    opened = open_pretrained(str(model_folder(tmp_path, **spec)))
    np.testing.assert_allclose(opened.arrays["conv1.conv.weight"], turned(raw["conv1.conv.weight"]), rtol=1e-6)
    assert bool(opened.adapted) == ("scale" not in spec)
    for key, array in raw.items():
        if key != "conv1.conv.weight":
            np.testing.assert_array_equal(opened.arrays[key], array)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"mean": (123.0, 117.0, 104.0)}, r"with mean \[123.0, 117.0, 104.0\]; fine-tuning needs 112x112"),
        ({"size_wh": (96, 112)}, "input 96x112"),
    ],
)
def test_another_kind_of_input_is_refused(tmp_path, spec, message):
    with pytest.raises(CheckpointError, match=message):
        open_pretrained(str(model_folder(tmp_path, **spec)))


def test_damage_is_refused(tmp_path):
    folder = model_folder(tmp_path)
    weights = folder / "training.pdparams"
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged or exchanged"):
        open_pretrained(str(folder))
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"has no training\.pdparams"):
        open_pretrained(str(folder))
    (folder / "model.json").write_text("{")
    shutil.copy(SHIPPED / "training.pdparams", folder)
    with pytest.raises(ModelFileError, match="not valid JSON"):
        open_pretrained(str(folder))


def test_a_card_that_contradicts_its_weights_is_refused(tmp_path):
    folder = model_folder(tmp_path)
    card = json.loads((folder / "model.json").read_text())
    card["recognizer"]["embedding_size"] = 128
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="length 192, but its card says 128"):
        open_pretrained(str(folder))


@pytest.mark.parametrize("source", ["BlazeFace", "none.pdparams", "Nonesuch"])
def test_what_is_no_recogniser_for_training_is_refused(source):
    with pytest.raises(ArcfaceError, match=source):
        open_pretrained(source)


def test_a_network_that_the_card_leaves_open_must_be_named(tmp_path):
    network = build_backbone("MobileFaceNet_128", embedding_size=24, width=0.125)
    folder = tmp_path / "odd"
    folder.mkdir()
    write_state_dict(
        folder / "training.pdparams", {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    )
    card = read_card(SHIPPED / "model.json")
    spec = InputSpec((112, 112), "RGB", (127.5,) * 3, (127.5,) * 3)
    recognizer = dataclasses.replace(card.recognizer, embedding_size=24)
    write_card(folder, dataclasses.replace(card, name="odd", input=spec, recognizer=recognizer))
    with pytest.raises(ConfigError, match="its network is not known; name it with --network"):
        choose(pretrained=str(folder))
    assert choose(pretrained=str(folder), network="MobileFaceNet_128") == ("MobileFaceNet_128", 24, 0.125)


def test_every_network_builds_from_the_defaults():
    assert choose_network(TrainConfig().network).name in BACKBONES


@pytest.mark.parametrize(("data_format", "changed"), [("NCHW", True), ("NHWC", False)])
def test_quick_layers_of_the_processor_are_for_the_usual_order_only(data_format, changed):
    choice = NetworkChoice("MobileFaceNet_128", 128, 0.25, None, data_format=data_format)
    network = build_network(choice, batch_norm="local", say=lambda line: None)
    assert any(type(layer).__module__.endswith("cpu_speed") for layer in network.sublayers()) == changed


def test_sixteen_bits_are_for_accelerators_and_prelu_for_cuda():
    assert [operators_in_half(device) for device in ("gpu", "gpu:1", "cpu", "npu:0")] == [
        {"prelu"},
        {"prelu"},
        set(),
        set(),
    ]
    for precision in ("float32", "bfloat16", "float16"):
        with mixed_precision(precision):
            assert paddle.matmul(paddle.ones([2, 2]), paddle.ones([2, 2])).dtype == paddle.float32
