"""The MobileFaceNet that TensorFlow Lite files of phones hold, put into the training class.

The original has its batch normalisation folded into the convolutions, which is written as gamma 1, beta = bias, mean 0,
variance 1 - epsilon: the same function, and it can be fine-tuned. Two further 1x1 convolutions without an activation
(after the first depthwise block and after the global depthwise convolution) are multiplied into their followers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from arcface_paddle.backbones.mobilefacenet import MobileFaceNet
from arcface_paddle.errors import ModelFileError
from arcface_paddle.export.importing.tflite_file import Convolution, TfliteFile

_STEM_CHANNELS = 64
_CONVOLUTIONS = 52  # of MobileFaceNet, and the two that are multiplied into others
_SIZES = range(1, 2049)  # of an embedding


def load_mobilefacenet(path: Path) -> MobileFaceNet:
    """Return the recogniser of a .tflite file as a network for training, in evaluation mode.

    Raises:
        ModelFileError: the file is damaged, or holds another network.
    """
    source = TfliteFile(path)
    convolutions = source.convolutions()
    if len(convolutions) != _CONVOLUTIONS:
        raise ModelFileError(
            f"{path}: holds {len(convolutions)} convolutions; a MobileFaceNet as TensorFlow Lite files of phones have "
            f"it has {_CONVOLUTIONS}"
        )
    _fold_into_next(convolutions, 2, path)
    _fold_into_next(convolutions, len(convolutions) - 2, path)
    stem, size = len(convolutions[0].bias), len(convolutions[-1].bias)
    if stem not in range(8, 4 * _STEM_CHANNELS + 1) or size not in _SIZES:
        raise ModelFileError(f"{path}: a first convolution of {stem} channels, features of {size} values")
    network = MobileFaceNet(size, stem / _STEM_CHANNELS, stride_2_padding="tf_same")
    _load_folded(network, convolutions, path)
    slopes = source.prelu_slopes()
    activations = [layer for layer in network.sublayers() if isinstance(layer, nn.PReLU)]
    if len(activations) != len(slopes):
        raise ModelFileError(f"{path}: holds {len(slopes)} PReLUs; MobileFaceNet has {len(activations)}")
    for activation, slope in zip(activations, slopes):
        _set(activation._weight, slope.reshape(-1), path)
    network.eval()
    return network


def _fold_into_next(convolutions: list[Convolution], index: int, path: Path) -> None:
    """Multiply the linear 1x1 convolution at ``index`` into the 1x1 convolution behind it, and remove it."""
    first, second = convolutions[index], convolutions[index + 1]
    if first.weight.shape[2:] != (1, 1) or second.weight.shape[2:] != (1, 1):
        raise ModelFileError(f"{path}: the convolutions {index} and {index + 1} are not 1x1; this is another network")
    inner = first.weight[:, :, 0, 0].astype(np.float64)
    outer = second.weight[:, :, 0, 0].astype(np.float64)
    if outer.shape[1] != inner.shape[0] or first.bias.shape != inner.shape[:1]:
        raise ModelFileError(f"{path}: the convolutions {index} and {index + 1} do not fit each other")
    weight = (outer @ inner)[:, :, None, None].astype(np.float32)
    bias = (outer @ first.bias + second.bias).astype(np.float32)
    convolutions[index : index + 2] = [Convolution(weight, bias)]


def _load_folded(network: nn.Layer, convolutions: list[Convolution], path: Path) -> None:
    layers = [layer for layer in network.sublayers() if isinstance(layer, nn.Conv2D)]
    norms = [layer for layer in network.sublayers() if isinstance(layer, nn.BatchNorm2D)]
    for layer, norm, convolution in zip(layers, norms, convolutions):
        _set(layer.weight, convolution.weight, path)
        _set(norm.bias, convolution.bias, path)
        _set(norm.weight, np.ones_like(convolution.bias), path)
        _set(norm._mean, np.zeros_like(convolution.bias), path)
        _set(norm._variance, np.full_like(convolution.bias, 1 - norm._epsilon), path)


def _set(parameter: paddle.Tensor, values: np.ndarray, path: Path) -> None:
    if tuple(parameter.shape) != values.shape:
        raise ModelFileError(f"{path}: weights of shape {values.shape} where {tuple(parameter.shape)} are needed")
    if not np.isfinite(values).all():
        raise ModelFileError(f"{path}: the weights hold NaN or infinity")
    parameter.set_value(np.ascontiguousarray(values, dtype=np.float32))
