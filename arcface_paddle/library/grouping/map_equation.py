"""Communities of a weighted graph by the two-level map equation: modules that shorten the description of a random walk.

Rosvall and Bergstrom: Maps of random walks on complex networks reveal community structure, PNAS 2008,
https://arxiv.org/abs/0707.0609. With p_m the share of steps inside module m, q_m the share of steps that leave it, q
their sum, and h(x) = x log2 x, the length of the description of a step is ::

    L = h(q) - 2 sum_m h(q_m) - sum_a h(p_a) + sum_m h(q_m + p_m)

The search is that of Louvain's method: every node in turn moves to the neighbouring module that shortens L most, until
none does; then modules become nodes, and so on; at last single nodes move once more. It is compiled where Numba is
installed, and ten to twenty times slower without it: half a minute or two for 10^5 faces with 50 neighbours each.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, Callable

import numpy as np

_LEAST_GAIN = 1e-12  # of L, below which a move is rounding
_MOST_SWEEPS = 30
_MOST_LEVELS = 30

Network = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Where each node's neighbours begin (N + 1), the neighbours, their shares of all weight, and the nodes' shares."""


def communities(
    count: int, edges: tuple[np.ndarray, np.ndarray, np.ndarray], *, rng: np.random.Generator
) -> np.ndarray:
    """Return the module of each node.

    Args:
        count: N, how many nodes there are; those without an edge are modules of their own.
        edges: ones, others (E,) int64, each pair once, and weights (E,) above 0.
        rng: decides in which order nodes are looked at.

    Returns:
        (N,) int64, numbers from 0 on.
    """
    ones, others, weights = edges
    modules = np.arange(count, dtype=np.int64)
    if not len(ones):
        return modules
    network = _network(count, ones, others, weights / (2 * float(weights.sum(dtype=np.float64))))
    modules = _through_levels(network, modules, rng)
    refined = modules.copy()
    if _sweep_until_still(network, refined, rng):
        modules = _through_levels(network, refined, rng)
    return modules


def description_length(count: int, edges: tuple[np.ndarray, np.ndarray, np.ndarray], modules: np.ndarray) -> float:
    """Return L in bits of a partition, computed from its definition; edges and modules as in ``communities``."""
    ones, others, weights = edges
    shares = weights / (2 * float(weights.sum(dtype=np.float64)))
    visits = np.bincount(ones, shares, count) + np.bincount(others, shares, count)
    between = modules[ones] != modules[others]
    size = int(modules.max()) + 1
    inside = np.bincount(modules, visits, size)
    leaving = np.bincount(modules[ones[between]], shares[between], size)
    leaving += np.bincount(modules[others[between]], shares[between], size)
    total = _plogp(np.array([leaving.sum()])) - 2 * _plogp(leaving) - _plogp(visits) + _plogp(leaving + inside)
    return float(total)


def _plogp(values: np.ndarray) -> float:
    positive = values[values > 0]
    return float((positive * np.log2(positive)).sum())


def _network(count: int, ones: np.ndarray, others: np.ndarray, shares: np.ndarray) -> Network:
    """Return a graph as a list of neighbours; edges from a node to itself count for its visits only."""
    visits = np.bincount(ones, shares, count) + np.bincount(others, shares, count)
    proper = ones != others
    ones, others, shares = ones[proper], others[proper], shares[proper]
    starts, ends, values = np.r_[ones, others], np.r_[others, ones], np.r_[shares, shares]
    order = np.argsort(starts, kind="stable")
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(starts, minlength=count), out=first[1:])
    return first, ends[order].astype(np.int64), values[order].astype(np.float64), visits.astype(np.float64)


