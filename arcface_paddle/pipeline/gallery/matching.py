"""From the persons that a face resembles most to who it is: known above a threshold, ``unknown`` below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.pipeline.gallery.index import GalleryIndex
from arcface_paddle.types import UNKNOWN, Candidate


@dataclass(frozen=True)
class Identification:
    """Who one face is.

    Attributes:
        name: the person decided on, ``unknown`` when the best similarity is below the threshold.
        similarity: signed cosine (-1 to 1) to the best person, also when the name is unknown; None when the
            gallery is empty.
        candidates: the best persons, most similar first.
    """

    name: str
    similarity: Optional[float]
    candidates: tuple[Candidate, ...]


def identify(index: GalleryIndex, embeddings: np.ndarray, *, top_k: int, threshold: float) -> list[Identification]:
    """Decide who each face is.

    Args:
        index: the known persons.
        embeddings: (N, D) float32, L2-normalised.
        top_k: most candidates per face; fewer persons give fewer candidates.
        threshold: least similarity (-1 to 1) at which a face gets a name; inclusive.

    Raises:
        GalleryError: ``top_k`` below 1, or embeddings of another size.
    """
    return [_decide(candidates, threshold) for candidates in index.search(embeddings, top_k)]


def _decide(candidates: tuple[Candidate, ...], threshold: float) -> Identification:
    if not candidates:
        return Identification(UNKNOWN, None, ())
    best = candidates[0]
    return Identification(best.name if best.similarity >= threshold else UNKNOWN, best.similarity, candidates)
