"""ViT, EdgeFace and FaceLiVT against published sizes and reference features; merging, weight decay, weight files."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle.backbones import BACKBONES, build_backbone, canonical_name
from arcface_paddle.backbones.cpu_speed import use_cpu_layers
from arcface_paddle.backbones.edgeface import CrossCovarianceAttention
from arcface_paddle.backbones.facelivt import (
    BranchedConv,
    LinearAttention,
    LiteLinearAttention,
    NormalisedLinear,
    RepMix,
    TokenLinear,
)
from arcface_paddle.backbones.transformer_layers import DropPath
from arcface_paddle.backbones.vit import Attention
from arcface_paddle.backbones.weights import embedding_size_of, network_of, open_backbone, stems_of, width_of
from arcface_paddle.errors import ConfigError
from arcface_paddle.evaluation.embedder import network_input
from arcface_paddle.export import exporter
from arcface_paddle.export.exporter import parity_crops
from arcface_paddle.export.folding import fold_batch_norm
from arcface_paddle.export.graph import GraphSettings
from arcface_paddle.export.importing.torch_weights import backbone_arrays, network_from_torch, torch_key
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.pipeline import build_recognizer
from arcface_paddle.pipeline.runtime import RuntimeOptions
from arcface_paddle.training.optimizer import norm_parameter_names
from arcface_paddle.training.pretrained import open_pretrained
from arcface_paddle.weight_files import write_state_dict

FIXTURES = Path(__file__).parents[1] / "fixtures" / "transformers"
ONE_OF_EACH = ["vit_t", "EdgeFace_S", "FaceLiVT_S", "FaceLiVTv2_S"]
INPUT_SHAPE = (1, 3, 112, 112)


def trainable(network):
    return {name: weight for name, weight in network.named_parameters() if not weight.stop_gradient}


def count(network):
    return sum(int(np.prod(weight.shape)) for weight in trainable(network).values())


def multiply_adds(network):
    """Count those of one picture in convolutions, linear layers and attention, by watching one forward pass."""
    total, hooks = [], []

    def after(layer, inputs, output):
        if isinstance(layer, nn.Conv2D):
            total.append(int(np.prod(output.shape[1:])) * int(np.prod(layer.weight.shape[1:])))
        elif isinstance(layer, (nn.Linear, TokenLinear)):
            total.append(int(np.prod(output.shape[1:])) * layer.weight.shape[-2])
        elif isinstance(layer, Attention):
            total.append(2 * output.shape[1] ** 2 * output.shape[2])
        elif isinstance(layer, CrossCovarianceAttention):
            total.append(2 * output.shape[1] * output.shape[2] ** 2 // layer.heads)

    for layer in network.sublayers():
        hooks.append(layer.register_forward_post_hook(after))
    with paddle.no_grad():
        network(paddle.zeros(INPUT_SHAPE))
    for hook in hooks:
        hook.remove()
    return sum(total)


def give_seeded_values(network):
    """Give every array values drawn from a seed made of its key, as the reference's arrays got them."""
    for key, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        values = np.random.default_rng(zlib.crc32(key.encode())).uniform(-1, 1, shape).astype(np.float32)
        if len(shape) in (2, 4):
            inputs = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
            values *= np.float32(np.sqrt(3 / inputs))
        elif len(shape) == 3 and min(shape) > 1:  # a matrix a head
            values *= np.float32(np.sqrt(3 / shape[1]))
        else:
            around_one = key.endswith(("weight", "variance", "gamma", "temperature", "gamma_xca"))
            values = values * np.float32(0.3) + np.float32(1.0 if around_one else 0.0)
        tensor.set_value(values)
    return network


def faces(batch=2):
    return paddle.to_tensor(np.random.default_rng(7).uniform(-1, 1, (batch, 3, 112, 112)).astype(np.float32))


def vit_sizes(channels, depth, size):
    """Count trainable values and multiply-adds of a picture from the drawing of the published network."""
    block = 12 * channels**2 + 10 * channels  # queries to values, projection, two layers, biases and normalisations
    head = 144 * channels**2 + 2 * channels + channels * size + 2 * size
    parameters = 243 * channels + channels + 144 * channels + depth * block + 2 * channels + head
    attention = 2 * 144**2 * channels
    return parameters, (
        144 * 243 * channels + depth * (144 * 12 * channels**2 + attention) + 144 * channels**2 + channels * size
    )


