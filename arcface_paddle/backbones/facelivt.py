"""FaceLiVT-S (Setyawan et al. 2025, https://arxiv.org/abs/2506.10361) and FaceLiVTv2-S (https://arxiv.org/abs/2604.09127).

Convolutional hybrids whose "linear attention" is a learned matrix over the pixels of the last two stages' small maps,
one matrix a head. The convolutions train with two branches and are exported as one (``merged``; the export calls it).

Published: FaceLiVT-S 5.05 M parameters and 160 M multiply-adds, FaceLiVTv2-S 4.62 M and 179 M, both merged. Ours
merged: 5.06 M and 157 M, 4.62 M and 176 M, where we count convolutions, linear layers and attention only.

What the papers leave open, or where we differ from the authors' released definition:

- The heads' results are put together along the channels. The released FaceLiVT-S joins them along the pixels and then
  reshapes, which is the same up to a fixed order of the channels.
- No bias where a batch normalisation follows: it would be subtracted again.
- FaceLiVTv2: the scale before the matrix starts at 1, that behind it at 1e-5. The released one starts both at 1e-5,
  whose product nothing but Adam leaves.
- At other widths than 1, heads are halved until they divide the channels.
"""

from __future__ import annotations

from typing import Callable, ClassVar, Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from arcface_paddle.backbones.transformer_layers import (
    BATCH_NORM_MOMENTUM,
    Gelu,
    average_over_map,
    gelu,
    scaled_channels,
    small_normal,
)

_MAP_SIZES = (28, 14, 7, 4)  # height and width of the four stages for 112x112 input
_FIRST_ATTENTION_STAGE = 2
_FIRST_LAYER_SCALE = 1e-5


