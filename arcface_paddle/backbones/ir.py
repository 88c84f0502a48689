"""IR and IR-SE 50 to 152, the residual networks of face.evoLVe, with the key names of its weights.

They are not the iResNets: between the first convolution of a unit and its PReLU stands no batch normalisation, and a
unit that keeps its channels has no convolution in its shortcut, only every second pixel at stride 2. IR-SE adds
squeeze-and-excitation (Hu et al. 2018, https://arxiv.org/abs/1709.01507) behind each unit's last normalisation.
"""

from __future__ import annotations

from typing import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from arcface_paddle.errors import ConfigError

_STAGE_CHANNELS = (64, 128, 256, 512)
_FINAL_SIZE = 7  # height and width of the last feature map for 112x112 input
_SQUEEZE = 16  # channels per channel of the squeezed vector
_BATCH_NORM_MOMENTUM = 0.9  # weight of the old running statistics (torch counts the other way round)


class IR(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    As in an iResNet, the fully connected layer and its normalisation run in float32 also under mixed precision.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding, rounded to multiples of 8.
        units: number of residual units of the four stages.
        squeeze: whether units have squeeze-and-excitation (IR-SE).
        dropout: probability before the fully connected layer; the published one by default.

    Raises:
        ConfigError: ``dropout`` is not in [0, 1[.
    """

    def __init__(
        self,
        embedding_size: int = 512,
        width_mult: float = 1.0,
        *,
        units: Sequence[int],
        squeeze: bool,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout is {dropout}; allowed: 0 <= dropout < 1")
        stem, *_ = widths = [_scaled(channels, width_mult) for channels in _STAGE_CHANNELS]
        self.input_layer = nn.Sequential(_conv(3, stem), _batch_norm(stem), nn.PReLU(stem))
        body = []
        before = stem
        for count, channels in zip(units, widths):
            for index in range(count):
                body.append(Unit(before, channels, stride=2 if index == 0 else 1, squeeze=squeeze))
                before = channels
        self.body = nn.Sequential(*body)
        self.output_layer = nn.Sequential(
            _batch_norm(before),
            nn.Dropout(dropout),
            nn.Flatten(1),
            nn.Linear(before * _FINAL_SIZE**2, embedding_size),
            nn.BatchNorm1D(embedding_size, momentum=_BATCH_NORM_MOMENTUM),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        norm, dropout, flatten, linear, last_norm = self.output_layer
        x = flatten(dropout(norm(self.body(self.input_layer(x)))))
        with paddle.amp.auto_cast(enable=False):
            return last_norm(linear(x.astype("float32")))


class Unit(nn.Layer):
    """BN-Conv-PReLU-Conv-BN, with squeeze-and-excitation if asked for, beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, squeeze: bool) -> None:
        super().__init__()
        if in_channels == out_channels:
            # The published code writes this subsampling as a maximum over 1x1 windows; it has no weights.
            self.shortcut_layer: nn.Layer = nn.MaxPool2D(1, stride) if stride > 1 else nn.Identity()
        else:
            self.shortcut_layer = nn.Sequential(
                _conv(in_channels, out_channels, kernel=1, stride=stride), _batch_norm(out_channels)
            )
        layers = [
            _batch_norm(in_channels),
            _conv(in_channels, out_channels),
            nn.PReLU(out_channels),
            _conv(out_channels, out_channels, stride=stride),
            _batch_norm(out_channels),
        ]
        if squeeze:
            layers.append(SqueezeExcitation(out_channels))
        self.res_layer = nn.Sequential(*layers)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class SqueezeExcitation(nn.Layer):
    """Weigh each channel by a number in ]0, 1[ that two small layers compute from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // _SQUEEZE)
        self.avg_pool = nn.AdaptiveAvgPool2D(1)
        self.fc1 = nn.Conv2D(channels, squeezed, 1, bias_attr=False)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2D(squeezed, channels, 1, bias_attr=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * _sigmoid(self.fc2(self.relu(self.fc1(self.avg_pool(x)))))


def _sigmoid(x: paddle.Tensor) -> paddle.Tensor:
    # As a softmax over (x, 0), which is the same: Paddle 3.3 cannot trace sigmoid, exp or tanh into Paddle 2's format.
    return F.softmax(paddle.stack([x, paddle.zeros_like(x)], axis=-1), axis=-1)[..., 0]


def _conv(in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2D:
    return nn.Conv2D(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias_attr=False)


def _batch_norm(channels: int) -> nn.BatchNorm2D:
    return nn.BatchNorm2D(channels, momentum=_BATCH_NORM_MOMENTUM)


def _scaled(channels: int, factor: float) -> int:
    return max(8, int(channels * factor / 8 + 0.5) * 8)
