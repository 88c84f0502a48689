"""The MobileFaceNet of insightface (``mbf``), a wider relative of Chen et al. 2018 (https://arxiv.org/abs/1804.07573).

It differs from ``mobilefacenet`` in more than names: twice the channels between the bottlenecks, inside of them no more
than outside (128, 256 and 512 whatever the scale), a second convolution that is grouped by two channels and not
depthwise, and a fully connected layer with one-dimensional batch normalisation at the end. The parameter keys are those
of insightface's weights, but for what Paddle itself calls otherwise. 2,059,520 parameters, ``mbf_large`` 6,314,880, as
insightface's own.
"""

from __future__ import annotations

from typing import Sequence

import paddle
from paddle import nn

_BATCH_NORM_MOMENTUM = 0.9  # weight of the old running statistics (torch counts the other way round)
_STEM_CHANNELS = 64
_LATE_CHANNELS = 128
_HEAD_CHANNELS = 512
_FINAL_SIZE = 7  # height and width of the last feature map for 112x112 input
# Channels inside of the bottlenecks: of the three that halve the map, and of the residual ones behind each.
_HALVING_INNER = (128, 256, 512)
_RESIDUAL_INNER = (128, 256, 256)


class _Block(nn.Layer):
    """Convolution without bias, batch normalisation, and PReLU unless the block is linear."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        padding = 0 if kernel == _FINAL_SIZE else kernel // 2
        layers = [
            nn.Conv2D(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias_attr=False),
            nn.BatchNorm2D(outputs, momentum=_BATCH_NORM_MOMENTUM),
        ]
        self.layers = nn.Sequential(*layers, *([] if linear else [nn.PReLU(outputs)]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.layers(x)


class _Bottleneck(nn.Layer):
    """1x1, depthwise 3x3, 1x1 (linear); with a shortcut unless it halves the map."""

    def __init__(self, inputs: int, outputs: int, *, inner: int, stride: int) -> None:
        super().__init__()
        self.shortcut = stride == 1
        self.layers = nn.Sequential(
            _Block(inputs, inner),
            _Block(inner, inner, kernel=3, stride=stride, groups=inner),
            _Block(inner, outputs, linear=True),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class _Residual(nn.Layer):
    """Several bottlenecks with shortcuts."""

    def __init__(self, channels: int, *, inner: int, units: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_Bottleneck(channels, channels, inner=inner, stride=1) for _ in range(units)))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.layers(x)


class _Head(nn.Layer):
    """Global depthwise convolution, then a fully connected layer and its normalisation."""

    def __init__(self, channels: int, embedding_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _Block(channels, channels, kernel=_FINAL_SIZE, groups=channels, linear=True),
            nn.Flatten(),
            nn.Linear(channels, embedding_size, bias_attr=False),
            nn.BatchNorm1D(embedding_size, momentum=_BATCH_NORM_MOMENTUM),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.layers(x)


class Mbf(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding, rounded to multiples of 8.
        units: number of residual bottlenecks of the four stages; one in the first stands for a single convolution.
        scale: factor on the channels between the bottlenecks, 2 of ``mbf`` and 4 of ``mbf_large``.
    """

    VECTOR_NORMS = ("features.layers.0.layers.1",)  # of a map of one pixel

    def __init__(self, embedding_size: int = 512, width_mult: float = 1.0, *, units: Sequence[int], scale: int) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(8, int(channels * width_mult / 8 + 0.5) * 8)

        early, late, head = scaled(_STEM_CHANNELS) * scale, scaled(_LATE_CHANNELS) * scale, scaled(_HEAD_CHANNELS)
        first: nn.Layer = _Block(early, early, kernel=3, groups=early // scale)
        if units[0] > 1:
            first = _Residual(early, inner=scaled(_HALVING_INNER[0]), units=units[0])
        layers = [_Block(3, early, kernel=3, stride=2), first]
        before = early
        for after, halving, inner, count in zip((early, late, late), _HALVING_INNER, _RESIDUAL_INNER, units[1:]):
            layers.append(_Bottleneck(before, after, inner=scaled(halving), stride=2))
            layers.append(_Residual(after, inner=scaled(inner), units=count))
            before = after
        self.layers = nn.LayerList(layers)
        self.conv_sep = _Block(late, head)
        self.features = _Head(head, embedding_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))
