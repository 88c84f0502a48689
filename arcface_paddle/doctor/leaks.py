"""Whether a synthetic person is near a real one of a given set.

Two questions are asked of every synthetic person, each with half of the allowed false alarms: is the mean of their
embeddings nearer to the mean of some real person than strangers' means ever are, and is one of their pictures nearer to
some real picture than pictures of strangers ever are? What strangers give is measured between the real people
themselves and, for pictures, read from the recogniser's card; the stricter of both counts.

The search is exact: every mean meets every mean, every picture every picture, in blocks. It takes 2 N M D operations
for N synthetic and M real pictures: 10^5 by 10^6 is 10 minutes at 60 GFLOP/s, and memory does not grow with M.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Iterator, Optional

import numpy as np

from arcface_paddle.data.data_settings import default_workers
from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.doctor.crop_embeddings import EmbeddingCache, EmbeddingStore, fill_store, unit_rows
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.findings import Ledger
from arcface_paddle.doctor.scan import scan
from arcface_paddle.doctor.stranger_tail import SimilarityCounts, Tail, rate_of_each, strictest
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.embedder import Embed
from arcface_paddle.progress import progress

COPY_SIMILARITY = 0.95
"""From here on two pictures are the same picture, however many were compared: copies of 60 renderings in JPEG quality
50 had a cosine of .975 to .999 to their originals with the shipped recogniser."""

_QUERY_ROWS, _BLOCK_VALUES = 4096, 1 << 24  # 64 MB of similarities at a time


@dataclass(frozen=True)
class LeakSettings:
    """How leaks are looked for.

    Attributes:
        false_alarm: probability that a synthetic set without any leak has one reported, over all comparisons.
        similarity: cosine from which a person counts as a leak, instead of what follows from the rate.
        pictures_per_person: pictures of each person that are compared, the first ones; None = all.
        strangers: real people, and pictures, at most, between whom the tail of strangers is measured.
        seed: of their choice.
        workers: decoding threads.
        embed_batch: images per call of the embedder.
    """

    false_alarm: float = 0.01
    similarity: Optional[float] = None
    pictures_per_person: Optional[int] = None
    strangers: int = 20_000
    seed: int = 0
    workers: int = field(default_factory=default_workers)
    embed_batch: int = 64

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: one is out of range.
        """
        if not 0 < self.false_alarm < 1:
            raise ConfigError(f"false_alarm is {self.false_alarm:g}; allowed: above 0, below 1")
        if self.similarity is not None and not -1 <= self.similarity <= 1:
            raise ConfigError(f"similarity is {self.similarity:g}; allowed: a cosine, -1 to 1")
        if self.pictures_per_person is not None and self.pictures_per_person < 1:
            raise ConfigError(f"pictures_per_person is {self.pictures_per_person}; allowed: 1 or more")
        if self.strangers < 2:
            raise ConfigError(f"strangers is {self.strangers}; allowed: 2 or more")


