"""Batch renormalisation (Ioffe 2017, https://arxiv.org/abs/1702.03275) and group normalisation in place of BatchNorm.

BatchNorm normalises with the statistics of the batch while training and with running ones afterwards; the smaller the
batch, the more the two differ. Batch renormalisation corrects the batch's normalised values by r and d, which are what
the running statistics would have given, within limits:

    y = weight ((x - mean_batch) / std_batch r + d) + bias
    r = clip(std_batch / std_running, 1 / r_max, r_max),  d = clip((mean_batch - mean_running) / std_running, ±d_max)

r and d are constants for the gradient (§3). In evaluation it is BatchNorm with the running statistics, key by key, so
that weights go both ways between the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.nn.layer.norm import _BatchNormBase  # what BatchNorm1D, 2D and 3D have in common

from arcface_paddle.backbones.normalization import SynchronisedBatchNorm, batch_statistics, normalise_over_ranks

R_MAX, D_MAX = 3.0, 5.0  # §4; r_min is 1 / r_max
_MOST_GROUPS = 32  # Wu and He 2018, https://arxiv.org/abs/1803.08494, §4.1


@dataclass(frozen=True)
class RenormLimits:
    """How far r and d may go.

    Attributes:
        r_max: largest r; 1 / ``r_max`` is the smallest.
        d_max: largest absolute d.
    """

    r_max: float = R_MAX
    d_max: float = D_MAX


def ramped_limits(step: int, warmup_steps: int) -> RenormLimits:
    """Return the limits of a step: from plain BatchNorm (r = 1, d = 0) in a line to the full ones at the warm-up's end.

    They are a function of the step and nothing else, so a resumed run has those of an uninterrupted one.
    """
    share = min(1.0, step / warmup_steps) if warmup_steps > 0 else 1.0
    return RenormLimits(r_max=1.0 + (R_MAX - 1.0) * share, d_max=D_MAX * share)


class BatchRenorm(_BatchNormBase):
    """Batch renormalisation of (B, C, ...) over all axes but 1; ``limits`` may be changed between steps."""

    limits = RenormLimits()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training or self._use_global_stats:
            return F.batch_norm(
                x, self._mean, self._variance, self.weight, self.bias, training=False, epsilon=self._epsilon
            )
        with paddle.no_grad():
            values = x.detach().astype("float32")
            axes = [axis for axis in range(x.ndim) if axis != 1]
            centre = values.mean(axes, keepdim=True)  # subtracted first: a mean of squares would cancel
            mean, variance = centre.flatten(), (values - centre).square().mean(axes)
        weight, bias = self._corrected(mean, variance)
        return F.batch_norm(
            x,
            self._mean,
            self._variance,
            weight,
            bias,
            training=True,
            momentum=self._momentum,
            epsilon=self._epsilon,
        )

    def _corrected(self, mean: paddle.Tensor, variance: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return weight and bias with which plain BatchNorm of this batch is its renormalisation."""
        limits = self.limits
        with paddle.no_grad():
            running_std = paddle.sqrt(self._variance + self._epsilon)
            r = paddle.clip(paddle.sqrt(variance + self._epsilon) / running_std, 1.0 / limits.r_max, limits.r_max)
            d = paddle.clip((mean - self._mean) / running_std, -limits.d_max, limits.d_max)
        return self.weight * r, self.weight * d + self.bias


class SynchronisedBatchRenorm(BatchRenorm, SynchronisedBatchNorm):
    """Batch renormalisation with the statistics of the batches of all ranks together."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training or self._use_global_stats:
            return BatchRenorm.forward(self, x)
        with paddle.no_grad():
            mean, variance = batch_statistics(x.detach())
        weight, bias = self._corrected(mean, variance)
        y, mean, variance = normalise_over_ranks(x, weight, bias, epsilon=self._epsilon)
        self.update_running(mean, variance)
        return y


def use_batch_renorm(network: nn.Layer) -> nn.Layer:
    """Let every batch normalisation inside ``network`` renormalise; weights, statistics and keys stay."""
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, SynchronisedBatchNorm):
            layer.__class__ = SynchronisedBatchRenorm
        elif isinstance(layer, _BatchNormBase):
            layer.__class__ = BatchRenorm
    return network


def set_renorm_limits(network: nn.Layer, limits: RenormLimits) -> None:
    """Give every batch renormalisation inside ``network`` the limits of the step that comes."""
    for layer in network.sublayers(include_self=True):
        if isinstance(layer, BatchRenorm):
            layer.limits = limits


def norms_of_maps(network: nn.Layer) -> list[str]:
    """Return the dotted names of the batch normalisations that ``use_group_norm`` replaces.

    What normalises a vector is not among them, be it a ``BatchNorm1D`` or one that the network names as its
    ``VECTOR_NORMS``: at the end, each number of the embedding is to have the same scale over all faces, which
    statistics of a single face cannot give.
    """
    vectors = getattr(network, "VECTOR_NORMS", ())
    return [
        path for path, layer in network.named_sublayers() if isinstance(layer, nn.BatchNorm2D) and path not in vectors
    ]


def use_group_norm(network: nn.Layer) -> nn.Layer:
    """Replace the batch normalisations of maps inside ``network`` by group normalisation, with the same weights."""
    layers = dict(network.named_sublayers(include_self=True))
    for path in norms_of_maps(network):
        owner, _, name = path.rpartition(".")
        setattr(layers[owner], name, _group_twin(layers[path]))
    return network


def _group_twin(layer: nn.BatchNorm2D) -> nn.GroupNorm:
    channels = layer._num_features
    # At least two channels a group: alone, a channel would lose its contrast to all others.
    groups = math.gcd(_MOST_GROUPS, channels // 2) if channels % 2 == 0 else 1
    twin = nn.GroupNorm(groups, channels, epsilon=layer._epsilon)
    twin.weight, twin.bias = layer.weight, layer.bias
    twin.training = layer.training
    return twin
