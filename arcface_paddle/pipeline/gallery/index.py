"""Which persons of a gallery a face resembles most: the question, and the engine that answers it exactly, in memory.

``GalleryIndex`` is the seam for other engines (an approximate one for millions of faces, a server of vectors): they
answer ``search`` and never have to give all similarities. An index compares by the signed cosine, the only thing that
it must know; ``matching`` makes of it what the recogniser's card calls a similarity.

Two decisions over several pictures of a person are known, see ``DECISIONS``. ``best``: a person's similarity is that of
the most similar picture. ``mean``: it is the similarity to the normalised mean of the person's embeddings (the
template).

Measured with the shipped recogniser on 70 rendered people, half of them strangers, 5 pictures each
(``tools/benchmark.py gallery_decision``): rank-1 97.0 % with ``best``, 98.0 % with ``mean``; with a threshold that
names 1 % of the strangers, 79.7 and 80.1 % of the known faces get their name; with one that names 0.1 %, 74.4 and
70.0 %. ``best`` keeps strangers out better, so it is the default.
``mean`` forgives pictures filed under the wrong name (rank-1 97.8 against 92.7 % when one person in five has one).
"""

from __future__ import annotations

import numbers
from typing import Protocol, Sequence

import numpy as np

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.settings import DECISIONS, DEFAULT_DECISION
from arcface_paddle.types import Candidate

_BLOCK_ELEMENTS = 1 << 24
"""Similarities held at a time (64 MB of float32)."""


class GalleryIndex(Protocol):
    """Known persons, ready to be searched. ``tests/pipeline/test_gallery_index.py`` is the contract as tests.

    Attributes:
        names: P different names, sorted.
        embedding_size: D.
    """

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def embedding_size(self) -> int: ...

    def search(self, probes: np.ndarray, k: int) -> Sequence[tuple[Candidate, ...]]:
        """Find the ``k`` persons most similar to each probe.

        Args:
            probes: (N, D) float32, L2-normalised; N may be 0.
            k: 1 or more; of fewer persons than that, all are returned.

        Returns:
            Per probe, persons and their signed cosine similarities (-1 to 1), most similar first; equally similar
            ones in the order of ``names``.

        Raises:
            GalleryError: ``k`` below 1, or probes of another size.
        """
        ...


class MakeIndex(Protocol):
    """Prepares an index; a class whose constructor takes these arguments is one, such as ``ExactIndex``.

    Args:
        names: the person of each embedding, sorted, so that a person's rows adjoin.
        embeddings: (M, D) float32, L2-normalised, read-only.
        decision: one of ``DECISIONS``; what the engine cannot do is a ``GalleryError``.
    """

    def __call__(self, names: Sequence[str], embeddings: np.ndarray, *, decision: str) -> GalleryIndex: ...


class ExactIndex:
    """Compares every probe with every row: one matrix product over rows that stand person by person.

    The product is made in blocks of probes, so that memory stays bounded.

    Args:
        names: the person of each embedding, sorted, so that a person's rows adjoin.
        embeddings: (M, D) float32, L2-normalised.
        decision: one of ``DECISIONS``.

    Raises:
        GalleryError: another decision.
    """

    def __init__(self, names: Sequence[str], embeddings: np.ndarray, *, decision: str = DEFAULT_DECISION) -> None:
        if decision not in DECISIONS:
            raise GalleryError(f"decision is {decision!r}; allowed: {', '.join(DECISIONS)}")
        starts = np.array([i for i, name in enumerate(names) if i == 0 or name != names[i - 1]], dtype=np.int64)
        self._names = tuple(names[i] for i in starts)
        if decision == "mean" and len(starts):
            self._rows = normalize_rows(np.add.reduceat(embeddings, starts, axis=0))
            self._starts = np.arange(len(starts))
        else:
            self._rows, self._starts = embeddings, starts

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    @property
    def embedding_size(self) -> int:
        return int(self._rows.shape[1])

    def search(self, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        """Find the ``k`` persons most similar to each probe (N, D); see ``GalleryIndex.search``."""
        check_search(probes, k, embedding_size=self.embedding_size)
        if not self.names:
            return [() for _ in range(len(probes))]
        block = max(1, _BLOCK_ELEMENTS // len(self._rows))
        found: list[tuple[Candidate, ...]] = []
        for first in range(0, len(probes), block):
            scores = self._similarities(np.asarray(probes[first : first + block], dtype=np.float32))
            found.extend(self._candidates(row, min(k, len(self.names))) for row in scores)
        return found

    def _similarities(self, probes: np.ndarray) -> np.ndarray:
        """Return (N, P) float32: the similarity of every person to every probe."""
        scores: np.ndarray = np.clip(probes @ self._rows.T, -1.0, 1.0)
        if len(self.names) == len(self._rows):
            return scores
        return np.maximum.reduceat(scores, self._starts, axis=1)

    def _candidates(self, scores: np.ndarray, count: int) -> tuple[Candidate, ...]:
        # A full sort of every row would cost several times the product; only what can be among the best is sorted.
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        within = np.flatnonzero(scores >= least)
        best = within[np.argsort(-scores[within], kind="stable")][:count]
        return tuple(Candidate(self.names[i], float(scores[i])) for i in best)


def check_search(probes: np.ndarray, k: int, *, embedding_size: int) -> None:
    """Raise ``GalleryError`` for what no index can answer: ``k`` below 1, or probes that are not (N, D)."""
    if not isinstance(k, numbers.Integral) or k < 1:
        raise GalleryError(f"{k} candidates asked for; allowed: 1 or more")
    if not isinstance(probes, np.ndarray):
        raise GalleryError(f"embeddings of type {type(probes).__name__}; allowed: an array (N, {embedding_size})")
    if probes.ndim != 2 or probes.shape[1] != embedding_size:
        raise GalleryError(
            f"embeddings of shape {probes.shape} do not fit a gallery of size {embedding_size}; allowed: (N, "
            f"{embedding_size})"
        )


def normalize_rows(features: np.ndarray) -> np.ndarray:
    """Return (N, D) float32 rows of unit length; a row of zeros stays zero."""
    norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.maximum(norms, 1e-12)).astype(np.float32)
