"""EdgeFace-S and -XS (George et al. 2023, https://arxiv.org/abs/2307.01838), with the published weights' key names.

The trunk is EdgeNeXt (Maaz et al. 2022, https://arxiv.org/abs/2206.10589): depthwise convolutions that grow with depth,
and at the end of stages 2 to 4 a block that mixes groups of channels one after another and then lets channels attend to
each other (cross-covariance, so the cost is linear in the pixels). EdgeFace replaces every linear layer, the last one
included, by two of rank gamma * min(inputs, outputs).

Published: S (gamma 0.5) 3.65 M parameters and 306 M FLOPs, XS (gamma 0.6) 1.77 M and 154 M. Ours: 3,652,520 and
1,770,492 parameters, 153 M and 77 M multiply-adds, of which the authors count each as two operations.
"""

from __future__ import annotations

import math
from typing import ClassVar, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from arcface_paddle.backbones.transformer_layers import average_over_map, gelu, scaled_channels, small_normal

# EdgeNeXt, table 1: the four stages.
_DEPTHS = (3, 3, 9, 3)
_KERNELS = (3, 5, 7, 9)
_HAS_ATTENTION = (False, True, True, True)  # in its last block
_CHANNEL_GROUPS = (2, 2, 3, 4)
_STEM_STRIDE = 4
_ATTENTION_SIZE_WITH_POSITIONS = 14  # height and width of stage 2, the only one whose attention knows positions
_MLP_RATIO = 4
_NORM_EPSILON = 1e-6
_FIRST_LAYER_SCALE = 1e-6
_SMALLEST_NORM = 1e-12  # added, so that a row of zeros does not become NaN


