"""ResNet 50 to 152, MobileNetV2 and MobileNetV3: trunks of ``paddle.vision.models`` with a head for recognition.

The trunks are the library's own, so that its published ImageNet weights fit. The head is that of arcface-tf2 for all
of them, BatchNorm - Dropout - fully connected - BatchNorm over the flattened 4x4 map: on aligned faces each place of
the map has its own meaning, which a mean over the map, made for objects anywhere in a picture, would lose.
"""

from __future__ import annotations

from typing import Callable, Mapping

import numpy as np
import paddle
from paddle import nn
from paddle.vision.models import MobileNetV2, MobileNetV3Large, MobileNetV3Small, ResNet
from paddle.vision.models.resnet import BottleneckBlock

from arcface_paddle.errors import ConfigError

_FINAL_SIZE = 4  # height and width of the last feature map for 112x112 input: 112 / 32, rounded up
_BATCH_NORM_MOMENTUM = 0.9  # weight of the old running statistics (torch counts the other way round)
_IMAGENET_STD = (0.229, 0.224, 0.225)  # of the input that the published weights were trained with, RGB
_TRAINING_STD = 0.5  # of the input of this package's training


class ImageNetNetwork(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on the channel counts of the trunk; of a ResNet's stem excepted, which has 64.
        trunk: a key of ``TRUNKS``.
        dropout: probability before the fully connected layer; the published one by default.

    Raises:
        ConfigError: ``dropout`` is not in [0, 1[.
    """

    def __init__(self, embedding_size: int = 512, width_mult: float = 1.0, *, trunk: str, dropout: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout is {dropout}; allowed: 0 <= dropout < 1")
        self.trunk = TRUNKS[trunk](width_mult)
        for layer in self.trunk.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                layer._momentum = _BATCH_NORM_MOMENTUM  # MobileNetV3's 0.99 follows runs of a few epochs too slowly
                channels = layer._num_features
        self.head = RecognitionHead(channels, embedding_size, dropout=dropout)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.trunk(x))


class RecognitionHead(nn.Layer):
    """BatchNorm - Dropout - fully connected - BatchNorm over a flattened map of 4x4 cells.

    As in an iResNet, the fully connected layer and its normalisation run in float32 also under mixed precision.
    """

    def __init__(self, channels: int, embedding_size: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2D(channels, momentum=_BATCH_NORM_MOMENTUM)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels * _FINAL_SIZE**2, embedding_size)
        self.features = nn.BatchNorm1D(embedding_size, momentum=_BATCH_NORM_MOMENTUM)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.dropout(self.norm(x).flatten(1))
        with paddle.amp.auto_cast(enable=False):
            return self.features(self.fc(x.astype("float32")))


class ScaledResNet(ResNet):
    """A ResNet of bottlenecks whose channels, all but the stem's 64, are multiplied by a factor."""

    def __init__(self, depth: int, width_mult: float) -> None:
        object.__setattr__(self, "_width_mult", width_mult)  # a Layer takes attributes only after its constructor
        super().__init__(BottleneckBlock, depth, num_classes=0, with_pool=False)

    def _make_layer(self, block: type, planes: int, *arguments: object, **options: object) -> nn.Sequential:
        scaled = max(8, int(planes * self._width_mult / 8 + 0.5) * 8)
        return super()._make_layer(block, scaled, *arguments, **options)


TRUNKS: Mapping[str, Callable[[float], nn.Layer]] = {
    "resnet50": lambda width: ScaledResNet(50, width),
    "resnet101": lambda width: ScaledResNet(101, width),
    "resnet152": lambda width: ScaledResNet(152, width),
    "mobilenet_v2": lambda width: MobileNetV2(width, num_classes=0, with_pool=False),
    "mobilenet_v3_small": lambda width: MobileNetV3Small(width, num_classes=0, with_pool=False),
    "mobilenet_v3_large": lambda width: MobileNetV3Large(width, num_classes=0, with_pool=False),
}
"""Name to what makes the trunk from the factor on its channels."""

_TRUNK_PREFIX = "trunk."
_CLASSIFIERS = ("fc.", "classifier.")  # of paddle.vision's ResNets, of its MobileNets


def is_of_paddle_vision(network: nn.Layer, arrays: Mapping[str, np.ndarray]) -> bool:
    """Tell whether arrays for ``network`` are those of the bare model of ``paddle.vision``, not of a run of ours."""
    return isinstance(network, ImageNetNetwork) and not any(key.startswith(_TRUNK_PREFIX) for key in arrays)


def trunk_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a model of ``paddle.vision`` without its classifier, for the input of our training.

    The first convolution takes up the difference between ImageNet's standard deviations and ours. The difference of
    the means, at most a fifth of the range, stays: the convolution pads with zeros, which stand for the mean.
    """
    kept = {key: array for key, array in arrays.items() if not key.startswith(_CLASSIFIERS)}
    for key, array in kept.items():
        if np.ndim(array) == 4 and np.shape(array)[1] == 3:  # the only convolution of three channels
            factors = _TRAINING_STD / np.asarray(_IMAGENET_STD, np.float32).reshape(1, 3, 1, 1)
            kept[key] = np.asarray(array * factors, np.float32)
            break
    return kept
