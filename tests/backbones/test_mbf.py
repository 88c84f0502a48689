"""The MobileFaceNet of insightface against its drawing; its features against torch are in tests/export."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.cpu_speed import use_cpu_layers
from arcface_paddle.backbones.weights import embedding_size_of, network_of, width_of

MBF = {"mbf": ((1, 4, 6, 2), 2), "mbf_large": ((2, 8, 12, 4), 4)}  # units, and how many times as wide


def scaled(channels, width):
    return max(8, int(np.floor(channels * width / 8 + 0.5)) * 8)


def parameters(units, scale, size, width):
    """Count the trainable values from the drawing."""
    early, late, head = scaled(64, width) * scale, scaled(128, width) * scale, scaled(512, width)

    def bottleneck(before, inner, after):
        inner = scaled(inner, width)
        return before * inner + 3 * inner + 9 * inner + 3 * inner + inner * after + 2 * after

    total = 27 * early + 3 * early
    total += 9 * scale * early + 3 * early if units[0] == 1 else units[0] * bottleneck(early, 128, early)
    stages = ((early, 128, 128, early), (early, 256, 256, late), (late, 512, 256, late))
    for (before, halving, inner, after), count in zip(stages, units[1:]):
        total += bottleneck(before, halving, after) + count * bottleneck(after, inner, after)
    return total + late * head + 3 * head + 49 * head + 2 * head + head * size + 2 * size


def count(network):
    return sum(int(np.prod(weight.shape)) for weight in network.parameters() if not weight.stop_gradient)


@pytest.mark.parametrize("name", MBF)
@pytest.mark.parametrize("width", [0.125, 0.5])
def test_number_of_parameters_by_formula(name, width):
    assert count(build_backbone(name, embedding_size=40, width=width)) == parameters(*MBF[name], 40, width)


def test_number_of_parameters_as_torch_counts_them():
    assert count(build_backbone("mbf")) == 2_059_520
    assert parameters(*MBF["mbf_large"], 512, 1.0) == 6_314_880


def test_weights_tell_network_width_and_size():
    for name in MBF:
        arrays = {k: v.numpy() for k, v in build_backbone(name, embedding_size=24, width=0.25).state_dict().items()}
        assert (network_of(arrays), width_of(arrays), embedding_size_of(arrays)) == (name, 0.25, 24)


def test_the_gradient_reaches_every_parameter_with_the_faster_layers_too():
    """Its second convolution is grouped but not depthwise: the faster layers must leave it as it is."""
    gradients = []
    images, factors = paddle.randn([3, 3, 112, 112]), paddle.randn([3, 16])
    for faster in (False, True):
        paddle.seed(3)
        network = build_backbone("mbf", embedding_size=16, width=0.125)
        network = use_cpu_layers(network) if faster else network
        network.train()
        (network(images) * factors).sum().backward()
        gradients.append({key: weight.grad.numpy() for key, weight in network.named_parameters() if weight.trainable})
    assert all(np.abs(gradient).max() > 0 for gradient in gradients[0].values())
    for key, gradient in gradients[0].items():
        # A shift in front of a convolution and a normalisation is subtracted again; its gradient is rounding.
        assert np.linalg.norm(gradients[1][key] - gradient) <= 2e-3 * np.linalg.norm(gradient) + 1e-3, key
