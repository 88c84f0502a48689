"""The gate of every export: what was written is read back in its own runtime and compared with the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from arcface_paddle.errors import ModelFileError

MIN_COSINE = 0.99999
BATCH_SIZES = (1, 7)

Embed = Callable[[np.ndarray], np.ndarray]
"""(B, 3, 112, 112) float32 to (B, D) float32."""


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


def check_parity(
    network: Embed, exported: Embed, *, inputs: np.ndarray, min_cosine: float = MIN_COSINE
) -> ParityReport:
    """Compare two embedders on ``inputs`` (N, 3, 112, 112) float32, N >= 7, one by one and in batches of seven.

    Raises:
        ModelFileError: a value that is not finite, another shape, or a cosine below ``min_cosine``.
    """
    cosines, norm_errors = [], []
    for batch_size in BATCH_SIZES:
        for start in range(0, len(inputs) - batch_size + 1, batch_size):
            batch = np.ascontiguousarray(inputs[start : start + batch_size])
            expected, found = network(batch), exported(batch)
            _refuse_unusable(expected, found, batch_size=batch_size)
            expected, found = expected.astype(np.float64), found.astype(np.float64)
            lengths = np.linalg.norm(expected, axis=1), np.linalg.norm(found, axis=1)
            cosines.append((expected * found).sum(axis=1) / np.maximum(lengths[0] * lengths[1], 1e-30))
            norm_errors.append(np.abs(lengths[1] / np.maximum(lengths[0], 1e-30) - 1))
    report = ParityReport(
        images=len(inputs),
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