@pytest.mark.parametrize("name", ["vit_t", "vit_s", "vit_b"])
def test_vit_is_as_drawn(name):
    channels, depth = {"vit_t": (256, 12), "vit_s": (512, 12), "vit_b": (512, 24)}[name]
    assert BACKBONES[name].arguments == {"channels": channels, "depth": depth}
    network = build_backbone(name, width=0.125, embedding_size=40)
    network.eval()
    assert (count(network), multiply_adds(network)) == vit_sizes(channels // 8, depth, 40)


@pytest.mark.parametrize(
    ("channels", "depth", "parameters", "billions"),
    [(256, 12, 19_137_536, 1.5), (512, 12, 76_022_784, 5.7), (512, 24, 113_832_960, 11.4)],
)
def test_vit_costs_what_arcface_torch_states(channels, depth, parameters, billions):
    counted, cost = vit_sizes(channels, depth, 512)
    assert counted == parameters
    assert round(cost / 1e9, 1) == billions


@pytest.mark.parametrize(
    ("name", "parameters", "published_millions", "operations"),
    [("EdgeFace_XS", 1_770_492, 1.77, 154), ("EdgeFace_S", 3_652_520, 3.65, 306)],
)
def test_edgeface_has_the_published_size_and_cost(name, parameters, published_millions, operations):
    network = build_backbone(name)
    network.eval()
    assert count(network) == parameters
    assert round(parameters / 1e6, 2) == published_millions
    assert round(2 * multiply_adds(network) / 1e6) == operations  # the authors count two a multiply-add


@pytest.mark.parametrize(
    ("name", "parameters", "merged_parameters", "millions", "published"),
    [("FaceLiVT_S", 5_069_136, 5_055_976, 157, (5.05, 160)), ("FaceLiVTv2_S", 4_646_560, 4_621_424, 176, (4.62, 179))],
)
def test_facelivt_merged_has_the_published_size(name, parameters, merged_parameters, millions, published):
    network = build_backbone(name)
    network.eval()
    assert count(network) == parameters
    merged, _ = fold_batch_norm(network, input_shape=INPUT_SHAPE)
    assert count(merged) == merged_parameters
    assert merged_parameters / 1e6 == pytest.approx(published[0], abs=0.01)
    assert round(multiply_adds(merged) / 1e6) == millions
    assert millions == pytest.approx(published[1], rel=0.02)  # they also count other operations


@pytest.mark.parametrize(("name", "width"), [("EdgeFace_S", 1.0), ("EdgeFace_XS", 1.0), ("vit_t", 0.25)])
def test_features_equal_those_of_the_reference(name, width):
    """Every eighth value of two features, computed by torch 2.13 and timm 1.0.31 from the same seeded weights.

    EdgeFace: timm's ``edgenext_small`` and ``edgenext_x_small`` with ``reset_classifier(512)`` and every linear layer
    as two (gamma 0.5 and 0.6). ViT: timm's ``VisionTransformer`` with 64 channels, patches of 9, no class token, no
    bias of queries, keys and values, ReLU6, epsilon 1e-5, and the head FC-BN-FC-BN behind it.
    """
    network = give_seeded_values(build_backbone(name, width=width))
    network.eval()
    images = np.random.default_rng(0).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    with paddle.no_grad():
        features = network(paddle.to_tensor(images)).numpy()
    expected = np.load(FIXTURES / "references.npz")[name]
    np.testing.assert_allclose(features[:, ::8], expected, rtol=0, atol=5e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_one_feature_a_picture_for_any_batch_and_evaluation_repeats_itself(name):
    network = give_seeded_values(build_backbone(name, embedding_size=20, width=0.125))
    network.eval()
    images = faces(3)
    with paddle.no_grad():
        features, again = network(images), network(images)
        alone = paddle.concat([network(image.unsqueeze(0)) for image in images])
    assert features.shape == [3, 20] and features.dtype == paddle.float32
    np.testing.assert_array_equal(features.numpy(), again.numpy())
    np.testing.assert_allclose(features.numpy(), alone.numpy(), rtol=1e-3, atol=1e-4 * np.abs(features.numpy()).max())
    assert np.abs(features[0].numpy() - features[1].numpy()).max() > 1e-4  # pictures tell apart


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_gradient_reaches_every_parameter(name):
    paddle.seed(3)
    network = use_cpu_layers(give_seeded_values(build_backbone(name, embedding_size=16, width=0.125)))
    network.train()
    (network(faces(4)) * paddle.randn([4, 16])).sum().backward()
    for key, weight in trainable(network).items():
        assert weight.grad is not None, key
        assert np.isfinite(weight.grad.numpy()).all(), key
        assert np.abs(weight.grad.numpy()).max() > 0, key


def test_attention_runs_in_float32_under_mixed_precision_and_features_are_float32():
    network = build_backbone("vit_t", width=0.125, embedding_size=8)
    seen = []
    network.blocks[0].attn.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    with paddle.amp.auto_cast(dtype="bfloat16"):
        assert network(faces()).dtype == paddle.float32
    assert seen == [paddle.float32]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_without_decay_are_biases_normalisations_scales_and_position_embeddings(name):
    network = build_backbone(name, width=0.125, embedding_size=16)
    undecayed = norm_parameter_names(network)
    scales = ("pos_embed", "temperature", "scale", "offset", "layer_scale", "bias")
    expected = {
        key
        for key, weight in trainable(network).items()
        if weight.ndim == 1 or list(weight.shape[1:]) == [1, 1] or key.split(".")[-1] in scales
    }
    assert undecayed == expected
    assert ("pos_embed" in undecayed) == name.startswith("vit")
    decayed = set(trainable(network)) - undecayed
    assert decayed and all(key.endswith("weight") for key in decayed)


def test_drop_path_drops_whole_branches_in_training_only():
    layer = DropPath(0.25)
    x = paddle.ones([400, 3, 2])
    layer.eval()
    assert layer(x) is x
    layer.train()
    paddle.seed(0)
    y = layer(x).numpy().reshape(400, -1)
    assert (y == y[:, :1]).all()
    np.testing.assert_allclose(np.unique(y), [0.0, 4 / 3], rtol=1e-6)
    assert 0.65 < (y[:, 0] > 0).mean() < 0.85
    with pytest.raises(ConfigError, match="drop_path is 1"):
        build_backbone("vit_t", width=0.125, drop_path=1.0)


def test_merging_a_branched_convolution_by_hand():
    layer = give_seeded_values(RepMix(4))
    layer.eval()
    x = np.random.default_rng(1).normal(size=(2, 4, 5, 6)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float64)
    kernel, point = layer.conv.weight.numpy(), layer.pointwise.weight.numpy()
    expected = np.zeros(x.shape)
    for row in range(5):
        for column in range(6):
            window = padded[:, :, row : row + 3, column : column + 3]
            expected[:, :, row, column] = (window * kernel[:, 0]).sum((2, 3)) + x[:, :, row, column] * point[:, 0, 0, 0]
    mean, variance, weight, bias = (
        values.numpy().reshape(1, 4, 1, 1)
        for values in (layer.bn._mean, layer.bn._variance, layer.bn.weight, layer.bn.bias)
    )
    expected = x + (expected - mean) / np.sqrt(variance + 1e-5) * weight + bias
    for candidate in (layer, layer.merged()):
        np.testing.assert_allclose(candidate(paddle.to_tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer", [BranchedConv(3, 8, stride=2), BranchedConv(8, 8, stride=2, groups=8), NormalisedLinear(12, 5)]
)
def test_a_merged_layer_computes_the_same(layer):
    give_seeded_values(layer).eval()
    x = paddle.randn([3, 12] if isinstance(layer, NormalisedLinear) else [2, layer.conv._in_channels, 9, 9])
    expected = layer(x).numpy()
    np.testing.assert_allclose(layer.merged()(x).numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["FaceLiVT_S", "FaceLiVTv2_S"])
def test_merged_facelivt_equals_the_trained_one_and_has_no_branch_left(name):
    network = give_seeded_values(build_backbone(name, width=0.125, embedding_size=16))
    network.eval()
    merged, replaced = fold_batch_norm(network, input_shape=INPUT_SHAPE)
    assert replaced == sum(hasattr(layer, "_mean") for layer in network.sublayers())
    assert not any(hasattr(layer, "merged") or hasattr(layer, "_mean") for layer in merged.sublayers())
    expected = network(faces()).numpy()
    np.testing.assert_allclose(merged(faces()).numpy(), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_branches_before_a_normalisation_without_statistics_stay():
    network = nn.Sequential(BranchedConv(4, 8))
    network[0].bn = nn.GroupNorm(2, 8)
    network.eval()
    x = paddle.randn([1, 4, 6, 6])
    folded, replaced = fold_batch_norm(network, input_shape=(1, 4, 6, 6))
    assert replaced == 0
    np.testing.assert_array_equal(folded(x).numpy(), network(x).numpy())


def test_linear_attention_mixes_the_pixels_of_each_head_by_its_own_matrix():
    layer = give_seeded_values(LiteLinearAttention(8, size=2))
    x = np.random.default_rng(3).normal(size=(2, 8, 2, 2)).astype(np.float32)
    scale, offset, layer_scale = (v.numpy()[:, 0, 0] for v in (layer.scale, layer.offset, layer.layer_scale))
    matrix, bias = layer.mix.weight.numpy(), layer.mix.bias.numpy()
    expected = x.copy()
    for channel in range(8):
        head = channel // 2  # 4 heads
        pixels = x[:, channel].reshape(2, 4) * scale[channel] + offset[channel]
        expected[:, channel] += (layer_scale[channel] * (pixels @ matrix[head] + bias[head])).reshape(2, 2, 2)
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_matrices_per_head_is_that_of_each_alone():
    layer, x, factors = TokenLinear(2, 3, 4), paddle.randn([5, 2, 6, 3]), paddle.randn([5, 2, 6, 4])
    x.stop_gradient = False
    (layer(x) * factors).sum().backward()
    for head in range(2):
        inputs, outputs = x.numpy()[:, head].reshape(-1, 3), factors.numpy()[:, head].reshape(-1, 4)
        np.testing.assert_allclose(layer.weight.grad.numpy()[head], inputs.T @ outputs, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(layer.bias.grad.numpy()[head, 0], outputs.sum(0), rtol=1e-3, atol=1e-4)
        by_hand = (outputs @ layer.weight.numpy()[head].T).reshape(5, 6, 3)
        np.testing.assert_allclose(x.grad.numpy()[:, head], by_hand, rtol=1e-3, atol=1e-4)


def test_two_layer_linear_attention_by_hand():
    layer = give_seeded_values(LinearAttention(32, size=2))
    x = np.random.default_rng(3).normal(size=(1, 32, 2, 2)).astype(np.float32)
    normal = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    normal = normal * layer.norm.weight.numpy() + layer.norm.bias.numpy()
    expected = x.copy()
    for channel in range(32):
        head = channel // 2  # 16 heads
        inner = normal[0, channel].reshape(4) @ layer.expand.weight.numpy()[head] + layer.expand.bias.numpy()[head, 0]
        inner = inner * np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in inner])
        outer = inner @ layer.project.weight.numpy()[head] + layer.project.bias.numpy()[head, 0]
        expected[0, channel] += outer.reshape(2, 2)
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "width"), [("vit_s", 0.125), ("EdgeFace_S", 0.25), ("FaceLiVTv2_S", 0.25)])
def test_a_weight_file_opens_under_its_name_without_its_width(tmp_path, name, width):
    source = give_seeded_values(build_backbone(name, width=width, embedding_size=24))
    source.eval()
    path = tmp_path / f"{name}.pdparams"
    write_state_dict(path, {key: tensor.numpy() for key, tensor in source.state_dict().items()})
    opened = open_backbone(name, path)
    np.testing.assert_array_equal(opened(faces(1)).numpy(), source(faces(1)).numpy())
    assert open_pretrained(str(path)).width == pytest.approx(width, rel=0.1)
    assert open_pretrained(str(path)).embedding_size == 24


@pytest.mark.parametrize("name", ["vit_t", "EdgeFace_XS", "EdgeFace_S", "FaceLiVT_S", "FaceLiVTv2_S"])
def test_weights_of_full_width_tell_their_network(name):
    with paddle.LazyGuard():
        network = build_backbone(name)
    arrays = {key: np.broadcast_to(np.float32(1), tensor.shape) for key, tensor in network.state_dict().items()}
    assert (network_of(arrays), embedding_size_of(arrays), width_of(arrays)) == (name, 512, 1.0)


def test_narrow_vision_transformers_of_one_depth_need_their_name():
    arrays = {key: value.numpy() for key, value in build_backbone("vit_s", width=0.25).state_dict().items()}
    assert network_of(arrays) is None
    assert width_of(arrays, network="vit_s") == 0.25
    assert width_of(arrays, network="vit_t") == 0.5


@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("MobileFaceNet_128", ["conv1.conv.weight"]),
        ("vit_t", ["patch_embed.proj.weight"]),
        ("EdgeFace_S", ["stem.0.weight"]),
        ("FaceLiVT_S", ["stem.0.conv.weight", "stem.0.pointwise.weight"]),
    ],
)
def test_the_convolutions_that_see_the_picture_are_known(name, stems):
    arrays = {key: value.numpy() for key, value in build_backbone(name, width=0.125).state_dict().items()}
    assert stems_of(arrays) == stems
    assert all(arrays[stem].shape[1] == 3 for stem in stems)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("FaceViT_tiny_patch9_112", "vit_t"),
        ("FaceViT_base_patch9_112", "vit_b"),
        ("vit_s_dp005_mask_0", "vit_s"),
        ("edgeface_s_gamma_05", "EdgeFace_S"),
        ("facelivtv2_s", "FaceLiVTv2_S"),
    ],
)
def test_published_names_are_known(alias, name):
    assert canonical_name(alias) == name


