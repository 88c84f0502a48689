"""How a feature and what the classifier keeps of a class give the class's score, and the derivatives back.

A class is one row of the classifier, whatever the row holds: one centre, the sub-centres one behind the other, or the
weights of a dense layer and their bias. So sampling, splitting over ranks, momentum and checkpoints know rows only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import paddle

from arcface_paddle.errors import ConfigError

LEAST_NORM = 1e-6
"""Of features and centres: below it a direction is not defined, and dividing would give NaN."""

MOST_SUBCENTRES = 64
"""More than anybody has used; each costs a pass over the logits and a byte per logit."""


@dataclass(frozen=True)
class Matmul:
    """The large products, in the dtype that the device is fast in, with float32 results.

    Attributes:
        dtype: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
    """

    dtype: str = "float32"

    @property
    def is_half(self) -> bool:
        """Whether what is multiplied is rounded to 16 bits."""
        return self.dtype != "float32"

    def __call__(self, x: paddle.Tensor, y: paddle.Tensor, **transposes: bool) -> paddle.Tensor:
        """Return ``x @ y``, float32; ``transpose_x`` and ``transpose_y`` as ``paddle.matmul`` has them."""
        return _product(x, y, self.dtype, transposes)

    def scores(self, x: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
        """Return ``x @ y'``, float32, as scores of classes.

        A scale of 64 magnifies their error. Paddle returns the product of two bfloat16 tensors in bfloat16, in which
        cosines near .7 are .004 apart: a quarter of a logit. So these are multiplied in float32, which NVIDIA's
        tensor cores do in TF32, with 11 bits and sums in float32; float16 has as many bits.
        """
        return _product(x, y, "float32" if self.dtype == "bfloat16" else self.dtype, {"transpose_y": True})


def _product(x: paddle.Tensor, y: paddle.Tensor, dtype: str, transposes: dict[str, bool]) -> paddle.Tensor:
    return paddle.matmul(x.astype(dtype), y.astype(dtype), **transposes).astype("float32")


Nearer = tuple[paddle.Tensor, ...]
"""K - 1 times (B, n) bool: whether sub-centre 1, 2, ... is nearer than all before it; the last true one is nearest."""


class Scores(NamedTuple):
    """Scores of some classes, (B, n) float32, and which sub-centre each belongs to."""

    values: paddle.Tensor
    nearer: Nearer


class CosineScores:
    """Cosine between feature and centre, or the largest of the cosines to the K sub-centres of a class.

    K sub-centres: Deng et al. 2020, Sub-center ArcFace, eq. 3. The gradient reaches the nearest sub-centre alone.
    """

    def __init__(self, subcentres: int = 1) -> None:
        if not 1 <= subcentres <= MOST_SUBCENTRES:
            raise ConfigError(f"subcentres is {subcentres}; allowed: 1 to {MOST_SUBCENTRES} (the paper: 3)")
        self._count = subcentres

    def row_size(self, embedding_size: int) -> int:
        """Return the length of a row."""
        return self._count * embedding_size

    def inputs(self, features: paddle.Tensor, norms: paddle.Tensor) -> paddle.Tensor:
        """Return what is multiplied with the rows: the directions of the features (B, D)."""
        return features / norms.unsqueeze(1)

    def of_targets(self, inputs: paddle.Tensor, rows: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return score and cosine of every sample to the class of the same place in ``rows`` (B, row size); (B,)."""
        largest = _cosines_of_pairs(inputs, self._part(rows, 0))
        for number in range(1, self._count):
            largest = paddle.maximum(largest, _cosines_of_pairs(inputs, self._part(rows, number)))
        return largest, largest

    def of_all(self, inputs: paddle.Tensor, rows: paddle.Tensor, *, matmul: Matmul) -> Scores:
        """Return the scores of all samples to all classes in ``rows`` (n, row size), float32."""
        largest, nearer = self._cosines(inputs, rows, 0, matmul), []
        for number in range(1, self._count):
            cosines = self._cosines(inputs, rows, number, matmul)
            nearer.append(cosines > largest)
            largest = paddle.maximum(largest, cosines)
        return Scores(largest, tuple(nearer))

    def gradients(
        self,
        slopes: paddle.Tensor,
        nearer: Nearer,
        *,
        inputs: paddle.Tensor,
        rows: paddle.Tensor,
        matmul: Matmul,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the derivatives of a loss with respect to inputs (B, D) and rows (n, row size).

        Args:
            slopes: (B, n), derivatives with respect to the scores; changed.
            nearer: as ``of_all`` gave it.
            inputs, rows: as ``of_all`` got them.
            matmul: of the large products.
        """
        if not nearer:
            return self._gradients_of_one(slopes, inputs, rows, matmul)
        to_inputs = paddle.zeros_like(inputs)
        to_rows: list[paddle.Tensor] = []
        for number in reversed(range(self._count)):
            own = slopes
            if number > 0:  # what is left belongs to the first
                own = paddle.where(nearer[number - 1], slopes, paddle.zeros([1]))
                slopes = slopes.subtract_(own)
            to_these, to_centres = self._gradients_of_one(own, inputs, self._part(rows, number), matmul)
            to_inputs.add_(to_these)
            to_rows.insert(0, to_centres)
        return to_inputs, paddle.concat(to_rows, axis=1)

    def feature_gradient(
        self, to_inputs: paddle.Tensor, *, inputs: paddle.Tensor, norms: paddle.Tensor
    ) -> paddle.Tensor:
        """Return the gradient of the features from that of the inputs; all (b, D), ``norms`` (b,) as clipped.

        It is 0 for a feature without a direction: divided by its length, it would outweigh all others in clipping.
        """
        tangential = to_inputs - inputs * (to_inputs * inputs).sum(1, keepdim=True)
        lengths = norms.unsqueeze(1)
        return paddle.where(lengths > LEAST_NORM, tangential / lengths, paddle.zeros([1, 1]))

    def _part(self, rows: paddle.Tensor, number: int) -> paddle.Tensor:
        """Return one sub-centre of every class, (n, D)."""
        if self._count == 1:
            return rows
        size = rows.shape[1] // self._count
        return rows[:, number * size : (number + 1) * size]

    def _cosines(self, inputs: paddle.Tensor, rows: paddle.Tensor, number: int, matmul: Matmul) -> paddle.Tensor:
        centres = self._part(rows, number)
        if matmul.is_half:
            return matmul.scores(inputs, _units(centres))
        return matmul.scores(inputs, centres).multiply_(_inverse_norms(centres))

    @staticmethod
    def _gradients_of_one(
        slopes: paddle.Tensor, inputs: paddle.Tensor, centres: paddle.Tensor, matmul: Matmul
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        if matmul.is_half:
            return _gradients_by_units(slopes, inputs, centres, matmul)
        inverse_norms = _inverse_norms(centres)
        slopes.multiply_(inverse_norms)
        raw = matmul(slopes, inputs, transpose_x=True)
        radial = (raw * centres).sum(1, keepdim=True) * inverse_norms.square().unsqueeze(1)
        return matmul(slopes, centres), raw.subtract_(centres * radial)


class LinearScores:
    """A dense layer: ``feature . weight + bias``, nothing normalised; the bias is the last value of a row."""

    def row_size(self, embedding_size: int) -> int:
        """Return the length of a row."""
        return embedding_size + 1

    def inputs(self, features: paddle.Tensor, norms: paddle.Tensor) -> paddle.Tensor:
        """Return the features, as they are."""
        return features

    def of_targets(self, inputs: paddle.Tensor, rows: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return score and cosine, see ``CosineScores``."""
        products = (inputs * rows[:, :-1]).sum(1)
        lengths = paddle.linalg.norm(inputs, axis=1) * paddle.linalg.norm(rows[:, :-1], axis=1)
        return products + rows[:, -1], products / paddle.clip(lengths, min=LEAST_NORM)

    def of_all(self, inputs: paddle.Tensor, rows: paddle.Tensor, *, matmul: Matmul) -> Scores:
        """Return the scores of all classes, see ``CosineScores``."""
        return Scores(matmul.scores(inputs, rows[:, :-1]).add_(rows[:, -1]), ())

    def gradients(
        self,
        slopes: paddle.Tensor,
        nearer: Nearer,
        *,
        inputs: paddle.Tensor,
        rows: paddle.Tensor,
        matmul: Matmul,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the derivatives of inputs and rows, see ``CosineScores``."""
        to_weights = matmul(slopes, inputs, transpose_x=True)
        return matmul(slopes, rows[:, :-1]), paddle.concat([to_weights, slopes.sum(0).unsqueeze(1)], axis=1)

    def feature_gradient(
        self, to_inputs: paddle.Tensor, *, inputs: paddle.Tensor, norms: paddle.Tensor
    ) -> paddle.Tensor:
        """Return the gradient of the features, which is that of the inputs."""
        return to_inputs


def _cosines_of_pairs(directions: paddle.Tensor, centres: paddle.Tensor) -> paddle.Tensor:
    """Return the cosine of each direction to the centre of the same place, (B,)."""
    return (directions * centres).sum(1) / paddle.clip(paddle.linalg.norm(centres, axis=1), min=LEAST_NORM)


def _gradients_by_units(
    slopes: paddle.Tensor, inputs: paddle.Tensor, centres: paddle.Tensor, matmul: Matmul
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The derivatives by way of normalised centres; it reads and writes the centres once more, and is for 16 bits.

    Slopes that are divided by the norms of the centres, .2 at the beginning, leave the range of float16 at a fifth of
    the loss scale at which they would by themselves. So the norms come behind the products, as PartialFC has it.
    """
    units = _units(centres)
    raw = matmul(slopes, inputs, transpose_x=True)
    tangential = raw.subtract_(units * (raw * units).sum(1, keepdim=True))
    return matmul(slopes, units), tangential.multiply_(_inverse_norms(centres).unsqueeze(1))


def _units(centres: paddle.Tensor) -> paddle.Tensor:
    return centres * _inverse_norms(centres).unsqueeze(1)


def _inverse_norms(centres: paddle.Tensor) -> paddle.Tensor:
    return 1.0 / paddle.clip(paddle.linalg.norm(centres, axis=1), min=LEAST_NORM)
