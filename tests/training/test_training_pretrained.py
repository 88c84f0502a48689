"""ImageNet weights as a start, dropout and the choice of the normalisation, through the settings of a run."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn.layer.norm import _BatchNormBase

from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.batch_renorm import BatchRenorm, SynchronisedBatchRenorm
from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.training.config import config_from
from arcface_paddle.training.network import build_network, choose_network
from arcface_paddle.training.optimizer import norm_parameter_names
from arcface_paddle.weight_files import write_state_dict

IMAGENET_STD = (0.229, 0.224, 0.225)


def build(say=lambda line: None, **values):
    config = config_from({"width": 0.125, "embedding_size": 8, **values})
    return build_network(choose_network(config.network), batch_norm=config.network.batch_norm, say=say)


def save(path, network, change=lambda arrays: None):
    arrays = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    change(arrays)
    write_state_dict(path, arrays)
    return str(path)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Weights as paddle.vision publishes them, and the model; its classes are fewer, which nobody reads."""
    paddle.seed(7)
    model = paddle.vision.models.mobilenet_v3_small(num_classes=10)
    for key, tensor in model.state_dict().items():
        if key.endswith(("._mean", "._variance")):
            tensor.set_value(paddle.rand(tensor.shape) + 0.5)
    model.eval()
    path = tmp_path_factory.mktemp("imagenet") / "mobilenet_v3_small_x1.0.pdparams"
    paddle.save(model.state_dict(), str(path))
    return str(path), model


def test_imagenet_weights_fill_the_trunk_and_the_head_starts_anew(imagenet):
    path, model = imagenet
    said: list[str] = []
    choice = choose_network(config_from({"pretrained": path, "embedding_size": 24}).network)
    assert (choice.name, choice.embedding_size, choice.width) == ("MobileNetV3_small", 24, 1.0)
    network = build_network(choice, batch_norm="local", say=said.append)
    assert len(said) == 1 and "their classifier is dropped" in said[0] and "head and class centres start at" in said[0]
    own, theirs = network.trunk.state_dict(), model.state_dict()
    assert set(own) == {key for key in theirs if not key.startswith("classifier.")}
    for key, tensor in own.items():
        if key != "conv.0.weight":
            np.testing.assert_array_equal(tensor.numpy(), theirs[key].numpy(), err_msg=key)


def test_the_trunk_computes_from_our_input_what_the_model_computes_from_imagenets(imagenet):
    """But for the mean, which is ours: a picture that both take for the same has ImageNet's mean moved to ours."""
    path, model = imagenet
    network = build(pretrained=path, width=1.0)
    network.eval()
    pixels = np.random.default_rng(0).random((2, 3, 112, 112)).astype(np.float32)
    deviation = (pixels - 0.5) / 0.5  # as our training sees it
    as_imagenet = (pixels - 0.5) / np.float32(IMAGENET_STD).reshape(1, 3, 1, 1)
    with paddle.no_grad():
        ours = network.trunk(paddle.to_tensor(deviation)).numpy()
        theirs = model.lastconv(model.blocks(model.conv(paddle.to_tensor(as_imagenet)))).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


def test_the_embedding_size_of_a_run_is_not_the_number_of_imagenets_classes(tmp_path):
    shapes = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (2048, 1000), "fc.bias": (1000,)}
    write_state_dict(
        tmp_path / "resnet50.pdparams", {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    )
    choice = choose_network(config_from({"pretrained": str(tmp_path / "resnet50.pdparams")}).network)
    assert (choice.name, choice.embedding_size, choice.width) == ("ResNet50", 512, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arrays: arrays.pop("conv.0.weight"),
            r"x\.pdparams does not fit MobileNetV3Small: conv\.0\.weight is mis",
        ),
        (lambda arrays: arrays.update(extra=np.zeros(2, np.float32)), "extra is not part of the network"),
        (
            lambda arrays: arrays.update({"blocks.0.linear_conv.0.weight": np.zeros((3, 3), np.float32)}),
            r"blocks\.0\.linear_conv\.0\.weight is \(3, 3\) instead of \(16, 16, 1, 1\)",
        ),
    ],
    ids=["missing", "extra", "shape"],
)
def test_imagenet_weights_that_do_not_fit_are_refused(imagenet, tmp_path, change, message):
    path = save(tmp_path / "x.pdparams", imagenet[1], change)
    with pytest.raises(CheckpointError, match=message):
        build(pretrained=path, network="MobileNetV3_small", width=1.0)