@pytest.mark.parametrize(("name", "prefix"), [("vit_t", ""), ("EdgeFace_S", "model.")])
def test_weights_of_torch_come_under_the_published_keys(name, prefix):
    source = give_seeded_values(build_backbone(name, width=0.125, embedding_size=16))
    source.eval()
    flipped = {f"{path}.weight" for path, layer in source.named_sublayers() if isinstance(layer, nn.Linear)}
    document = {
        prefix + torch_key(key): tensor.numpy().T if key in flipped else tensor.numpy()
        for key, tensor in source.state_dict().items()
    }
    if name == "vit_t":
        document |= {"mask_token": np.zeros((1, 1, 32), np.float32), "feature.1.num_batches_tracked": np.array(3)}
    _, network = network_from_torch(backbone_arrays(document, name="a.pt"), name="a.pt", network=name)
    np.testing.assert_array_equal(network(faces(1)).numpy(), source(faces(1)).numpy())


def test_a_graph_of_token_layers_is_for_any_number_of_pictures():
    layer = TokenLinear(2, 3, 4)
    layer.eval()
    spec = paddle.static.InputSpec([None, 2, 6, 3], "float32")
    graph = paddle.jit.to_static(layer, input_spec=[spec], full_graph=True)
    (product,) = graph.forward.outputs
    assert list(product.shape) == [-1, 2, 6, 4]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_export_to_onnx_runs_in_openvino(tmp_path, name, monkeypatch):
    pytest.importorskip("openvino")
    pytest.importorskip("paddle2onnx")
    network = give_seeded_values(build_backbone(name, width=0.125, embedding_size=32))
    write_state_dict(tmp_path / "w.pdparams", {key: tensor.numpy() for key, tensor in network.state_dict().items()})
    crops = parity_crops()[3:10]
    monkeypatch.setattr(exporter, "parity_crops", lambda: crops)  # all 14 take twice as long
    source = NetworkSource(name, str(tmp_path / "w.pdparams"))
    result = exporter.export_model(source, tmp_path / "model", model_format="onnx", settings=GraphSettings())
    assert result.parity.min_cosine > 0.99999
    options = RuntimeOptions(engine="openvino", threads=1, precision="fp32")
    found = build_recognizer(str(tmp_path / "model"), mirrored=False, options=options).embed(crops).vectors
    network.eval()
    with paddle.no_grad():
        features = network(paddle.to_tensor(network_input(crops))).numpy()
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
