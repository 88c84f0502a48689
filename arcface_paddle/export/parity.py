"""The gate of every export: what was written is read back in its own runtime and compared with the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arcface_paddle.errors import ModelFileError
from arcface_paddle.evaluation.embedder import Embed

MIN_COSINE = 0.99999
"""Kernels and folding differ by less than 1e-6 in float32; a wrong layer or channel order by far more than 1e-5."""
BATCH_SIZES = (1, 7)
"""One face is what a camera gives; seven, which no kernel is tiled by, finds a batch dimension that was frozen."""


@dataclass(frozen=True)
class ParityReport:
    """How an exported model compares with its network.

    Attributes:
        images: how many pictures were compared.
        min_cosine: smallest cosine between the two outputs for one picture.
        max_relative_norm_error: largest | |a| / |b| - 1 | of the lengths of the two outputs.
    """

    images: int
    min_cosine: float
    max_relative_norm_error: float


def check_parity(network: Embed, exported: Embed, *, crops: np.ndarray, min_cosine: float = MIN_COSINE) -> ParityReport:
    """Compare two embedders on the same crops, one by one and in batches of seven.

    Args:
        network: what was exported.
        exported: what came of it, with the preprocessing of its card.
        crops: (N, 112, 112, 3) uint8 RGB, N >= 7.
        min_cosine: smallest cosine that passes.

    Raises:
        ModelFileError: a value that is not finite, another shape, or a cosine below ``min_cosine``.
    """
    cosines, norm_errors = [], []
    for batch_size in BATCH_SIZES:
        for start in range(0, len(crops) - batch_size + 1, batch_size):
            batch = np.ascontiguousarray(crops[start : start + batch_size])
            expected, found = network(batch), exported(batch)
            _refuse_unusable(expected, found, batch_size=batch_size)
            expected, found = expected.astype(np.float64), found.astype(np.float64)
            lengths = np.linalg.norm(expected, axis=1), np.linalg.norm(found, axis=1)
            cosines.append((expected * found).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-30))
            norm_errors.append(np.abs(lengths[1] / np.maximum(lengths[0], 1e-30) - 1))
    report = ParityReport(
        images=len(crops),
        min_cosine=float(np.concatenate(cosines).min()),
        max_relative_norm_error=float(np.concatenate(norm_errors).max()),
    )
    if report.min_cosine < min_cosine:
        raise ModelFileError(
            f"parity gate: the exported model differs from the network (smallest cosine {report.min_cosine:.7f}, "
            f"allowed {min_cosine}); nothing was written"
        )
    return report


def _refuse_unusable(expected: np.ndarray, found: np.ndarray, *, batch_size: int) -> None:
    if not np.isfinite(expected).all():
        raise ModelFileError("parity gate: the network itself gives values that are not finite; nothing was written")
    if found.shape != expected.shape:
        raise ModelFileError(
            f"parity gate: for a batch of {batch_size} the exported model gives {found.shape}, the network "
            f"{expected.shape}; nothing was written"
        )
    if not np.isfinite(found).all():
        raise ModelFileError("parity gate: the exported model gives values that are not finite; nothing was written")
