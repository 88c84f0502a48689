"""All pairs of 64-bit codes within a Hamming radius, exactly, without comparing every code with every other.

Multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with Multi-Index Hashing,
https://arxiv.org/abs/1307.2982): the code is cut into four bands of 16 bits. Two codes within radius r agree in at
least one band up to floor(r / 4) bits (pigeonhole), so it is enough to look at the codes whose band has one of the
few nearby values, found in a sorted copy of the band.
"""

from __future__ import annotations

import itertools
from typing import Iterator

import numpy as np

BANDS = 4
BAND_BITS = 16
_BAND_MASK = np.uint64((1 << BAND_BITS) - 1)
_PAIRS_PER_STEP = 1 << 16  # small enough that the arrays of a step stay in the cache
_PAIRS_PER_PASS = 1 << 18  # comparing so many pairs directly takes as long as preparing one pass over the buckets
_NUMPY_COUNTS_BITS = hasattr(np, "bitwise_count")  # numpy 2.0


def hamming_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the number of differing bits of uint64 arrays, elementwise."""
    bits = first ^ second
    return np.bitwise_count(bits) if _NUMPY_COUNTS_BITS else count_bits(bits)


def count_bits(bits: np.ndarray) -> np.ndarray:
    """Return the number of set bits of uint64 values as uint64; for numpy before 2.0, three times as slow."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    # The product sums the eight byte counts into the top byte; the overflow beyond 64 bits is meant.
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


def hamming_join(probes: np.ndarray, codes: np.ndarray, *, radius: int) -> np.ndarray:
    """Return all pairs of a probe and a code that differ in at most ``radius`` bits.

    Args:
        probes: (P,) uint64.
        codes: (N,) uint64.
        radius: 0 to 11.

    Returns:
        (M, 2) int64, indices of probe and code, sorted, each pair once.
    """
    passes = _bands_and_flips(radius)
    if len(probes) * len(codes) <= _PAIRS_PER_PASS * len(passes):
        return _compare_all(probes, codes, radius)
    found = []
    for band, flips in passes:
        probe_order, probe_keys = _sorted_by_band(probes, band)
        code_order, code_keys = _sorted_by_band(codes, band)
        first, end = _buckets(code_keys, probe_keys ^ flips)
        ordered = probes[probe_order], codes[code_order]
        for rows, columns in _compare(*ordered, first=first, count=end - first, radius=radius):
            found.append(np.stack([probe_order[rows], code_order[columns]], axis=1))
    return _distinct(found)


def near_pairs(codes: np.ndarray, radius: int) -> np.ndarray:
    """Return all pairs (i, j), i < j, of codes that differ in at most ``radius`` (0 to 11) bits, as (M, 2) int64.

    Equal codes make a pair too; collapse large groups of equal codes first (``numpy.unique``).
    """
    passes = _bands_and_flips(radius)
    if len(codes) ** 2 <= _PAIRS_PER_PASS * len(passes):
        pairs = _compare_all(codes, codes, radius)
        return pairs[pairs[:, 0] < pairs[:, 1]]
    found = []
    for band, flips in passes:
        order, keys = _sorted_by_band(codes, band)
        first, end = _buckets(keys, keys ^ flips)
        # Every pair once: with those behind oneself in the same bucket, or from the lower bucket to the higher one.
        first = np.maximum(first, np.arange(1, len(codes) + 1))
        ordered = codes[order]
        for rows, columns in _compare(ordered, ordered, first=first, count=np.maximum(end - first, 0), radius=radius):
            found.append(np.sort(np.stack([order[rows], order[columns]], axis=1), axis=1))
    return _distinct(found)


def _bands_and_flips(radius: int) -> list[tuple[int, int]]:
    """Return each band with each pattern of bits that may differ in it."""
    if not 0 <= radius < 3 * BANDS:
        raise ValueError(f"radius is {radius}; allowed: 0 to {3 * BANDS - 1}")
    return [(band, flips) for band in range(BANDS) for flips in _flip_masks(radius // BANDS)]


def _buckets(sorted_keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the run of each wanted key begins and ends among the sorted keys."""
    starts = np.searchsorted(sorted_keys, np.arange((1 << BAND_BITS) + 1))
    return starts[wanted], starts[wanted + 1]


def _compare_all(probes: np.ndarray, codes: np.ndarray, radius: int) -> np.ndarray:
    """Compare every probe with every code; for inputs so small that sorting them into buckets would take longer."""
    if not len(probes) or not len(codes):
        return np.empty((0, 2), dtype=np.int64)
    rows = max(1, _PAIRS_PER_STEP // len(codes))
    found = []
    for start in range(0, len(probes), rows):
        close = np.argwhere(hamming_distance(probes[start : start + rows, None], codes[None]) <= radius)
        close[:, 0] += start
        found.append(close)
    return np.concatenate(found)


def _distinct(found: list[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), dtype=np.int64)


def _sorted_by_band(codes: np.ndarray, band: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of the codes by the value of a band, and the sorted values, int64."""
    keys = ((codes >> np.uint64(band * BAND_BITS)) & _BAND_MASK).astype(np.uint16)
    order = np.argsort(keys, kind="stable")
    return order, keys[order].astype(np.int64)


def _compare(
    probes: np.ndarray, codes: np.ndarray, *, first: np.ndarray, count: np.ndarray, radius: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compare each probe with ``count`` codes from ``first`` on; yield the positions of close probes and codes."""
    for block in _blocks_of_work(count):
        counts = count[block]
        rows = np.repeat(np.arange(block.start, block.stop), counts)
        # Within the block, the codes of each probe follow each other: start anew where the next probe begins.
        shift = first[block] - (np.cumsum(counts) - counts)
        columns = np.arange(len(rows)) + np.repeat(shift, counts)
        close = np.flatnonzero(hamming_distance(probes[rows], codes[columns]) <= radius)
        yield rows[close], columns[close]


def _blocks_of_work(count: np.ndarray) -> list[slice]:
    """Cut the probes into runs with about ``_PAIRS_PER_STEP`` comparisons each."""
    total = np.cumsum(count)
    if not len(total) or total[-1] == 0:
        return []
    cuts = np.searchsorted(total, np.arange(_PAIRS_PER_STEP, total[-1], _PAIRS_PER_STEP)) + 1
    edges = np.unique(np.concatenate([[0], cuts, [len(count)]]))
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:])]


def _flip_masks(max_flips: int) -> list[int]:
    return [
        sum(1 << bit for bit in bits)
        for flips in range(max_flips + 1)
        for bits in itertools.combinations(range(BAND_BITS), flips)
    ]
