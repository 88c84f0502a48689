"""Hints about a gallery that may be wrong: mixed-up pictures, one person under two names, doubled files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.pipeline.gallery.collection import Gallery
from arcface_paddle.pipeline.gallery.entries import GalleryEntry

_BLOCK_ROWS = 1024  # times the faces of the gallery: 400 MB of float32 for 100,000


@dataclass(frozen=True)
class Suspicion:
    """One thing to look at.

    Attributes:
        kind: ``mislabelled`` (the picture resembles another person more than the other pictures of its own),
            ``same_person`` (the only picture of a person matches another person), ``same_file`` (one file under two
            names), ``outlier`` (the picture matches no other picture of its person), ``look_alike`` (two people
            whose most similar pictures are as similar as it takes to get a name; reported once for each two).
        entry: the face in question.
        other: the most similar face of the person that it resembles; for ``outlier`` the most similar one of its own
            person.
        own_similarity: best similarity to another picture of the same person; None when there is none.
        other_similarity: similarity to ``other``.
    """

    kind: str
    entry: GalleryEntry
    other: GalleryEntry
    own_similarity: Optional[float]
    other_similarity: float


def find_suspicions(gallery: Gallery, *, threshold: float, naming_threshold: Optional[float] = None) -> list[Suspicion]:
    """Compare every face of the gallery with every other, in blocks.

    Args:
        gallery: what to look through.
        threshold: least similarity at which two faces count as one person; the recogniser's card has it.
        naming_threshold: least similarity at which a search gives a name; None to look for no look-alikes.

    Returns:
        Suspicions in the order of the gallery's entries, look-alikes last, the most alike first.
    """
    person_of_row = np.unique(np.array([entry.name for entry in gallery.entries]), return_inverse=True)[1]
    found: list[Suspicion] = []
    alike: dict[frozenset[str], Suspicion] = {}
    for first in range(0, len(gallery), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        scores = gallery.embeddings[block] @ gallery.embeddings.T
        same = person_of_row[block, None] == person_of_row[None, :]
        itself = np.arange(len(scores))
        same_scores = np.where(same, scores, -np.inf)
        same_scores[itself, itself + first] = -np.inf
        other_scores = np.where(same, -np.inf, scores)
        for row in range(len(scores)):
            suspicion = _judge(gallery, first + row, own=same_scores[row], others=other_scores[row], least=threshold)
            if suspicion is not None:
                found.append(suspicion)
            elif naming_threshold is not None:
                _note_alike(alike, gallery, first + row, others=other_scores[row], least=naming_threshold)
    return found + sorted(alike.values(), key=lambda pair: -pair.other_similarity)


def _note_alike(
    alike: dict[frozenset[str], Suspicion], gallery: Gallery, row: int, *, others: np.ndarray, least: float
) -> None:
    """Keep the most similar pictures of two people; ``others``: a face's cosines to other people (-inf elsewhere)."""
    best = int(others.argmax())
    similarity = _similarity(gallery, others[best])
    if similarity < least:
        return
    entry, other = gallery.entries[row], gallery.entries[best]
    pair = frozenset((entry.name, other.name))
    if pair not in alike or similarity > alike[pair].other_similarity:
        alike[pair] = Suspicion("look_alike", entry, other, None, similarity)


def _judge(gallery: Gallery, row: int, *, own: np.ndarray, others: np.ndarray, least: float) -> Optional[Suspicion]:
    """Say what is doubtful about one face, given its cosines to its own person and to others (-inf elsewhere)."""
    entry = gallery.entries[row]
    best_own, best_other = int(own.argmax()), int(others.argmax())
    own_score, other_score = (_similarity(gallery, scores.max()) for scores in (own, others))
    own_similarity = own_score if np.isfinite(own_score) else None
    neighbour = gallery.entries[best_other]
    same_file = entry.is_from_file and (neighbour.sha256, neighbour.box_xyxy) == (entry.sha256, entry.box_xyxy)
    if np.isfinite(other_score) and same_file:
        return Suspicion("same_file", entry, neighbour, own_similarity, other_score)
    if own_similarity is None:
        if other_score >= least:
            return Suspicion("same_person", entry, neighbour, None, other_score)
        return None
    if others[best_other] > own[best_own]:
        return Suspicion("mislabelled", entry, neighbour, own_similarity, other_score)
    if own_score < least:
        return Suspicion("outlier", entry, gallery.entries[best_own], own_similarity, own_score)
    return None


def _similarity(gallery: Gallery, cosine: float) -> float:
    """Return the similarity of a cosine; -inf, which stands for no face, stays."""
    return gallery.similarity.similarity_of(float(cosine)) if np.isfinite(cosine) else float(cosine)
