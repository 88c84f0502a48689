"""The compiled operators as functions of tensors, with gradients.

All tensors are float32, on CPU, (B, C, H, W) or (C,). With more than one thread the channels are shared out; a result
is the same, bit for bit, whatever their number.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Optional

import paddle

from arcface_paddle.backbones.cpu_kernels.building import Build

_LEAST_VALUES_PER_THREAD = 1 << 16  # a thread needs about 20 µs to start, in which one computes about as many


class Kernels:
    """The functions of ``kernels.cc`` for tensors.

    Attributes:
        name: what decides the last bits of a result, see ``Build``.
        threads: that compute at the same time.
    """

    def __init__(self, build: Build, *, threads: int = 1) -> None:
        self.name, self.threads = build.name, max(1, threads)
        self._library = build.library
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def __deepcopy__(self, memo: dict[int, Any]) -> Kernels:
        return self  # a copied network computes by the same functions

    def call(
        self,
        function: str,
        tensors: list[Optional[paddle.Tensor]],
        sizes: list[int],
        *,
        channels: int,
        epsilon: Optional[float] = None,
    ) -> None:
        """Call a function of ``kernels.cc`` for all channels: memory of the tensors, sizes, epsilon, channels."""
        compiled = getattr(self._library, function)
        arguments: list[Any] = [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]
        arguments += map(ctypes.c_long, sizes)
        if epsilon is not None:
            arguments.append(ctypes.c_double(epsilon))
        largest = max(tensor.size for tensor in tensors if tensor is not None)
        parts = min(self.threads, channels, max(1, largest // _LEAST_VALUES_PER_THREAD))
        edges = [channels * part // parts for part in range(parts + 1)]
        if self._pool is None or parts == 1:
            compiled(*arguments, ctypes.c_long(0), ctypes.c_long(channels))
            return
        waiting = [
            self._pool.submit(partial(compiled, *arguments, ctypes.c_long(first), ctypes.c_long(last)))
            for first, last in zip(edges, edges[1:])
        ]
        for task in waiting:
            task.result()


class BatchNormPReLU(paddle.autograd.PyLayer):
    """Batch normalisation with the statistics of the batch; PReLU behind it unless ``slope`` is None.

    Gives y like x, and mean and (biased) variance, (C,).
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        x: paddle.Tensor,
        weight: paddle.Tensor,
        bias: paddle.Tensor,
        slope: Optional[paddle.Tensor],
        epsilon: float,
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        x = x.contiguous()
        y, (mean, variance, inverse_std) = paddle.empty_like(x), (paddle.empty_like(weight) for _ in range(3))
        tensors = [x, weight, bias, slope, y, mean, variance, inverse_std]
        kernels.call("norm_forward", tensors, _planes(x), channels=x.shape[1], epsilon=epsilon)
        ctx.kernels, ctx.has_slope = kernels, slope is not None
        ctx.save_for_backward(x, weight, bias, *([] if slope is None else [slope]), mean, inverse_std)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor, _mean: Any, _variance: Any) -> tuple[paddle.Tensor, ...]:
        x, weight, bias, *slopes, mean, inverse_std = ctx.saved_tensor()
        slope = slopes[0] if ctx.has_slope else None
        to_x, to_weight, to_bias = paddle.empty_like(x), paddle.empty_like(weight), paddle.empty_like(bias)
        to_slope = None if slope is None else paddle.empty_like(slope)
        tensors = [gradient.contiguous(), x, weight, bias, slope, mean, inverse_std, to_x, to_weight, to_bias, to_slope]
        ctx.kernels.call("norm_backward", tensors, _planes(x), channels=x.shape[1])
        return (to_x, to_weight, to_bias) if to_slope is None else (to_x, to_weight, to_bias, to_slope)


class PReLU(paddle.autograd.PyLayer):
    """PReLU with one slope per channel."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: paddle.Tensor, slope: paddle.Tensor) -> paddle.Tensor:
        x = x.contiguous()
        y = paddle.empty_like(x)
        ctx.kernels, ctx.sizes = kernels, _planes(x)
        kernels.call("prelu_forward", [x, slope, y], ctx.sizes, channels=x.shape[1])
        ctx.save_for_backward(x, slope)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        return _gradients(ctx, "prelu_backward", gradient)


class Depthwise3x3(paddle.autograd.PyLayer):
    """Depthwise 3x3 convolution without bias; ``step`` 1 or 2, ``padding`` (top, bottom, left, right), each 0 or 1."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: Kernels,
        x: paddle.Tensor,
        weight: paddle.Tensor,
        step: int,
        padding: tuple[int, int, int, int],
    ) -> paddle.Tensor:
        x = x.contiguous()
        batch, channels, height, width = x.shape
        top, bottom, left, right = padding
        out_height, out_width = (height + top + bottom - 3) // step + 1, (width + left + right - 3) // step + 1
        y = paddle.empty([batch, channels, out_height, out_width])
        ctx.kernels, ctx.sizes = kernels, [batch, channels, height, width, out_height, out_width, step, top, left]
        kernels.call("depthwise_forward", [x, weight, y], ctx.sizes, channels=channels)
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        return _gradients(ctx, "depthwise_backward", gradient)


class DepthwiseWhole(paddle.autograd.PyLayer):
    """Depthwise convolution without bias whose kernel covers the whole map: (B, C, H, W) to (B, C, 1, 1)."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        x = x.contiguous()
        y = paddle.empty([x.shape[0], x.shape[1], 1, 1])
        ctx.kernels, ctx.sizes = kernels, _planes(x)
        kernels.call("whole_forward", [x, weight, y], ctx.sizes, channels=x.shape[1])
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        return _gradients(ctx, "whole_backward", gradient)


def _gradients(ctx: Any, function: str, gradient: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return the gradients of x and of its weights by the function of ``kernels.cc`` that takes these two."""
    x, weight = ctx.saved_tensor()
    to_x, to_weight = paddle.empty_like(x), paddle.empty_like(weight)
    tensors = [gradient.contiguous(), x, weight, to_x, to_weight]
    ctx.kernels.call(function, tensors, ctx.sizes, channels=x.shape[1])
    return to_x, to_weight


def _planes(x: paddle.Tensor) -> list[int]:
    """Return batch, channels and values per channel and image of (B, C, ...)."""
    batch, channels = x.shape[:2]
    return [batch, channels, x.size // (batch * channels)]
