"""What was measured of shipped recognisers: along which directions embeddings of one person differ.

``assets/spread.npz`` holds, for each recogniser by the hash of its weights, the covariance of embeddings within a
person as its strongest directions and an even rest. It was measured on rendered people, whose light, pose, glasses,
hats, masks and cameras vary in known ways (``tools/measure_spread.py``); a library's own groups soon count for more,
see ``evidence.fit_spread``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Optional

import numpy as np

ASSET = Path(__file__).parent / "assets" / "spread.npz"
DIRECTIONS = 48
"""Of the covariance, the others are taken together; they hold some 15 % of it."""


def spread_of(weights_sha256: str, *, mirrored: bool) -> Optional[np.ndarray]:
    """Return the covariance (D, D) float64 of embeddings within a person; None for a recogniser not measured."""
    stored = _stored()
    key = _key(weights_sha256, mirrored)
    if f"{key}.directions" not in stored:
        return None
    directions = stored[f"{key}.directions"].astype(np.float64)
    variances = stored[f"{key}.variances"].astype(np.float64)
    rest = variances[-1]
    spread = (directions * (variances[:-1] - rest)) @ directions.T
    return np.asarray(spread + rest * np.eye(len(directions)))


def packed(covariance: np.ndarray, *, weights_sha256: str, mirrored: bool) -> dict[str, np.ndarray]:
    """Return the arrays by which the asset holds a covariance (D, D)."""
    values, vectors = np.linalg.eigh(covariance)
    strongest = slice(len(values) - 1, len(values) - 1 - DIRECTIONS, -1)
    rest = values[: len(values) - DIRECTIONS].mean()
    key = _key(weights_sha256, mirrored)
    return {
        f"{key}.directions": vectors[:, strongest].astype(np.float16),
        f"{key}.variances": np.append(values[strongest], rest).astype(np.float32),
    }


def _key(weights_sha256: str, mirrored: bool) -> str:
    return f"{weights_sha256[:16]}.{'mirrored' if mirrored else 'plain'}"


@functools.lru_cache(maxsize=1)
def _stored() -> dict[str, np.ndarray]:
    if not ASSET.exists():
        return {}
    with np.load(ASSET, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
