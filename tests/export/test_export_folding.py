"""Folding of batch normalisation: exact where it is done, not done where it would not be."""

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle.backbones import build_backbone
from arcface_paddle.export.folding import find_pairs, fold_batch_norm


def randomize_statistics(network: nn.Layer, seed: int = 0) -> nn.Layer:
    """Give every normalisation statistics, scale and shift that would show if they were lost."""
    random = np.random.default_rng(seed)
    for layer in network.sublayers():
        if hasattr(layer, "_variance"):
            size = layer._mean.shape[0]
            layer._mean.set_value(random.normal(0, 0.2, size).astype(np.float32))
            layer._variance.set_value(random.uniform(0.5, 2, size).astype(np.float32))
            if layer.weight is not None:
                layer.weight.set_value(random.uniform(0.5, 1.5, size).astype(np.float32))
                layer.bias.set_value(random.normal(0, 0.2, size).astype(np.float32))
    network.eval()
    return network


def count_normalizations(network: nn.Layer) -> int:
    return sum(hasattr(layer, "_variance") for layer in network.sublayers())


@pytest.mark.parametrize(("name", "left"), [("MobileFaceNet_128", 0), ("iresnet18", 8 + 1)])
def test_folding_is_exact_and_leaves_what_it_must(name, left):
    # An iResNet keeps the first normalisation of each of its 8 blocks (zero padding lies behind it) and bn2, whose
    # input is a sum.
    network = randomize_statistics(build_backbone(name, width=0.25))
    folded, count = fold_batch_norm(network, input_shape=(1, 3, 112, 112))
    assert count == count_normalizations(network) - count_normalizations(folded)
    assert count_normalizations(folded) == left
    x = paddle.to_tensor(np.random.default_rng(1).standard_normal((2, 3, 112, 112), dtype=np.float32))
    expected, found = network(x).numpy(), folded(x).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_the_network_itself_is_not_changed():
    network = randomize_statistics(build_backbone("MobileFaceNet_128", width=0.25))
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    fold_batch_norm(network, input_shape=(1, 3, 112, 112))
    assert set(before) == set(network.state_dict())
    assert all(np.array_equal(before[key], value.numpy()) for key, value in network.state_dict().items())


class TwoReaders(nn.Layer):
    """A convolution whose output goes into a normalisation and past it through another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)
        self.bn = nn.BatchNorm2D(4)
        self.side = nn.ReLU()

    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) + self.side(y)


class UsedTwice(nn.Layer):
    """A convolution that runs twice; folding it for one of its readers would break the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2D(3)

    def forward(self, x):
        return self.bn(self.conv(self.conv(x)))


@pytest.mark.parametrize("network_class", [TwoReaders, UsedTwice])
def test_shared_outputs_are_left_alone(network_class):
    network = network_class()
    network.eval()
    assert find_pairs(network, input_shape=(1, 3, 8, 8)) == []
