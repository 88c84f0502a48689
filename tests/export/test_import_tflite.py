"""A MobileFaceNet out of a TensorFlow Lite file, against the layers as the file has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from tflite_writing import CONV, DEPTHWISE, MUL, TfliteWriter

from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.export.importing.importer import read_network
from arcface_paddle.export.importing.tflite_file import TfliteFile

STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
SIZE = 16


class PhoneNet:
    """The network of the file, of an eighth of its channels: convolutions with biases and slopes, run one by one."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.layers: list[tuple] = []
        self._conv(3, 8, 3, stride=2, bent=True)
        self._conv(8, 8, 3, depthwise=True, bent=True)
        self._conv(8, 8)  # linear, in front of the first bottleneck's
        before = 8
        for expansion, channels, repetitions, first in STAGES:
            after = channels // 8
            for index in range(repetitions):
                stride, inner = (first if index == 0 else 1), before * expansion
                self.layers.append(("begin",))
                self._conv(before, inner, bent=True)
                self._conv(inner, inner, 3, stride=stride, depthwise=True, bent=True)
                self._conv(inner, after)
                self.layers.append(("end", stride == 1 and before == after))
                before = after
        self._conv(before, 64, bent=True)
        self._conv(64, 64, 7, depthwise=True)
        self._conv(64, 64)  # linear, in front of the last
        self._conv(64, SIZE)

    def _conv(self, inputs, outputs, kernel=1, *, stride=1, depthwise=False, bent=False) -> None:
        fan_in = (1 if depthwise else inputs) * kernel**2
        shape = (outputs, 1 if depthwise else inputs, kernel, kernel)
        weight = (self.random.standard_normal(shape) * np.sqrt(1 / fan_in)).astype(np.float16).astype(np.float32)
        bias = self.random.uniform(-0.5, 0.5, outputs).astype(np.float32)
        slope = self.random.uniform(0.1, 0.4, outputs).astype(np.float32) if bent else None
        self.layers.append(("conv", weight, bias, slope, stride, depthwise))

    def convolutions(self) -> list[tuple]:
        return [layer for layer in self.layers if layer[0] == "conv"]

    def run(self, pictures: np.ndarray) -> np.ndarray:
        x, shortcut = paddle.to_tensor(pictures), None
        for kind, *layer in self.layers:
            if kind == "begin":
                shortcut = x
            elif kind == "end":
                x = x + shortcut if layer[0] else x
            else:
                x = self._run(x, *layer)
        return x.flatten(1).numpy()

    @staticmethod
    def _run(x, weight, bias, slope, stride, depthwise):
        kernel = weight.shape[2]
        if kernel == 3:  # SAME of TensorFlow
            x = F.pad(x, [0, 1, 0, 1] if stride == 2 else [1, 1, 1, 1])
        groups = x.shape[1] if depthwise else 1
        x = F.conv2d(x, paddle.to_tensor(weight), paddle.to_tensor(bias), stride=stride, groups=groups)
        return x if slope is None else F.prelu(x, paddle.to_tensor(slope))

    def write(self, path: Path, *, without: int = 0, change=lambda weight: weight) -> Path:
        writer = TfliteWriter()
        convolutions = self.convolutions()
        for _, weight, bias, slope, _, depthwise in convolutions[: len(convolutions) - without]:
            axes = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
            constant = writer.half(change(weight).transpose(axes))
            writer.operator(DEPTHWISE if depthwise else CONV, [0, constant, writer.constant(bias)])
            if slope is not None:
                writer.operator(MUL, [writer.constant(slope / 2), 0])
        return writer.write(path)


@pytest.fixture(scope="module")
def phone() -> PhoneNet:
    return PhoneNet()


def test_features_are_those_of_the_layers_in_the_file(phone: PhoneNet, tmp_path: Path) -> None:
    found = read_network(phone.write(tmp_path / "a.tflite"))
    assert found.name == "MobileFaceNet_192"
    assert found.input is not None and found.input.std == (128.0,) * 3
    pictures = np.random.default_rng(5).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    with paddle.no_grad():
        expected, features = phone.run(pictures), found.layer(paddle.to_tensor(pictures)).numpy()
    assert features.shape == (2, SIZE)
    assert np.abs(features - expected).max() <= 1e-5 * np.abs(expected).max()


def test_other_networks_and_damage_are_refused(phone: PhoneNet, tmp_path: Path) -> None:
    path = phone.write(tmp_path / "a.tflite", without=1)
    with pytest.raises(ModelFileError, match="holds 51 convolutions"):
        read_network(path)
    with pytest.raises(ConfigError, match="imported as MobileFaceNet_192, not as iresnet50"):
        read_network(path, network="iresnet50")
    path = phone.write(tmp_path / "b.tflite", change=lambda weight: weight * np.nan)
    with pytest.raises(ModelFileError, match="NaN or infinity"):
        read_network(path)
    path = phone.write(tmp_path / "c.tflite", change=lambda weight: weight[: max(1, len(weight) - 1)])
    with pytest.raises(ModelFileError, match=r"do not fit each other|are needed"):
        read_network(path)


def test_every_cut_and_many_scribbles_are_refused_or_read(phone: PhoneNet, tmp_path: Path) -> None:
    """No damage leads to anything but an error of ours, or to a file that can still be read."""
    content = phone.write(tmp_path / "a.tflite").read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "b.tflite"
    for _ in range(60):
        damaged = bytearray(content[: random.integers(8, len(content))] if random.random() < 0.4 else content)
        for place in random.integers(8, min(len(damaged), 1 << 20), 12):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            file = TfliteFile(path)
            file.convolutions()
            file.prelu_slopes()
        except ModelFileError as error:
            assert "\n" not in str(error) and len(str(error)) < 400 + len(str(path))


def test_a_constant_that_refers_to_itself_ends(tmp_path: Path) -> None:
    writer = TfliteWriter()
    constant = writer.operator(6, [0])
    writer.operator(CONV, [0, constant, constant])
    path = writer.write(tmp_path / "a.tflite")
    with pytest.raises(ModelFileError, match="is not constant"):
        TfliteFile(path).convolutions()
