"""How much speaks for two faces being one person: the recogniser's similarity, adapted to the library at hand.

The score of two faces has the form ``u_i + u_j + v_i . v_j``, so that the mean over all pairs between two groups
follows from the two groups' mean ``u`` and ``v`` alone, however large the groups are.

``plain_evidence`` is the similarity of the recogniser's card. ``adapted_evidence`` takes into account by what people of
this library differ and by what pictures of one of them do: both are Gaussian with covariances B (between people) and W
(within a person), and the score is the logarithm of how much more likely two embeddings are if they are one person than
if they are two (Ioffe: Probabilistic Linear Discriminant Analysis, ECCV 2006). In coordinates in which W is the unit
matrix and B is diag(b), with f(n, s) = sum(-log(1 + n b) + b s^2 / (1 + n b)) / 2 for n faces with sum s::

    score(i, j) = f(2, y_i + y_j) - f(1, y_i) - f(1, y_j)

Directions by which light, pose, glasses and masks move an embedding then count for less. W is learned from the groups
found so far, together with a prior: what was measured for the recogniser on rendered people (``spread``), or for a
recogniser without such a measurement the same spread in all directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.pipeline.cards import SimilaritySpec

PRIOR_FACES = 600.0
"""As many faces, less their groups, does the prior count as; a library of a thousand pictures mostly trusts itself."""

EVEN_PEOPLE = 30.0
"""As many people does the assumption count as that people differ as much in all directions."""

EVEN_SHARE = 0.3
"""Of the within-person spread that is taken as equal in all directions: the rest is estimated from few faces."""

LARGEST_SHARE = 0.15
"""Of all faces that one group counts for at most in how people differ. Where half of all pictures are of one child,
deviations from the mean would be those from this child, and hardly anybody else would be found."""

_GUESSED_FACES = 30.0  # as many does the guess count as that a third of all spread is within people
_LEAST_SPREAD = 1e-6  # of the total, per direction: embeddings of few faces span few directions


@dataclass(frozen=True, eq=False)
class Evidence:
    """Scores of pairs: ``offsets[i] + offsets[j] + vectors[i] @ vectors[j]``.

    Attributes:
        offsets: (N,) float32.
        vectors: (N, D) float32.
    """

    offsets: np.ndarray
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def between(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the scores (R, C) float32 of each row with each column."""
        scores = self.vectors[rows] @ self.vectors[columns].T
        scores += self.offsets[rows][:, None]
        scores += self.offsets[columns][None]
        return scores

    def of_pairs(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the scores (P,) float32 of pairs."""
        products = np.einsum("pd,pd->p", self.vectors[ones], self.vectors[others])
        return products + self.offsets[ones] + self.offsets[others]

    def part(self, rows: np.ndarray) -> Evidence:
        """Return the evidence of some faces."""
        return Evidence(self.offsets[rows], self.vectors[rows])

    def with_own(self, groups: np.ndarray) -> np.ndarray:
        """Return the mean score of each face with the others of its group, for groups of three or more.

        Args:
            groups: (N,) number of each face's group, 0 to G - 1, each used.

        Returns:
            (M,) float32.
        """
        count = int(groups.max()) + 1
        sizes = np.bincount(groups, minlength=count)
        inside = sizes[groups] > 2
        offsets = np.bincount(groups, weights=self.offsets, minlength=count).astype(np.float32)
        sums = sums_by_group(self.vectors, groups, count)
        own, vectors, place = self.offsets[inside], self.vectors[inside], groups[inside]
        others = (sizes[place] - 1).astype(np.float32)
        products = np.einsum("nd,nd->n", vectors, sums[place] - vectors)
        return np.asarray(own + (offsets[place] - own + products) / others)

    def averaged(self, groups: np.ndarray, count: int) -> Evidence:
        """Return the evidence of groups, whose scores are means over all pairs between two of them.

        Args:
            groups: (N,) number of each face's group, 0 to ``count`` - 1, each used.
            count: how many groups there are.
        """
        sizes = np.bincount(groups, minlength=count).astype(np.float32)
        return Evidence(
            np.bincount(groups, weights=self.offsets, minlength=count).astype(np.float32) / sizes,
            sums_by_group(self.vectors, groups, count) / sizes[:, None],
        )


def sums_by_group(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Return (count, D) float32, the sums of the rows of (N, D) by group."""
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    sums = np.zeros((count, values.shape[1]), np.float32)
    if len(present):
        sums[present] = np.add.reduceat(values[order], starts, axis=0)
    return sums


def plain_evidence(embeddings: np.ndarray, similarity: SimilaritySpec) -> Evidence:
    """Return the card's similarity, without its cut-off at -1 and 1, as evidence of (N, D) unit vectors."""
    offset = -similarity.offset / similarity.scale / 2
    vectors = embeddings / np.float32(np.sqrt(similarity.scale))
    return Evidence(np.full(len(embeddings), offset, np.float32), vectors.astype(np.float32))


@dataclass(frozen=True, eq=False)
class SpreadModel:
    """How embeddings of a library spread.

    Attributes:
        mean: (D,) float64.
        transform: (D, D) float64; (embedding - mean) @ transform has unit covariance within a person, and ``between``
            from person to person.
        between: (D,) float64, variances between people, ascending.
    """

    mean: np.ndarray
    transform: np.ndarray
    between: np.ndarray


def within_scatter(embeddings: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the sum of outer products (D, D) float64 of faces less their group's mean, and its degrees of freedom."""
    _, numbers = np.unique(groups, return_inverse=True)
    numbers = numbers.reshape(-1)
    count = int(numbers.max()) + 1 if len(numbers) else 0
    sizes = np.bincount(numbers, minlength=count)
    means = sums_by_group(embeddings, numbers, count) / np.maximum(sizes, 1)[:, None]
    inside = sizes[numbers] > 1
    rest = (embeddings[inside] - means[numbers[inside]]).astype(np.float64)
    return rest.T @ rest, int(inside.sum() - (sizes > 1).sum())


def fit_spread(embeddings: np.ndarray, groups: np.ndarray, *, prior: Optional[np.ndarray] = None) -> SpreadModel:
    """Learn how a library's embeddings spread.

    Args:
        embeddings: (N, D) float32 unit vectors, two or more.
        groups: (N,) the group found so far of each; groups of one say nothing of the spread within a person.
        prior: (D, D) covariance within a person that was measured elsewhere; None for one that is the same in all
            directions and as large as here.
    """
    shares = _shares(groups)
    mean = shares @ embeddings.astype(np.float64)
    centred = embeddings - mean
    total = (centred * shares[:, None]).T @ centred
    size = len(mean)
    even = np.eye(size) / size
    total += _LEAST_SPREAD * np.trace(total) * even
    scatter, freedom = within_scatter(embeddings, groups)
    if prior is None:
        guessed = _GUESSED_FACES * np.trace(total) / 3
        prior = (np.trace(scatter) + guessed) / (freedom + _GUESSED_FACES) * even
    within = (scatter + PRIOR_FACES * prior) / (freedom + PRIOR_FACES)
    within = (1 - EVEN_SHARE) * within + EVEN_SHARE * np.trace(within) * even
    values, directions = np.linalg.eigh(within)
    whitening = directions / np.sqrt(values)
    between, turned = np.linalg.eigh(whitening.T @ total @ whitening - np.eye(size))
    between = np.clip(between, 0, None)
    share = EVEN_PEOPLE / (EVEN_PEOPLE + len(np.unique(groups)))
    between = (1 - share) * between + share * between.mean()
    return SpreadModel(mean, whitening @ turned, between)


def _shares(groups: np.ndarray) -> np.ndarray:
    """Return how much each face counts in the spread of all, (N,) float64 with a sum of 1."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    most = max(LARGEST_SHARE * len(groups), 1.0)
    shares = (np.minimum(sizes, most) / sizes)[numbers.reshape(-1)]
    return np.asarray(shares / shares.sum())


def adapted_evidence(embeddings: np.ndarray, model: SpreadModel) -> Evidence:
    """Return log-likelihood ratios of pairs as evidence.

    In the model's coordinates every face is brought to the length that the model expects, as real ones are not Gaussian
    in length (Garcia-Romero and Espy-Wilson: Analysis of i-vector Length Normalization, Interspeech 2011).
    """
    variances = model.between
    placed = (embeddings - model.mean).astype(np.float32) @ model.transform.astype(np.float32)
    expected = np.float32(np.sqrt((1 + variances).sum()))
    placed *= expected / np.maximum(np.linalg.norm(placed, axis=1, keepdims=True), 1e-12)
    double = (variances / (1 + 2 * variances)).astype(np.float32)
    single = (variances / (1 + variances)).astype(np.float32)
    constant = np.log1p(variances).sum() - np.log1p(2 * variances).sum() / 2
    squares = placed**2 @ (double - single) / 2
    return Evidence((squares + constant / 2).astype(np.float32), placed * np.sqrt(double))
