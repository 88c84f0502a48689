"""Which pictures are copies of each other, whatever became of them: candidates by hash, decided by their grey pictures.

A data set's examination and a photo library ask the same: pairs whose perceptual hashes are near are compared, and
those that are copies are joined to groups.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Callable, Iterator, NamedTuple

import numpy as np

from arcface_paddle.pipeline.hamming import hamming_join, near_pairs
from arcface_paddle.pipeline.picture_hashes import copy_similarity, mirrored_hash

NEAR_RADIUS = 3
"""Perceptual hashes of near duplicates differ in at most this many of 64 bits."""

NEAR_CORRELATION = 0.98
"""Near duplicates' grey pictures correlate at least this much, or nearer to 1 by half after alignment."""

_LEADERS_PER_CODE = 8  # different pictures of one hash (flat ones) with which all others of it are compared

PictureOf = Callable[[int], np.ndarray]


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


class CopyCandidates:
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
