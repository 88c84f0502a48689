"""Feature maps with the channels last: the same features and gradients, the same weights."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.channels_last import CHANNELS_LAST, use_channels_last
from arcface_paddle.backbones.normalization import freeze_batch_norm, use_native_sync_batch_norm
from arcface_paddle.errors import ConfigError

NETWORKS = [("MobileFaceNet_192", 0.25), ("iresnet18", 0.125)]


def both(name: str, width: float) -> tuple[nn.Layer, nn.Layer]:
    """Return one network in both orders, with weights in which nothing is 0 or 1."""
    first, last = (build_backbone(name, embedding_size=16, width=width) for _ in range(2))
    random = np.random.default_rng(0)
    for key, tensor in first.state_dict().items():
        if tensor.ndim == 1:
            tensor.set_value(
                random.uniform(0.5, 1.5, tensor.shape).astype(np.float32) - ("bias" in key or "mean" in key)
            )
    last.set_state_dict(first.state_dict())
    return first, use_channels_last(last, name=name)


def pictures(count: int = 3) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(1).standard_normal((count, 3, 112, 112)).astype(np.float32))


@pytest.mark.parametrize(("name", "width"), NETWORKS)
def test_features_gradients_and_keys_are_the_same(name: str, width: float) -> None:
    first, last = both(name, width)
    assert list(first.state_dict()) == list(last.state_dict())
    assert [tensor.shape for tensor in first.parameters()] == [tensor.shape for tensor in last.parameters()]
    features = []
    for network in (first, last):
        freeze_batch_norm(network).train()
        features.append(network(pictures()))
        features[-1].square().mean().backward()
    np.testing.assert_allclose(features[0].numpy(), features[1].numpy(), rtol=1e-4, atol=1e-5)
    for (key, own), other in zip(first.named_parameters(), last.parameters()):
        if own.stop_gradient:
            continue
        difference = float((own.grad - other.grad).norm()) / float(own.grad.norm())
        assert difference < 1e-4, key


@pytest.mark.parametrize(("name", "width"), NETWORKS)
def test_statistics_of_a_batch_are_the_same(name: str, width: float) -> None:
    first, last = both(name, width)
    for network in (first, last):
        network.train()
        network(pictures())
    for key, tensor in first.state_dict().items():
        if key.endswith(("_mean", "_variance")):
            np.testing.assert_allclose(
                tensor.numpy(), last.state_dict()[key].numpy(), rtol=1e-3, atol=1e-4, err_msg=key
            )


def test_every_layer_of_maps_has_the_channels_last() -> None:
    for name, width in NETWORKS:
        network = use_channels_last(use_native_sync_batch_norm(build_backbone(name, width=width)), name=name)
        for path, layer in network.named_sublayers():
            if isinstance(layer, (nn.Conv2D, nn.PReLU, nn.SyncBatchNorm)) and path != "features":
                assert layer._data_format == CHANNELS_LAST, path
        if name == "iresnet18":  # of vectors
            assert network.features._data_format == "NCL"


def test_other_networks_and_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match="--data_format NHWC: HRNetV2_W18 is computed as NCHW only; leave it out"):
        use_channels_last(build_backbone("HRNetV2_W18", width=0.25), name="HRNetV2_W18")
    network = build_backbone("iresnet18", width=0.125)
    network.prelu = nn.AdaptiveAvgPool2D(1)
    with pytest.raises(ConfigError, match="nobody has seen a AdaptiveAvgPool2D with it"):
        use_channels_last(network, name="iresnet18")
