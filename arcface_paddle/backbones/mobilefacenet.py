"""MobileFaceNet (Chen et al. 2018, https://arxiv.org/abs/1804.07573, table 1), with the published weights' key names.

``MobileFaceNet_128`` of the published toolkit pads its stride-2 convolutions by one pixel on every side; networks that
come from TensorFlow (the shipped recogniser) pad on the right and at the bottom only. The weights look the same, the
results do not, so the padding is an argument.
"""

from __future__ import annotations

from typing import Union

import paddle
from paddle import nn

from arcface_paddle.errors import ConfigError

# Paper, table 1: expansion t, output channels c, repetitions n, stride s of the first repetition.
_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
_STEM_CHANNELS = 64
_HEAD_CHANNELS = 512
_FINAL_SIZE = 7  # height and width of the last feature map for 112x112 input
_BATCH_NORM_MOMENTUM = 0.9  # weight of the old running statistics (torch counts the other way round)

# Paddle's order is top, bottom, left, right; TensorFlow's SAME for an even input and a 3x3 kernel of stride 2.
_PADDING_OF_STRIDE_2 = {"symmetric": [1, 1, 1, 1], "tf_same": [0, 1, 0, 1]}


class ConvBlock(nn.Layer):
    """Convolution without bias, batch normalisation, and PReLU unless the block is linear."""

    NORM_AND_PRELU = (("bn", "prelu"),)  # may be computed as one, see ``cpu_kernels``

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        padding: Union[int, list[int]] = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2D(
            in_channels, out_channels, kernel, stride=stride, padding=padding, groups=groups, bias_attr=False
        )
        self.bn = nn.BatchNorm2D(out_channels, momentum=_BATCH_NORM_MOMENTUM)
        self.prelu = None if linear else nn.PReLU(out_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.bn(self.conv(x))
        return x if self.prelu is None else self.prelu(x)


class Bottleneck(nn.Layer):
    """Expand, depthwise 3x3, project (linear); with a shortcut where shape permits."""

    def __init__(
        self, in_channels: int, out_channels: int, *, expansion: int, stride: int, padding: Union[int, list[int]]
    ) -> None:
        super().__init__()
        self.shortcut = stride == 1 and in_channels == out_channels
        inner = in_channels * expansion
        self.conv = nn.Sequential(
            nn.Conv2D(in_channels, inner, 1, bias_attr=False),
            nn.BatchNorm2D(inner, momentum=_BATCH_NORM_MOMENTUM),
            nn.PReLU(inner),
            nn.Conv2D(inner, inner, 3, stride=stride, padding=padding, groups=inner, bias_attr=False),
            nn.BatchNorm2D(inner, momentum=_BATCH_NORM_MOMENTUM),
            nn.PReLU(inner),
            nn.Conv2D(inner, out_channels, 1, bias_attr=False),
            nn.BatchNorm2D(out_channels, momentum=_BATCH_NORM_MOMENTUM),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileFaceNet(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding, rounded to multiples of 8.
        stride_2_padding: ``"symmetric"`` (published networks) or ``"tf_same"`` (networks from TensorFlow).

    Raises:
        ConfigError: an unknown ``stride_2_padding``.
    """

    VECTOR_NORMS = ("linear7.bn", "linear1.bn")  # of maps of one pixel
    MAPS = ("conv1", "linear1")  # the layers that take the picture and give the last map, see channels_last

    def __init__(
        self, embedding_size: int = 128, width_mult: float = 1.0, *, stride_2_padding: str = "symmetric"
    ) -> None:
        super().__init__()
        if stride_2_padding not in _PADDING_OF_STRIDE_2:
            raise ConfigError(f"stride_2_padding is {stride_2_padding!r}; allowed: {', '.join(_PADDING_OF_STRIDE_2)}")
        halving = _PADDING_OF_STRIDE_2[stride_2_padding]
        channels = _scaled(_STEM_CHANNELS, width_mult)
        head = _scaled(_HEAD_CHANNELS, width_mult)
        self.conv1 = ConvBlock(3, channels, kernel=3, stride=2, padding=halving)
        self.dw_conv1 = ConvBlock(channels, channels, kernel=3, padding=1, groups=channels)
        blocks = []
        for expansion, stage_channels, repetitions, first_stride in _STAGES:
            out_channels = _scaled(stage_channels, width_mult)
            for index in range(repetitions):
                stride = first_stride if index == 0 else 1
                padding = halving if stride == 2 else 1
                blocks.append(Bottleneck(channels, out_channels, expansion=expansion, stride=stride, padding=padding))
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = ConvBlock(channels, head)
        self.linear7 = ConvBlock(head, head, kernel=_FINAL_SIZE, groups=head, linear=True)  # global depthwise
        self.linear1 = ConvBlock(head, embedding_size, linear=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.blocks(self.dw_conv1(self.conv1(x)))
        return self.linear1(self.linear7(self.conv2(x))).flatten(1)


def _scaled(channels: int, factor: float) -> int:
    return max(8, int(channels * factor / 8 + 0.5) * 8)
