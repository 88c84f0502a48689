"""Layers that the transformers and hybrids share.

Paddle 3.3 cannot trace ``paddle.matmul`` and ``F.gelu`` into the format of Paddle 2 (``pdmodel``), but ``@`` and
``gelu`` of this module it can. Its CPU engine prints a line for every ``mean``, so maps are averaged by pooling.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from arcface_paddle.errors import ConfigError

BATCH_NORM_MOMENTUM = 0.9  # weight of the old running statistics (torch counts the other way round)
_INIT_STD = 0.02  # of all published networks of this kind


class DropPath(nn.Layer):
    """Leave a residual branch out for some pictures of the batch (stochastic depth, Huang et al. 2016).

    In training each picture loses the branch with probability ``rate``, and the branches that are left grow by
    1 / (1 - rate); in evaluation nothing happens.

    Args:
        rate: probability of losing the branch.

    Raises:
        ConfigError: ``rate`` is not in [0, 1[.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"drop_path is {rate}; allowed: 0 <= drop_path < 1")
        self.rate = rate

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = paddle.rand([x.shape[0]] + [1] * (x.ndim - 1)) >= self.rate
        return x * (kept.astype("float32") / (1.0 - self.rate)).astype(x.dtype)


def gelu(x: paddle.Tensor) -> paddle.Tensor:
    """Return x * Phi(x), Phi being the distribution function of the standard normal."""
    return F.gelu(x) if paddle.in_dynamic_mode() else x * (0.5 * (1.0 + paddle.erf(x * 0.5**0.5)))


class Gelu(nn.Layer):
    """``gelu`` as a layer."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return gelu(x)


def average_over_map(x: paddle.Tensor) -> paddle.Tensor:
    """Average (B, C, H, W) over H and W; returns (B, C)."""
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def scaled_channels(channels: int, factor: float) -> int:
    """Return ``channels`` times ``factor``, rounded to a multiple of 8; as it is where the factor is 1."""
    return channels if factor == 1.0 else max(8, int(channels * factor / 8 + 0.5) * 8)


def small_normal() -> paddle.ParamAttr:
    """Return the first values of a weight: normal, standard deviation 0.02, cut off at twice that."""
    return paddle.ParamAttr(initializer=nn.initializer.TruncatedNormal(std=_INIT_STD))
