"""Batch renormalisation against a slow twin and against BatchNorm; group normalisation."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.batch_renorm import (
    BatchRenorm,
    RenormLimits,
    SynchronisedBatchRenorm,
    ramped_limits,
    set_renorm_limits,
    use_batch_renorm,
    use_group_norm,
)
from arcface_paddle.backbones.normalization import freeze_batch_norm, use_synchronised_batch_norm
from arcface_paddle.backbones.weights import has_group_norm, network_of, open_backbone
from arcface_paddle.export.exporter import export_model
from arcface_paddle.export.graph import GraphSettings
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.weight_files import write_state_dict

MOMENTUM, EPSILON = 0.9, 1e-5


def arrays_of(network):
    return {key: tensor.numpy() for key, tensor in network.state_dict().items()}


def twin(x, state, limits):
    """Renormalise by the paper's algorithm 1, in float64, channel by channel; r and d may be anything but learnt."""
    y = np.empty_like(x)
    for channel in range(x.shape[1]):
        values = x[:, channel]
        std, mean = np.sqrt(values.var() + EPSILON), values.mean()
        running_std = np.sqrt(state["_variance"][channel] + EPSILON)
        r = min(max(std / running_std, 1 / limits.r_max), limits.r_max)
        d = min(max((mean - state["_mean"][channel]) / running_std, -limits.d_max), limits.d_max)
        y[:, channel] = state["weight"][channel] * ((values - mean) / std * r + d) + state["bias"][channel]
    return y


def twin_gradients(x, state, factors, limits):
    """Differentiate sum(factors y) by hand with r and d as constants: BatchNorm's gradient times r; weight and bias."""
    to_x, to_weight, to_bias = np.empty_like(x), [], []
    for channel in range(x.shape[1]):
        values, dy = x[:, channel], factors[:, channel]
        std, mean = np.sqrt(values.var() + EPSILON), values.mean()
        running_std = np.sqrt(state["_variance"][channel] + EPSILON)
        r = min(max(std / running_std, 1 / limits.r_max), limits.r_max)
        d = min(max((mean - state["_mean"][channel]) / running_std, -limits.d_max), limits.d_max)
        normalised = (values - mean) / std
        to_weight.append((dy * (normalised * r + d)).sum())
        to_bias.append(dy.sum())
        centred = dy - dy.mean() - normalised * (dy * normalised).mean()
        to_x[:, channel] = centred * state["weight"][channel] * r / std
    return to_x, np.array(to_weight), np.array(to_bias)


def random_layer(kind, channels, seed):
    """A layer with random weights and with running statistics far enough from the batch to reach some limits."""
    random = np.random.default_rng(seed)
    layer = use_batch_renorm(kind(channels, momentum=MOMENTUM, epsilon=EPSILON))
    layer.weight.set_value(random.normal(1.0, 0.3, channels).astype(np.float32))
    layer.bias.set_value(random.normal(0.0, 0.3, channels).astype(np.float32))
    layer._mean.set_value(random.normal(0.0, 3.0, channels).astype(np.float32))
    layer._variance.set_value((10.0 ** random.uniform(-2, 2, channels)).astype(np.float32))
    layer.train()
    return layer


