"""Exact and near duplicates among the scanned images, within and across identities."""

from __future__ import annotations

import itertools
from collections import defaultdict
from functools import lru_cache
from typing import Callable, Iterable, Iterator

import numpy as np
from tqdm import tqdm

from arcface_paddle.data.base import FaceDataset
from arcface_paddle.data.doctor.findings import Finding, Ledger
from arcface_paddle.data.doctor.hashing import correlation, gray_thumbnail, mirrored_hash
from arcface_paddle.data.doctor.neighbors import hamming_join, near_pairs
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


def find_exact(facts: ScanFacts, labels: np.ndarray, *, ledger: Ledger) -> list[np.ndarray]:
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


def find_near(dataset: FaceDataset, facts: ScanFacts, *, settings: DoctorSettings, ledger: Ledger) -> None:
    """Write groups of nearly equal images, mirror images included, into the ledger; exact copies are left out.

    Candidates are pairs whose perceptual hashes differ in at most ``near_radius`` bits; a pair counts when the two
    grey thumbnails, made again from the files, correlate at least ``near_correlation``. Pairs that share an image
    make one group. Training mirrors at random, so a mirror image is as much a copy as any other.
    """
    good = facts.good()
    _, first = np.unique(facts.pixels[good], return_index=True)
    matcher = _Matcher(
        facts.perceptual, good[np.sort(first)], settings=settings, thumbnail_of=thumbnail_reader(dataset)
    )
    similarity_of: dict[tuple[int, int], float] = {}
    mirrored: set[tuple[int, int]] = set()
    for one, other, is_mirrored in tqdm(sorted(matcher.candidates()), desc="comparing", unit="pair", disable=None):
        similarity = matcher.similarity(one, other, mirrored=is_mirrored)
        if similarity >= settings.near_correlation and (one, other) not in similarity_of:
            similarity_of[(one, other)] = similarity
            mirrored |= {(one, other)} if is_mirrored else set()
    lowest_of: dict[int, float] = defaultdict(lambda: 1.0)
    for (_, other), similarity in similarity_of.items():
        lowest_of[other] = min(similarity, lowest_of[other])
    turned = {index for pair in mirrored for index in pair}
    for group in connected(similarity_of):
        members = group.tolist()
        lowest = min(lowest_of[index] for index in members)
        tail = ", mirrored" if turned.intersection(members) else ""
        detail = f"{len(group)} images, correlation from {lowest:.3f}{tail}"
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


class _Matcher:
    """Finds pairs of images that may be near duplicates, and compares them."""

    def __init__(
        self, codes: np.ndarray, indices: np.ndarray, *, settings: DoctorSettings, thumbnail_of: ThumbnailOf
    ) -> None:
        self._settings = settings
        self._thumbnail_of = thumbnail_of
        self._order = indices[np.argsort(codes[indices], kind="stable")]
        self._codes, starts = np.unique(codes[self._order], return_index=True)
        self._bounds = np.append(starts, len(self._order))

    def similarity(self, one: int, other: int, *, mirrored: bool = False) -> float:
        """Return the correlation of two images' thumbnails, the second one mirrored if asked."""
        second = self._thumbnail_of(other)
        return correlation(self._thumbnail_of(one), second[:, ::-1] if mirrored else second)

    def candidates(self) -> Iterator[tuple[int, int, bool]]:
        """Yield pairs (lower index, higher index, whether mirrored) of images with near hashes.

        Images of one and the same hash are compared with the first few of them that differ (its leaders) only, so
        that a million black pictures do not make a million squared pairs.
        """
        leaders_of: dict[int, list[int]] = {}  # by the number of the hash; a hash of one image is led by it
        for at in np.flatnonzero(np.diff(self._bounds) > 1).tolist():
            leaders = leaders_of.setdefault(at, [])
            for index in self._order[self._bounds[at] : self._bounds[at + 1]].tolist():
                yield from ((leader, index, False) for leader in leaders)
                if len(leaders) < _LEADERS_PER_CODE and self._is_new(index, leaders):
                    leaders.append(index)
        radius = self._settings.near_radius
        turned = hamming_join(mirrored_hash(self._codes), self._codes, radius=radius)
        for pairs, mirrored in ((near_pairs(self._codes, radius), False), (turned[turned[:, 0] < turned[:, 1]], True)):
            for one, other in pairs.tolist():
                left, right = (leaders_of.get(at, [int(self._order[self._bounds[at]])]) for at in (one, other))
                yield from ((min(pair), max(pair), mirrored) for pair in itertools.product(left, right))

    def _is_new(self, index: int, leaders: list[int]) -> bool:
        return all(self.similarity(leader, index) < self._settings.near_correlation for leader in leaders)


def _finding(kind: str, group: np.ndarray, labels: np.ndarray, detail: str, *, score: float = 1.0) -> Finding:
    owners = tuple(np.unique(labels[group]).tolist())
    scope = "same" if len(owners) == 1 else "across"
    return Finding(f"{kind}_{scope}", detail, tuple(group.tolist()), owners, score=score)
