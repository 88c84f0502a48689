"""Fill the networks of ``arcface_paddle.backbones`` with weights of the original files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import paddle
from paddle import nn

from arcface_paddle.backbones.blazeface import BlazeFace
from arcface_paddle.backbones.centerface import CenterFace
from arcface_paddle.backbones.mtcnn import PNet, RNet
from arcface_paddle.backbones.onet import ONet
from arcface_paddle.backbones.resnet29 import ResNet29
from arcface_paddle.export.importing.tflite_file import TfliteFile
from arcface_paddle.export.importing.torch_file import read_torch_file
from tools.model_conversion.dlib_file import DlibFile
from tools.model_conversion.onnx_file import read_weights

_Network = TypeVar("_Network", bound=nn.Layer)


def load_blazeface(path: Path) -> BlazeFace:
    """Return MediaPipe's BlazeFace; its convolutions come in the order in which the layers are declared."""
    network = BlazeFace()
    layers = [layer for layer in network.sublayers() if isinstance(layer, nn.Conv2D)]
    convolutions = TfliteFile(path).convolutions()
    _require_equal(len(layers), len(convolutions), f"{path}: number of convolutions")
    for layer, convolution in zip(layers, convolutions):
        _set(layer.weight, convolution.weight)
        _set(layer.bias, convolution.bias)
    network.eval()
    return network


def load_pnet(path: Path) -> PNet:
    """Return MTCNN's PNet."""
    return _load_torch(PNet(), path)


def load_rnet(path: Path) -> RNet:
    """Return MTCNN's RNet."""
    return _load_torch(RNet(), path, flattened="dense4.weight")


def load_onet(path: Path) -> ONet:
    """Return MTCNN's ONet."""
    return _load_torch(ONet(), path, flattened="dense5.weight")


def _load_torch(network: _Network, path: Path, *, flattened: str = "") -> _Network:
    """Fill a network of MTCNN; what it flattens is re-ordered from (width, height, channel) to Paddle's.

    Args:
        network: layers named as in the file.
        path: legacy torch file.
        flattened: the weight behind a map of 3 x 3 cells.
    """
    parameters = dict(network.named_parameters())
    tensors = read_torch_file(path)
    assert isinstance(tensors, dict)
    for name, values in tensors.items():
        if name == flattened:
            rows = len(values)
            values = values.reshape(rows, 3, 3, -1).transpose(0, 3, 2, 1).reshape(rows, -1)
        if name.startswith("dense") and values.ndim == 2:
            values = values.T  # torch keeps (out, in), Paddle (in, out)
        if name.startswith("prelu"):
            name = name.replace(".weight", "._weight")
        _set(parameters.pop(name), values)
    if parameters:
        raise ValueError(f"{path}: has no weights for {', '.join(sorted(parameters))}")
    network.eval()
    return network


def load_centerface(path: Path) -> CenterFace:
    """Return CenterFace; the layers are declared in the order of the file's nodes."""
    network = CenterFace()
    kinds = (nn.Conv2D, nn.Conv2DTranspose, nn.BatchNorm2D)
    layers = [layer for layer in network.sublayers() if isinstance(layer, kinds)]
    weights = read_weights(path)
    _require_equal(len(layers), len(weights), f"{path}: number of layers")
    for layer, (kind, tensors) in zip(layers, weights):
        if kind == "BatchNormalization":
            parameters = [layer.weight, layer.bias, layer._mean, layer._variance]
        else:
            parameters = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        _require_equal(len(parameters), len(tensors), f"{path}: tensors of a {kind}")
        for parameter, values in zip(parameters, tensors):
            _set(parameter, values)
    network.eval()
    return network


def load_resnet29(path: Path) -> ResNet29:
    """Return dlib's recogniser; the affine layer behind each convolution is multiplied into it."""
    network = ResNet29()
    layers = [layer for layer in network.sublayers() if isinstance(layer, nn.Conv2D)]
    convolutions, matrix = DlibFile(path).read()
    _require_equal(len(layers), len(convolutions), f"{path}: number of convolutions")
    for layer, convolution in zip(layers, convolutions):
        _require_equal(layer._stride, [convolution.stride] * 2, f"{path}: stride")
        _set(layer.weight, convolution.weight)
        _set(layer.bias, convolution.bias)
    _set(network.fc.weight, matrix)
    network.eval()
    return network


def _set(parameter: paddle.Tensor, values: np.ndarray) -> None:
    _require_equal(tuple(parameter.shape), values.shape, f"shape of {parameter.name}")
    parameter.set_value(np.ascontiguousarray(values, dtype=np.float32))


def _require_equal(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise ValueError(f"{what}: the network has {found}, the file {expected}")
