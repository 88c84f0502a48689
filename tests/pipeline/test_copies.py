"""Which pairs of pictures are compared, and how copies join to groups."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from arcface_paddle.pipeline.copies import CopyCandidates, Links
from arcface_paddle.pipeline.picture_hashes import copy_similarity, mirrored_hash


def grey(seed: int) -> np.ndarray:
    """Return (48, 48) float32, smooth as a photograph and different for each seed."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (6, 6)).astype(np.float32)
    return cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC)


def noisy(picture: np.ndarray, level: float) -> np.ndarray:
    return picture + np.random.default_rng(0).normal(0, level, picture.shape).astype(np.float32)


def test_copies_join_to_groups_with_the_least_similarity_of_their_pairs() -> None:
    one, other = grey(1), grey(2)
    pictures = [noisy(one, 4), other, one, np.ascontiguousarray(one[:, ::-1]), noisy(other, 2), grey(3)]
    links = Links(pictures.__getitem__, 0.98)
    assert links.are_copies(0, 2) and not links.are_copies(2, 3) and links.are_copies(2, 3, mirrored=True)
    assert list(links.groups()) == [] and not links.are_linked(0, 2)
    for first, second in itertools.combinations(range(6), 2):
        links.compare(first, second, mirrored=False)
    assert links.are_linked(0, 2) and not links.are_linked(0, 1) and not links.are_linked(0, 3)
    further = Links(pictures.__getitem__, 0.98)
    further.compare(2, 3, mirrored=True)
    links.take(further)
    groups = list(links.groups())
    assert [(group.tolist(), mirrored) for group, _, mirrored in groups] == [([0, 2, 3], True), ([1, 4], False)]
    expected = [copy_similarity(pictures[a], pictures[b], threshold=0.98) for a, b in ((0, 2), (1, 4))]
    assert expected[0] < 0.999 and [similarity for _, similarity, _ in groups] == pytest.approx(expected)
    assert groups[0][0].dtype == np.int64


def bits_between(one: int, other: int) -> int:
    return bin(one ^ other).count("1")


def test_candidates_are_near_hashes_and_mirrored_ones() -> None:
    random = np.random.default_rng(5)
    codes = random.integers(0, 2**63, 30, dtype=np.uint64)
    for at, flipped in [(20, 0b1), (21, 0b111), (22, 0b1111)]:
        codes[at] = codes[at - 20] ^ np.uint64(flipped)
    codes[23:25] = mirrored_hash(codes[3:5])
    links = Links([grey(n) for n in range(30)].__getitem__, 0.98)
    everyone = np.arange(2, 30)[::-1].copy()
    found = set(CopyCandidates(codes, everyone, radius=3, links=links))
    expected = set()
    for one, other in itertools.combinations(sorted(everyone.tolist()), 2):
        code, second = int(codes[one]), int(codes[other])
        if bits_between(code, second) <= 3:
            expected.add((one, other, False))
        if bits_between(code, int(mirrored_hash(codes[other : other + 1])[0])) <= 3:
            expected.add((one, other, True))
    assert found == expected and len(expected) == 2  # 0 and 1 are not among them, 2 and 22 differ in four bits


def test_of_one_hash_each_is_compared_with_the_first_few_that_differ() -> None:
    """A million black pictures are compared with one of them."""
    codes = np.full(14, 77, np.uint64)
    codes[13] = 78 ^ 0b1  # two bits from 77
    pictures = [grey(0)] * 3 + [grey(n) for n in range(1, 11)] + [grey(50)]
    links = Links(pictures.__getitem__, 0.98)
    found = list(CopyCandidates(codes, np.arange(14), radius=3, links=links))
    within = [(0, 1), (0, 2)]
    leaders = [0]
    for index in range(3, 13):
        within += [(leader, index) for leader in leaders]
        leaders += [index] if len(leaders) < 8 else []
    assert found[: len(within)] == [(*pair, False) for pair in within]
    assert sorted(found[len(within) :]) == [(leader, 13, False) for leader in leaders]
