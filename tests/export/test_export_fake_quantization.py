"""Fake quantisation against slow twins, and against what OpenVINO makes of the exported network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle import images
from arcface_paddle.backbones import build_backbone
from arcface_paddle.cli.main import run_module
from arcface_paddle.data import open_dataset
from arcface_paddle.data.verification_set import VerificationSet
from arcface_paddle.errors import ConfigError
from arcface_paddle.export import quantization
from arcface_paddle.export.exporter import export_model, parity_crops
from arcface_paddle.export.fake_quantization import (
    QuantizedConv,
    fake_quantized_input,
    fake_quantized_weight,
    input_range,
    quantized_convolutions,
    with_fake_quantization,
    without_fake_quantization,
)
from arcface_paddle.export.graph import GraphSettings, build_graph
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.export.quantization import quantize_model
from arcface_paddle.export.quantization_training import (
    QuantizationTraining,
    TrainedNetwork,
    open_trainable,
    train_quantized,
)
from arcface_paddle.export.saving import save_onnx
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime
from arcface_paddle.weight_files import write_state_dict


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tensor(array: np.ndarray) -> paddle.Tensor:
    return paddle.to_tensor(array, stop_gradient=False)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.5, 2.0), (-4.0, -1.0), (0.0, 0.0)])
def test_zero_is_exact_and_the_range_is_covered(low, high):
    levels = input_range(low, high)
    assert 0 <= levels.zero_point <= 255
    smallest, largest = (np.array([0, 255]) - levels.zero_point) * levels.scale
    assert smallest <= min(low, 0.0) + levels.scale / 2 and largest >= max(high, 0.0) - levels.scale / 2


def test_inputs_are_rounded_as_onnx_does_and_the_gradient_ends_at_the_range():
    levels = input_range(-1.0, 1.5)
    x = tensor(random(2, 3, 5, 5))
    y = fake_quantized_input(x, levels)
    integers = np.clip(np.round(x.numpy() / levels.scale) + levels.zero_point, 0, 255)
    np.testing.assert_allclose(y.numpy(), (integers - levels.zero_point) * levels.scale, atol=1e-6)
    weights = random(2, 3, 5, 5, seed=1)
    (y * paddle.to_tensor(weights)).sum().backward()
    bounds = (np.array([0, 255]) - levels.zero_point) * levels.scale
    inside = (x.numpy() >= bounds[0]) & (x.numpy() <= bounds[1])
    assert 0.1 < inside.mean() < 0.95
    np.testing.assert_allclose(x.grad.numpy(), weights * inside, rtol=1e-6)


def test_kernels_are_rounded_per_output_channel_and_the_gradient_passes():
    kernel = random(4, 3, 3, 3) * np.array([1e-3, 1.0, 50.0, 0.0], np.float32).reshape(-1, 1, 1, 1)
    weight = tensor(kernel)
    rounded = fake_quantized_weight(weight)
    for channel in range(3):
        scale = np.abs(kernel[channel]).max() / 127
        np.testing.assert_allclose(
            rounded.numpy()[channel], np.round(kernel[channel] / scale) * scale, rtol=1e-5, atol=scale * 1e-4
        )
    assert not rounded.numpy()[3].any()
    rounded.sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), np.ones_like(kernel))


@pytest.mark.parametrize(("groups", "padding", "stride"), [(1, 1, 1), (4, 1, 2), (1, [0, 1, 0, 1], 2)])
def test_a_quantised_convolution_is_that_of_its_rounded_parts(groups, padding, stride):
    paddle.seed(0)
    conv = nn.Conv2D(4, 8, 3, stride=stride, padding=padding, groups=groups)
    conv.bias.set_value(random(8))
    layer = QuantizedConv(conv)
    x = random(2, 4, 7, 7)
    y = layer(paddle.to_tensor(x))
    twin = nn.Conv2D(4, 8, 3, stride=stride, padding=padding, groups=groups)
    twin.weight.set_value(fake_quantized_weight(conv.weight))
    twin.bias.set_value(conv.bias)
    expected = twin(fake_quantized_input(paddle.to_tensor(x), input_range(float(x.min()), float(x.max()))))
    np.testing.assert_allclose(y.numpy(), expected.numpy(), atol=1e-5)
    y.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(conv.bias.grad.numpy(), twin.bias.grad.numpy(), rtol=1e-5)
    np.testing.assert_allclose(conv.weight.grad.numpy(), twin.weight.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_ranges_follow_the_inputs_only_while_they_are_observed():
    layer = QuantizedConv(nn.Conv2D(1, 1, 1))
    with pytest.raises(RuntimeError, match="observed"):
        _ = layer.levels
    layer(paddle.full([1, 1, 2, 2], 2.0))
    layer(paddle.full([1, 1, 2, 2], 4.0))
    layer(paddle.full([1, 1, 2, 2], 3.0))
    assert layer.levels.scale == pytest.approx(4.0 / 255)
    layer.observing = False
    layer(paddle.full([1, 1, 2, 2], 100.0))
    assert layer.levels.scale == pytest.approx(4.0 / 255)


def test_layers_are_replaced_and_put_back():
    network = build_backbone("MobileFaceNet_128", width=0.125)
    dense = quantized_convolutions(with_fake_quantization(network, every_layer=False))
    every = with_fake_quantization(network, every_layer=True)
    convolutions = [layer for layer in network.sublayers() if isinstance(layer, nn.Conv2D)]
    assert len(quantized_convolutions(every)) == len(convolutions)
    assert len(dense) == sum(layer._groups == 1 for layer in convolutions) < len(convolutions)
    assert not quantized_convolutions(network), "the network itself is not changed"
    assert list(without_fake_quantization(every).state_dict()) == list(network.state_dict())


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Fourteen pictures, seven of them real faces, as a set of two people."""
    root = tmp_path_factory.mktemp("people")
    for number, crop in enumerate(parity_crops()):
        images.write_image(root / str(number % 2) / f"{number}.png", crop)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small MobileFaceNet as a model folder, with its weights beside the graph."""
    folder = tmp_path_factory.mktemp("model")
    paddle.seed(5)
    network = build_backbone("MobileFaceNet_128", width=0.125)
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    for key, array in arrays.items():
        if key.endswith(("bn.weight", "conv.1.weight", "conv.4.weight")):  # channels of very different size
            arrays[key] = 0.4 * np.exp(random(*array.shape, seed=len(array)))
    write_state_dict(folder / "training.pdparams", arrays)
    source = NetworkSource("MobileFaceNet_128", str(folder / "training.pdparams"))
    export_model(source, folder, model_format="pdmodel", settings=GraphSettings())
    return folder


def own_pairs() -> VerificationSet:
    crops = parity_crops()
    encoded, issame = [], []
    for index in range(20):
        same = index % 2 == 0
        first, other = crops[index % 7], crops[(index * 3 + 1) % 7]
        encoded += [images.encode_image(first), images.encode_image((first * 0.9).astype(np.uint8) if same else other)]
        issame.append(same)
    return VerificationSet("own", encoded, np.array(issame))


@pytest.mark.long
def test_training_brings_the_rounded_shipped_recogniser_nearer(people):
    opened = open_model("MobileFace")
    settings = QuantizationTraining(open_dataset(people), steps=20, batch_size=8)
    trained = train_quantized(open_trainable(opened), opened.card.input, settings, every_layer=True)
    assert trained.cosine_after > trained.cosine_before > 0.99


@pytest.mark.parametrize("every_layer", [False, True])
def test_the_export_computes_what_the_training_saw(tmp_path, every_layer):
    """One chain of layers, so that a rounding that falls the other way cannot grow as it does in a deep network."""
    pytest.importorskip("paddle2onnx")
    paddle.seed(0)
    chain = nn.Sequential(
        nn.Conv2D(3, 8, 3, stride=2, padding=1), nn.PReLU(8), nn.Conv2D(8, 8, 3, padding=1, groups=8), nn.PReLU(8),
        nn.Conv2D(8, 16, 1), nn.AdaptiveAvgPool2D(1), nn.Flatten(),
    )  # fmt: skip
    chain.eval()
    rounded = with_fake_quantization(chain, every_layer=every_layer)
    x = np.clip(random(4, 3, 112, 112), -1, 1)
    rounded(paddle.to_tensor(x))
    for layer in quantized_convolutions(rounded):
        layer.observing = False
    trained = TrainedNetwork(rounded, cosine_before=1.0, cosine_after=1.0)
    card = open_model("MobileFace").card
    source = tmp_path / "float32.onnx"
    save_onnx(build_graph(trained.plain(), GraphSettings(fold=False)), source)
    job = quantization.Quantization(parity_crops()[:2], card, every_layer, trained)
    quantization.write_int8_onnx(source, tmp_path / "inference.onnx", job)
    exported = open_runtime(tmp_path / "inference.onnx", options=RuntimeOptions(engine="onnxruntime")).run([x])[0]
    simulated, exact = rounded(paddle.to_tensor(x)).numpy(), chain(paddle.to_tensor(x)).numpy()
    assert np.abs(simulated - exported).max() < 0.1 * np.abs(simulated - exact).max()
    assert np.abs(simulated - exact).max() > 1e-4, "eight bits are not float32"


def test_what_was_trained_is_what_is_written(tmp_path, people, model):
    pytest.importorskip("paddle2onnx")
    opened = open_model(model)
    settings = QuantizationTraining(open_dataset(people), steps=2, batch_size=3)
    trained = train_quantized(open_trainable(opened), opened.card.input, settings, every_layer=True)
    report = quantize_model(
        model, tmp_path / "int8", calibration=parity_crops(), pairs=own_pairs(), max_auc_loss=1.0,
        every_layer=True, train=lambda _: trained,
    )  # fmt: skip
    assert report.training is trained
    import onnx

    arrays = [
        onnx.numpy_helper.to_array(item) for item in onnx.load(tmp_path / "int8" / "inference.onnx").graph.initializer
    ]
    scales = {float(array) for array in arrays if array.dtype == np.float32 and array.size == 1}
    for kernel, levels in trained.ranges():
        scale = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True) / 127
        integers = np.round(kernel / scale).astype(np.int8)
        assert any(a.dtype == np.int8 and a.shape == kernel.shape and np.abs(a - integers).max() <= 1 for a in arrays)
        assert min(abs(found - levels.scale) for found in scales) < 1e-6 * levels.scale


def test_the_training_is_repeatable(people, model):
    opened = open_model(model)
    settings = QuantizationTraining(open_dataset(people), steps=2, batch_size=3, learning_rate=1e-3)
    first, second = (
        train_quantized(open_trainable(opened), opened.card.input, settings, every_layer=False) for _ in range(2)
    )
    for (kernel, levels), (other_kernel, other_levels) in zip(first.ranges(), second.ranges()):
        np.testing.assert_array_equal(kernel, other_kernel)
        assert levels == other_levels


def test_wrong_use_is_one_line(tmp_path, people, model, capsys):
    for changes in ({"steps": -1}, {"batch_size": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ConfigError, match="allowed"):
            QuantizationTraining(open_dataset(people), **{"steps": 1, **changes})
    pairs = tmp_path / "pairs.bin"
    from arcface_paddle.data import write_verification_set

    write_verification_set(pairs, own_pairs().images, list(own_pairs().issame))
    given = [f"--images={people}", f"--pairs={pairs}", f"--output={tmp_path / 'out'}", "--count=2"]
    assert run_module("quantize", ["--model=MobileFace", *given, "--weights=w.pdparams"]) == 2
    assert "--train_steps" in capsys.readouterr().err
    for idle in ("--train_batch=4", "--learning_rate=1e-4"):
        assert run_module("quantize", ["--model=MobileFace", *given, idle]) == 2
        assert "--train_steps" in capsys.readouterr().err
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams", "model.json"):
        (bare / name).write_bytes((model / name).read_bytes())
    assert run_module("quantize", [f"--model={bare}", *given, "--train_steps=1"]) == 2
    assert "--weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
