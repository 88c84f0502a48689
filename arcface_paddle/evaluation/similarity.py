"""Ways to say how close two L2-normalised embeddings are: the cosine, and the measures that FRAML offered.

Each measure gives a similarity (grows with closeness) and the distance that the published protocol thresholds.
Only ``diff`` and ``cos`` are recommended; the others are kept so that FRAML's figures can be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from arcface_paddle.errors import ConfigError
from arcface_paddle.evaluation.choices import MEASURE_NOTES

# Constants of FRAML's structural similarity on embedding vectors (its evaluations.py).
_SSIM_MEAN_CONSTANT = 1e-4
_SSIM_SPREAD_CONSTANT = 2e-4


@dataclass(frozen=True)
class Measure:
    """A similarity measure.

    Attributes:
        name: the word for ``--sim``.
        similarity: maps two (N, D) float64 arrays of embeddings to (N,) similarities.
        distance_scale: distance = ``distance_scale`` x (1 - similarity); 2 makes the cosine a squared L2 distance.
        meaning: what it measures, one line.
        fared: how it did, see the comment on ``choices.MEASURE_NOTES``.
    """

    name: str
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray]
    distance_scale: float
    meaning: str
    fared: str


def measure_by_name(name: str) -> Measure:
    """Return the measure called ``name``.

    Raises:
        ConfigError: there is no such measure.
    """
    measure = MEASURES.get(name)
    if measure is None:
        raise ConfigError(f"similarity measure {name!r}; allowed: {', '.join(MEASURES)}")
    return measure


def pair_distances(left: np.ndarray, right: np.ndarray, *, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Compare embeddings row by row.

    Args:
        left: (N, D) float64, L2-normalised embeddings of the first pictures.
        right: (N, D) of the second pictures.
        measure: how to compare.

    Returns:
        similarities (N,) and distances (N,), both float64. For ``diff`` the distance is computed as the sum of
        squared differences, as published, not by way of the cosine.
    """
    similarities = measure.similarity(left, right)
    if measure.name == "diff":
        difference = left - right
        return similarities, np.einsum("nd,nd->n", difference, difference)
    return similarities, measure.distance_scale * (1.0 - similarities)


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the signed cosine of each row pair: (N, D), (N, D) → (N,), -1 to 1."""
    return np.einsum("nd,nd->n", left, right)


def correlation(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the largest cross-correlation over all 2D - 1 shifts, summed directly: (N, D), (N, D) → (N,)."""
    size = left.shape[1]
    best = np.full(len(left), -np.inf)
    for shift in range(size):
        np.maximum(best, np.einsum("nd,nd->n", left[:, shift:], right[:, : size - shift]), out=best)
        np.maximum(best, np.einsum("nd,nd->n", left[:, : size - shift], right[:, shift:]), out=best)
    return best


def fft_correlation(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the same as ``correlation`` by way of the Fourier transform (zero-padded, so nothing wraps)."""
    padded = 1 << (2 * left.shape[1] - 1).bit_length()
    spectrum = np.fft.rfft(left, padded) * np.conj(np.fft.rfft(right, padded))
    shifted = np.fft.irfft(spectrum, padded)
    size = left.shape[1]
    valid = np.concatenate([shifted[:, :size], shifted[:, padded - size + 1 :]], axis=1)
    return valid.max(axis=1)


def structural_similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the SSIM formula with the whole vector as its window: (N, D), (N, D) → (N,)."""
    mean_left, mean_right = left.mean(axis=1), right.mean(axis=1)
    var_left, var_right = left.var(axis=1), right.var(axis=1)
    covariance = ((left - mean_left[:, None]) * (right - mean_right[:, None])).mean(axis=1)
    means = (2 * mean_left * mean_right + _SSIM_MEAN_CONSTANT) / (mean_left**2 + mean_right**2 + _SSIM_MEAN_CONSTANT)
    spreads = (2 * covariance + _SSIM_SPREAD_CONSTANT) / (var_left + var_right + _SSIM_SPREAD_CONSTANT)
    return means * spreads


MEASURES = {
    name: Measure(name, similarity, distance_scale, *MEASURE_NOTES[name])
    for name, similarity, distance_scale in (
        ("diff", cosine, 2.0),
        ("cos", cosine, 1.0),
        ("corr", correlation, 1.0),
        ("fft_corr", fft_correlation, 1.0),
        ("ssim", structural_similarity, 1.0),
    )
}
"""The measures by their ``--sim`` names; the first is the default."""
