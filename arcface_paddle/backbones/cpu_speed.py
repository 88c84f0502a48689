"""Training faster on CPU: the same layers, computed by faster Paddle operations.

Two things take most of the time of a training step of MobileFaceNet on CPU in Paddle 3.3 without being arithmetic:

- PReLU multiplies with a broadcast slope, and broadcasting is about 50 times slower than an element-wise product; the
  inference kernel of batch normalisation scales channels without it (``CpuPReLU``, 2.5 to 4 times as fast);
- the gradient of a depthwise convolution with respect to its input takes 2 to 6 times as long as the convolution,
  though for stride 1 it is a depthwise convolution with the turned kernel (``CpuDepthwiseConv``).

Weights, keys and results stay the same; in evaluation the layers are the original ones, so exports do not change.
``tools/benchmark.py backbone_step`` measures the gain.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn


def use_cpu_layers(network: nn.Layer) -> nn.Layer:
    """Let the PReLU and depthwise layers inside ``network`` use the faster operations; weights and keys stay."""
    for layer in network.sublayers():
        if type(layer) is nn.PReLU and layer._num_parameters > 1:
            layer.__class__ = CpuPReLU
        elif type(layer) is nn.Conv2D and _is_simple_depthwise(layer):
            layer.__class__ = CpuDepthwiseConv
    return network


class CpuPReLU(nn.PReLU):
    """PReLU with one slope per channel."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training or x.dtype != paddle.float32 or x.stop_gradient or self._weight.stop_gradient:
            return super().forward(x)
        return _PReLU.apply(x, self._weight)


class _PReLU(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, slope: paddle.Tensor) -> paddle.Tensor:
        ctx.save_for_backward(x, slope)
        return F.relu(x).subtract_(_scaled(F.relu(-x), slope))

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        x, slope = ctx.saved_tensor()
        negative = (x <= 0.0).astype(x.dtype).multiply_(gradient)  # the gradient where the slope acts
        to_slope = _channel_sums(negative * x)
        return _scaled(negative, slope - 1.0).add_(gradient), to_slope


class CpuDepthwiseConv(nn.Conv2D):
    """Depthwise 3x3 convolution, stride 1, padding 1, no bias."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training or x.dtype != paddle.float32 or x.stop_gradient or self.weight.stop_gradient:
            return super().forward(x)
        return _DepthwiseConv.apply(x, self.weight)


class _DepthwiseConv(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        # A graph of its own gives the gradient of the kernel only; the input is a constant in it.
        ctx.kernel = weight.detach()
        ctx.kernel.stop_gradient = False
        with paddle.enable_grad():
            ctx.output = F.conv2d(x.detach(), ctx.kernel, padding=1, groups=weight.shape[0])
        return ctx.output.detach()

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        kernel, output = ctx.kernel, ctx.output
        ctx.kernel = ctx.output = None
        (to_kernel,) = paddle.grad(output, [kernel], gradient)
        turned = paddle.flip(kernel.detach(), [2, 3])
        return F.conv2d(gradient, turned, padding=1, groups=kernel.shape[0]), to_kernel


def add_bias(x: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """Add one number per channel to (B, C, ...); on CPU a broadcast sum takes longer than the convolution before it."""
    return _Bias.apply(x, bias)


class _Bias(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
        zeros, ones = paddle.zeros_like(bias), paddle.ones_like(bias)
        return F.batch_norm(x, zeros, ones, weight=ones, bias=bias, training=False, epsilon=0.0)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        return gradient, _channel_sums(gradient)


def _is_simple_depthwise(layer: nn.Conv2D) -> bool:
    return (
        layer._groups == layer._in_channels == layer._out_channels
        and layer.bias is None
        and list(layer._kernel_size) == [3, 3]
        and list(layer._stride) == [1, 1]
        and list(layer._dilation) == [1, 1]
        and layer._padding in (1, [1, 1])
        and layer._padding_mode == "zeros"
        and layer._data_format == "NCHW"
    )


def _scaled(x: paddle.Tensor, factors: paddle.Tensor) -> paddle.Tensor:
    """Multiply (B, C, ...) by one factor per channel."""
    nothing, ones = paddle.zeros_like(factors), paddle.ones_like(factors)
    return F.batch_norm(x, nothing, ones, weight=factors, bias=nothing, training=False, epsilon=0.0)


def _channel_sums(x: paddle.Tensor) -> paddle.Tensor:
    """Sum (B, C, ...) over all axes but 1."""
    return x.reshape([x.shape[0], x.shape[1], -1]).sum(2).sum(0)
