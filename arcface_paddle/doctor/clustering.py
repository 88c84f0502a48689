"""Agglomerative clustering of the embeddings of one identity, and which part of it is the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from arcface_paddle.doctor.doctor_settings import DoctorSettings


@dataclass(frozen=True, eq=False)
class Division:
    """How the images of one identity fall apart.

    Attributes:
        in_main: (N,) bool, images of the main cluster; all of them when there is no main cluster.
        is_split: no cluster is larger than all others, so none can be called the main one.
        cluster: (N,) int64, the cluster of each image: 0 is the largest, of equal ones the one with the first image;
            -1 for images that were not clustered (see ``divide``) and do not belong to the main one.
    """

    in_main: np.ndarray
    is_split: bool
    cluster: np.ndarray


def cosine_distances(embeddings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return 1 - cosine of (N, D) and (M, D) L2-normalised embeddings, (N, M) float64 from 0 to 2."""
    return 1.0 - embeddings.astype(np.float64) @ others.T.astype(np.float64)


def euclidean_distances(embeddings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distances of (N, D) and (M, D) L2-normalised embeddings, (N, M) float64 from 0 to 2."""
    return np.sqrt(np.maximum(2.0 * cosine_distances(embeddings, others), 0.0))


_DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": cosine_distances,
    "euclidean": euclidean_distances,
}


@dataclass(frozen=True)
class _Linkage:
    """The distance of two clusters.

    Attributes:
        merge: that of a third one to two that become one, from its distances to both and their sizes
            (Lance-Williams update).
        of_members: that of an image to a cluster, from its distances to the members, (N, M) to (N,).
    """

    merge: Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]
    of_members: Callable[[np.ndarray], np.ndarray]


_LINKAGES = {
    "average": _Linkage(lambda one, two, m, n: (m * one + n * two) / (m + n), lambda members: members.mean(axis=1)),
    "complete": _Linkage(lambda one, two, m, n: np.maximum(one, two), lambda members: members.max(axis=1)),
    "single": _Linkage(lambda one, two, m, n: np.minimum(one, two), lambda members: members.min(axis=1)),
}


def agglomerate(
    embeddings: np.ndarray, max_distance: float, *, affinity: str = "cosine", linkage: str = "average"
) -> np.ndarray:
    """Cluster by merging the nearest clusters up to ``max_distance``.

    The nearest-neighbour chain algorithm (Murtagh 1983) finds the same tree as merging the closest pair again and
    again, in O(N²). A cluster whose nearest neighbour is too far is final: no linkage here brings it nearer.

    Args:
        embeddings: (N, D) float32, L2-normalised.
        max_distance: 0 to 2.
        affinity: one of ``doctor_settings.AFFINITIES``: the distance of two images.
        linkage: one of ``doctor_settings.LINKAGES``: that of two clusters is the mean, the largest or the smallest
            of their images' distances.

    Returns:
        (N,) int64 cluster numbers, ordered by their first image.
    """
    count = len(embeddings)
    distances = _DISTANCES[affinity](embeddings, embeddings)
    np.fill_diagonal(distances, np.inf)
    owner = np.arange(count)
    sizes = np.ones(count)
    open_ = np.ones(count, dtype=bool)
    chain: list[int] = []
    while open_.any():
        if not chain:
            chain.append(int(np.argmax(open_)))
        tip = chain[-1]
        nearest = int(np.argmin(distances[tip]))
        if len(chain) > 1 and distances[tip, chain[-2]] <= distances[tip, nearest]:
            nearest = chain[-2]
        if not distances[tip, nearest] <= max_distance:
            _close(distances, open_, chain.pop())
        elif len(chain) > 1 and nearest == chain[-2]:
            del chain[-2:]
            _merge(distances, sizes, kept=nearest, gone=tip, linkage=_LINKAGES[linkage])
            _close(distances, open_, tip)
            owner[owner == tip] = nearest
        else:
            chain.append(nearest)
    _, first, inverse = np.unique(owner, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.ravel()]


def divide(embeddings: np.ndarray, settings: DoctorSettings, *, rng: np.random.Generator) -> Division:
    """Find the main cluster of an identity.

    Of more than ``cluster_cap`` images a random choice is clustered; the others belong to the main cluster when
    their distance to it is at most ``cluster_distance``, by the same measure.

    Args:
        embeddings: (N, D) float32, L2-normalised, N at least 1.
        settings: ``cluster_distance``, ``cluster_cap``, ``affinity`` and ``linkage``.
        rng: makes the choice.
    """
    count = len(embeddings)
    chosen = np.arange(count)
    if count > settings.cluster_cap:
        chosen = np.sort(rng.choice(count, settings.cluster_cap, replace=False))
    clusters = _largest_first(
        agglomerate(embeddings[chosen], settings.cluster_distance, affinity=settings.affinity, linkage=settings.linkage)
    )
    cluster = np.full(count, -1, dtype=np.int64)
    cluster[chosen] = clusters
    sizes = np.bincount(clusters)
    if (sizes == sizes[0]).sum() > 1:
        return Division(np.ones(count, dtype=bool), True, cluster)
    others = np.setdiff1d(np.arange(count), chosen)
    if len(others):
        to_members = _DISTANCES[settings.affinity](embeddings[others], embeddings[cluster == 0])
        to_main = _LINKAGES[settings.linkage].of_members(to_members)
        cluster[others[to_main <= settings.cluster_distance]] = 0
    return Division(cluster == 0, False, cluster)


def _largest_first(clusters: np.ndarray) -> np.ndarray:
    """Number clusters anew by their size; equal ones keep their order."""
    return np.argsort(np.argsort(-np.bincount(clusters), kind="stable"))[clusters]


def _merge(distances: np.ndarray, sizes: np.ndarray, *, kept: int, gone: int, linkage: _Linkage) -> None:
    """Give ``kept`` the distances of both clusters."""
    merged = linkage.merge(distances[kept], distances[gone], sizes[kept], sizes[gone])
    distances[kept, :] = merged
    distances[:, kept] = merged
    distances[kept, kept] = np.inf  # single linkage would take its distance to the other one, which is smaller
    sizes[kept] += sizes[gone]


def _close(distances: np.ndarray, open_: np.ndarray, cluster: int) -> None:
    distances[cluster, :] = np.inf
    distances[:, cluster] = np.inf
    open_[cluster] = False