@dataclass(frozen=True)
class LeakThreshold:
    """From which similarity on a comparison is beyond chance.

    Attributes:
        similarity: the threshold; None where strangers could not be measured, so that nothing was judged.
        comparisons: how many were made.
        rate: rate of one comparison of strangers that the false alarm rate allows.
        measured: tail between the real people of this set.
        card: tail of the recogniser's card; empty for means, of which no card speaks.
        reason: how the threshold came about, in words.
    """

    similarity: Optional[float]
    comparisons: int
    rate: float
    measured: Tail
    card: Tail
    reason: str


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest real one of each of some rows.

    Attributes:
        similarity: (N,) float32.
        row: (N,) int64, the row of the real one.
    """

    similarity: np.ndarray
    row: np.ndarray


@dataclass(frozen=True, eq=False)
class LeakReport:
    """What was found.

    Attributes:
        synthetic, real: the sets.
        settings: how leaks were looked for.
        people: (P,) int64 labels of the synthetic people.
        mean: nearest real person of each, by means; ``row`` is an index of ``real_people``.
        picture: nearest real picture of each; ``row`` is an index of ``real``.
        own_picture: (P,) int64, index of the synthetic picture that is nearest to it.
        real_people: (K,) int64 labels of the real people.
        real_nearest: (n,) float32, similarity of real people to the nearest other real one, by means.
        mean_threshold, picture_threshold: what counts.
        compared: pictures of the synthetic and of the real set that were compared.
        unreadable: pictures of both sets that could not be read and were left out.
        resized: pictures of both sets that were not of 112x112 and so perhaps no aligned crops.
    """

    synthetic: FaceDataset
    real: FaceDataset
    settings: LeakSettings
    people: np.ndarray
    mean: Nearest
    picture: Nearest
    own_picture: np.ndarray
    real_people: np.ndarray
    real_nearest: np.ndarray
    mean_threshold: LeakThreshold
    picture_threshold: LeakThreshold
    compared: tuple[int, int]
    unreadable: tuple[int, int]
    resized: tuple[int, int]

    @property
    def by_mean(self) -> np.ndarray:
        """Whether each person is a leak by means, (P,) bool."""
        return _reaches(self.mean.similarity, self.mean_threshold)

    @property
    def by_picture(self) -> np.ndarray:
        """Whether each person is a leak by a picture, (P,) bool."""
        return _reaches(self.picture.similarity, self.picture_threshold)

    @property
    def leaks(self) -> np.ndarray:
        """Rows of ``people`` that are leaks, the most similar first."""
        rows = np.flatnonzero(self.by_mean | self.by_picture)
        return rows[np.argsort(-np.maximum(self.mean.similarity, self.picture.similarity)[rows], kind="stable")]


def check_leaks(
    synthetic: FaceDataset,
    real: FaceDataset,
    settings: LeakSettings,
    *,
    embedder: Embed,
    card_tail: Tail = (),
    cache: Optional[EmbeddingCache] = None,
) -> LeakReport:
    """Compare every synthetic person with every real one.

    Args:
        synthetic: aligned crops of people who should be nobody.
        real: aligned crops of the people whom they must not be.
        settings: how.
        embedder: the recogniser.
        card_tail: cosines of strangers by the recogniser's card; empty where it says nothing.
        cache: keeps the embeddings, so that a check that was interrupted or is repeated goes on with them.

    Raises:
        DataError: a set has no readable picture, or nothing tells how similar strangers are.
    """
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(_embedded(synthetic, settings, embedder, cache))
        theirs = stack.enter_context(_embedded(real, settings, embedder, cache))
        people, means = _means(mine)
        real_people, real_means = _means(theirs)
        mean = nearest_rows(means, _blocks_of(real_means))
        pictures = _nearest_pictures(mine, theirs)
        strangers = _Strangers(theirs, real_people, real_means, settings)
        own, best = _best_of_people(mine.labels, people, pictures)
        mean_threshold = _threshold(settings, len(people) * len(real_people), strangers.of_means(), card=())
        picture_threshold = _threshold(
            settings, len(mine.labels) * len(theirs.labels), strangers.of_pictures(), card=card_tail
        )
        if mean_threshold.similarity is None and picture_threshold.similarity is None:
            raise DataError(
                f"{real.name}: {len(real_people)} people are too few to tell how similar strangers are, and the card "
                "of the recogniser does not say it; give a similarity from which a person counts as a leak"
            )
        return LeakReport(
            synthetic=synthetic,
            real=real,
            settings=settings,
            people=people,
            mean=mean,
            picture=Nearest(best, theirs.indices[pictures.row[own]]),
            own_picture=mine.indices[own],
            real_people=real_people,
            real_nearest=strangers.nearest_other,
            mean_threshold=mean_threshold,
            picture_threshold=picture_threshold,
            compared=(len(mine.labels), len(theirs.labels)),
            unreadable=(mine.unreadable, theirs.unreadable),
            resized=(mine.resized, theirs.resized),
        )


@dataclass(frozen=True, eq=False)
class _Embedded:
    """The pictures of a set that are compared, and their embeddings."""

    store: EmbeddingStore
    indices: np.ndarray
    labels: np.ndarray
    unreadable: int
    resized: int

    def blocks(self, rows: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.indices), rows):
            yield self.store.take(self.indices[start : start + rows])


@contextlib.contextmanager
def _embedded(
    dataset: FaceDataset, settings: LeakSettings, embedder: Embed, cache: Optional[EmbeddingCache]
) -> Iterator[_Embedded]:
    """Read, sort out what cannot be read, embed."""
    doctor = DoctorSettings(workers=settings.workers, embed_batch=settings.embed_batch)
    chosen = _first_of_each(dataset.labels, settings.pictures_per_person)
    facts = scan(dataset, chosen, settings=doctor, ledger=Ledger(1))
    good = facts.good()
    if not len(good):
        raise DataError(f"{dataset.name}: none of {len(chosen)} pictures can be read; 'data doctor' says why")
    cached_at = None if cache is None else cache.file_of(facts.content[good])
    with EmbeddingStore(good, cached_at=cached_at) as store:
        fill_store(store, dataset, embedder=embedder, settings=doctor)
        resized = len(good) - facts.sizes[(IMAGE_SIZE, IMAGE_SIZE)]
        yield _Embedded(store, good, dataset.labels[good], len(chosen) - len(good), resized)


def _first_of_each(labels: np.ndarray, count: Optional[int]) -> np.ndarray:
    """Return the indices of the first ``count`` pictures of each label, ascending; all for None."""
    if count is None:
        return np.arange(len(labels), dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], labels[order])
    return np.sort(order[np.arange(len(order)) - first < count])


def _means(embedded: _Embedded) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels (P,) and the normalised mean embeddings (P, D) float32."""
    people, rows = np.unique(embedded.labels, return_inverse=True)
    sums: Optional[np.ndarray] = None
    start = 0
    for block in embedded.blocks(_QUERY_ROWS):
        sums = np.zeros((len(people), block.shape[1]), dtype=np.float32) if sums is None else sums
        np.add.at(sums, rows[start : start + len(block)], block)
        start += len(block)
    assert sums is not None
    return people, unit_rows(sums)


