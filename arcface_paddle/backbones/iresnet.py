"""iResNet 18 to 200, the residual networks of ArcFace, with the published weights' key names.

Residual unit of ArcFace (Deng et al. 2019, https://arxiv.org/abs/1801.07698, §3.2.2), BN-Conv-BN-PReLU-Conv-BN;
stride 1 in the stem so that 112x112 input ends as 7x7; then BN-Dropout-FC-BN. Slopes of PReLU are per channel.
"""

from __future__ import annotations

from typing import Optional, Sequence

import paddle
from paddle import nn

from arcface_paddle.errors import ConfigError

_STAGE_CHANNELS = (64, 128, 256, 512)
_FINAL_SIZE = 7  # height and width of the last feature map for 112x112 input
_BATCH_NORM_MOMENTUM = 0.9  # weight of the old running statistics (torch counts the other way round)
_CONV_INIT_STD = 0.1  # of the published training code; batch normalisation takes the scale out again


class IResNet(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    The fully connected layer and its normalisation run in float32 also under automatic mixed precision: their sum
    over 25,088 inputs overflows float16.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding, rounded to multiples of 8.
        units: number of residual units of the four stages.
        dropout: probability before the fully connected layer.

    Raises:
        ConfigError: ``dropout`` is not in [0, 1[.
    """

    MAPS = ("conv1", "bn2")  # the layers that take the picture and give the last map, see channels_last
    NORM_AND_PRELU = (("bn1", "prelu"),)  # may be computed as one, see ``cpu_kernels``

    def __init__(
        self, embedding_size: int = 512, width_mult: float = 1.0, *, units: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout is {dropout}; allowed: 0 <= dropout < 1")
        stem, *_ = widths = [_scaled(channels, width_mult) for channels in _STAGE_CHANNELS]
        self.conv1 = _conv(3, stem, kernel=3)
        self.bn1 = _batch_norm(stem)
        self.prelu = nn.PReLU(stem)
        inputs = [stem, *widths]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(inputs[stage], widths[stage], units[stage]) for stage in range(4)
        )
        self.bn2 = _batch_norm(widths[-1])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(widths[-1] * _FINAL_SIZE**2, embedding_size)
        self.features = nn.BatchNorm1D(embedding_size, momentum=_BATCH_NORM_MOMENTUM)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.dropout(self.bn2(x).flatten(1))
        with paddle.amp.auto_cast(enable=False):
            return self.features(self.fc(x.astype("float32")))


class ResidualUnit(nn.Layer):
    """BN-Conv-BN-PReLU-Conv-BN beside a shortcut."""

    NORM_AND_PRELU = (("bn2", "prelu"),)

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = _batch_norm(in_channels)
        self.conv1 = _conv(in_channels, out_channels, kernel=3)
        self.bn2 = _batch_norm(out_channels)
        self.prelu = nn.PReLU(out_channels)
        self.conv2 = _conv(out_channels, out_channels, kernel=3, stride=stride)
        self.bn3 = _batch_norm(out_channels)
        self.downsample: Optional[nn.Layer] = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                _conv(in_channels, out_channels, kernel=1, stride=stride), _batch_norm(out_channels)
            )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(x)) + shortcut


def _stage(in_channels: int, out_channels: int, units: int) -> nn.Sequential:
    first = ResidualUnit(in_channels, out_channels, stride=2)
    return nn.Sequential(first, *(ResidualUnit(out_channels, out_channels, stride=1) for _ in range(units - 1)))


def _conv(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> nn.Conv2D:
    initial = paddle.ParamAttr(initializer=nn.initializer.Normal(std=_CONV_INIT_STD))
    padding = kernel // 2
    return nn.Conv2D(
        in_channels, out_channels, kernel, stride=stride, padding=padding, weight_attr=initial, bias_attr=False
    )


def _batch_norm(channels: int) -> nn.BatchNorm2D:
    return nn.BatchNorm2D(channels, momentum=_BATCH_NORM_MOMENTUM, epsilon=1e-5)


def _scaled(channels: int, factor: float) -> int:
    return max(8, int(channels * factor / 8 + 0.5) * 8)
