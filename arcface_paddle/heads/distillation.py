"""What a student is taught by a teacher's embeddings, over the global batch, without any label.

Three terms. The embedding loss brings each embedding to the teacher's: the mean of 1 - cosine, half the squared
distance of unit vectors. The relation loss (Park et al. 2019, "Relational Knowledge Distillation", eq. 4 to 6) brings
the distances between the pictures of a batch, each divided by their mean, to the teacher's; it bears another length of
the embedding, since distances have none. The contrast loss (Fang et al. 2021, "SEED", eq. 2 to 4, with the batch in
place of a queue) brings the similarities of an embedding to the teacher's of the whole batch to those that the
teacher's own has, both as a softmax. What all faces have in common, much of a cosine, falls out of a softmax: so this
term tells people apart from the first steps on.

Between ranks travel the embeddings (all-gather). Every rank computes the loss of the global batch, so that the
gradient of its own rows is whole already and nothing is added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import paddle
import paddle.nn.functional as F

from arcface_paddle import distributed

CONTRAST_SCALE = 32.0
"""Factor on the cosines of the contrast loss: a stranger at .3 beside a face itself then has a weight of 2e-10."""

_SMALLEST_SQUARE = 1e-6  # of a distance: below, float32 holds no digit of 1 + 1 - 2 cosine, and the root has no slope


@dataclass(frozen=True)
class LessonWeights:
    """Factors on the terms."""

    embedding: float
    relation: float
    contrast: float = 0.0


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a pass has shown; 0-d tensors on the device, the same on all ranks.

    Attributes:
        loss: the weighted sum.
        cosine: mean cosine between student and teacher, NaN where their embeddings have different lengths.
        relation: the relation loss, without its weight.
    """

    loss: paddle.Tensor
    cosine: paddle.Tensor
    relation: paddle.Tensor


def lesson_of(features: paddle.Tensor, targets: paddle.Tensor, *, weights: LessonWeights) -> Lesson:
    """Hold the features of a pass against the teacher's embeddings; all ranks together.

    Args:
        features: (B, D) of this rank, not normalised; B is the same on all ranks.
        targets: (B, T) of this rank, unit vectors; T may differ from D where only the relation loss has a weight.
        weights: of the terms.
    """
    with paddle.amp.auto_cast(enable=False):
        student = _GatherRows.apply(F.normalize(features.astype("float32"), axis=1))
        teacher = distributed.all_gather(targets.astype("float32"))
        loss = paddle.zeros([], dtype="float32")
        cosine = paddle.full([], float("nan"), dtype="float32")
        if student.shape[1] == teacher.shape[1]:
            cosine = (student * teacher).sum(axis=1).mean()
        if weights.embedding > 0.0:
            loss = loss + weights.embedding * (1.0 - cosine)
        relation = relation_loss(student, teacher)
        if weights.relation > 0.0:
            loss = loss + weights.relation * relation
        if weights.contrast > 0.0:
            loss = loss + weights.contrast * contrast_loss(student, teacher)
        return Lesson(loss, cosine.detach(), relation.detach())


def relation_loss(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    """Return the mean Huber loss between the relative distances of all pairs of rows, 0-d float32.

    Args:
        student: (B, D) float32.
        teacher: (B, T) float32, without gradient.
    """
    difference = _relative_distances(student) - _relative_distances(teacher)
    size = difference.abs()
    huber = paddle.where(size < 1.0, 0.5 * difference.square(), size - 0.5)
    return huber.sum() / _number_of_pairs(student)


def contrast_loss(student: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
    """Return the mean divergence of the student's softmax over the batch from the teacher's, 0-d float32.

    Args:
        student: (B, D) float32 unit vectors.
        teacher: (B, D) float32 unit vectors, without gradient.
    """
    own = F.log_softmax(CONTRAST_SCALE * paddle.matmul(student, teacher, transpose_y=True), axis=1)
    theirs = F.log_softmax(CONTRAST_SCALE * paddle.matmul(teacher, teacher, transpose_y=True), axis=1)
    return (theirs.exp() * (theirs - own)).sum(axis=1).mean()


def _relative_distances(rows: paddle.Tensor) -> paddle.Tensor:
    """Return the distances of all pairs, (B, B), divided by their mean; 0 on the diagonal."""
    squares = rows.square().sum(axis=1)
    squared = squares.unsqueeze(0) + squares.unsqueeze(1) - 2.0 * paddle.matmul(rows, rows, transpose_y=True)
    others = 1.0 - paddle.eye(rows.shape[0], dtype="float32")
    distances = paddle.clip(squared, min=_SMALLEST_SQUARE).sqrt() * others
    return distances / paddle.clip(distances.sum() / _number_of_pairs(rows), min=_SMALLEST_SQUARE)


def _number_of_pairs(rows: paddle.Tensor) -> int:
    return max(1, rows.shape[0] * (rows.shape[0] - 1))


class _GatherRows(paddle.autograd.PyLayer):
    """Rows of all ranks; the gradient of the own ones, of a loss that every rank computes as a whole."""

    @staticmethod
    def forward(ctx: Any, rows: paddle.Tensor) -> paddle.Tensor:
        ctx.count = rows.shape[0]
        return distributed.all_gather(rows) if distributed.world_size() > 1 else rows.clone()

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        first = distributed.rank() * ctx.count
        return gradient[first : first + ctx.count]