def test_a_foreign_file_is_refused_with_a_difference_of_every_kind(tmp_path):
    path = save(tmp_path / "x.pdparams", build_backbone("iresnet18", embedding_size=8, width=0.125))
    with pytest.raises(CheckpointError) as raised:
        build(pretrained=path, network="ResNet50", width=0.125)
    message = str(raised.value)
    assert "layer1.0.conv3.weight is missing" in message
    assert "prelu._weight is not part of the network" in message
    assert "conv1.weight is (8, 3, 3, 3) instead of (64, 3, 7, 7)" in message
    assert "\n" not in message and len(message) < 500


def test_weights_of_an_own_run_fill_trunk_and_head(tmp_path):
    source = build_backbone("MobileNetV3_small", embedding_size=8, width=0.125)
    said: list[str] = []
    network = build(said.append, pretrained=save(tmp_path / "MobileNetV3_small.pdparams", source), width=None)
    assert "backbone starts from" in said[0]
    for key, tensor in source.state_dict().items():
        np.testing.assert_array_equal(network.state_dict()[key].numpy(), tensor.numpy())


@pytest.mark.parametrize("name", ["iresnet18", "IR_50", "MobileNetV3_small", "LightNet"])
def test_dropout_is_that_of_the_settings_or_the_networks_own(name):
    own = {"iresnet18": 0.0, "IR_50": 0.5, "MobileNetV3_small": 0.5, "LightNet": 0.2}[name]
    for values, expected in (({}, own), ({"dropout": 0.3}, 0.3), ({"dropout": 0.0}, 0.0)):
        network = build(network=name, **values)
        assert [layer.p for layer in network.sublayers() if isinstance(layer, nn.Dropout)] == [expected]


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "HRNetV2_W18"])
def test_dropout_of_a_network_without_it_is_refused(name):
    with pytest.raises(ConfigError, match=rf"--dropout 0\.4: {name} has no dropout; leave it out, or take .*iresnet50"):
        build(network=name, dropout=0.4)


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "iresnet18", "IR_SE_50", "MobileNetV2"])
@pytest.mark.parametrize(
    ("norm", "batch_norm", "kind"),
    [
        ("batch", "local", nn.BatchNorm2D),
        ("batch_renorm", "local", BatchRenorm),
        ("batch_renorm", "sync", SynchronisedBatchRenorm),
        ("group", "local", nn.GroupNorm),
    ],
)
def test_the_norm_of_the_settings_is_that_of_the_network(name, norm, batch_norm, kind):
    network = build(network=name, norm=norm, batch_norm=batch_norm)
    norms = [layer for layer in network.sublayers() if isinstance(layer, (_BatchNormBase, nn.GroupNorm))]
    assert sum(type(layer) is kind for layer in norms) >= len(norms) - 2 > 10
    weights = {path for path, layer in network.named_sublayers() if layer in norms}
    assert {f"{path}.weight" for path in weights} <= norm_parameter_names(network)  # and so free of weight decay


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"norm": "batch_renorm", "batch_norm": "frozen"}, "leave one of the two out"),
        ({"norm": "batch_renorm", "mode": "static"}, "of its first step; leave one out"),
        ({"norm": "layer"}, "norm is 'layer'; allowed: batch, batch_renorm, group"),
        ({"network": "LightNet", "norm": "group"}, "--norm group: LightNet has no BatchNorm to replace"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at most 0.95"),
    ],
)
def test_choices_that_do_not_fit_together_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        build(**values)


def test_weights_go_on_with_their_own_norm_only(tmp_path):
    for norm, other in (("batch", "group"), ("group", "batch")):
        path = save(tmp_path / "MobileFaceNet_128.pdparams", build(norm=norm))
        assert build(pretrained=path, norm=norm).training
        with pytest.raises(ConfigError, match=rf"--norm {other}: the weights .* take --norm {norm}"):
            build(pretrained=path, norm=other)
    assert build(pretrained=save(tmp_path / "MobileFaceNet_128.pdparams", build()), norm="batch_renorm").training
