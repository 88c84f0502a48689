"""Which layers of a network compute by the operators; weights, keys and results stay, to rounding.

In evaluation, in other precisions and with frozen weights each layer is the original one.
"""

from __future__ import annotations

from typing import Any, Iterator, Optional

import paddle
from paddle import nn

from arcface_paddle.backbones.cpu_kernels import operators
from arcface_paddle.backbones.cpu_kernels.operators import Kernels
from arcface_paddle.backbones.cpu_speed import use_cpu_layers

_Padding = tuple[int, int, int, int]


def use_kernels(network: nn.Layer, kernels: Kernels) -> nn.Layer:
    """Let the layers inside ``network`` that the operators know compute by them; ``use_cpu_layers`` gets the others."""
    for norm, prelu in list(_pairs(network)):
        if _is_plain_norm(norm) and _is_channel_prelu(prelu):
            _give(norm, KernelBatchNorm, kernels)
            _give(prelu, KernelPReLU, kernels)
            object.__setattr__(norm, "prelu_behind", prelu)  # an ordinary attribute would be a sublayer, with keys
    for layer in network.sublayers(include_self=True):
        if _is_plain_norm(layer):
            _give(layer, KernelBatchNorm, kernels)
        elif _is_channel_prelu(layer):
            _give(layer, KernelPReLU, kernels)
        elif type(layer) is nn.Conv2D and (_padding_of_3x3(layer) or _is_depthwise(layer)):
            _give(layer, KernelDepthwise, kernels)
    return use_cpu_layers(network)


class KernelBatchNorm(nn.BatchNorm2D):
    """Batch normalisation with the statistics of the batch; computes the PReLU behind it, too, where there is one."""

    kernels: Kernels
    prelu_behind: Optional[KernelPReLU] = None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not _learns(self, x, self.weight, self.bias):
            return super().forward(x)
        prelu = self.prelu_behind
        slope = prelu._weight if prelu is not None and _learns(prelu, x, prelu._weight) else None
        y, mean, variance = operators.BatchNormPReLU.apply(
            self.kernels, x, self.weight, self.bias, slope, self._epsilon
        )
        with paddle.no_grad():
            for running, new in ((self._mean, mean), (self._variance, variance)):
                running.scale_(self._momentum).add_((1.0 - self._momentum) * new)
        if prelu is not None and slope is not None:
            object.__setattr__(prelu, "done_before", y)
        return y


class KernelPReLU(nn.PReLU):
    """PReLU with one slope per channel; does nothing to what the normalisation before it has seen to already."""

    kernels: Kernels
    done_before: Optional[paddle.Tensor] = None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        done = self.done_before
        if done is not None:
            object.__setattr__(self, "done_before", None)  # or the tensor would live until the next step
        if done is x:
            return x
        if not _learns(self, x, self._weight):
            return super().forward(x)
        return operators.PReLU.apply(self.kernels, x, self._weight)


class KernelDepthwise(nn.Conv2D):
    """Depthwise convolution without bias: 3x3 with step 1 or 2, or with a kernel as large as the map."""

    kernels: Kernels

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not _learns(self, x, self.weight):
            return super().forward(x)
        padding = _padding_of_3x3(self)
        if padding is not None:
            if min(x.shape[2:]) < 2:  # the windows would reach beyond both borders
                return super().forward(x)
            return operators.Depthwise3x3.apply(self.kernels, x, self.weight, self._stride[0], padding)
        if list(x.shape[2:]) == list(self._kernel_size) and _is_unpadded(self):
            return operators.DepthwiseWhole.apply(self.kernels, x, self.weight)
        return super().forward(x)


def _learns(layer: nn.Layer, x: paddle.Tensor, *weights: paddle.Tensor) -> bool:
    """Tell whether a layer is in training, in float32, and all of it gets gradients."""
    if not layer.training or x.dtype != paddle.float32 or x.stop_gradient:
        return False
    return not any(weight.stop_gradient for weight in weights)


def _give(layer: nn.Layer, kind: type[nn.Layer], kernels: Kernels) -> None:
    layer.__class__ = kind
    object.__setattr__(layer, "kernels", kernels)


def _pairs(network: nn.Layer) -> Iterator[tuple[nn.Layer, nn.Layer]]:
    """Give every normalisation with the layer behind it that gets its output, and nothing else does.

    These are neighbours in a ``Sequential``, and what a block names in ``NORM_AND_PRELU``.
    """
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, nn.Sequential):
            children = list(layer.children())
            yield from zip(children, children[1:])
        for norm, prelu in getattr(layer, "NORM_AND_PRELU", ()):
            yield getattr(layer, norm), getattr(layer, prelu)


def _is_plain_norm(layer: Any) -> bool:
    if type(layer) is not nn.BatchNorm2D or layer._use_global_stats:
        return False
    return layer._data_format == "NCHW" and layer.weight is not None and layer.bias is not None


def _is_channel_prelu(layer: Any) -> bool:
    return type(layer) is nn.PReLU and layer._num_parameters > 1 and layer._data_format == "NCHW"


def _is_depthwise(layer: nn.Conv2D) -> bool:
    return (
        layer._groups == layer._in_channels == layer._out_channels
        and layer.bias is None
        and list(layer._dilation) == [1, 1]
        and layer._padding_mode == "zeros"
        and layer._data_format == "NCHW"
    )


def _is_unpadded(layer: nn.Conv2D) -> bool:
    return layer._padding in (0, [0, 0], [0, 0, 0, 0])


def _padding_of_3x3(layer: nn.Conv2D) -> Optional[_Padding]:
    """Return top, bottom, left and right of a convolution that ``Depthwise3x3`` knows; None for others."""
    if not _is_depthwise(layer) or list(layer._kernel_size) != [3, 3]:
        return None
    if list(layer._stride) not in ([1, 1], [2, 2]):
        return None
    padding: Any = layer._padding  # a number, a list of numbers or of pairs, or a name
    sides = [padding] * 4 if isinstance(padding, int) else list(padding)
    if len(sides) == 2:  # rows, columns
        sides = [sides[0], sides[0], sides[1], sides[1]]
    if len(sides) != 4 or not all(side in (0, 1) for side in sides):
        return None
    return sides[0], sides[1], sides[2], sides[3]