def _through_levels(network: Network, modules: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Merge modules to larger ones as long as that shortens the description."""
    _, modules = np.unique(modules, return_inverse=True)
    modules = modules.reshape(-1).astype(np.int64)
    for _ in range(_MOST_LEVELS):
        count = int(modules.max()) + 1
        coarse = _coarse(network, modules, count)
        merged = np.arange(count, dtype=np.int64)
        moved = _sweep_until_still(coarse, merged, rng)
        _, merged = np.unique(merged, return_inverse=True)
        modules = merged.reshape(-1).astype(np.int64)[modules]
        if not moved:
            break
    return modules


def _coarse(network: Network, modules: np.ndarray, count: int) -> Network:
    """Return the network whose nodes are the modules."""
    first, neighbors, shares, visits = network
    ones = modules[np.repeat(np.arange(len(visits)), np.diff(first))]
    others = modules[neighbors]
    half = ones < others
    keys, numbers = np.unique(ones[half] * np.int64(count) + others[half], return_inverse=True)
    summed = np.bincount(numbers.reshape(-1), shares[half], len(keys)).astype(np.float64)
    first, ends, values, _ = _network(count, keys // count, keys % count, summed)
    return first, ends, values, np.bincount(modules, visits, count)


def _sweep_until_still(network: Network, modules: np.ndarray, rng: np.random.Generator) -> bool:
    """Move nodes between modules, numbered below their count, in place; tell whether any moved."""
    first, neighbors, shares, visits = network
    count = len(visits)
    leaving_of = np.add.reduceat(np.r_[shares, 0.0], np.minimum(first[:-1], len(shares)))
    leaving_of[np.diff(first) == 0] = 0.0
    inside = np.bincount(modules, visits, count)
    owner = np.repeat(np.arange(count), np.diff(first))
    crossing = modules[owner] != modules[neighbors]
    # Without any crossing edge NumPy counts in integers.
    leaving = np.bincount(modules[owner[crossing]], shares[crossing], count).astype(np.float64)
    sweep = _compiled_sweep()
    moved = False
    for _ in range(_MOST_SWEEPS):
        order = rng.permutation(count)
        if not sweep(order, first, neighbors, shares, visits, leaving_of, modules, inside, leaving):
            break
        moved = True
    return moved


@functools.lru_cache(maxsize=1)
def _compiled_sweep() -> Callable[..., int]:
    """Return the inner loop, compiled where Numba is installed."""
    if importlib.util.find_spec("numba") is None:
        return _sweep
    import numba

    compiled: Callable[..., int] = numba.njit(cache=False)(_sweep)
    return compiled


def _sweep(
    order: Any, first: Any, neighbors: Any, shares: Any, visits: Any, leaving_of: Any, modules: Any, inside: Any,
    leaving: Any,
) -> int:  # fmt: skip
    """Look at every node once, and move it to the best module; returns how many moved.

    It is one function because Numba compiles it and Python runs it as it is. ``inside`` and ``leaving`` are p_m and
    q_m; they and ``modules`` are changed.
    """
    to_module = np.zeros(len(visits))
    total = 0.0
    for value in leaving:
        total += value
    moves = 0
    for node in order:
        begin, end = first[node], first[node + 1]
        if begin == end:
            continue
        own = modules[node]
        for at in range(begin, end):
            to_module[modules[neighbors[at]]] += shares[at]
        out, share, own_link = leaving_of[node], visits[node], to_module[own]
        # Taken out of its own module, which stands still while others are tried.
        left_old, left_new = leaving[own], max(leaving[own] - out + 2 * own_link, 0.0)
        in_old, in_new = inside[own], max(inside[own] - share, 0.0)
        base = 0.0
        for sign, value in ((2.0, left_old), (-2.0, left_new), (-1.0, left_old + in_old), (1.0, left_new + in_new)):
            if value > 0.0:
                base += sign * value * np.log2(value)
        total_base = total - left_old + left_new
        best, best_gain, best_leaving = own, _NO_GAIN, 0.0
        if total > 0.0:
            base -= total * np.log2(total)
        for at in range(begin, end):
            other = modules[neighbors[at]]
            link = to_module[other]
            if other == own or link < 0.0:
                continue
            to_module[other] = -link  # tried: others of the module need not try it again
            there = leaving[other]
            there_new = max(there + out - 2 * link, 0.0)
            total_new = max(total_base - there + there_new, 0.0)
            gain = base
            if total_new > 0.0:
                gain += total_new * np.log2(total_new)
            if there > 0.0:
                gain += 2.0 * there * np.log2(there)
            if there_new > 0.0:
                gain -= 2.0 * there_new * np.log2(there_new)
            before, after = there + inside[other], there_new + inside[other] + share
            if before > 0.0:
                gain -= before * np.log2(before)
            gain += after * np.log2(after)
            if gain < best_gain:
                best, best_gain, best_leaving = other, gain, there_new
        for at in range(begin, end):
            to_module[modules[neighbors[at]]] = 0.0
        if best != own:
            total = total_base - leaving[best] + best_leaving
            leaving[own], inside[own] = left_new, in_new
            leaving[best] = best_leaving
            inside[best] += share
            modules[node] = best
            moves += 1
    return moves


_NO_GAIN = -_LEAST_GAIN
