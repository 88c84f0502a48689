"""Focal loss: samples that are classified well already count less (Lin et al. 2017, https://arxiv.org/abs/1708.02002)."""

from __future__ import annotations

import math

import paddle

from arcface_paddle.errors import ConfigError

_SMALL = 1e-4  # below it x / (1 - exp(-x)) is 1 + x / 2 in float32


def focal_loss(cross_entropy: paddle.Tensor, *, gamma: float) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return ``(1 - p) ** gamma * CE`` with ``p = exp(-CE)`` (eq. 4), and its derivative with respect to CE.

    Every sample is weighted by its own p. The derivative is ``(1 - p) ** gamma + gamma p (1 - p) ** (gamma - 1) CE``;
    in the second part ``CE / (1 - p)`` stays finite as both go to 0, so any gamma above 0 is sound.

    Args:
        cross_entropy: (B,), 0 or more up to rounding.
        gamma: 0 gives the cross-entropy itself.
    """
    entropy = paddle.clip(cross_entropy, min=0.0)
    missing = -paddle.expm1(-entropy)  # 1 - p without cancellation
    weight = missing**gamma
    is_small = entropy < _SMALL
    ratio = paddle.where(is_small, 1.0 + entropy / 2.0, entropy / paddle.clip(missing, min=_SMALL / 2))
    return weight * entropy, weight * (1.0 + gamma * paddle.exp(-entropy) * ratio)


def focal_number(cross_entropy: float, *, gamma: float) -> float:
    """Return the focal loss of one cross-entropy."""
    return (-math.expm1(-cross_entropy)) ** gamma * cross_entropy


def check_gamma(gamma: float) -> None:
    """Refuse an exponent that is negative or not a number. Raises ``ConfigError``."""
    if not (math.isfinite(gamma) and gamma >= 0.0):
        raise ConfigError(f"focal_gamma is {gamma}; allowed: 0 or more (the paper: 2)")
