"""Doubtful labels by embedding: images apart from their identity, one person under two labels, wrong labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from arcface_paddle.doctor.clustering import Division, divide
from arcface_paddle.doctor.crop_embeddings import EmbeddingStore, unit_rows
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.findings import Finding, Ledger
from arcface_paddle.progress import progress

_BLOCK_VALUES = 1 << 24  # similarities held at a time, 64 MB


@dataclass(frozen=True, eq=False)
class IdentityFacts:
    """What the embeddings say of the identities and of each image.

    Attributes:
        labels: (K,) int64, identities with at least one embedded image, ascending.
        centroids: (K, D) float32, normalised mean of the main cluster; zeros for a split identity.
        medoids: (K,) int64, index of the image nearest to the centroid.
        own_similarity: (N,) float32 over the whole dataset, cosine of an image to the centroid of the other images
            of its main cluster; NaN where unknown.
        rejected: (N,) bool over the whole dataset, images outside of their identity's main cluster.
        cluster: (N,) int32 over the whole dataset, the cluster of each image within its identity, 0 the largest; -1
            where unknown.
        split: (N,) bool over the whole dataset, images of an identity without a main cluster.
    """

    labels: np.ndarray
    centroids: np.ndarray
    medoids: np.ndarray
    own_similarity: np.ndarray
    rejected: np.ndarray
    cluster: np.ndarray
    split: np.ndarray


def examine_identities(
    store: EmbeddingStore, labels: np.ndarray, *, settings: DoctorSettings, ledger: Ledger
) -> IdentityFacts:
    """Cluster each identity, write rejected images and split identities into the ledger, and describe identities.

    Args:
        store: embeddings of all good images.
        labels: (N,) int64 labels of the whole dataset.
        settings: cluster distance and cap, seed.
        ledger: takes ``cluster_reject`` and ``split_identity``.
    """
    groups = list(_by_label(store.indices, labels))
    own_similarity = np.full(len(labels), np.nan, dtype=np.float32)
    rejected, split = np.zeros((2, len(labels)), dtype=bool)
    cluster = np.full(len(labels), -1, dtype=np.int32)
    centroids, medoids = [], []
    for members in progress(groups, desc="clustering", unit="id"):
        label = int(labels[members[0]])
        embeddings = store.take(members)
        division = divide(embeddings, settings, rng=np.random.default_rng((settings.seed, label)))
        centroid, own = _centroid_and_own(embeddings, division)
        own_similarity[members] = own
        rejected[members] = ~division.in_main
        cluster[members], split[members] = division.cluster, division.is_split
        centroids.append(centroid)
        medoids.append(int(members[np.argmax(embeddings @ centroid)]))
        _report_division(division, members, label=label, own=own, ledger=ledger)
    known = np.array([int(labels[members[0]]) for members in groups], dtype=np.int64)
    width = store.take(store.indices[:1]).shape[1]
    table = np.array(centroids, dtype=np.float32).reshape(len(groups), width)
    return IdentityFacts(known, table, np.array(medoids, dtype=np.int64), own_similarity, rejected, cluster, split)


def find_same_person(facts: IdentityFacts, settings: DoctorSettings, *, ledger: Ledger) -> None:
    """Write pairs of identities with centroids as similar as one person's into the ledger, most similar first."""
    pairs: list[tuple[float, int, int]] = []
    step = _rows_per_block(facts)
    for start in range(0, len(facts.labels), step):
        block = facts.centroids[start : start + step] @ facts.centroids[start:].T
        rows, columns = np.nonzero(np.triu(block >= settings.merge_similarity, k=1))
        similarities = block[rows, columns].tolist()
        pairs += list(zip(similarities, (rows + start).tolist(), (columns + start).tolist()))
    for similarity, one, other in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        owners = int(facts.labels[one]), int(facts.labels[other])
        samples = int(facts.medoids[one]), int(facts.medoids[other])
        detail = f"labels {owners[0]} and {owners[1]}: centroids {similarity:.3f} similar"
        ledger.add(Finding("same_person", detail, samples, owners, score=similarity))


