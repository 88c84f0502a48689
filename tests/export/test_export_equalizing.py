"""Equalised channels: the same features, channels of more equal size, and nothing touched that is read twice."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle.backbones import build_backbone
from arcface_paddle.export.equalizing import equalized
from arcface_paddle.export.exporter import parity_crops
from arcface_paddle.export.fake_quantization import quantized_convolutions, with_fake_quantization
from arcface_paddle.export.folding import fold_batch_norm
from arcface_paddle.export.quantization_training import open_trainable
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.preprocessing import to_blob


def pictures(count: int = 4) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(0).normal(size=(count, 3, 16, 16)).astype(np.float32))


class Branch(nn.Layer):
    """Two convolutions in a row, whose middle is also read by a sum, and two that only follow each other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2D(i, 8, 3, padding=1) for i in (3, 8, 8))
        self.act = nn.PReLU(8)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        middle = self.first(x)
        return self.third(self.act(middle + self.second(middle)))


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_features_stay_and_channels_become_alike(groups):
    paddle.seed(0)
    network = nn.Sequential(nn.Conv2D(3, 8, 3), nn.PReLU(8), nn.Conv2D(8, 8, 3, groups=groups), nn.Flatten())
    sizes = (2.0 ** -np.arange(8)).astype(np.float32).reshape(-1, 1, 1, 1)
    network[0].weight.set_value(network[0].weight.numpy() * sizes)
    network[0].bias.set_value(np.zeros(8, np.float32))
    x = pictures()
    result, changed = equalized(network, x)
    assert changed == 1
    np.testing.assert_allclose(result(x).numpy(), network(x).numpy(), rtol=1e-3, atol=1e-6)

    def spread(net: nn.Layer) -> float:
        sizes = paddle.abs(net[1](net[0](x))).max(axis=[0, 2, 3]).numpy()
        return float(sizes.max() / sizes.min())

    assert spread(result) < 1.2 * spread(network) ** 0.5


def test_what_is_read_twice_is_left_alone():
    paddle.seed(1)
    network = Branch()
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    result, changed = equalized(network, pictures())
    assert changed == 0
    for key, value in result.state_dict().items():
        np.testing.assert_allclose(value.numpy(), before[key], rtol=1e-5, atol=1e-8)


def test_a_whole_backbone_keeps_its_features():
    paddle.seed(2)
    network = build_backbone("iresnet18", width=0.125)
    network.eval()
    x = paddle.to_tensor(np.random.default_rng(1).normal(size=(2, 3, 112, 112)).astype(np.float32))
    folded, _ = fold_batch_norm(network, input_shape=(1, 3, 112, 112))
    result, changed = equalized(folded, x)
    assert changed > 0
    np.testing.assert_allclose(result(x).numpy(), folded(x).numpy(), rtol=1e-3, atol=1e-4)


def test_the_shipped_recogniser_survives_eight_bits_in_every_layer():
    model = open_model("MobileFace")
    teacher = open_trainable(model)
    folded, _ = fold_batch_norm(teacher, input_shape=(1, 3, 112, 112))
    x = paddle.to_tensor(to_blob(list(parity_crops()[:7]), model.card.input))

    def cosine(network: nn.Layer) -> float:
        rounded = with_fake_quantization(network, every_layer=True)
        with paddle.no_grad():
            features, wanted = rounded(x).numpy(), teacher(x).numpy()
        assert len(quantized_convolutions(rounded)) == 50
        lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(wanted, axis=1)
        return float(((features * wanted).sum(axis=1) / lengths).min())

    equal, changed = equalized(folded, x)
    assert changed == 33
    assert cosine(folded) < 0.98 < 0.99 < cosine(equal)
