"""Fake quantisation: convolutions that compute in float32 what an INT8 kernel will compute, and still have gradients.

The arithmetic is that of ONNX's QuantizeLinear and DequantizeLinear as ``quantization`` writes them: weights signed and
symmetric with one scale per output channel, inputs unsigned with a zero point and one scale. Rounding counts as the
identity in the gradient and what lies outside of the range gets none (straight-through estimator; Jacob et al. 2018,
https://arxiv.org/abs/1712.05877, section 3).

``paddle.quantization.QAT`` of Paddle 3.3.1 trains, but its ``convert`` fails (``zero_point`` is None).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from arcface_paddle.backbones.cpu_speed import add_bias

_WEIGHT_LEVELS = 127.0  # symmetric: -127 to 127, so that zero is exact and no product overflows
_INPUT_LEVELS = 255.0
_SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class InputRange:
    """Scale and zero point of a quantised input: real value = (integer - ``zero_point``) * ``scale``."""

    scale: float
    zero_point: int


def input_range(low: float, high: float) -> InputRange:
    """Return the range that covers ``low`` to ``high`` and zero with 256 levels."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / _INPUT_LEVELS, _SMALLEST_SCALE)
    return InputRange(float(np.float32(scale)), int(np.clip(round(-low / scale), 0, _INPUT_LEVELS)))


def fake_quantized_input(x: paddle.Tensor, levels: InputRange) -> paddle.Tensor:
    """Round to the levels of an unsigned range; differentiable, see the module."""
    return _RoundedInput.apply(x, levels)


class _RoundedInput(paddle.autograd.PyLayer):
    """An operation of its own: the same out of Paddle's parts goes over the memory twice as often."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, levels: InputRange) -> paddle.Tensor:
        ctx.save_for_backward(x)
        ctx.levels = levels
        integers = paddle.round(x.scale(1.0 / levels.scale))
        return integers.clip_(-levels.zero_point, _INPUT_LEVELS - levels.zero_point).scale_(levels.scale)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        (x,) = ctx.saved_tensor()
        low = -ctx.levels.zero_point * ctx.levels.scale
        high = low + _INPUT_LEVELS * ctx.levels.scale
        return gradient * paddle.logical_and(x >= low, x <= high).astype(gradient.dtype)


def fake_quantized_weight(weight: paddle.Tensor) -> paddle.Tensor:
    """Round a kernel (O, I, kH, kW) to 255 levels per output channel; differentiable, see the module."""
    with paddle.no_grad():
        largest = paddle.amax(paddle.abs(weight), axis=[1, 2, 3], keepdim=True)
        scale = paddle.clip(largest / _WEIGHT_LEVELS, min=_SMALLEST_SCALE)
        error = paddle.round(weight / scale) * scale - weight
    return weight + error


class QuantizedConv(nn.Layer):
    """A convolution whose kernel and input are rounded to 8 bits.

    Attributes:
        conv: the convolution; its weights stay float32 and are trained.
        observing: whether inputs still widen the range, as they do in the first half of a training.
    """

    def __init__(self, conv: nn.Conv2D) -> None:
        super().__init__()
        self.conv = conv
        self.observing = True
        self._low: Optional[float] = None
        self._high = 0.0

    @property
    def levels(self) -> InputRange:
        """Scale and zero point of the input.

        Raises:
            RuntimeError: nothing was observed yet.
        """
        if self._low is None:
            raise RuntimeError("no input was observed yet; run the network on pictures first")
        return input_range(self._low, self._high)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.observing:
            self._observe(x)
        conv = self.conv
        y = F.conv2d(
            fake_quantized_input(x, self.levels),
            fake_quantized_weight(conv.weight),
            stride=conv._stride,
            padding=conv._updated_padding,
            dilation=conv._dilation,
            groups=conv._groups,
        )
        return y if conv.bias is None else add_bias(y, conv.bias)

    def _observe(self, x: paddle.Tensor) -> None:
        low, high = float(x.min()), float(x.max())
        # The widest range seen, as calibration takes it: an average over batches would cut off rare pictures.
        self._low = low if self._low is None else min(low, self._low)
        self._high = max(high, self._high)


def with_fake_quantization(network: nn.Layer, *, every_layer: bool) -> nn.Layer:
    """Return a copy of ``network`` whose convolutions are ``QuantizedConv``.

    Args:
        network: normalisations are best folded before, see ``folding``; it is not changed.
        every_layer: also depthwise convolutions.
    """
    quantized = copy.deepcopy(network)
    for parent in [quantized, *quantized.sublayers()]:
        for name, layer in list(parent._sub_layers.items()):
            if isinstance(layer, nn.Conv2D) and (every_layer or layer._groups == 1):
                parent._sub_layers[name] = QuantizedConv(layer)
    return quantized


def without_fake_quantization(network: nn.Layer) -> nn.Layer:
    """Return a copy with plain convolutions, which hold the trained weights."""
    plain = copy.deepcopy(network)
    for parent in [plain, *plain.sublayers()]:
        for name, layer in list(parent._sub_layers.items()):
            if isinstance(layer, QuantizedConv):
                parent._sub_layers[name] = layer.conv
    return plain


def quantized_convolutions(network: nn.Layer) -> list[QuantizedConv]:
    """Return the quantised convolutions inside of a network."""
    return [layer for layer in network.sublayers() if isinstance(layer, QuantizedConv)]
