"""One-to-many recognition: closed-set rank-k and CMC, open-set TPIR@FPIR (numpy only).

A probe is *mated* when its person is in the gallery. Closed set: how often the right person is among the k most
similar. Open set (NIST FRVT 1:N): FPIR is the share of unmated probes whose most similar person is at or above the
threshold, TPIR the share of mated probes whose right person is both first and at or above it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.choices import POOLINGS
from arcface_paddle.evaluation.metrics import ConfidenceInterval, OperatingPoint, operating_points, wilson_interval

FPIR_TARGETS = (1e-1, 1e-2, 1e-3)
_BLOCK_VALUES = 1 << 24  # similarities held at a time: 128 MiB in float64


@dataclass(frozen=True)
class SplitSettings:
    """How a labelled set is parted into gallery and probes.

    Attributes:
        gallery_images: pictures per person in the gallery; the others of that person are probes.
        stranger_share: share of the people, 0 to below 1, who are left out of the gallery.
        seed: seed of the random choice; the same seed gives the same split.
    """

    gallery_images: int = 1
    stranger_share: float = 0.3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of pictures: ``gallery`` (G,) and ``probes`` (P,), both ascending."""

    gallery: np.ndarray
    probes: np.ndarray


@dataclass(frozen=True, eq=False)
class Ranking:
    """What the search said of each probe.

    Attributes:
        mated: (P,) bool, whether the probe's person is in the gallery.
        rank: (P,) 1 = the right person came first; 0 for unmated probes. Ties count against the right person.
        true_similarity: (P,) to the right person; -inf for unmated probes.
        top_similarity: (P,) to the most similar person, right or wrong.
        top_person: (P,) label of that person.
    """

    mated: np.ndarray
    rank: np.ndarray
    true_similarity: np.ndarray
    top_similarity: np.ndarray
    top_person: np.ndarray


@dataclass(frozen=True, eq=False)
class IdentificationResult:
    """What a gallery and its probes say about a model.

    Attributes:
        name: name of the set.
        people: number of people in the gallery.
        mated: number of probes whose person is in the gallery.
        unmated: number of probes of strangers.
        cmc: (people,) share of mated probes whose rank is at most k, for k = 1, 2, ...
        rank_1_interval: Wilson 95 % interval of ``cmc[0]``.
        open_set: TPIR (as ``tar``) at FPIR targets (as ``far_target``).
    """

    name: str
    people: int
    mated: int
    unmated: int
    cmc: np.ndarray
    rank_1_interval: ConfidenceInterval
    open_set: tuple[OperatingPoint, ...]

    def rank(self, k: int) -> float:
        """Return the share of mated probes whose person is among the first ``k``."""
        return float(self.cmc[min(k, len(self.cmc)) - 1])


def split_gallery_probes(labels: np.ndarray, *, settings: SplitSettings = SplitSettings()) -> Split:
    """Part the pictures of a labelled set; people with too few pictures for gallery and probe become strangers.

    Args:
        labels: (N,) person of each picture.
        settings: sizes and seed.

    Raises:
        ConfigError: settings out of range.
        DataError: nobody has more than ``gallery_images`` pictures.
    """
    if settings.gallery_images < 1 or not 0 <= settings.stranger_share < 1:
        raise ConfigError(
            f"gallery_images {settings.gallery_images} (allowed: 1 or more), "
            f"stranger_share {settings.stranger_share} (allowed: 0 to below 1)"
        )
    generator = np.random.default_rng(settings.seed)
    people, counts = np.unique(labels, return_counts=True)
    able = people[counts > settings.gallery_images]
    strangers = generator.permutation(able)[: int(len(able) * settings.stranger_share)]
    enrolled = np.setdiff1d(able, strangers)
    if len(enrolled) == 0:
        raise DataError(
            f"none of {len(people)} people has more than {settings.gallery_images} pictures; "
            "an identification test needs at least one picture beside those of the gallery"
        )
    gallery = np.concatenate(
        [generator.permutation(np.flatnonzero(labels == person))[: settings.gallery_images] for person in enrolled]
    )
    return Split(np.sort(gallery), np.setdiff1d(np.arange(len(labels)), gallery))


def person_templates(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the embeddings of each person: (G, D), (G,) → (people, D) L2-normalised, (people,) ascending labels."""
    people, position = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(people), embeddings.shape[1]))
    np.add.at(sums, position, embeddings)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), people


def rank_probes(
    probes: np.ndarray,
    probe_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    pooling: str = "mean",
) -> Ranking:
    """Search each probe in the gallery.

    Args:
        probes: (P, D) L2-normalised embeddings.
        probe_labels: (P,) their people.
        gallery: (G, D) L2-normalised embeddings, any number per person.
        gallery_labels: (G,) their people.
        pooling: ``mean``: one averaged template per person; ``best``: a person is as similar as the best picture.

    Raises:
        ConfigError: another pooling.
        DataError: no gallery or no probes.
    """
    if pooling not in POOLINGS:
        raise ConfigError(f"pooling {pooling!r}; allowed: {', '.join(POOLINGS)}")
    if len(gallery) == 0 or len(probes) == 0:
        raise DataError(f"{len(gallery)} gallery and {len(probes)} probe pictures; at least one of each is needed")
    if pooling == "mean":
        gallery, gallery_labels = person_templates(gallery, gallery_labels)
    order = np.argsort(gallery_labels, kind="stable")
    gallery, gallery_labels = gallery[order], gallery_labels[order]
    people, starts = np.unique(gallery_labels, return_index=True)
    block = max(1, _BLOCK_VALUES // len(gallery))
    parts = []
    for start in range(0, len(probes), block):
        rows = slice(start, start + block)
        by_person = np.maximum.reduceat(probes[rows] @ gallery.T, starts, axis=1)
        parts.append(_rank_block(by_person, probe_labels[rows], people))
    return Ranking(*(np.concatenate(column) for column in zip(*parts)))


def identification_result(
    ranking: Ranking, *, name: str, people: int, fpir_targets: tuple[float, ...] = FPIR_TARGETS
) -> IdentificationResult:
    """Summarise a ranking.

    Raises:
        DataError: there is no mated probe.
    """
    mated = ranking.mated
    count = int(np.count_nonzero(mated))
    if count == 0:
        raise DataError(f"{name}: no probe shows a person of the gallery")
    hits = np.bincount(ranking.rank[mated], minlength=people + 1)[1:]
    # A mated probe with another person in front is never identified rightly, whatever the threshold.
    found = np.where(ranking.rank[mated] == 1, ranking.true_similarity[mated], -np.inf)
    return IdentificationResult(
        name=name,
        people=people,
        mated=count,
        unmated=len(mated) - count,
        cmc=np.cumsum(hits) / count,
        rank_1_interval=wilson_interval(int(hits[0]), count),
        open_set=operating_points(found, ranking.top_similarity[~mated], far_targets=fpir_targets),
    )


def _rank_block(
    similarity: np.ndarray, labels: np.ndarray, people: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rank the right person of each row of (B, people) similarities; the fields of ``Ranking`` in order."""
    column = np.minimum(np.searchsorted(people, labels), len(people) - 1)
    mated = people[column] == labels
    rows = np.arange(len(labels))
    true = np.where(mated, similarity[rows, column], -np.inf)
    rank = np.where(mated, np.count_nonzero(similarity >= true[:, None], axis=1), 0)
    top = similarity.argmax(axis=1)
    return mated, rank, true, similarity[rows, top], people[top]
