"""Centre loss, split over ranks (Wen et al. 2016, "A Discriminative Feature Learning Approach for Deep Face
Recognition").

Every class has a centre in the space of the features as they are, not normalised. The loss is half the mean squared
distance of a feature from the centre of its class; it is added to a softmax, since alone it pulls all features into one
point (section 3.2). The centres do not follow the gradient: after a step each moves towards the features of its class
in the batch by ``alpha (sum of differences) / (1 + number)`` (eq. 4), whatever the learning rate and the loss's weight.

A rank holds the centres of its classes; between ranks travel the features (all-gather), one number (all-reduce) and
the gradient of the features (reduce-scatter).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
import paddle

from arcface_paddle import devices, distributed
from arcface_paddle.errors import CheckpointError, ConfigError

_INIT_BLOCK_ROWS = 1024  # rows drawn from one random stream, so that a centre's start depends on its class only
_STREAM = 0xCE17  # sets the stream apart from that of the softmax's centres, which has the same seed


@dataclass
class _CentrePass:
    """What one rank brings to one pass of the loss, and what the pass leaves with it.

    Attributes:
        centres: (n + 1, D) float32; the last row stands for the classes of other ranks.
        places: (B,) int64, row of the sample's class; n where it is another rank's.
        differences: filled by the forward pass: (B, D), feature minus centre, zero where it is another rank's.
    """

    centres: paddle.Tensor
    places: paddle.Tensor
    differences: Optional[paddle.Tensor] = field(default=None)


class FeatureCentres:
    """The feature centres of classes ``start`` to ``end`` (exclusive)."""

    def __init__(self, start: int, end: int, *, size: int, alpha: float, seed: int) -> None:
        """Draw the first centres, N(0, 1) as the features behind a BatchNorm have it.

        Args:
            start: first class of this rank.
            end: behind its last class.
            size: length of a feature, D.
            alpha: rate at which the centres move, 0 to 1.
            seed: of the first centres.

        Raises:
            ConfigError: ``alpha`` out of range.
        """
        if not 0.0 <= alpha <= 1.0:
            raise ConfigError(f"centre_alpha is {alpha}; allowed: 0 to 1 (the paper: 0.5)")
        self._start, self._end, self._alpha = start, end, alpha
        first = np.concatenate([_initial_rows(start, end, size=size, seed=seed), np.zeros((1, size), np.float32)])
        self._centres = devices.to_device(first)
        self._passes: list[_CentrePass] = []

    def loss(self, features: paddle.Tensor, places: paddle.Tensor) -> paddle.Tensor:
        """Return half the mean squared distance of the global batch, 0-d float32, the same on every rank.

        Args:
            features: (B_local, D) of this rank, any float dtype; B_local is the same on all ranks.
            places: (B,) int64 for the global batch: class minus ``start``; ``end - start`` for classes of other ranks.
        """
        centre_pass = _CentrePass(self._centres, places)
        if not features.stop_gradient and paddle.is_grad_enabled():
            self._passes.append(centre_pass)
        return _CentreLoss.apply(features, centre_pass)

    @paddle.no_grad()
    def step(self, finite: Optional[paddle.Tensor] = None) -> None:
        """Move the centres by the passes since the last step.

        Args:
            finite: 0-d bool on the device; when False nothing moves.
        """
        passes = [(part.places, part.differences) for part in self._passes if part.differences is not None]
        self._passes.clear()
        if not passes or self._alpha == 0.0:
            return
        places = paddle.concat([places for places, _ in passes])
        differences = paddle.concat([differences for _, differences in passes])
        # Samples of one class get the same sum, and so write the same row: in any order, unlike atomic additions.
        same = (places.unsqueeze(0) == places.unsqueeze(1)).astype("float32")
        before = paddle.gather(self._centres, places)
        moved = before + paddle.matmul(same, differences) * (self._alpha / (1.0 + same.sum(1, keepdim=True)))
        if finite is not None:
            moved = paddle.where(finite.reshape([1, 1]), moved, before)
        paddle.scatter_(self._centres, places, moved)

    def rows(self) -> np.ndarray:
        """Return this rank's centres, (end - start, D) float32."""
        return self._centres[:-1].numpy()

    def load_rows(self, start: int, rows: np.ndarray) -> None:
        """Take over what these rows, from class ``start`` on, and this rank have in common.

        Raises:
            CheckpointError: another length of a feature.
        """
        if rows.ndim != 2 or rows.shape[1] != self._centres.shape[1]:
            raise CheckpointError(f"feature centres are {rows.shape}, expected (n, {self._centres.shape[1]})")
        first, last = max(start, self._start), min(start + len(rows), self._end)
        if first < last:
            part = np.asarray(rows[first - start : last - start], np.float32)
            self._centres[first - self._start : last - self._start] = devices.to_device(part)


class _CentreLoss(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx: Any, features: paddle.Tensor, centre_pass: _CentrePass) -> paddle.Tensor:
        with paddle.amp.auto_cast(enable=False):
            gathered = distributed.all_gather(features).astype("float32")
            places, centres = centre_pass.places, centre_pass.centres
            owned = (places < centres.shape[0] - 1).astype("float32").unsqueeze(1)
            centre_pass.differences = (gathered - paddle.gather(centres, places)) * owned
            ctx.differences, ctx.feature_dtype = centre_pass.differences, features.dtype
            squares = distributed.all_reduce_sum(centre_pass.differences.square().sum().reshape([1]))[0]
            return squares / (2.0 * gathered.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        with paddle.amp.auto_cast(enable=False):
            own = distributed.own_part_of_sum(ctx.differences)
            return (own * (gradient.astype("float32") / ctx.differences.shape[0])).astype(ctx.feature_dtype)


def _initial_rows(start: int, end: int, *, size: int, seed: int) -> np.ndarray:
    """Draw the first centres of classes [start, end), N(0, 1), whatever the number of ranks."""
    rows = np.empty((end - start, size), np.float32)
    for block in range(start // _INIT_BLOCK_ROWS, -(-end // _INIT_BLOCK_ROWS)):
        first = block * _INIT_BLOCK_ROWS
        random = np.random.default_rng([_STREAM, seed, block])
        drawn = random.standard_normal((_INIT_BLOCK_ROWS, size), np.float32)
        here, there = max(first, start), min(first + _INIT_BLOCK_ROWS, end)
        rows[here - start : there - start] = drawn[here - first : there - first]
    return rows
