"""Every network against its description: sizes by formula, shapes, gradients, padding, determinism."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from arcface_paddle.backbones import BACKBONES, build_backbone, find_backbone
from arcface_paddle.backbones.blazeface import BlazeBlock, BlazeFace
from arcface_paddle.backbones.cpu_speed import use_cpu_layers
from arcface_paddle.backbones.mobilefacenet import ConvBlock, MobileFaceNet
from arcface_paddle.backbones.mtcnn import PNet, RNet
from arcface_paddle.backbones.onet import ONet

SMALL = ["MobileFaceNet_128", "MobileFaceNet_192", "iresnet18", "iresnet34", "iresnet50"]
UNITS = {
    "iresnet18": (2, 2, 2, 2), "iresnet34": (3, 4, 6, 3), "iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}  # fmt: skip


def scaled(channels, width):
    """The rounding of channel counts, written another way: to the nearest multiple of 8, halves up, at least 8."""
    return max(8, int(np.floor(channels * width / 8 + 0.5)) * 8)


def iresnet_parameters(units, size, width):
    """Count the trainable values from the drawing of the network (ArcFace, §3.2.2)."""
    widths = [scaled(channels, width) for channels in (64, 128, 256, 512)]
    total = 3 * widths[0] * 9 + 2 * widths[0] + widths[0]  # convolution, normalisation, PReLU
    before = widths[0]
    for count, after in zip(units, widths):
        for unit in range(count):
            inner = before if unit == 0 else after
            total += 2 * inner + 9 * inner * after + 2 * after + after + 9 * after * after + 2 * after
        total += before * after + 2 * after  # shortcut of the first unit
        before = after
    return total + 2 * before + before * 49 * size + size + 2 * size


def mobilefacenet_parameters(size, width):
    """Count the trainable values from table 1 of the paper."""
    stem, head = scaled(64, width), scaled(512, width)
    total = 27 * stem + 3 * stem + 9 * stem + 3 * stem
    before = stem
    for expansion, channels, repetitions in ((2, 64, 5), (4, 128, 1), (2, 128, 6), (4, 128, 1), (2, 128, 2)):
        after = scaled(channels, width)
        for _ in range(repetitions):
            inner = before * expansion
            total += before * inner + 3 * inner + 9 * inner + 3 * inner + inner * after + 2 * after
            before = after
    return total + before * head + 3 * head + 49 * head + 2 * head + head * size + 2 * size


def trainable(network):
    return {name: weight for name, weight in network.named_parameters() if not weight.stop_gradient}


def count(network):
    return sum(int(np.prod(weight.shape)) for weight in trainable(network).values())


@pytest.mark.parametrize("width", [0.125, 0.3, 0.5])
@pytest.mark.parametrize("name", ["MobileFaceNet_128", "MobileFaceNet_192", *sorted(UNITS)])
def test_number_of_parameters_by_formula(name, width):
    if name in ("iresnet100", "iresnet200") and width != 0.125:
        return  # seconds each, and nothing that the narrow ones do not show
    size = find_backbone(name).embedding_size
    network = build_backbone(name, width=width)
    expected = iresnet_parameters(UNITS[name], size, width) if name in UNITS else mobilefacenet_parameters(size, width)
    assert count(network) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("MobileFaceNet_128", 1_003_136), ("MobileFaceNet_192", 1_036_032), ("iresnet18", 24_025_600)],
)
def test_number_of_parameters_at_full_width(name, expected):
    """iResNet18 as insightface's arcface_torch counts it; the paper gives 0.99 M for MobileFaceNet."""
    assert count(build_backbone(name)) == expected


def test_every_name_is_listed_with_its_units():
    assert {name for name, entry in BACKBONES.items() if entry.class_name == "IResNet"} == set(UNITS)
    for name, units in UNITS.items():
        assert BACKBONES[name].arguments == {"units": units}
        assert BACKBONES[name].embedding_size == 512


@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize("name", SMALL)
def test_odd_batches_give_one_feature_a_picture(name, batch):
    network = build_backbone(name, embedding_size=20, width=0.125)
    network.eval()
    images = paddle.randn([batch, 3, 112, 112])
    with paddle.no_grad():
        features = network(images)
        alone = paddle.concat([network(image.unsqueeze(0)) for image in images])
    assert features.shape == [batch, 20]
    np.testing.assert_allclose(features.numpy(), alone.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_evaluation_is_deterministic_and_changes_nothing(name):
    network = build_backbone(name, embedding_size=16, width=0.125)
    network.eval()
    before = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    images = paddle.randn([2, 3, 112, 112])
    with paddle.no_grad():
        first, second = network(images).numpy(), network(images).numpy()
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all() and np.abs(first).max() > 0
    for key, tensor in network.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[key])


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_reaches_every_parameter(name):
    paddle.seed(3)
    network = build_backbone(name, embedding_size=16, width=0.125)
    network.train()
    statistics = {key: value.numpy() for key, value in network.state_dict().items() if key.endswith("_mean")}
    features = network(paddle.randn([3, 3, 112, 112]))
    (features * paddle.randn([3, 16])).sum().backward()
    for key, weight in trainable(network).items():
        assert weight.grad is not None, key
        assert np.isfinite(weight.grad.numpy()).all(), key
        # A bias before a normalisation is subtracted again; its gradient is rounding.
        assert key == "fc.bias" or np.abs(weight.grad.numpy()).max() > 0, key
    assert statistics
    for key, before in statistics.items():
        assert not np.array_equal(network.state_dict()[key].numpy(), before), key


