"""Names, keys, shapes, loading of weights, batch normalisation, and the faster CPU layers."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle.backbones import (
    ALIASES,
    BACKBONES,
    build_backbone,
    canonical_name,
    find_backbone,
    find_weights_file,
)
from arcface_paddle.backbones.cpu_speed import CpuDepthwiseConv, CpuPReLU, use_cpu_layers
from arcface_paddle.backbones.normalization import (
    SynchronisedBatchNorm,
    freeze_batch_norm,
    use_synchronised_batch_norm,
)
from arcface_paddle.backbones.weights import load_arrays, open_backbone
from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.weight_files import write_state_dict

NORM = ("weight", "bias", "_mean", "_variance")


def arrays_of(network):
    """Weights and buffers as numpy arrays."""
    return {key: tensor.numpy() for key, tensor in network.state_dict().items()}


def close(actual, expected):
    """Difference relative to the norm of the expected array."""
    return float(np.linalg.norm(actual - expected) / (np.linalg.norm(expected) + 1e-30))


def published_iresnet_keys(units):
    """The keys of the published iResNet weights, written out from FORMATS.md."""
    keys = {"conv1.weight", "prelu._weight", "fc.weight", "fc.bias"}
    norms = ["bn1", "bn2", "features"]
    for stage, count in enumerate(units, 1):
        for unit in range(count):
            path = f"layer{stage}.{unit}"
            keys |= {f"{path}.conv1.weight", f"{path}.conv2.weight", f"{path}.prelu._weight"}
            norms += [f"{path}.bn1", f"{path}.bn2", f"{path}.bn3"]
        keys.add(f"layer{stage}.0.downsample.0.weight")
        norms.append(f"layer{stage}.0.downsample.1")
    return keys | {f"{norm}.{part}" for norm in norms for part in NORM}


@pytest.mark.parametrize(
    ("name", "units"), [("iresnet18", (2, 2, 2, 2)), ("iresnet50", (3, 4, 14, 3)), ("iresnet200", (6, 26, 60, 6))]
)
def test_iresnet_has_the_published_keys_and_shapes(name, units):
    state = build_backbone(name, width=1.0 if name == "iresnet50" else 0.125).state_dict()
    assert set(state) == published_iresnet_keys(units)
    if name == "iresnet50":
        assert state["fc.weight"].shape == [25088, 512]
        assert state["layer4.0.conv2.weight"].shape == [512, 512, 3, 3]
        assert state["layer2.1.prelu._weight"].shape == [128]


def test_mobilefacenet_has_the_published_keys():
    state = build_backbone("MobileFaceNet_128").state_dict()
    expected = {f"{name}.conv.weight" for name in ("conv1", "dw_conv1", "conv2", "linear7", "linear1")}
    expected |= {f"{name}.bn.{part}" for name in ("conv1", "dw_conv1", "conv2", "linear7", "linear1") for part in NORM}
    expected |= {f"{name}.prelu._weight" for name in ("conv1", "dw_conv1", "conv2")}
    for block in range(15):
        expected |= {f"blocks.{block}.conv.{index}.weight" for index in (0, 3, 6)}
        expected |= {f"blocks.{block}.conv.{index}._weight" for index in (2, 5)}
        expected |= {f"blocks.{block}.conv.{index}.{part}" for index in (1, 4, 7) for part in NORM}
    assert set(state) == expected


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "MobileFaceNet_192", "iresnet18", "iResNet34"])
@pytest.mark.parametrize("embedding_size", [None, 40])
def test_features_have_the_asked_size_for_any_batch(name, embedding_size):
    network = build_backbone(name, embedding_size=embedding_size, width=0.125)
    network.eval()
    size = embedding_size or find_backbone(name).embedding_size
    with paddle.no_grad():
        features = network(paddle.randn([3, 3, 112, 112]))
    assert features.shape == [3, size] and features.dtype == paddle.float32


def test_every_name_and_alias_is_known():
    assert set(ALIASES.values()) <= set(BACKBONES)
    assert find_backbone("iResNet50") is BACKBONES["iresnet50"]


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("MobileFaceNet_128", "MobileFaceNet_128"),
        ("mobilefacenet_128", "MobileFaceNet_128"),
        ("MOBILEFACE", "MobileFaceNet_128"),
        ("iResNet50", "iresnet50"),
        ("IRESNET50", "iresnet50"),
        (" mobileFaceNet_192 ", "MobileFaceNet_192"),
    ],
)
def test_names_are_matched_without_case(name, canonical):
    assert canonical_name(name) == canonical
    assert find_backbone(name) is BACKBONES[canonical]
    assert type(build_backbone(name, width=0.125)).__name__ == BACKBONES[canonical].class_name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("iresnet5O", r"no network 'iresnet5O'; did you mean iresnet50\? choose from MobileFaceNet_128, "),
        ("MobilFaceNet_192", r"did you mean MobileFaceNet_192\?"),
        ("VGG", r"no network 'VGG'; choose from .*iresnet200.* \(or MobileFaceNet, "),
        ("", r"no network ''; choose from"),
    ],
)
def test_an_unknown_name_is_refused_with_the_names_and_the_most_similar_one(name, words):
    with pytest.raises(ConfigError, match=words):
        canonical_name(name)


def test_weights_are_found_under_any_spelling_of_the_network(tmp_path):
    assert find_weights_file(tmp_path, "iresnet50") is None
    for name in ("iResNet50", "iresnet100", "MobileFaceNet_192"):
        (tmp_path / f"{name}.pdparams").touch()
    for asked in ("iresnet50", "iResNet50", "IRESNET50"):
        assert find_weights_file(tmp_path, asked) == tmp_path / "iResNet50.pdparams"
    (tmp_path / "iresnet50.pdparams").touch()
    assert find_weights_file(tmp_path, "iresnet50") == tmp_path / "iresnet50.pdparams"
    assert find_weights_file(tmp_path, "iResNet50") == tmp_path / "iResNet50.pdparams"
    assert find_weights_file(tmp_path, "MobileFaceNet") is None
    (tmp_path / "mobileface.pdparams").touch()
    assert find_weights_file(tmp_path, "MobileFaceNet_128") == tmp_path / "mobileface.pdparams"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "FresResNet50"}, "choose from MobileFaceNet_128"),
        ({"name": "iresnet18", "embedding_size": 0}, "embedding_size is 0"),
        ({"name": "iresnet18", "width": -1.0}, "width is -1"),
        ({"name": "iresnet18", "dropout": 1.0}, "dropout is 1.0"),
        ({"name": "MobileFaceNet_128", "dropout": 0.1}, "no option dropout"),
        ({"name": "iresnet18", "units": (1, 1, 1, 1)}, "no option units"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        build_backbone(arguments.pop("name"), **arguments)


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "iresnet18"])
def test_running_statistics_weigh_the_old_value_with_nine_tenths(name):
    norms = [layer for layer in build_backbone(name, width=0.125).sublayers() if hasattr(layer, "_mean")]
    assert len(norms) > 10 and all(layer._momentum == 0.9 for layer in norms)


def test_fully_connected_part_stays_float32_under_mixed_precision():
    network = build_backbone("iresnet18", width=0.125, embedding_size=8)
    with paddle.amp.auto_cast(dtype="bfloat16"):
        assert network(paddle.randn([2, 3, 112, 112])).dtype == paddle.float32


def test_weights_go_through_a_file(tmp_path):
    source = build_backbone("iresnet18", width=0.125, embedding_size=8)
    write_state_dict(tmp_path / "x.pdparams", arrays_of(source))
    target = open_backbone("iresnet18", tmp_path / "x.pdparams")
    assert not target.training
    for key, array in arrays_of(source).items():
        np.testing.assert_array_equal(array, target.state_dict()[key].numpy())


def test_a_file_written_by_paddle_loads(tmp_path):
    source = build_backbone("MobileFaceNet_128", width=0.125)
    paddle.save(source.state_dict(), str(tmp_path / "x.pdparams"))
    target = open_backbone("MobileFaceNet_128", tmp_path / "x.pdparams")
    np.testing.assert_array_equal(target.linear1.conv.weight.numpy(), source.linear1.conv.weight.numpy())


def test_weights_that_do_not_fit_are_named_and_change_nothing(tmp_path):
    network = build_backbone("iresnet18", width=0.125, embedding_size=8)
    before = arrays_of(network)
    arrays = dict(before)
    del arrays["bn2.bias"]
    arrays["head.weight"] = np.zeros(3, np.float32)
    arrays["fc.bias"] = np.zeros(9, np.float32)
    with pytest.raises(CheckpointError, match=r"bn2.bias is missing; head.weight is not part.*fc.bias is \(9,\)"):
        load_arrays(network, arrays, name="other.pdparams")
    broken = {**before, "conv1.weight": np.full(before["conv1.weight"].shape, np.nan, np.float32)}
    with pytest.raises(CheckpointError, match=r"conv1\.weight holds NaN"):
        load_arrays(network, broken, name="other.pdparams")
    for key, array in before.items():
        np.testing.assert_array_equal(network.state_dict()[key].numpy(), array)
    other = build_backbone("MobileFaceNet_128", width=0.125)
    with pytest.raises(CheckpointError, match="more differences"):
        load_arrays(other, before, name="iresnet18.pdparams")
    with pytest.raises(CheckpointError, match=r"missing\.pdparams"):
        open_backbone("iresnet18", tmp_path / "missing.pdparams")


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm2D, [6, 5, 3, 4]), (nn.BatchNorm1D, [6, 5])])
def test_synchronised_batch_norm_equals_paddles_own_in_one_process(kind, shape):
    paddle.seed(0)
    layers = [kind(5, momentum=0.9), use_synchronised_batch_norm(kind(5, momentum=0.9))]
    assert isinstance(layers[1], SynchronisedBatchNorm)
    x, factors, weight = paddle.randn(shape) * 3.0 + 100.0, paddle.randn(shape), paddle.randn([5])
    results = []
    for layer in layers:
        layer.weight.set_value(weight)
        layer.train()
        own = x.clone().detach()
        own.stop_gradient = False
        y = layer(own)
        (y * factors).sum().backward()
        layer.eval()
        evaluated = layer(own)
        tensors = (y, own.grad, layer.weight.grad, layer.bias.grad, layer._mean, layer._variance, evaluated)
        results.append([tensor.numpy() for tensor in tensors])
    for expected, actual in zip(*results):
        assert close(actual, expected) < 1e-4  # a mean of 100 leaves float32 five digits


def test_conversion_keeps_keys_weights_and_layers_kept_by_name():
    network = build_backbone("iresnet18", width=0.125, embedding_size=8)
    before = arrays_of(network)
    assert use_synchronised_batch_norm(network) is network
    assert list(network.state_dict()) == list(before)
    norms = [layer for layer in network.sublayers() if hasattr(layer, "_mean")]
    assert norms and all(isinstance(layer, SynchronisedBatchNorm) for layer in norms)
    use_synchronised_batch_norm(network)
    for key, array in before.items():
        np.testing.assert_array_equal(network.state_dict()[key].numpy(), array)


@pytest.mark.parametrize("synchronised", [False, True])
def test_frozen_statistics_stay_and_features_equal_evaluation(synchronised):
    network = build_backbone("iresnet18", width=0.125, embedding_size=8)
    if synchronised:
        use_synchronised_batch_norm(network)
    freeze_batch_norm(network)
    before = arrays_of(network)
    images = paddle.randn([2, 3, 112, 112])
    network.train()
    trained = network(images)
    trained.sum().backward()
    assert network.bn1.weight.grad is not None
    network.eval()
    np.testing.assert_allclose(trained.numpy(), network(images).numpy(), rtol=1e-5, atol=1e-6)
    for key, array in arrays_of(network).items():
        np.testing.assert_array_equal(array, before[key])


def gradients(layer, x, factors):
    """Output, gradient of the input and of the one parameter."""
    own = x.detach()
    own.stop_gradient = False
    y = layer(own)
    (y * factors).sum().backward()
    (weight,) = layer.parameters()
    result = y.numpy(), own.grad.numpy(), weight.grad.numpy().copy()
    weight.clear_gradient()
    return result


@pytest.mark.parametrize("shape", [[3, 5, 9, 7], [2, 64, 14, 14], [1, 3, 1, 1]])
@pytest.mark.parametrize("kind", ["prelu", "depthwise"])
def test_cpu_layers_equal_the_originals(kind, shape):
    paddle.seed(1)
    channels = shape[1]
    if kind == "prelu":
        layer = nn.PReLU(channels)
        layer._weight.set_value(paddle.randn([channels]) * 3.0)
    else:
        layer = nn.Conv2D(channels, channels, 3, padding=1, groups=channels, bias_attr=False)
    x, factors = paddle.randn(shape), paddle.randn(shape)
    x[0, 0, 0, 0] = 0.0
    layer.train()
    expected = gradients(layer, x, factors)
    use_cpu_layers(nn.Sequential(layer))
    assert type(layer) in (CpuPReLU, CpuDepthwiseConv)
    for actual, wanted in zip(gradients(layer, x, factors), expected):
        assert close(actual, wanted) <= 1e-6


def test_cpu_layers_keep_keys_and_step_aside_in_evaluation():
    network = build_backbone("MobileFaceNet_128", width=0.25)
    before = arrays_of(network)
    network.eval()
    images = paddle.randn([2, 3, 112, 112])
    expected = network(images).numpy()
    use_cpu_layers(network)
    kinds = [type(layer) for layer in network.sublayers()]
    assert kinds.count(CpuPReLU) == 33 and kinds.count(CpuDepthwiseConv) == 13
    assert nn.PReLU not in kinds
    assert list(network.state_dict()) == list(before)
    np.testing.assert_array_equal(network(images).numpy(), expected)


def test_cpu_layers_leave_frozen_weights_and_other_convolutions_alone():
    prelu = nn.PReLU(4)
    prelu._weight.stop_gradient = True
    others = [
        nn.Conv2D(4, 4, 3, padding=1, stride=2, groups=4, bias_attr=False),
        nn.Conv2D(4, 4, 3, padding=1, groups=4),
        nn.Conv2D(4, 4, 5, padding=2, groups=4, bias_attr=False),
        nn.Conv2D(4, 4, 3, padding=1, groups=2, bias_attr=False),
        nn.PReLU(1),
    ]
    network = use_cpu_layers(nn.Sequential(prelu, *others))
    assert all(type(layer) in (nn.Conv2D, nn.PReLU) for layer in others)
    x = paddle.randn([1, 4, 8, 8])
    x.stop_gradient = False
    network(x).sum().backward()
    assert prelu._weight.grad is None and x.grad is not None
