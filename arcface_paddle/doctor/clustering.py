"""Average-linkage clustering of the embeddings of one identity, and which part of it is the identity."""

from __future__ import annotations

from dataclasses import dataclass

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


def average_linkage(embeddings: np.ndarray, max_distance: float) -> np.ndarray:
    """Cluster by mean pairwise cosine distance (UPGMA), merging up to ``max_distance``.

    The nearest-neighbour chain algorithm (Murtagh 1983) finds the same tree as merging the closest pair again and
    again, in O(N²). A cluster whose nearest neighbour is too far is final: average linkage never brings it nearer.

    Args:
        embeddings: (N, D) float32, L2-normalised.
        max_distance: 1 - cosine, 0 to 2.

    Returns:
        (N,) int64 cluster numbers, ordered by their first image.
    """
    count = len(embeddings)
    distances = 1.0 - embeddings.astype(np.float64) @ embeddings.T.astype(np.float64)
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
            _merge(distances, sizes, kept=nearest, gone=tip)
            _close(distances, open_, tip)
            owner[owner == tip] = nearest
        else:
            chain.append(nearest)
    _, first, inverse = np.unique(owner, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.ravel()]


def divide(embeddings: np.ndarray, settings: DoctorSettings, *, rng: np.random.Generator) -> Division:
    """Find the main cluster of an identity.

    Of more than ``cluster_cap`` images a random choice is clustered; the others belong to the main cluster when
    their mean distance to it is at most ``cluster_distance``, the same measure.

    Args:
        embeddings: (N, D) float32, L2-normalised, N at least 1.
        settings: ``cluster_distance`` and ``cluster_cap``.
        rng: makes the choice.
    """
    count = len(embeddings)
    chosen = np.arange(count)
    if count > settings.cluster_cap:
        chosen = np.sort(rng.choice(count, settings.cluster_cap, replace=False))
    clusters = _largest_first(average_linkage(embeddings[chosen], settings.cluster_distance))
    cluster = np.full(count, -1, dtype=np.int64)
    cluster[chosen] = clusters
    sizes = np.bincount(clusters)
    if (sizes == sizes[0]).sum() > 1:
        return Division(np.ones(count, dtype=bool), True, cluster)
    others = np.setdiff1d(np.arange(count), chosen)
    mean_similarity = embeddings[others] @ embeddings[cluster == 0].mean(axis=0)
    cluster[others[1.0 - mean_similarity <= settings.cluster_distance]] = 0
    return Division(cluster == 0, False, cluster)


def _largest_first(clusters: np.ndarray) -> np.ndarray:
    """Number clusters anew by their size; equal ones keep their order."""
    return np.argsort(np.argsort(-np.bincount(clusters), kind="stable"))[clusters]


def _merge(distances: np.ndarray, sizes: np.ndarray, *, kept: int, gone: int) -> None:
    """Give ``kept`` the mean distances of both clusters (Lance-Williams update of average linkage)."""
    total = sizes[kept] + sizes[gone]
    mean = (sizes[kept] * distances[kept] + sizes[gone] * distances[gone]) / total
    distances[kept, :] = mean
    distances[:, kept] = mean
    sizes[kept] = total


def _close(distances: np.ndarray, open_: np.ndarray, cluster: int) -> None:
    distances[cluster, :] = np.inf
    distances[:, cluster] = np.inf
    open_[cluster] = False
