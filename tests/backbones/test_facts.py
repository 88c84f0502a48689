"""The sizes that are stated of networks are counted again, and held against what others publish."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from arcface_paddle.backbones import BACKBONES, build_backbone
from arcface_paddle.backbones.facts import FACTS
from arcface_paddle.training.planner import measure_backbone

# Quick to run; the others are counted among the long tests.
SMALL = ["MobileFaceNet_128", "MobileFaceNet_192", "MobileNetV2", "MobileNetV3_large", "MobileNetV3_small", "mbf"]
# Parameters of the whole model of paddle.vision and torchvision, 1000 classes included.
WITH_CLASSIFIER = {
    "ResNet50": 25_557_032,
    "ResNet101": 44_549_160,
    "ResNet152": 60_192_808,
    "MobileNetV2": 3_504_872,
}
IR_UNITS = {
    "IR_50": (3, 4, 14, 3), "IR_101": (3, 13, 30, 3), "IR_152": (3, 8, 36, 3),
    "IR_SE_50": (3, 4, 14, 3), "IR_SE_101": (3, 13, 30, 3), "IR_SE_152": (3, 8, 36, 3),
}  # fmt: skip


def count(network):
    return sum(int(np.prod(weight.shape)) for weight in network.parameters() if not weight.stop_gradient)


def shape_of(name):
    """Build a network at full width without memory and random numbers for its weights."""
    with paddle.LazyGuard():
        return build_backbone(name)


def ir_parameters(units, *, squeeze):
    """Count face.evoLVe's network from its drawing."""
    total, before = 27 * 64 + 2 * 64 + 64, 64
    for count_of_units, after in zip(units, (64, 128, 256, 512)):
        for _ in range(count_of_units):
            total += 2 * before + 9 * before * after + after + 9 * after * after + 2 * after
            total += 2 * after * (after // 16) if squeeze else 0
            total += before * after + 2 * after if before != after else 0
            before = after
    return total + 2 * 512 + 512 * 49 * 512 + 512 + 2 * 512


def test_every_network_has_its_facts():
    assert list(FACTS) == list(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_stated_parameters_are_those_of_the_network(name):
    assert count(shape_of(name)) == FACTS[name].parameters


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.long) for name in BACKBONES if name not in SMALL)]
)
def test_the_stated_multiply_adds_are_those_of_a_forward_pass(name):
    size = measure_backbone(name, embedding_size=BACKBONES[name].embedding_size)
    assert (size.parameters, size.multiplications_per_image) == (FACTS[name].parameters, FACTS[name].multiply_adds)


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "iresnet34", "iresnet100", "EdgeFace_XS", "EdgeFace_S"])
def test_networks_that_others_count_have_their_figures(name):
    """Within a fiftieth: some leave out the values of PReLU or of biases."""
    facts = FACTS[name]
    assert facts.parameters == pytest.approx(facts.published.parameters * 1e6, rel=0.02)
    assert facts.multiply_adds == pytest.approx(facts.published.multiply_adds * 1e9, rel=0.02)


@pytest.mark.parametrize("name", WITH_CLASSIFIER)
def test_trunks_are_the_published_ones_without_their_classifier(name):
    trunk = shape_of(name).trunk
    channels = 1280 if name == "MobileNetV2" else 2048
    assert count(trunk) + channels * 1000 + 1000 == WITH_CLASSIFIER[name]
    assert WITH_CLASSIFIER[name] == pytest.approx(FACTS[name].published.parameters * 1e6, rel=0.002)


@pytest.mark.parametrize(
    ("name", "channels", "hidden"), [("MobileNetV3_small", 576, 1024), ("MobileNetV3_large", 960, 1280)]
)
def test_mobilenet_v3_trunks_too(name, channels, hidden):
    whole = count(shape_of(name).trunk) + channels * hidden + hidden + hidden * 1000 + 1000
    assert whole == pytest.approx(FACTS[name].published.parameters * 1e6, rel=0.005)


@pytest.mark.parametrize("name", IR_UNITS)
def test_ir_networks_have_the_parameters_of_their_drawing(name):
    assert FACTS[name].parameters == ir_parameters(IR_UNITS[name], squeeze="SE" in name)


def test_hrnet_has_the_size_of_the_published_body():
    """The published network for landmarks has a second convolution in its stem and a head of 98 maps, not of 512."""
    network, published = shape_of("HRNetV2_W18"), FACTS["HRNetV2_W18"].published
    head = count(network.fc) + count(network.features)
    second_of_stem, maps = 64 * 64 * 9 + 2 * 64, 270 * 98 + 98
    whole = count(network) - head + second_of_stem + maps
    assert whole == pytest.approx(published.parameters * 1e6, rel=0.05)
    assert FACTS["HRNetV2_W18"].multiply_adds * (64 / 56) ** 2 == pytest.approx(published.multiply_adds * 1e9, rel=0.05)


def test_lightnet_has_the_parameters_of_its_drawing():
    channels = (3, 20, 50, 64, 128, 512, 512, 1024, 1024)
    layers = sum(9 * before * after + after + 1 for before, after in zip(channels, channels[1:]))
    assert FACTS["LightNet"].parameters == layers + 1024 * 49 * 512 + 512


def test_the_keys_of_face_evolve_are_those_of_its_weights():
    keys = set(shape_of("IR_SE_50").state_dict())
    norm = {"weight", "bias", "_mean", "_variance"}
    assert {f"input_layer.1.{part}" for part in norm} | {"input_layer.0.weight", "input_layer.2._weight"} <= keys
    unit = {
        "res_layer.1.weight",
        "res_layer.2._weight",
        "res_layer.3.weight",
        "res_layer.5.fc1.weight",
        "res_layer.5.fc2.weight",
    }
    assert {f"body.23.{key}" for key in unit} <= keys
    assert {"body.3.shortcut_layer.0.weight", "output_layer.3.weight", "output_layer.4._mean"} <= keys
    assert not any(key.startswith("body.0.shortcut_layer") for key in keys)  # 64 channels in, 64 out: no convolution