class FaceLiVT(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding, rounded to multiples of 8.
    """

    _CHANNELS = (40, 80, 160, 320)
    _DEPTHS = (2, 4, 6, 2)

    def __init__(self, embedding_size: int = 512, width_mult: float = 1.0) -> None:
        super().__init__()
        widths = [scaled_channels(count, width_mult) for count in self._CHANNELS]
        self.stem = _stem(widths[0])
        self.stages = _stages(widths, self._DEPTHS, self._block)
        self.head = NormalisedLinear(widths[-1], embedding_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.stages(self.stem(x))
        with paddle.amp.auto_cast(enable=False):
            return self.head(average_over_map(x.astype("float32")))

    @staticmethod
    def _block(channels: int, stage: int) -> nn.Layer:
        if stage < _FIRST_ATTENTION_STAGE:
            return nn.Sequential(RepMix(channels), FeedForward(channels, ratio=3))
        return nn.Sequential(LinearAttention(channels, size=_MAP_SIZES[stage]), FeedForward(channels, ratio=3))


class FaceLiVTv2(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding, rounded to multiples of 8.
    """

    # The authors' table says 384 for the last stage; their parameter count is that of 320, as in their code.
    _CHANNELS = (48, 96, 192, 320)
    _DEPTHS = (3, 3, 9, 3)
    _HEAD_CHANNELS = 1284

    def __init__(self, embedding_size: int = 512, width_mult: float = 1.0) -> None:
        super().__init__()
        widths = [scaled_channels(count, width_mult) for count in self._CHANNELS]
        final = scaled_channels(self._HEAD_CHANNELS, width_mult)
        self.stem = _stem(widths[0])
        self.stages = _stages(widths, self._DEPTHS, self._block)
        # Every pixel of the last map has a weight of its own in every channel, in place of the average.
        self.expand = _conv_norm(widths[-1], final)
        self.aggregate = _conv_norm(final, final, kernel=_MAP_SIZES[-1], groups=final)
        self.head = NormalisedLinear(final, embedding_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.aggregate(self.expand(self.stages(self.stem(x)))).flatten(1)
        with paddle.amp.auto_cast(enable=False):
            return self.head(x.astype("float32"))

    @staticmethod
    def _block(channels: int, stage: int) -> nn.Layer:
        if stage < _FIRST_ATTENTION_STAGE:
            return nn.Sequential(RepMix(channels), FeedForward(channels, ratio=2))
        attention = LiteLinearAttention(channels, size=_MAP_SIZES[stage])
        return nn.Sequential(RepMix(channels), attention, FeedForward(channels, ratio=2))


class BranchedConv(nn.Layer):
    """Batch normalisation of a 3x3 plus a 1x1 convolution; ``merged`` is the one convolution that does the same."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, kernel=3, stride=stride, padding=1, groups=groups)
        self.pointwise = _conv(in_channels, out_channels, stride=stride, groups=groups)
        self.bn = _batch_norm(out_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.bn(self.conv(x) + self.pointwise(x))

    def merged(self) -> Optional[nn.Conv2D]:
        """Return the convolution with bias that computes the same in evaluation mode.

        None when another normalisation, without running statistics, has taken the place of the own one.
        """
        if not hasattr(self.bn, "_variance"):
            return None
        kernel = self.conv.weight.numpy().astype(np.float64)
        kernel[:, :, 1, 1] += self.pointwise.weight.numpy()[:, :, 0, 0]
        scale, shift = _scale_and_shift(self.bn)
        kernel = kernel * scale.reshape(-1, 1, 1, 1)
        own = self.conv
        merged = nn.Conv2D(
            own._in_channels, own._out_channels, 3, stride=own._stride, padding=own._padding, groups=own._groups
        )
        merged.weight.set_value(self._with_shortcut(kernel).astype(np.float32))
        merged.bias.set_value(shift.astype(np.float32))
        return merged

    def _with_shortcut(self, kernel: np.ndarray) -> np.ndarray:
        return kernel


class RepMix(BranchedConv):
    """Depthwise mixing of neighbouring pixels beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, groups=channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + super().forward(x)

    def _with_shortcut(self, kernel: np.ndarray) -> np.ndarray:
        kernel = kernel.copy()
        kernel[:, 0, 1, 1] += 1.0
        return kernel


class FeedForward(nn.Layer):
    """Expand the channels of every pixel ``ratio`` times, GELU, project back, shortcut.

    The last scale starts at 0, so that the block starts as the identity.
    """

    def __init__(self, channels: int, *, ratio: int) -> None:
        super().__init__()
        self.expand = _conv_norm(channels, ratio * channels)
        self.project = _conv_norm(ratio * channels, channels, first_scale=0.0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + self.project(gelu(self.expand(x)))


class Merging(nn.Layer):
    """Halve the map by a depthwise convolution, change the number of channels, then a feed-forward block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.spatial = BranchedConv(in_channels, in_channels, stride=2, groups=in_channels)
        self.project = _conv_norm(in_channels, out_channels)
        self.mlp = FeedForward(out_channels, ratio=2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.mlp(self.project(self.spatial(x)))


class LinearAttention(nn.Layer):
    """MHLA: per head, two learned matrices over the pixels with GELU between them, beside a shortcut."""

    _HEADS = 16
    _RATIO = 4

    def __init__(self, channels: int, *, size: int) -> None:
        super().__init__()
        heads = _heads(self._HEADS, channels)
        self.norm = MapNorm(channels)
        self.expand = TokenLinear(heads, size**2, self._RATIO * size**2)
        self.project = TokenLinear(heads, self._RATIO * size**2, size**2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        channels, height, width = x.shape[1:]
        y = _to_heads(self.norm(x), self.expand.heads)
        y = self.project(gelu(self.expand(y)))
        return x + y.reshape([-1, channels, height, width])


class MapNorm(nn.Layer):
    """Normalise a whole picture's (C, H, W), then scale and shift each channel: group normalisation with one group."""

    undecayed_parameters: ClassVar[frozenset[str]] = frozenset({"weight"})

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = self.create_parameter([channels, 1, 1], default_initializer=nn.initializer.Constant(1.0))
        self.bias = self.create_parameter([channels, 1, 1], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        channels, height, width = x.shape[1:]
        flat = x.flatten(1)
        normal = F.layer_norm(flat, flat.shape[-1]).reshape([-1, channels, height, width])
        return normal * self.weight + self.bias


class LiteLinearAttention(nn.Layer):
    """Lite MHLA: per head, one learned matrix over the pixels between two scales per channel, beside a shortcut."""

    undecayed_parameters: ClassVar[frozenset[str]] = frozenset({"scale", "offset", "layer_scale"})
    _HEADS = 4

    def __init__(self, channels: int, *, size: int) -> None:
        super().__init__()
        heads = _heads(self._HEADS, channels)
        constant = nn.initializer.Constant
        self.scale = self.create_parameter([channels, 1, 1], default_initializer=constant(1.0))
        self.offset = self.create_parameter([channels, 1, 1], default_initializer=constant(0.0))
        self.mix = TokenLinear(heads, size**2, size**2)
        self.layer_scale = self.create_parameter([channels, 1, 1], default_initializer=constant(_FIRST_LAYER_SCALE))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        channels, height, width = x.shape[1:]
        y = self.mix(_to_heads(x * self.scale + self.offset, self.mix.heads))
        return x + self.layer_scale * y.reshape([-1, channels, height, width])


class TokenLinear(nn.Layer):
    """A linear layer of its own for every head: (B, heads, C, in_tokens) to (B, heads, C, out_tokens)."""

    def __init__(self, heads: int, in_tokens: int, out_tokens: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = self.create_parameter([heads, in_tokens, out_tokens], attr=small_normal())
        self.bias = self.create_parameter([heads, 1, out_tokens], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        # Paddle 3.3 has no gradient on CPU for a product of four axes with three. In a graph that is exported a first
        # axis of 1 would be taken for the number of pictures, and paddle2onnx 2.0 writes that into the model.
        is_exported = not (self.training or paddle.in_dynamic_mode())
        return x @ (self.weight if is_exported else self.weight.unsqueeze(0)) + self.bias


class NormalisedLinear(nn.Layer):
    """Batch normalisation, then a linear layer, over (B, C); ``merged`` is one linear layer."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1D(in_features, momentum=BATCH_NORM_MOMENTUM)
        self.linear = nn.Linear(in_features, out_features, weight_attr=small_normal())

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.linear(self.bn(x))

    def merged(self) -> nn.Linear:
        """Return the linear layer that computes the same in evaluation mode."""
        scale, shift = _scale_and_shift(self.bn)
        weight = self.linear.weight.numpy().astype(np.float64)
        merged = nn.Linear(*weight.shape)
        merged.weight.set_value((weight * scale[:, None]).astype(np.float32))
        merged.bias.set_value((self.linear.bias.numpy() + shift @ weight).astype(np.float32))
        return merged


def _stem(channels: int) -> nn.Sequential:
    half = channels // 2
    return nn.Sequential(BranchedConv(3, half, stride=2), Gelu(), BranchedConv(half, channels, stride=2))


def _stages(widths: list[int], depths: tuple[int, ...], block: Callable[[int, int], nn.Layer]) -> nn.Sequential:
    stages = []
    for stage, (channels, depth) in enumerate(zip(widths, depths)):
        merging = [] if stage == 0 else [Merging(widths[stage - 1], channels)]
        stages.append(nn.Sequential(*merging, *(block(channels, stage) for _ in range(depth))))
    return nn.Sequential(*stages)


def _conv_norm(
    in_channels: int, out_channels: int, *, kernel: int = 1, groups: int = 1, first_scale: float = 1.0
) -> nn.Sequential:
    conv = _conv(in_channels, out_channels, kernel=kernel, groups=groups)
    return nn.Sequential(conv, _batch_norm(out_channels, first_scale=first_scale))


def _conv(
    in_channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Conv2D:
    return nn.Conv2D(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=padding,
        groups=groups,
        weight_attr=small_normal(),
        bias_attr=False,
    )


def _batch_norm(channels: int, *, first_scale: float = 1.0) -> nn.BatchNorm2D:
    scale = paddle.ParamAttr(initializer=nn.initializer.Constant(first_scale))
    return nn.BatchNorm2D(channels, momentum=BATCH_NORM_MOMENTUM, weight_attr=scale)


def _heads(wanted: int, channels: int) -> int:
    while channels % wanted:
        wanted //= 2
    return wanted


def _to_heads(x: paddle.Tensor, heads: int) -> paddle.Tensor:
    channels, height, width = x.shape[1:]
    return x.reshape([-1, heads, channels // heads, height * width])


def _scale_and_shift(batch_norm: nn.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and the shift per channel, float64, that a batch normalisation is in evaluation mode."""
    scale = batch_norm.weight.numpy() / np.sqrt(batch_norm._variance.numpy().astype(np.float64) + batch_norm._epsilon)
    return scale, batch_norm.bias.numpy() - batch_norm._mean.numpy() * scale