@pytest.mark.parametrize(
    "name",
    ["MobileNetV2", "MobileNetV3_small", "LightNet", "ResNet50"]
    + [
        pytest.param(name, marks=pytest.mark.long) for name in ("MobileNetV3_large", "HRNetV2_W18", "IR_50", "IR_SE_50")
    ],
)
def test_the_other_networks_have_no_parameter_that_learns_nothing_and_one_feature_a_picture(name):
    paddle.seed(4)
    network = build_backbone(name, embedding_size=16, width=0.125)
    network.train()
    (network(paddle.randn([3, 3, 112, 112])) * paddle.randn([3, 16])).sum().backward()
    for key, weight in trainable(network).items():
        assert weight.grad is not None and np.isfinite(weight.grad.numpy()).all(), key
    still = [key for key, weight in trainable(network).items() if not np.abs(weight.grad.numpy()).max() > 0]
    # ReLU and hard sigmoid may hold a narrow layer shut for three pictures; whole parts of a network they do not.
    assert len(still) <= 0.05 * len(trainable(network)), still
    network.eval()
    images = paddle.randn([3, 3, 112, 112])
    with paddle.no_grad():
        features, alone = network(images), paddle.concat([network(image.unsqueeze(0)) for image in images])
    assert features.shape == [3, 16] and features.dtype == paddle.float32
    np.testing.assert_allclose(features.numpy(), alone.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("width", "stem", "head"), [(1.0, 64, 512), (0.5, 32, 256), (0.3, 16, 152), (0.01, 8, 8), (2.0, 128, 1024)]
)
def test_width_scales_all_channels_but_the_embedding(width, stem, head):
    state = build_backbone("MobileFaceNet_128", width=width).state_dict()
    assert state["conv1.conv.weight"].shape == [stem, 3, 3, 3]
    assert state["conv2.conv.weight"].shape[0] == head
    assert state["linear1.conv.weight"].shape == [128, head, 1, 1]


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "iresnet18"])
@pytest.mark.parametrize("width", [0.125, 0.5])
def test_every_prelu_has_a_slope_per_channel_and_every_norm_four_arrays(name, width):
    state = build_backbone(name, width=width).state_dict()
    slopes = [key for key in state if key.endswith("._weight") or key == "prelu._weight"]
    assert len(slopes) == (33 if name == "MobileFaceNet_128" else 9)
    assert all(state[key].ndim == 1 and state[key].shape[0] > 1 for key in slopes)
    for mean in (key for key in state if key.endswith("._mean")):
        norm = mean[: -len("._mean")]
        shapes = {tuple(state[f"{norm}.{part}"].shape) for part in ("weight", "bias", "_mean", "_variance")}
        assert len(shapes) == 1, norm


@pytest.mark.parametrize("padding", ["symmetric", "tf_same"])
def test_padding_of_stride_2_by_hand(padding):
    network = MobileFaceNet(8, 0.125, stride_2_padding=padding)
    network.eval()
    images = paddle.randn([3, 3, 112, 112])
    left, right = (1, 1) if padding == "symmetric" else (0, 1)
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), (left, right), (left, right)])
    with paddle.no_grad():
        by_hand = F.conv2d(paddle.to_tensor(padded), network.conv1.conv.weight, stride=2)
        own = network.conv1.conv(images)
    assert own.shape == [3, 8, 56, 56]
    np.testing.assert_allclose(own.numpy(), by_hand.numpy()[:, :, :56, :56], rtol=1e-4, atol=1e-5)


def test_the_two_paddings_share_weights_and_differ_in_features():
    networks = [
        build_backbone(name, embedding_size=16, width=0.125) for name in ("MobileFaceNet_128", "MobileFaceNet_192")
    ]
    networks[1].set_state_dict(networks[0].state_dict())
    assert list(networks[0].state_dict()) == list(networks[1].state_dict())
    images = paddle.randn([2, 3, 112, 112])
    features = []
    for network in networks:
        network.eval()
        features.append(network(images).numpy())
    assert np.abs(features[0] - features[1]).max() > 1e-3 * np.abs(features[0]).max()


