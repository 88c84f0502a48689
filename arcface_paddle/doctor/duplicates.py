"""Exact and near duplicates among the scanned images, within and across identities."""

from __future__ import annotations

import itertools
from collections import defaultdict
from functools import lru_cache
from typing import Callable, Iterator, NamedTuple

import numpy as np

from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.findings import Finding, Ledger
from arcface_paddle.doctor.hashing import compared_picture, copy_similarity, mirrored_hash
from arcface_paddle.doctor.neighbors import hamming_join, near_pairs
from arcface_paddle.doctor.scan import ScanFacts, decode_checked
from arcface_paddle.progress import progress

_LEADERS_PER_CODE = 8  # different pictures of one hash (flat ones) with which all others of it are compared
_PICTURES_HELD = 10_000  # grey pictures of 48 x 48 float32, 92 MB

PictureOf = Callable[[int], np.ndarray]


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

    Candidates are pairs whose perceptual hashes differ in at most ``near_radius`` bits, within an identity in at most
    ``kin_radius``; a pair counts when its grey pictures, made again from the files, are as similar as copies, see
    ``copy_similarity``. Pairs that share an image make one group. Training mirrors at random, so a mirror image is as
    much a copy as any other.
    """
    good = facts.good()
    _, first = np.unique(facts.pixels[good], return_index=True)
    distinct = good[np.sort(first)]
    links = Links(copy_picture_reader(dataset), settings.near_correlation)
    everyone = _Candidates(facts.perceptual, distinct, radius=settings.near_radius, links=links)
    for one, other, is_mirrored in progress(sorted(everyone), desc="comparing", unit="pair"):
        links.compare(one, other, mirrored=is_mirrored)
    families = list(equal_groups(dataset.labels, distinct))

    def copies_within(family: np.ndarray) -> Links:
        found = Links(links.picture_of, settings.near_correlation)
        radius = max(settings.near_radius, settings.kin_radius)
        for one, other, is_mirrored in sorted(_Candidates(facts.perceptual, family, radius=radius, links=found)):
            if not found.are_linked(one, other):  # the frames of a video need not be compared each with each
                found.compare(one, other, mirrored=is_mirrored)
        return found

    with progress(total=len(families), desc="comparing", unit="id") as bar:
        for found in ordered_map(copies_within, families, workers=settings.workers):
            links.take(found)
            bar.update(1)
    for group, lowest, has_mirrored in links.groups():
        tail = ", mirrored" if has_mirrored else ""
        detail = f"{len(group)} images, correlation from {lowest:.3f}{tail}"
        ledger.add(_finding("near_duplicate", group, dataset.labels, detail, score=lowest))


def copy_picture_reader(dataset: FaceDataset) -> PictureOf:
    """Return a function that reads the grey picture of an image again and remembers the last 10,000 (90 MB)."""

    @lru_cache(maxsize=_PICTURES_HELD)
    def picture_of(index: int) -> np.ndarray:
        return compared_picture(decode_checked(dataset.read_encoded(index)))

    return picture_of


class _Copy(NamedTuple):
    one: int
    other: int
    mirrored: bool
    similarity: float


class Links:
    """Compares pairs of images and joins those that are copies to groups (union-find)."""

    def __init__(self, picture_of: PictureOf, threshold: float) -> None:
        self.picture_of = picture_of
        self._threshold = threshold
        self._copies: list[_Copy] = []
        self._parent: dict[int, int] = {}
        self._lowest: dict[int, float] = {}  # by image: the least similarity of its pairs that are copies
        self._mirrored: set[int] = set()

    def are_copies(self, one: int, other: int, *, mirrored: bool = False) -> bool:
        """Tell whether two images, the second one mirrored if asked, are copies of each other."""
        return self._similarity(one, other, mirrored) >= self._threshold

    def compare(self, one: int, other: int, *, mirrored: bool) -> None:
        """Join two images if they are copies."""
        similarity = self._similarity(one, other, mirrored)
        if similarity >= self._threshold:
            self._join(_Copy(one, other, mirrored, similarity))

    def take(self, others: Links) -> None:
        """Join the images that others have joined."""
        for copy in others._copies:
            self._join(copy)

    def _join(self, copy: _Copy) -> None:
        one, other, mirrored, similarity = copy
        self._copies.append(copy)
        for index in (one, other):
            self._lowest[index] = min(similarity, self._lowest.get(index, 1.0))
        self._mirrored |= {one, other} if mirrored else set()
        low, high = sorted((self._root(one), self._root(other)))
        self._parent[high] = low

    def are_linked(self, one: int, other: int) -> bool:
        """Tell whether two images are in one group already."""
        return self._root(one) == self._root(other)

    def groups(self) -> Iterator[tuple[np.ndarray, float, bool]]:
        """Yield each group in the order of its first image: (G,) int64 indices, ascending, the least similarity of
        its pairs, and whether one of them is mirrored."""
        members: dict[int, list[int]] = defaultdict(list)
        for index in sorted(self._lowest):
            members[self._root(index)].append(index)
        for _, group in sorted(members.items()):
            lowest = min(self._lowest[index] for index in group)
            yield np.array(group, dtype=np.int64), lowest, bool(self._mirrored.intersection(group))

    def _similarity(self, one: int, other: int, mirrored: bool) -> float:
        second = self.picture_of(other)
        second = np.ascontiguousarray(second[:, ::-1]) if mirrored else second
        return copy_similarity(self.picture_of(one), second, threshold=self._threshold)

    def _root(self, node: int) -> int:
        parent = self._parent
        while (above := parent.get(node, node)) != node:
            parent[node] = parent.get(above, above)
            node = parent[node]
        return node


class _Candidates:
    """Pairs of images that may be near duplicates: (lower index, higher index, whether mirrored).

    Images of one and the same hash are compared with the first few of them that differ (its leaders) only, so that a
    million black pictures do not make a million squared pairs.
    """

    def __init__(self, codes: np.ndarray, indices: np.ndarray, *, radius: int, links: Links) -> None:
        self._radius = radius
        self._links = links
        self._order = indices[np.argsort(codes[indices], kind="stable")]
        self._codes, starts = np.unique(codes[self._order], return_index=True)
        self._bounds = np.append(starts, len(self._order))

    def __iter__(self) -> Iterator[tuple[int, int, bool]]:
        leaders_of: dict[int, list[int]] = {}  # by the number of the hash; a hash of one image is led by it
        for at in np.flatnonzero(np.diff(self._bounds) > 1).tolist():
            leaders = leaders_of.setdefault(at, [])
            for index in self._order[self._bounds[at] : self._bounds[at + 1]].tolist():
                yield from ((leader, index, False) for leader in leaders)
                if len(leaders) < _LEADERS_PER_CODE and not any(self._links.are_copies(index, led) for led in leaders):
                    leaders.append(index)
        turned = hamming_join(mirrored_hash(self._codes), self._codes, radius=self._radius)
        turned = turned[turned[:, 0] < turned[:, 1]]
        for pairs, mirrored in ((near_pairs(self._codes, self._radius), False), (turned, True)):
            for one, other in pairs.tolist():
                left, right = (leaders_of.get(at, [int(self._order[self._bounds[at]])]) for at in (one, other))
                yield from ((min(pair), max(pair), mirrored) for pair in itertools.product(left, right))


def _finding(kind: str, group: np.ndarray, labels: np.ndarray, detail: str, *, score: float = 1.0) -> Finding:
    owners = tuple(np.unique(labels[group]).tolist())
    scope = "same" if len(owners) == 1 else "across"
    return Finding(f"{kind}_{scope}", detail, tuple(group.tolist()), owners, score=score)
