"""Exact and near duplicates among the scanned images, within and across identities."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import Callable, Iterable, Iterator

import numpy as np
from tqdm import tqdm

from arcface_paddle.data.base import FaceDataset
from arcface_paddle.data.doctor.findings import Finding, Ledger
from arcface_paddle.data.doctor.hashing import correlation, gray_thumbnail
from arcface_paddle.data.doctor.neighbors import near_pairs
from arcface_paddle.data.doctor.scan import ScanFacts, decode_checked
from arcface_paddle.data.doctor.settings import DoctorSettings

_LEADERS_PER_CODE = 8
_THUMBNAILS_HELD = 20_000

ThumbnailOf = Callable[[int], np.ndarray]


def equal_groups(keys: np.ndarray, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, for each key that occurs more than once among ``indices``, those indices, ascending.

    Args:
        keys: (N,) digests of the whole dataset.
        indices: (M,) which images to compare, ascending.
    """
    order = indices[np.argsort(keys[indices], kind="stable")]
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    bounds = np.concatenate([[0], edges, [len(order)]])
    repeated = np.flatnonzero(np.diff(bounds) > 1)
    groups = (order[bounds[at] : bounds[at + 1]] for at in repeated)
    return iter(sorted(groups, key=lambda group: int(group[0])))


def find_exact(facts: ScanFacts, labels: np.ndarray, ledger: Ledger) -> list[np.ndarray]:
    """Write groups of images with equal pixels into the ledger.

    Returns:
        The groups, each a (G,) int64 array of indices, ascending.
    """
    groups = list(equal_groups(facts.pixels, facts.good()))
    for group in groups:
        same_bytes = len(np.unique(facts.content[group])) == 1
        what = "identical files" if same_bytes else "different files, identical pixels"
        ledger.add(_finding("exact_duplicate", group, labels, f"{len(group)} images, {what}"))
    return groups


def find_near(dataset: FaceDataset, facts: ScanFacts, settings: DoctorSettings, ledger: Ledger) -> None:
    """Write groups of nearly equal images into the ledger, exact copies left out.

    Candidates are pairs whose perceptual hashes differ in at most ``near_radius`` bits; a pair counts when the two
    grey thumbnails, made again from the files, correlate at least ``near_correlation``. Pairs that share an image
    make one group.
    """
    good = facts.good()
    _, first = np.unique(facts.pixels[good], return_index=True)
    distinct = good[np.sort(first)]
    thumbnail_of = thumbnail_reader(dataset)
    pairs = sorted(_candidate_pairs(facts.perceptual, distinct, settings, thumbnail_of))
    links: list[tuple[int, int]] = []
    weakest: dict[int, float] = {}
    for one, other in tqdm(pairs, desc="comparing", unit="pair", disable=None):
        similarity = correlation(thumbnail_of(one), thumbnail_of(other))
        if similarity >= settings.near_correlation:
            links.append((one, other))
            weakest[other] = min(similarity, weakest.get(other, 1.0))
    for group in connected(links):
        lowest = min(weakest[index] for index in group.tolist() if index in weakest)
        detail = f"{len(group)} images, correlation from {lowest:.3f}"
        ledger.add(_finding("near_duplicate", group, dataset.labels, detail, score=lowest))


def thumbnail_reader(dataset: FaceDataset) -> ThumbnailOf:
    """Return a function that reads the grey thumbnail of an image again and remembers the last 20,000 (80 MB)."""

    @lru_cache(maxsize=_THUMBNAILS_HELD)
    def thumbnail_of(index: int) -> np.ndarray:
        return gray_thumbnail(decode_checked(dataset.read_encoded(index)))

    return thumbnail_of


def connected(links: Iterable[tuple[int, int]]) -> list[np.ndarray]:
    """Return the connected components of a graph as ascending arrays of nodes, ordered by their first node."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in links:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    members: dict[int, list[int]] = defaultdict(list)
    for node in sorted(parent):
        members[root(node)].append(node)
    return [np.array(group, dtype=np.int64) for _, group in sorted(members.items())]


def _candidate_pairs(
    codes: np.ndarray, indices: np.ndarray, settings: DoctorSettings, thumbnail_of: ThumbnailOf
) -> Iterator[tuple[int, int]]:
    """Yield pairs of images with near hashes.

    Images of one and the same hash are compared with the first few of them that differ (its leaders) only, so that
    a million black pictures do not make a million squared pairs.
    """
    order = indices[np.argsort(codes[indices], kind="stable")]
    distinct, starts = np.unique(codes[order], return_index=True)
    bounds = np.append(starts, len(order))
    leaders_of: dict[int, list[int]] = {}
    for at in np.flatnonzero(np.diff(bounds) > 1).tolist():
        leaders: list[int] = []
        for index in order[bounds[at] : bounds[at + 1]].tolist():
            yield from ((leader, index) for leader in leaders)
            alone = all(
                correlation(thumbnail_of(leader), thumbnail_of(index)) < settings.near_correlation for leader in leaders
            )
            if alone and len(leaders) < _LEADERS_PER_CODE:
                leaders.append(index)
        leaders_of[at] = leaders
    for one, other in near_pairs(distinct, settings.near_radius).tolist():
        for left in leaders_of.get(one, [int(order[starts[one]])]):
            for right in leaders_of.get(other, [int(order[starts[other]])]):
                yield (min(left, right), max(left, right))


def _finding(kind: str, group: np.ndarray, labels: np.ndarray, detail: str, *, score: float = 1.0) -> Finding:
    owners = tuple(np.unique(labels[group]).tolist())
    scope = "same" if len(owners) == 1 else "across"
    return Finding(f"{kind}_{scope}", detail, tuple(group.tolist()), owners, score=score)
