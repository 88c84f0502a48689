"""Batch normalisation over the batches of all ranks, and with frozen statistics; the state_dict keys stay."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.nn.layer.norm import _BatchNormBase  # what BatchNorm1D, 2D and 3D have in common

from arcface_paddle import distributed


class SynchronisedBatchNorm(_BatchNormBase):
    """Batch normalisation whose mean and variance in training are those of the batches of all ranks together.

    Paddle's own SyncBatchNorm has no CPU kernel; this one is made of plain operations and two collectives (one
    forward, one backward), so it runs on Gloo and NCCL alike. Ranks may hold batches of different sizes. Statistics
    are kept in float32 whatever the input. The gradient assumes that the loss is one sum over all ranks, as the
    sharded classifier's is.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training or self._use_global_stats:
            return F.batch_norm(
                x, self._mean, self._variance, self.weight, self.bias, training=False, epsilon=self._epsilon
            )
        y, mean, variance = normalise_over_ranks(x, self.weight, self.bias, epsilon=self._epsilon)
        self.update_running(mean, variance)
        return y

    @paddle.no_grad()
    def update_running(self, mean: paddle.Tensor, variance: paddle.Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        for running, new in ((self._mean, mean), (self._variance, variance)):
            running.scale_(self._momentum).add_((1.0 - self._momentum) * new)


def normalise_over_ranks(
    x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, *, epsilon: float
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Normalise (B, C, ...) over all axes but 1 and over all ranks; also gives mean and (biased) variance."""
    y, mean, variance = _Normalise.apply(x, weight, bias, epsilon)
    return y, mean, variance


def batch_statistics(x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return mean and biased variance, (C,) float32 each, of (B, C, ...) over all axes but 1 and over all ranks."""
    mean, variance, _ = _statistics(x.astype("float32"), _all_but_channels(x))
    return mean, variance


class _Normalise(paddle.autograd.PyLayer):
    """See ``normalise_over_ranks``."""

    @staticmethod
    def forward(
        ctx: Any, x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, epsilon: float
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        values = x.astype("float32")
        axes = _all_but_channels(x)
        mean, variance, count = _statistics(values, axes)
        inverse_std = paddle.rsqrt(variance + epsilon)
        normalised = (values - _per_channel(mean, x)) * _per_channel(inverse_std, x)
        ctx.save_for_backward(normalised, weight, inverse_std, count)
        y = normalised * _per_channel(weight, x) + _per_channel(bias, x)
        ctx.mark_non_differentiable(mean, variance)
        return y.astype(x.dtype), mean, variance

    @staticmethod
    def backward(
        ctx: Any, gradient: paddle.Tensor, _mean: Any, _variance: Any
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        normalised, weight, inverse_std, count = ctx.saved_tensor()
        axes = _all_but_channels(normalised)
        dy = gradient.astype("float32")
        own_sums = paddle.stack([dy.sum(axes), (dy * normalised).sum(axes)])
        bias_mean, weight_mean = distributed.all_reduce_sum(own_sums) / count
        centred = dy - _per_channel(bias_mean, dy) - normalised * _per_channel(weight_mean, dy)
        dx = centred * _per_channel(weight * inverse_std, dy)
        return dx.astype(gradient.dtype), own_sums[1].astype(weight.dtype), own_sums[0].astype(weight.dtype)


def _statistics(values: paddle.Tensor, axes: list[int]) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Return mean (C,), biased variance (C,) and number of values per channel (1,) over all ranks.

    The ranks' means and variances are merged (Chan et al. 1979), which unlike a sum of squares does not cancel.
    """
    channels = values.shape[1]
    own_count = paddle.full([1], values.size // channels, dtype="float32")
    own_mean = values.mean(axes)
    own_variance = (values - _per_channel(own_mean, values)).square().mean(axes)
    own = paddle.concat([own_mean, own_variance, own_count])
    ranks = distributed.all_gather(own.unsqueeze(0))
    means, variances, counts = paddle.split(ranks, [channels, channels, 1], axis=1)
    total = counts.sum(0)
    shares = counts / total
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(0), total


def _all_but_channels(x: paddle.Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _per_channel(values: paddle.Tensor, x: paddle.Tensor) -> paddle.Tensor:
    return values.reshape([1, -1] + [1] * (x.ndim - 2))


def use_synchronised_batch_norm(network: nn.Layer) -> nn.Layer:
    """Replace every batch normalisation inside ``network`` by one over all ranks, with the same weights and keys.

    Returns:
        ``network``, or its replacement if it is itself a batch normalisation.
    """
    if isinstance(network, _BatchNormBase) and not isinstance(network, SynchronisedBatchNorm):
        return _synchronised_twin(network)
    for name, child in list(network.named_children()):
        replacement = use_synchronised_batch_norm(child)
        if replacement is not child:
            setattr(network, name, replacement)
    return network


def use_native_sync_batch_norm(network: nn.Layer) -> nn.Layer:
    """Replace every batch normalisation inside ``network`` by Paddle's own over all ranks; weights and keys stay.

    One kernel in place of a dozen operations, for CUDA alone. It takes the variance from sums of squares, and the same
    number of pictures on all ranks for granted.
    """
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def freeze_batch_norm(network: nn.Layer) -> nn.Layer:
    """Let every batch normalisation of ``network`` use its running statistics in training too, and keep them.

    Its weight and bias go on learning. For fine-tuning with small batches, and for runs that shall not depend on how
    the batch is cut into ranks.
    """
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, _BatchNormBase):
            layer._use_global_stats = True
    return network


def _synchronised_twin(layer: _BatchNormBase) -> SynchronisedBatchNorm:
    twin = SynchronisedBatchNorm(layer._num_features, momentum=layer._momentum, epsilon=layer._epsilon)
    twin.weight, twin.bias = layer.weight, layer.bias
    twin._mean, twin._variance = layer._mean, layer._variance
    twin._use_global_stats = layer._use_global_stats
    twin.training = layer.training
    return twin