def _blocks_of(rows: np.ndarray) -> Iterator[np.ndarray]:
    each = _BLOCK_VALUES // _QUERY_ROWS
    return (rows[start : start + each] for start in range(0, len(rows), each))


def nearest_rows(queries: np.ndarray, blocks: Iterator[np.ndarray]) -> Nearest:
    """Return the most similar row of all blocks for each query, exactly.

    Args:
        queries: (N, D) L2-normalised.
        blocks: (M_i, D) L2-normalised each; rows are counted on from block to block. The first of equal ones wins.
    """
    best = np.full(len(queries), -np.inf, dtype=np.float32)
    row = np.zeros(len(queries), dtype=np.int64)
    first = 0
    for block in blocks:
        for start in range(0, len(queries), _QUERY_ROWS):
            part = slice(start, min(start + _QUERY_ROWS, len(queries)))
            similarity = queries[part] @ block.T
            at = similarity.argmax(axis=1)
            found = similarity[np.arange(len(at)), at]
            better = found > best[part]
            best[part][better] = found[better]
            row[part][better] = first + at[better]
        first += len(block)
    return Nearest(best, row)


def _nearest_pictures(mine: _Embedded, theirs: _Embedded) -> Nearest:
    """Return the nearest real picture of every synthetic one; ``row`` counts the compared real pictures."""
    each = _BLOCK_VALUES // _QUERY_ROWS
    parts = []
    with progress(total=len(mine.indices), desc="comparing", unit="img") as bar:
        for queries in mine.blocks(_QUERY_ROWS):
            parts.append(nearest_rows(queries, theirs.blocks(each)))
            bar.update(len(queries))
    return Nearest(np.concatenate([part.similarity for part in parts]), np.concatenate([part.row for part in parts]))


def _best_of_people(labels: np.ndarray, people: np.ndarray, pictures: Nearest) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each person's picture that is nearest to a real one, and that similarity, both (P,)."""
    order = np.lexsort((-pictures.similarity, labels))
    rows = order[np.searchsorted(labels[order], people)]
    return rows, pictures.similarity[rows]


class _Strangers:
    """How similar real people are to other real people."""

    def __init__(self, real: _Embedded, people: np.ndarray, means: np.ndarray, settings: LeakSettings) -> None:
        rng = np.random.default_rng(settings.seed)
        self._chosen = np.sort(rng.permutation(len(people))[: settings.strangers])
        self._pictures = np.sort(rng.permutation(len(real.indices))[: settings.strangers])
        self._real, self._means = real, means
        self.nearest_other = np.full(len(self._chosen), np.nan, dtype=np.float32)

    def of_means(self) -> Tail:
        """Return the tail between means, and note each person's nearest other one."""
        means = self._means[self._chosen]
        return self._tail(means, np.arange(len(means)), nearest=self.nearest_other)

    def of_pictures(self) -> Tail:
        """Return the tail between pictures of two people."""
        pictures = self._real.store.take(self._real.indices[self._pictures])
        return self._tail(pictures, self._real.labels[self._pictures], nearest=None)

    @staticmethod
    def _tail(rows: np.ndarray, labels: np.ndarray, *, nearest: Optional[np.ndarray]) -> Tail:
        counts = SimilarityCounts()
        each = max(1, _BLOCK_VALUES // max(1, len(rows)))
        for start in range(0, len(rows), each):
            part = slice(start, start + each)
            similarity = rows[part] @ rows.T
            strangers = labels[part, None] != labels[None]
            if nearest is not None and strangers.any():
                nearest[part] = np.where(strangers, similarity, -1.0).max(axis=1)
            later = np.arange(len(rows))[None] > np.arange(len(rows))[part, None]  # each pair once
            counts.add(similarity[strangers & later])
        return counts.tail()


def _threshold(settings: LeakSettings, comparisons: int, measured: Tail, *, card: Tail) -> LeakThreshold:
    rate = rate_of_each(settings.false_alarm / 2, comparisons)
    if settings.similarity is not None:
        return LeakThreshold(settings.similarity, comparisons, rate, measured, card, "given")
    similarity = strictest((measured, card), rate)
    if similarity is None:
        return LeakThreshold(None, comparisons, rate, measured, card, "too few real people to measure strangers")
    if similarity > COPY_SIMILARITY:
        reason = f"strangers reach {similarity:.3f} among so many comparisons: only copies of pictures can be told"
        return LeakThreshold(COPY_SIMILARITY, comparisons, rate, measured, card, reason)
    known = measured[-1][0] if measured else 1.0
    known = min(known, card[-1][0]) if card else known
    reason = f"strangers measured down to a rate of {known:.0e}" + (", extrapolated" if rate < known else "")
    return LeakThreshold(similarity, comparisons, rate, measured, card, reason)


def _reaches(similarity: np.ndarray, threshold: LeakThreshold) -> np.ndarray:
    if threshold.similarity is None:
        return np.zeros(len(similarity), dtype=bool)
    return similarity >= threshold.similarity