@pytest.mark.parametrize("synchronised", [False, True])
@pytest.mark.parametrize(
    "limits", [RenormLimits(), RenormLimits(1.5, 0.5), RenormLimits(1.0, 0.0), RenormLimits(100.0, 100.0)]
)
@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm2D, (4, 6, 3, 5)), (nn.BatchNorm1D, (5, 6))])
def test_value_gradient_and_statistics_equal_the_slow_twin(kind, shape, limits, synchronised):
    layer = random_layer(kind, 6, 1)
    if synchronised:
        layer = use_synchronised_batch_norm(layer)
        assert type(use_batch_renorm(layer)) is SynchronisedBatchRenorm
    set_renorm_limits(layer, limits)
    state = {key: value.astype(np.float64) for key, value in arrays_of(layer).items()}
    random = np.random.default_rng(2)
    x, factors = random.normal(0.5, 1.5, shape), random.normal(size=shape)
    own = paddle.to_tensor(x.astype(np.float32), stop_gradient=False)
    y = layer(own)
    (y * paddle.to_tensor(factors.astype(np.float32))).sum().backward()

    np.testing.assert_allclose(y.numpy(), twin(x, state, limits), rtol=2e-4, atol=2e-4)
    gradients = (own.grad, layer.weight.grad, layer.bias.grad)
    for actual, expected in zip(gradients, twin_gradients(x, state, factors, limits)):
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-3, atol=1e-3)
    axes = tuple(axis for axis in range(len(shape)) if axis != 1)
    mean = MOMENTUM * state["_mean"] + (1 - MOMENTUM) * x.mean(axes)
    variance = MOMENTUM * state["_variance"] + (1 - MOMENTUM) * x.var(axes)
    np.testing.assert_allclose(layer._mean.numpy(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer._variance.numpy(), variance, rtol=1e-4, atol=1e-5)


def test_without_limits_the_batch_is_normalised_as_in_evaluation():
    layer = random_layer(nn.BatchNorm2D, 4, 3)
    layer.limits = RenormLimits(1e6, 1e6)
    x = paddle.randn([8, 4, 5, 5])
    before = arrays_of(layer)
    trained = layer(x)
    layer.eval()
    for key, array in before.items():
        getattr(layer, key).set_value(array)
    np.testing.assert_allclose(trained.numpy(), layer(x).numpy(), rtol=1e-3, atol=1e-3)


def test_the_ramp_begins_at_batch_norm_and_ends_with_the_warm_up():
    assert ramped_limits(0, 10) == RenormLimits(1.0, 0.0)
    assert ramped_limits(5, 10) == RenormLimits(2.0, 2.5)
    assert ramped_limits(10, 10) == ramped_limits(999, 10) == RenormLimits(3.0, 5.0)
    assert ramped_limits(0, 0) == RenormLimits(3.0, 5.0)

    paddle.seed(0)
    layers = [nn.BatchNorm2D(5), use_batch_renorm(nn.BatchNorm2D(5))]
    set_renorm_limits(layers[1], ramped_limits(0, 10))
    x = paddle.randn([3, 5, 4, 4]) * 2.0 + 1.0
    plain, renormalised = (layer(x).numpy() for layer in layers)
    np.testing.assert_allclose(renormalised, plain, rtol=1e-6, atol=1e-6)
    for key, array in arrays_of(layers[0]).items():
        np.testing.assert_array_equal(arrays_of(layers[1])[key], array)


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "iresnet18"])
def test_in_evaluation_and_in_files_it_is_batch_norm(name, tmp_path):
    network = build_backbone(name, embedding_size=8, width=0.125)
    keys = list(network.state_dict())
    use_batch_renorm(network)
    norms = [layer for layer in network.sublayers() if hasattr(layer, "_mean")]
    assert norms and all(type(layer) is BatchRenorm for layer in norms)
    network.train()
    images = paddle.randn([4, 3, 112, 112])
    network(images).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters() if not weight.stop_gradient)
    network.eval()
    assert list(network.state_dict()) == keys
    write_state_dict(tmp_path / "w.pdparams", arrays_of(network))
    plain = open_backbone(name, tmp_path / "w.pdparams")
    assert not any(isinstance(layer, BatchRenorm) for layer in plain.sublayers())
    np.testing.assert_allclose(plain(images).numpy(), network(images).numpy(), rtol=1e-5, atol=1e-6)


def test_frozen_statistics_are_used_and_stay():
    layer = freeze_batch_norm(random_layer(nn.BatchNorm2D, 4, 5))
    before, x = arrays_of(layer), paddle.randn([2, 4, 3, 3])
    trained = layer(x).numpy()
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), trained)
    for key, array in arrays_of(layer).items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "iresnet18"])
def test_group_norm_replaces_the_norms_of_maps_and_leaves_those_of_vectors(name, tmp_path):
    paddle.seed(2)
    network = build_backbone(name, embedding_size=8, width=0.125)
    before = arrays_of(network)
    network = use_group_norm(network)
    norms = {path: layer for path, layer in network.named_sublayers() if isinstance(layer, nn.GroupNorm)}
    statistics = [key for key in network.state_dict() if key.endswith("._mean")]
    assert statistics in (["features._mean"], ["linear7.bn._mean", "linear1.bn._mean"])
    assert len(norms) + len(statistics) == sum(key.endswith("._mean") for key in before)
    for key, array in arrays_of(network).items():
        np.testing.assert_array_equal(array, before[key])

    for weight in network.parameters():
        weight.set_value(paddle.randn(weight.shape) * 0.2)
    images = paddle.randn([3, 3, 112, 112])
    network.eval()
    together = network(images).numpy()
    alone = np.concatenate([network(image.unsqueeze(0)).numpy() for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)

    write_state_dict(tmp_path / "w.pdparams", arrays_of(network))
    batch_twin = build_backbone(name, embedding_size=8, width=0.125)
    assert has_group_norm(arrays_of(network), batch_twin) and not has_group_norm(before, batch_twin)
    assert network_of(arrays_of(network)) == (
        None if name.startswith("Mobile") else name  # MobileFaceNets of another embedding size look all the same
    )
    np.testing.assert_array_equal(open_backbone(name, tmp_path / "w.pdparams")(images).numpy(), together)


def test_a_group_is_normalised_by_its_own_values():
    network = use_group_norm(build_backbone("MobileFaceNet_128", width=0.125))
    layer = network.conv1.bn  # 8 channels in 4 groups
    x = np.random.default_rng(0).normal(2.0, 3.0, (2, 8, 4, 4)).astype(np.float32)
    expected = np.empty_like(x)
    for picture in range(2):
        for group in range(0, 8, 2):
            values = x[picture, group : group + 2]
            expected[picture, group : group + 2] = (values - values.mean()) / np.sqrt(values.var() + EPSILON)
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model_format", ["json", "onnx"])
def test_a_network_with_group_norm_leaves_through_the_parity_gate(model_format, tmp_path):
    if model_format == "onnx":
        pytest.importorskip("paddle2onnx")
    paddle.seed(3)
    network = use_group_norm(build_backbone("MobileFaceNet_128", width=0.125))
    write_state_dict(tmp_path / "w.pdparams", arrays_of(network))
    source = NetworkSource("MobileFaceNet_128", str(tmp_path / "w.pdparams"))
    result = export_model(source, tmp_path / "model", model_format=model_format, settings=GraphSettings())
    assert result.parity.min_cosine > 0.99999