def find_mislabelled(
    store: EmbeddingStore, labels: np.ndarray, *, facts: IdentityFacts, settings: DoctorSettings, ledger: Ledger
) -> None:
    """Write images that are clearly nearer to another identity than to their own into the ledger.

    Only images that do not match their own identity (similarity below ``match_similarity``, or unknown) are compared
    with all centroids. The other one must match, and by ``mislabel_margin`` better than the own one; for an image
    whose own identity is unknown, because it is alone or the identity is split, it must reach ``merge_similarity``.
    """
    own = facts.own_similarity[store.indices]
    doubtful = store.indices[~(own >= settings.match_similarity)]
    step = _rows_per_block(facts)
    for start in range(0, len(doubtful), step):
        block = doubtful[start : start + step]
        similarity = store.take(block) @ facts.centroids.T
        similarity[np.arange(len(block)), np.searchsorted(facts.labels, labels[block])] = -np.inf
        nearest = np.argmax(similarity, axis=1)
        best = similarity[np.arange(len(block)), nearest]
        own = facts.own_similarity[block]
        needed = np.maximum(settings.match_similarity, own + settings.mislabel_margin)
        needed = np.where(np.isnan(own), settings.merge_similarity, needed)
        for at in np.flatnonzero(best >= needed).tolist():
            index = int(block[at])
            ledger.add(
                _mislabelled(
                    index, int(labels[index]), nearest=int(nearest[at]), similarity=float(best[at]), facts=facts
                )
            )


def _rows_per_block(facts: IdentityFacts) -> int:
    """Return how many rows of similarities to all identities are computed at a time."""
    return max(1, _BLOCK_VALUES // max(1, len(facts.labels)))


def _mislabelled(index: int, label: int, *, nearest: int, similarity: float, facts: IdentityFacts) -> Finding:
    """Describe the image ``index`` of ``label``, which is nearer to the identity in row ``nearest`` of the facts."""
    own = float(facts.own_similarity[index])
    to_own = "nothing to compare with in its own" if np.isnan(own) else f"{own:.3f} to its own"
    owners = label, int(facts.labels[nearest])
    detail = f"{similarity:.3f} similar to label {owners[1]}, {to_own} ({owners[0]})"
    typical = (int(facts.medoids[row]) for row in (np.searchsorted(facts.labels, label), nearest))
    references = tuple(other for other in typical if other != index)
    return Finding("mislabelled", detail, (index,), owners, score=similarity, references=references)


def _by_label(indices: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the images of each identity, ascending, in the order of the labels."""
    order = indices[np.argsort(labels[indices], kind="stable")]
    return iter(np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)) if len(order) else iter(())


def _centroid_and_own(embeddings: np.ndarray, division: Division) -> tuple[np.ndarray, np.ndarray]:
    """Return the centroid (D,) and each image's similarity to the mean of the main cluster without itself (N,)."""
    if division.is_split:
        return np.zeros(embeddings.shape[1], dtype=np.float32), np.full(len(embeddings), np.nan, dtype=np.float32)
    total = embeddings[division.in_main].sum(axis=0)
    rest = total - embeddings * division.in_main[:, None]
    alone = division.in_main & (division.in_main.sum() == 1)
    own = (embeddings * unit_rows(rest)).sum(axis=1)
    return unit_rows(total[None])[0], np.where(alone, np.nan, own)


def _report_division(division: Division, members: np.ndarray, *, label: int, own: np.ndarray, ledger: Ledger) -> None:
    if division.is_split:
        ledger.add(_split(division, members, label))
        return
    typical = (int(members[np.argmax(np.where(division.in_main, own, -np.inf))]),)
    for index, similarity in zip(members[~division.in_main].tolist(), own[~division.in_main].tolist()):
        detail = f"{similarity:.3f} similar to the main cluster of label {label}"
        ledger.add(Finding("cluster_reject", detail, (index,), (label,), score=similarity, references=typical))


def _split(division: Division, members: np.ndarray, label: int) -> Finding:
    """Describe an identity without a main cluster; its images are ordered by cluster, the largest first."""
    number = np.where(division.cluster < 0, len(members), division.cluster)
    ordered = members[np.argsort(number, kind="stable")]
    sizes = tuple(np.unique(number, return_counts=True)[1].tolist())
    shown = ", ".join(map(str, sizes[:6])) + (", ..." if len(sizes) > 6 else "")
    detail = f"{len(members)} images fall into {len(sizes)} clusters of {shown}; none is larger than all others"
    samples = tuple(ordered.tolist())
    return Finding("split_identity", detail, samples, (label,), score=float(len(members)), groups=sizes)