def test_a_linear_block_has_no_prelu():
    images = -paddle.ones([1, 4, 3, 3])
    linear, bent = (ConvBlock(4, 4, linear=linear) for linear in (True, False))
    for block in (linear, bent):
        block.eval()
        block.conv.weight.set_value(paddle.eye(4).reshape([4, 4, 1, 1]))
    assert linear.prelu is None
    np.testing.assert_allclose(linear(images).numpy(), -1.0, rtol=1e-4)
    np.testing.assert_allclose(bent(images).numpy(), -0.25, rtol=1e-4)  # Paddle's first slope


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "iresnet18"])
def test_faster_layers_train_as_the_plain_ones(name):
    """Values and all gradients of one step of a whole network on an odd batch.

    Double precision is not available in the faster layers, so that both run in float32; statistics are frozen,
    because those of three pictures would multiply rounding errors.
    """
    results = []
    for faster in (False, True):
        paddle.seed(5)
        network = build_backbone(name, embedding_size=16, width=0.25)
        network.train()
        for layer in network.sublayers():
            if hasattr(layer, "_use_global_stats"):
                layer._use_global_stats = True
        if faster:
            use_cpu_layers(network)
        generator = np.random.default_rng(1)
        images = paddle.to_tensor(generator.normal(size=(3, 3, 112, 112)).astype(np.float32), stop_gradient=False)
        features = network(images)
        (features * paddle.to_tensor(generator.normal(size=(3, 16)).astype(np.float32))).sum().backward()
        gradients = {key: weight.grad.numpy() for key, weight in trainable(network).items()}
        results.append((features.numpy(), {**gradients, "images": images.grad.numpy()}))
    (values, gradients), (faster_values, faster_gradients) = results
    np.testing.assert_allclose(faster_values, values, rtol=1e-3, atol=1e-4 * np.abs(values).max())
    assert list(faster_gradients) == list(gradients)
    for key, expected in gradients.items():
        difference = np.linalg.norm(faster_gradients[key] - expected) / np.linalg.norm(expected)
        assert difference <= 1e-3, key


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 128, 128), (3, 96, 160), (5, 32, 64)])
def test_blazeface_gives_its_head_maps_for_every_multiple_of_32(batch, height, width):
    network = BlazeFace()
    network.eval()
    with paddle.no_grad():
        shapes = [output.shape for output in network(paddle.randn([batch, 3, height, width]))]
    fine, coarse = [height // 16, width // 16], [height // 32, width // 32]
    assert shapes == [[batch, 32, *fine], [batch, 96, *coarse], [batch, 2, *fine], [batch, 6, *coarse]]


def test_blazeface_shortcut_is_pooled_and_padded_with_zero_channels():
    block = BlazeBlock(4, 8, stride=2)
    for weight in block.parameters():
        weight.set_value(paddle.zeros_like(weight))
    x = paddle.randn([3, 4, 6, 10])
    y = block(x)
    assert y.shape == [3, 8, 3, 5]
    np.testing.assert_array_equal(y[:, :4].numpy(), F.relu(F.max_pool2d(x, 2, 2)).numpy())
    assert not y[:, 4:].numpy().any()


def test_blazeface_has_the_published_number_of_parameters():
    blocks = sum(
        after * count * (before + 1) + before * 10 * count
        for before, after, count in (
            (24, 24, 7), (24, 24, 1), (24, 24, 7), (24, 48, 1), (48, 48, 7), (48, 96, 1), (96, 96, 7),
        )
    )  # fmt: skip
    heads = sum(97 * channels for channels in (2, 6, 32, 96))
    assert count(BlazeFace()) == 24 * 76 + blocks + (96 * 10 + 96 * 97) + heads


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_onet_gives_box_landmarks_and_probabilities(batch):
    network = ONet()
    network.eval()
    with paddle.no_grad():
        box, landmarks, probability = network(paddle.randn([batch, 3, 48, 48]))
    assert (box.shape, landmarks.shape, probability.shape) == ([batch, 4], [batch, 10], [batch, 2])
    np.testing.assert_allclose(probability.numpy().sum(axis=1), 1.0, rtol=1e-5)
    assert count(network) == 389_040


@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 40), (64, 91)])
def test_pnet_gives_a_proposal_for_each_window(height, width):
    network = PNet()
    network.eval()
    with paddle.no_grad():
        box, probability = network(paddle.randn([2, 3, height, width]))
    cells = [-(-(side - 2) // 2) - 4 for side in (height, width)]
    assert (box.shape, probability.shape) == ([2, 4, *cells], [2, 2, *cells])
    np.testing.assert_allclose(probability.numpy().sum(axis=1), 1.0, rtol=1e-5)
    assert count(network) == 6_632


def test_rnet_gives_box_and_probabilities():
    network = RNet()
    network.eval()
    with paddle.no_grad():
        box, probability = network(paddle.randn([3, 3, 24, 24]))
    assert (box.shape, probability.shape) == ([3, 4], [3, 2])
    assert count(network) == 100_178