class EdgeFace(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding, rounded to multiples of 8.
        channels: of the four stages.
        heads: of the attention; every channel count must be divisible by it.
        rank_ratio: gamma of the paper.
    """

    def __init__(
        self,
        embedding_size: int = 512,
        width_mult: float = 1.0,
        *,
        channels: Sequence[int],
        heads: int,
        rank_ratio: float,
    ) -> None:
        super().__init__()
        widths = [scaled_channels(count, width_mult) for count in channels]
        self.stem = nn.Sequential(_conv(3, widths[0], kernel=_STEM_STRIDE, stride=_STEM_STRIDE), ChannelNorm(widths[0]))
        before = [widths[0], *widths]
        self.stages = nn.Sequential(
            *(
                Stage(before[stage], widths[stage], index=stage, heads=heads, rank_ratio=rank_ratio)
                for stage in range(4)
            )
        )
        self.head = Head(widths[-1], embedding_size, rank_ratio=rank_ratio)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.stages(self.stem(x)))


class Stage(nn.Layer):
    """Halve the map (except in the first stage), then convolutional blocks and perhaps one of attention."""

    def __init__(self, in_channels: int, channels: int, *, index: int, heads: int, rank_ratio: float) -> None:
        super().__init__()
        self.downsample = (
            nn.Identity()
            if index == 0
            else nn.Sequential(ChannelNorm(in_channels), _conv(in_channels, channels, kernel=2, stride=2))
        )
        convolutional = _DEPTHS[index] - _HAS_ATTENTION[index]
        blocks: list[nn.Layer] = [
            ConvBlock(channels, kernel=_KERNELS[index], rank_ratio=rank_ratio) for _ in range(convolutional)
        ]
        if _HAS_ATTENTION[index]:
            blocks.append(AttentionBlock(channels, index=index, heads=heads, rank_ratio=rank_ratio))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.blocks(self.downsample(x))


class ConvBlock(nn.Layer):
    """Depthwise convolution, normalisation over channels, perceptron, scale per channel, shortcut."""

    undecayed_parameters: ClassVar[frozenset[str]] = frozenset({"gamma"})

    def __init__(self, channels: int, *, kernel: int, rank_ratio: float) -> None:
        super().__init__()
        self.conv_dw = _conv(channels, channels, kernel=kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, epsilon=_NORM_EPSILON)
        self.mlp = Perceptron(channels, rank_ratio=rank_ratio)
        self.gamma = _layer_scale(self, channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.conv_dw(x).transpose([0, 2, 3, 1])
        return x + (self.gamma * self.mlp(self.norm(y))).transpose([0, 3, 1, 2])


class AttentionBlock(nn.Layer):
    """Split depthwise transpose attention: channel groups in a row, cross-covariance attention, perceptron.

    Every group but the last goes through a 3x3 depthwise convolution, from the second on with the result of the group
    before added (EdgeNeXt, §3.2).
    """

    undecayed_parameters: ClassVar[frozenset[str]] = frozenset({"gamma", "gamma_xca"})

    def __init__(self, channels: int, *, index: int, heads: int, rank_ratio: float) -> None:
        super().__init__()
        groups = _CHANNEL_GROUPS[index]
        width = math.ceil(channels / groups)
        self.group_channels = [width] * (groups - 1) + [channels - width * (groups - 1)]
        self.convs = nn.LayerList([_conv(width, width, kernel=3, padding=1, groups=width) for _ in range(groups - 1)])
        self.pos_embd = PositionEncoding(channels, size=_ATTENTION_SIZE_WITH_POSITIONS) if index == 1 else None
        self.norm_xca = nn.LayerNorm(channels, epsilon=_NORM_EPSILON)
        self.gamma_xca = _layer_scale(self, channels)
        self.xca = CrossCovarianceAttention(channels, heads=heads, rank_ratio=rank_ratio)
        self.norm = nn.LayerNorm(channels, epsilon=_NORM_EPSILON)
        self.mlp = Perceptron(channels, rank_ratio=rank_ratio)
        self.gamma = _layer_scale(self, channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        channels, height, width = x.shape[1:]
        mixed = self._mix_groups(x)
        if self.pos_embd is not None:
            mixed = mixed + self.pos_embd()
        tokens = mixed.flatten(2).transpose([0, 2, 1])
        tokens = tokens + self.gamma_xca * self.xca(self.norm_xca(tokens))
        tokens = self.gamma * self.mlp(self.norm(tokens))
        return x + tokens.transpose([0, 2, 1]).reshape([-1, channels, height, width])

    def _mix_groups(self, x: paddle.Tensor) -> paddle.Tensor:
        groups = paddle.split(x, self.group_channels, axis=1)
        mixed = [self.convs[0](groups[0])]
        for conv, group in zip(self.convs[1:], groups[1:]):
            mixed.append(conv(mixed[-1] + group))
        return paddle.concat([*mixed, groups[-1]], axis=1)


class CrossCovarianceAttention(nn.Layer):
    """Attention of channels to channels over (B, N, channels) (El-Nouby et al. 2021, arXiv:2106.09681)."""

    undecayed_parameters: ClassVar[frozenset[str]] = frozenset({"temperature"})

    def __init__(self, channels: int, *, heads: int, rank_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = self.create_parameter([heads, 1, 1], default_initializer=nn.initializer.Constant(1.0))
        self.qkv = LowRankLinear(channels, 3 * channels, rank_ratio=rank_ratio)
        self.proj = LowRankLinear(channels, channels, rank_ratio=rank_ratio)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        tokens, channels = x.shape[1:]
        parts = self.qkv(x).reshape([-1, tokens, 3, self.heads, channels // self.heads]).transpose([2, 0, 3, 4, 1])
        with paddle.amp.auto_cast(enable=False):
            query, key, value = (part.astype("float32") for part in paddle.unbind(parts))
            weights = _unit_rows(query) @ _unit_rows(key).transpose([0, 1, 3, 2]) * self.temperature
            attended = F.softmax(weights, axis=-1) @ value
        return self.proj(attended.transpose([0, 3, 1, 2]).reshape([-1, tokens, channels]))


class PositionEncoding(nn.Layer):
    """Sines and cosines of row and column, projected to (1, channels, size, size).

    Args:
        channels: of the result.
        size: height and width of the map.
    """

    _WAVES = 32  # per axis
    _LONGEST = 10000.0

    def __init__(self, channels: int, *, size: int) -> None:
        super().__init__()
        self.token_projection = _conv(2 * self._WAVES, channels, kernel=1)
        self.register_buffer("waves", paddle.to_tensor(self._table(size)), persistable=False)

    def forward(self) -> paddle.Tensor:
        return self.token_projection(self.waves)

    def _table(self, size: int) -> np.ndarray:
        angle = np.arange(1, size + 1) / (size + 1e-6) * 2 * np.pi
        periods = self._LONGEST ** (2 * (np.arange(self._WAVES) // 2) / self._WAVES)
        phase = angle[:, None] / periods  # (size, waves); even waves are sines, odd ones cosines
        line = np.where(np.arange(self._WAVES) % 2 == 0, np.sin(phase), np.cos(phase)).T
        rows = np.broadcast_to(line[:, :, None], (self._WAVES, size, size))
        return np.concatenate([rows, rows.transpose(0, 2, 1)])[None].astype(np.float32)


class Perceptron(nn.Layer):
    """Two low-rank layers with GELU between them, over the last axis."""

    def __init__(self, channels: int, *, rank_ratio: float) -> None:
        super().__init__()
        self.fc1 = LowRankLinear(channels, _MLP_RATIO * channels, rank_ratio=rank_ratio)
        self.fc2 = LowRankLinear(_MLP_RATIO * channels, channels, rank_ratio=rank_ratio)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.fc2(gelu(self.fc1(x)))


class LowRankLinear(nn.Layer):
    """A linear layer as the product of two of rank ``rank_ratio`` * min(inputs, outputs), at least 2."""

    def __init__(self, in_features: int, out_features: int, *, rank_ratio: float) -> None:
        super().__init__()
        rank = max(2, int(min(in_features, out_features) * rank_ratio))
        self.linear1 = nn.Linear(in_features, rank, bias_attr=False)
        self.linear2 = nn.Linear(rank, out_features)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.linear2(self.linear1(x))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, epsilon=_NORM_EPSILON)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return super().forward(x.transpose([0, 2, 3, 1])).transpose([0, 3, 1, 2])


class Head(nn.Layer):
    """Average over the map, normalise, project; in float32 also under automatic mixed precision."""

    def __init__(self, channels: int, embedding_size: int, *, rank_ratio: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, epsilon=_NORM_EPSILON)
        self.fc = LowRankLinear(channels, embedding_size, rank_ratio=rank_ratio)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        with paddle.amp.auto_cast(enable=False):
            return self.fc(self.norm(average_over_map(x.astype("float32"))))


def _conv(
    in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Conv2D:
    return nn.Conv2D(
        in_channels, out_channels, kernel, stride=stride, padding=padding, groups=groups, weight_attr=small_normal()
    )


def _layer_scale(layer: nn.Layer, channels: int) -> paddle.Tensor:
    return layer.create_parameter([channels], default_initializer=nn.initializer.Constant(_FIRST_LAYER_SCALE))


def _unit_rows(x: paddle.Tensor) -> paddle.Tensor:
    return x / (paddle.linalg.norm(x, p=2, axis=-1, keepdim=True) + _SMALLEST_NORM)
