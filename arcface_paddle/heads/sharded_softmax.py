"""Softmax cross-entropy over class centres that are split over ranks, with its backward pass written out.

Every rank holds some centres and the logits of the GLOBAL batch against those centres; no rank ever holds the full
logits, and there is no one-hot matrix. Between ranks travel the features (all-gather), per sample the target's cosine,
the largest logit and the sum of exponentials (all-reduce), and back the gradient of the features (reduce-scatter).

The loss is the mean over the global batch, the same number on every rank. ``backward`` gives each rank the gradient of
that loss with respect to ITS features, and leaves the gradient of its centres with its ``ShardPass``. So parameters of
the backbone, which every rank holds, need the SUM of the ranks' gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterator, NamedTuple, Optional, Union

import paddle

from arcface_paddle import distributed
from arcface_paddle.heads.class_scores import LEAST_NORM, CosineScores, LinearScores, Matmul, Nearer
from arcface_paddle.heads.focal import focal_loss
from arcface_paddle.heads.margins import Margin
from arcface_paddle.heads.memory import LOGITS_BYTES
from arcface_paddle.heads.row_access import read_rows

_EVEN_ROWS = 8  # what tensor cores multiply without a remainder in 16 bits
_MINUS_INFINITY = -1e30  # below every logit; a true infinity would give NaN as infinity minus infinity


@dataclass
class ShardPass:
    """What one rank brings to one forward and backward pass of the softmax, and what the pass leaves with it.

    Attributes:
        centres: (n, row size), this rank's classes that take part, not normalised; float32, or half precision.
        columns: (B,) int64, where in ``centres`` the sample's class is; anything valid where it is not here.
        owned: (B,) bool, whether it is here.
        margin: what happens to the cosines before the softmax.
        scores: what a row holds of a class, and how it gives the cosine or the logit.
        focal_gamma: exponent of the focal loss; 0 = the cross-entropy.
        logits_bytes: above this the logits are worked through in pieces, and computed twice.
        matmul_dtype: dtype of the three large products; ``"float32"`` unless the device has fast half precision.
        filled: number of ``centres``; rows behind them are zeros that stand for no class, there for the sake of their
            number alone. None = there are none.
        statistics: filled by the forward pass; 0-d tensors for the log.
        centre_gradient: filled by the backward pass; (n, row size) float32.
    """

    centres: paddle.Tensor
    columns: paddle.Tensor
    owned: paddle.Tensor
    margin: Margin
    scores: Union[CosineScores, LinearScores] = field(default_factory=CosineScores)
    focal_gamma: float = 0.0
    logits_bytes: int = LOGITS_BYTES
    matmul_dtype: str = "float32"
    filled: Optional[int] = None
    statistics: dict[str, paddle.Tensor] = field(default_factory=dict)
    centre_gradient: Optional[paddle.Tensor] = None


def sharded_softmax_loss(features: paddle.Tensor, shard_pass: ShardPass) -> paddle.Tensor:
    """Return the mean cross-entropy, or focal loss, of the global batch, 0-d float32, the same on every rank.

    Args:
        features: (B_local, D) of this rank, not normalised, any float dtype; B_local is the same on all ranks.
        shard_pass: this rank's centres and where the targets are among them.
    """
    return _ShardedSoftmax.apply(features, shard_pass)


class _ShardedSoftmax(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx: Any, features: paddle.Tensor, shard_pass: ShardPass) -> paddle.Tensor:
        with paddle.amp.auto_cast(enable=False):
            ctx.computation = _Computation(features, shard_pass)
            return ctx.computation.loss()

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        computation, ctx.computation = ctx.computation, None
        with paddle.amp.auto_cast(enable=False):
            return computation.gradients(gradient)


class _Piece(NamedTuple):
    """Some classes' part of the softmax.

    exp(logit - largest) (B, n), largest (B,), slopes of rewritten negatives, and which sub-centre is the nearest.
    """

    exponentials: paddle.Tensor
    largest: paddle.Tensor
    negative_slopes: Optional[paddle.Tensor]
    nearer: Nearer


class _Computation:
    """What the backward pass needs of the forward pass."""

    def __init__(self, features: paddle.Tensor, shard_pass: ShardPass) -> None:
        self.shard_pass = shard_pass
        self.feature_dtype = features.dtype
        gathered = distributed.all_gather(features).astype("float32")
        self.norms = paddle.clip(paddle.linalg.norm(gathered, axis=1), min=LEAST_NORM)
        self.inputs = shard_pass.scores.inputs(gathered, self.norms)
        self.batch = gathered.shape[0]
        self.matmul = Matmul(shard_pass.matmul_dtype)
        self.kept: Optional[_Piece] = None

    def loss(self) -> paddle.Tensor:
        margin, statistics = self.shard_pass.margin, self.shard_pass.statistics
        score, cosine = self._target_scores()
        margin.observe(cosine, self.norms)
        self.target_value, self.target_slope = margin.target(score, self.norms)
        self.largest, self.exponential_sum = self._normaliser()
        losses = self.largest + paddle.log(self.exponential_sum) - margin.scale * self.target_value
        if self.shard_pass.focal_gamma > 0.0:
            losses, self.loss_slope = focal_loss(losses, gamma=self.shard_pass.focal_gamma)
        statistics["target_cosine"] = cosine.mean()
        statistics["target_with_margin"] = self.target_value.mean()
        statistics["feature_norm"] = self.norms.mean()
        return losses.mean()

    def gradients(self, outer: paddle.Tensor) -> paddle.Tensor:
        """Return the gradient of this rank's features and leave the centres' with the pass."""
        shard_pass = self.shard_pass
        factor = outer.astype("float32") * (shard_pass.margin.scale / self.batch)
        if shard_pass.focal_gamma > 0.0:
            factor = factor * self.loss_slope
        input_gradient = paddle.zeros_like(self.inputs)
        pieces = []
        for rows in self._pieces():
            slopes, nearer = self._score_gradient(rows, factor)
            to_inputs, to_rows = shard_pass.scores.gradients(
                slopes, nearer, inputs=self.inputs, rows=self._centres(rows), matmul=self.matmul
            )
            input_gradient.add_(to_inputs)
            pieces.append(to_rows)
        shard_pass.centre_gradient = pieces[0] if len(pieces) == 1 else _joined(pieces, shard_pass.centres)
        return self._own_feature_gradient(input_gradient)

    def _target_scores(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Score and cosine of every sample to its class, (B,) each; each rank adds the classes it owns."""
        shard_pass = self.shard_pass
        if shard_pass.centres.shape[0] == 0:
            score = cosine = paddle.zeros_like(self.norms)
        else:
            rows = read_rows(shard_pass.centres, shard_pass.columns).astype("float32")
            score, cosine = shard_pass.scores.of_targets(self.inputs, rows)
        owned = shard_pass.owned.astype("float32")
        if not shard_pass.margin.on_cosines:
            score, cosine = distributed.all_reduce_sum(paddle.stack([score * owned, cosine * owned])).unbind()
            return score, cosine
        cosine = distributed.all_reduce_sum(cosine * owned)
        return cosine, cosine

    def _normaliser(self) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Largest logit and sum of exp(logit - largest) over the classes of all ranks, (B,) each."""
        largest = paddle.full_like(self.norms, _MINUS_INFINITY)
        exponential_sum = paddle.zeros_like(self.norms)
        for rows in self._pieces():
            piece = self._exponentials(rows)
            grown = paddle.maximum(largest, piece.largest)
            here = piece.exponentials.sum(1) * paddle.exp(piece.largest - grown)
            exponential_sum = exponential_sum * paddle.exp(largest - grown) + here
            largest = grown
        overall = distributed.all_reduce_max(largest)
        return overall, distributed.all_reduce_sum(exponential_sum * paddle.exp(largest - overall))

    def _score_gradient(self, rows: slice, factor: paddle.Tensor) -> tuple[paddle.Tensor, Nearer]:
        """Derivative of the loss with respect to the scores of these classes, (B, rows), and their sub-centres."""
        piece, self.kept = self._exponentials(rows), None
        to_loss = paddle.exp(piece.largest - self.largest) * factor / self.exponential_sum
        slopes = piece.exponentials.multiply_(to_loss.unsqueeze(1))
        if piece.negative_slopes is not None:
            slopes.multiply_(piece.negative_slopes)
        probability = paddle.exp(self.shard_pass.margin.scale * self.target_value - self.largest) / self.exponential_sum
        to_targets = (probability - 1.0) * factor * self.target_slope
        return self._put_targets(slopes, rows, to_targets), piece.nearer

    def _exponentials(self, rows: slice) -> _Piece:
        """Scaled and margined scores of these classes, exponentiated in the one buffer that holds them."""
        if self.kept is not None:
            return self.kept
        margin = self.shard_pass.margin
        scores, nearer = self.shard_pass.scores.of_all(self.inputs, self._centres(rows), matmul=self.matmul)
        slopes = None
        if margin.rewrites_negatives:
            scores, slopes = margin.negatives(scores, self.target_value)
        logits = self._put_targets(scores, rows, self.target_value).scale_(margin.scale)
        self._set_empty(logits, rows, _MINUS_INFINITY)
        largest = logits.max(1)
        exponentials = logits.subtract_(largest.unsqueeze(1)).exp_()
        self._set_empty(exponentials, rows, 0.0)  # Paddle's exp never gives less than 1e-38 on CPU
        piece = _Piece(exponentials, largest, slopes, nearer)
        if self._is_one_piece():
            self.kept = piece
        return piece

    def _set_empty(self, matrix: paddle.Tensor, rows: slice, value: float) -> None:
        """Write a value, in place, where rows are no classes."""
        filled = self.shard_pass.filled
        if filled is not None and filled < rows.stop:
            matrix[:, max(0, filled - rows.start) :] = value

    def _put_targets(self, matrix: paddle.Tensor, rows: slice, values: paddle.Tensor) -> paddle.Tensor:
        """Write one value per sample at its class, in place, where the class is among these centres."""
        shard_pass = self.shard_pass
        here = shard_pass.owned
        columns = shard_pass.columns
        if not self._is_one_piece():
            here = here.logical_and(columns >= rows.start).logical_and(columns < rows.stop)
            columns = paddle.clip(columns - rows.start, 0, rows.stop - rows.start - 1)
        columns = columns.unsqueeze(1)
        there = paddle.take_along_axis(matrix, columns, 1)
        return matrix.put_along_axis_(columns, paddle.where(here.unsqueeze(1), values.unsqueeze(1), there), 1)

    def _own_feature_gradient(self, input_gradient: paddle.Tensor) -> paddle.Tensor:
        own = distributed.own_part_of_sum(input_gradient)
        first = distributed.rank() * own.shape[0]
        here = slice(first, first + own.shape[0])
        gradient = self.shard_pass.scores.feature_gradient(own, inputs=self.inputs[here], norms=self.norms[here])
        return gradient.astype(self.feature_dtype)

    def _centres(self, rows: slice) -> paddle.Tensor:
        """These rows in float32."""
        centres = self.shard_pass.centres
        if not self._is_one_piece():
            centres = centres[rows.start : rows.stop]
        return centres.astype("float32")

    def _rows_per_piece(self) -> int:
        rows = max(1, self.shard_pass.logits_bytes // (4 * self.batch))
        even = self.shard_pass.filled is not None and rows >= _EVEN_ROWS
        return rows - rows % _EVEN_ROWS if even else rows

    def _is_one_piece(self) -> bool:
        return self.shard_pass.centres.shape[0] <= self._rows_per_piece()

    def _pieces(self) -> Iterator[slice]:
        count, step = self.shard_pass.centres.shape[0], self._rows_per_piece()
        return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _joined(pieces: list[paddle.Tensor], centres: paddle.Tensor) -> paddle.Tensor:
    return paddle.concat(pieces) if pieces else paddle.zeros(centres.shape, dtype="float32")
