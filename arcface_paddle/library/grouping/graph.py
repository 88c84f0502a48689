"""The most similar faces of each face: exact, in blocks, with FAISS where it is installed and with NumPy otherwise."""

from __future__ import annotations

import importlib.util

import numpy as np

from arcface_paddle.library.grouping.evidence import Evidence

_BLOCK_SCORES = 1 << 25  # scores of a block, 128 MB
_FAISS_FROM = 2_000  # below, preparing it takes longer


def nearest(evidence: Evidence, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each face the others with the highest scores.

    Args:
        evidence: of N faces.
        count: K, at most N - 1 are returned.

    Returns:
        Their rows (N, K) int64 and scores (N, K) float32, the highest first. A row of -1 has the score -inf.
    """
    count = min(count, len(evidence) - 1)
    if count < 1:
        return np.empty((len(evidence), 0), np.int64), np.empty((len(evidence), 0), np.float32)
    # For a given face, the score less its own offset is an inner product with (vector, offset).
    places = np.hstack([evidence.vectors, evidence.offsets[:, None]]).astype(np.float32)
    probes = np.hstack([evidence.vectors, np.ones((len(evidence), 1), np.float32)]).astype(np.float32)
    if len(evidence) >= _FAISS_FROM and importlib.util.find_spec("faiss") is not None:
        scores, rows = _with_faiss(places, probes, count + 1)
    else:
        scores, rows = _with_numpy(places, probes, count + 1)
    rows, scores = _without_itself(rows, scores)
    return rows, scores + evidence.offsets[:, None]


def _with_faiss(places: np.ndarray, probes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    index = faiss.IndexFlatIP(places.shape[1])
    index.add(np.ascontiguousarray(places))
    scores, rows = index.search(np.ascontiguousarray(probes), count)
    return scores, rows.astype(np.int64)


def _with_numpy(places: np.ndarray, probes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.empty((len(probes), count), np.int64)
    scores = np.empty((len(probes), count), np.float32)
    step = max(1, _BLOCK_SCORES // len(places))
    for start in range(0, len(probes), step):
        block = probes[start : start + step] @ places.T
        best = np.argpartition(block, -count, axis=1)[:, -count:] if count < len(places) else None
        best = np.tile(np.arange(len(places)), (len(block), 1)) if best is None else best
        values = np.take_along_axis(block, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        rows[start : start + step] = np.take_along_axis(best, order, axis=1)
        scores[start : start + step] = np.take_along_axis(values, order, axis=1)
    return scores, rows


def _without_itself(rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each face from its own list, or the last of a list in which it is not because it has many doubles."""
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return rows[~own].reshape(shape), scores[~own].reshape(shape)


def mutual_edges(rows: np.ndarray, scores: np.ndarray, *, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the undirected edges of a nearest-neighbour graph, each once, that score ``least`` or more.

    An edge counts when either of its ends names the other.

    Returns:
        ones, others (E,) int64 with ones < others, and scores (E,) float32.
    """
    starts, places = np.nonzero((scores >= least) & (rows >= 0))
    ends = rows[starts, places]
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    keys, first = np.unique(low * np.int64(len(rows)) + high, return_index=True)
    return keys // len(rows), keys % len(rows), scores[starts, places][first]
