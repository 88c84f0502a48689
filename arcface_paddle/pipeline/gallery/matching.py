"""From the persons that a face resembles most to who it is: known above a threshold, ``unknown`` below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec
from arcface_paddle.pipeline.gallery.index import GalleryIndex
from arcface_paddle.types import UNKNOWN, Candidate


@dataclass(frozen=True)
class Identification:
    """Who one face is.

    Attributes:
        name: the person decided on, ``unknown`` when the best similarity is below the threshold.
        similarity: that to the best person (-1 to 1), also when the name is unknown; None when the gallery is empty.
        candidates: the best persons, most similar first.
    """

    name: str
    similarity: Optional[float]
    candidates: tuple[Candidate, ...]


def identify(
    index: GalleryIndex,
    embeddings: np.ndarray,
    *,
    top_k: int,
    threshold: float,
    similarity: SimilaritySpec = PLAIN_COSINE,
) -> list[Identification]:
    """Decide who each face is: the index ranks by cosine, what is reported and decided on are similarities.

    Args:
        index: the known persons.
        embeddings: (N, D) float32, L2-normalised.
        top_k: most candidates per face; fewer persons give fewer candidates.
        threshold: least similarity (-1 to 1) at which a face gets a name; inclusive.
        similarity: what a cosine is worth.

    Raises:
        GalleryError: ``top_k`` below 1, or embeddings of another size.
    """
    return [_decide(_judged(candidates, similarity), threshold) for candidates in index.search(embeddings, top_k)]


def _judged(candidates: Sequence[Candidate], similarity: SimilaritySpec) -> tuple[Candidate, ...]:
    return tuple(Candidate(one.name, similarity.similarity_of(one.similarity)) for one in candidates)


def _decide(candidates: tuple[Candidate, ...], threshold: float) -> Identification:
    if not candidates:
        return Identification(UNKNOWN, None, ())
    best = candidates[0]
    return Identification(best.name if best.similarity >= threshold else UNKNOWN, best.similarity, candidates)
