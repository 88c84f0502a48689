"""Features of many face crops, the work shared by all ranks, and the verification sets evaluated with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Iterable, Optional

import numpy as np

from arcface_paddle.errors import ArcfaceError, DataError
from arcface_paddle.evaluation.embedder import Embed
from arcface_paddle.evaluation.ranks import Ranks
from arcface_paddle.evaluation.similarity import MEASURES, Measure
from arcface_paddle.evaluation.verification import VerificationResult, verify
from arcface_paddle.progress import progress

if TYPE_CHECKING:
    from arcface_paddle.data.verification_set import VerificationSet

Decode = Callable[[int], np.ndarray]
"""Gives crop number i as (112, 112, 3) uint8 RGB; raises ``ImageError`` or ``DataError``."""


@dataclass(frozen=True)
class EmbeddingSettings:
    """How features are computed.

    Attributes:
        batch_size: crops per call of the network.
        mirror: also compute the features of the mirrored crops, as the published protocol does.
        progress: show the progress, see ``arcface_paddle.progress``.
    """

    batch_size: int = 64
    mirror: bool = True
    progress: bool = False


@dataclass(frozen=True, eq=False)
class Features:
    """Un-normalised features of N crops in their order: ``plain`` (N, D) and ``mirrored`` (N, D) or None, float32."""

    plain: np.ndarray
    mirrored: Optional[np.ndarray]

    @property
    def summed(self) -> np.ndarray:
        """Plain and mirrored features added, (N, D) float64: what the published protocol compares."""
        plain = self.plain.astype(np.float64)
        return plain if self.mirrored is None else plain + self.mirrored


def embed_crops(
    embed: Embed,
    decode: Decode,
    count: int,
    *,
    name: str,
    settings: EmbeddingSettings = EmbeddingSettings(),
    ranks: Optional[Ranks] = None,
) -> Features:
    """Compute the features of crops 0 to ``count - 1``; every rank takes one contiguous share and gets all results.

    All ranks must call this with the same arguments. An error of one rank is raised on all of them.

    Args:
        embed: gives the features of a batch.
        decode: gives a crop by its number.
        count: number of crops; may be smaller than the number of ranks.
        name: what the crops are called in errors, such as ``lfw``.
        settings: batch size and mirror pass.
        ranks: the process group; None for one process.

    Raises:
        DataError: no crops, a crop that cannot be decoded, or features that are not finite.
    """
    if count < 1:
        raise DataError(f"{name}: no images")
    rank, world_size = (0, 1) if ranks is None else (ranks.rank(), ranks.world_size())
    share = range(count * rank // world_size, count * (rank + 1) // world_size)
    problem = ""
    rows = np.zeros((0, 0), dtype=np.float32)
    try:
        rows = _embed_share(embed, decode, share, name=name, settings=settings)
    except ArcfaceError as error:
        problem = str(error)
    if ranks is not None and world_size > 1:
        problem = next(filter(None, ranks.gather_json(problem)), "")
        if not problem:
            rows = np.concatenate([part for part in ranks.gather_arrays(rows) if part.size])
    if problem:
        raise DataError(problem)
    _refuse_not_finite(rows, name)
    if not settings.mirror:
        return Features(rows, None)
    size = rows.shape[1] // 2
    return Features(rows[:, :size], rows[:, size:])


def evaluate_sets(
    embed: Embed,
    sets: Iterable[VerificationSet],
    *,
    settings: EmbeddingSettings = EmbeddingSettings(),
    measure: Measure = MEASURES["diff"],
    ranks: Optional[Ranks] = None,
) -> list[VerificationResult]:
    """Evaluate a network on verification sets by the published protocol; all ranks get all results.

    Raises:
        DataError: a picture that cannot be decoded, features that are not finite, too few pairs.
    """
    results = []
    for verification_set in sets:
        features = embed_crops(
            embed,
            verification_set.decode,
            len(verification_set.images),
            name=verification_set.name,
            settings=settings,
            ranks=ranks,
        )
        results.append(
            verify(
                features.plain,
                features.mirrored,
                verification_set.issame,
                name=verification_set.name,
                measure=measure,
            )
        )
    return results


def _embed_share(embed: Embed, decode: Decode, share: range, *, name: str, settings: EmbeddingSettings) -> np.ndarray:
    """Return (n, D) float32, or (n, 2D) with the mirrored features on the right."""
    parts = []
    starts = range(share.start, share.stop, settings.batch_size)
    for start in progress(starts, desc=name, unit="batches", leave=False, shown=settings.progress):
        indices = range(start, min(start + settings.batch_size, share.stop))
        crops = np.stack([decode(index) for index in indices])
        passes = [_checked_features(embed(crops), len(crops), name)]
        if settings.mirror:
            passes.append(_checked_features(embed(np.ascontiguousarray(crops[:, :, ::-1])), len(crops), name))
        parts.append(np.concatenate(passes, axis=1))
    return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)


def _checked_features(features: np.ndarray, count: int, name: str) -> np.ndarray:
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or len(features) != count:
        raise DataError(f"{name}: the network returned shape {features.shape} for {count} crops; needed: ({count}, D)")
    return features


def _refuse_not_finite(rows: np.ndarray, name: str) -> None:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = int(np.count_nonzero(~finite))
        raise DataError(
            f"{name}: the features of {bad} of {len(rows)} images are not finite (NaN or infinity), the first is "
            f"image {int(np.argmin(finite))}; the weights are damaged or training has diverged"
        )
