"""How well embeddings tell people apart, all against all; shared by the benchmarks of synthetic faces."""

from __future__ import annotations

import numpy as np


def genuine_and_impostor(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split what is known of all pairs, (N, N), each pair once, into that of one person and that of two."""
    once = np.triu(np.ones(values.shape, dtype=bool), 1)
    same = labels[:, None] == labels[None, :]
    return values[same & once], values[~same & once]


def rank1(similarity: np.ndarray, labels: np.ndarray) -> float:
    """Return how often the most similar other picture shows the same person."""
    nearest = np.where(np.eye(len(labels), dtype=bool), -np.inf, similarity).argmax(axis=1)
    return float((labels[nearest] == labels).mean())
