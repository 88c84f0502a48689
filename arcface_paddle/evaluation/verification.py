"""The published verification protocol for lfw-style sets, to the digit, and what it leaves unsaid (numpy only).

Protocol of insightface's ``verification.py``, which every published LFW, CFP-FP and AgeDB-30 figure uses: sum of
the features of a picture and its mirror image, L2-normalised; squared L2 distance; same person if distance <
threshold; thresholds arange(0, 4, 0.01); ten folds in the order of the file; the first threshold that is best on
nine folds is applied to the tenth. VAL@FAR: thresholds arange(0, 4, 0.001), threshold interpolated at FAR 1e-3.

Here every distance is sorted into its threshold bin once, and cumulated counts give all thresholds of all folds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.errors import DataError
from arcface_paddle.evaluation.metrics import (
    FAR_TARGETS,
    Histogram,
    OperatingPoint,
    area_under_curve,
    best_threshold,
    equal_error_rate,
    operating_points,
    roc_curve,
    similarity_histogram,
)
from arcface_paddle.evaluation.similarity import MEASURES, Measure, pair_distances

FOLDS = 10
ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)
VAL_THRESHOLDS = np.arange(0, 4, 0.001)
VAL_FAR_TARGET = 1e-3
_BLOCK_PAIRS = 128


@dataclass(frozen=True, eq=False)
class FoldAccuracy:
    """Accuracy by ten folds.

    Attributes:
        mean: mean over the folds.
        std: population standard deviation over the folds.
        folds: (10,) accuracy of each held-out fold.
        thresholds: (10,) distance threshold found on the other nine folds.
    """

    mean: float
    std: float
    folds: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True)
class ValidationRate:
    """VAL@FAR averaged over folds; None where no fold has pairs of the kind that is needed.

    These are the figures of the published protocol, which gives some for any set. Where ``remark`` is not empty they
    say nothing about ``far_target`` and are not to be shown as if they did.

    Attributes:
        val: mean share of genuine pairs accepted in the held-out folds.
        val_std: its population standard deviation over the folds.
        far: mean share of impostor pairs accepted in the held-out folds: the FAR that was realised.
        far_target: the FAR for which the thresholds were chosen.
        impostors: impostor pairs that the threshold of a fold was chosen on, the fewest of all folds.
    """

    val: Optional[float]
    val_std: Optional[float]
    far: Optional[float]
    far_target: float
    impostors: int

    @property
    def remark(self) -> str:
        """Why VAL at ``far_target`` is not known; empty when it is."""
        if self.val is None:
            return "no genuine pairs"
        if self.impostors * self.far_target < 1 - 1e-9:  # not even one false accept is allowed
            needed = math.ceil(1 / self.far_target)
            return f"too few pairs: {self.impostors:,} of strangers for a threshold, at least {needed:,} needed"
        return ""


@dataclass(frozen=True, eq=False)
class VerificationResult:
    """Everything that one set says about one model.

    Attributes:
        name: the set's name, such as ``lfw``.
        genuine: pairs of one person.
        impostors: pairs of two persons.
        xnorm: mean L2 norm of the features of all pictures and their mirror images, before normalisation.
        accuracy: accuracy of the published protocol.
        validation_rate: VAL@FAR of the published protocol.
        operating_points: TAR@FAR over all pairs.
        equal_error_rate: None when one kind of pair is missing, as are the next one and ``best_threshold``.
        auc: area under the ROC curve.
        best_threshold: similarity threshold that classifies most pairs rightly, None as above.
        histogram: similarities of genuine and impostor pairs.
        similarities: (N,) similarity of each pair, in the order of the set.
        issame: (N,) bool.
        measure: name of the similarity measure.
    """

    name: str
    genuine: int
    impostors: int
    xnorm: float
    accuracy: FoldAccuracy
    validation_rate: ValidationRate
    operating_points: tuple[OperatingPoint, ...]
    equal_error_rate: Optional[float]
    auc: Optional[float]
    best_threshold: Optional[float]
    histogram: Histogram
    similarities: np.ndarray
    issame: np.ndarray
    measure: str = "diff"


def verify(
    features: np.ndarray,
    mirrored: Optional[np.ndarray],
    issame: np.ndarray,
    *,
    name: str,
    measure: Measure = MEASURES["diff"],
    far_targets: tuple[float, ...] = FAR_TARGETS,
) -> VerificationResult:
    """Evaluate the features of a verification set.

    Args:
        features: (2N, D) un-normalised features; rows 2i and 2i + 1 are pair i.
        mirrored: (2N, D) features of the mirrored pictures; None leaves the mirror pass out.
        issame: (N,) bool, True for pairs of one person.
        name: the set's name, for the result and for errors.
        measure: how embeddings are compared.
        far_targets: targets of the operating points.

    Raises:
        DataError: shapes that do not fit, values that are not finite, or fewer pairs than folds.
    """
    issame = _checked(features, mirrored, issame, name)
    similarities, distances, xnorm = compare_pairs(features, mirrored, measure=measure)
    genuine, impostor = similarities[issame], similarities[~issame]
    both = len(genuine) > 0 and len(impostor) > 0
    return VerificationResult(
        name=name,
        genuine=len(genuine),
        impostors=len(impostor),
        xnorm=xnorm,
        accuracy=fold_accuracy(distances, issame),
        validation_rate=validation_rate(distances, issame),
        operating_points=operating_points(genuine, impostor, far_targets=far_targets),
        equal_error_rate=equal_error_rate(roc_curve(genuine, impostor)) if both else None,
        auc=area_under_curve(genuine, impostor),
        best_threshold=best_threshold(genuine, impostor)[0] if both else None,
        histogram=similarity_histogram(genuine, impostor),
        similarities=similarities,
        issame=issame,
        measure=measure.name,
    )


def compare_pairs(
    features: np.ndarray, mirrored: Optional[np.ndarray], *, measure: Measure = MEASURES["diff"]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Sum the passes, normalise and compare row 2i with row 2i + 1.

    Args:
        features: (2N, D) un-normalised features.
        mirrored: (2N, D) of the mirrored pictures, or None.
        measure: how embeddings are compared.

    Returns:
        similarities (N,) and distances (N,) float64, and XNorm.
    """
    pairs = len(features) // 2
    similarities, distances = np.empty(pairs), np.empty(pairs)
    norm_sum = 0.0
    for start in range(0, pairs, _BLOCK_PAIRS):  # blocks that stay in the processor's cache
        stop = min(start + _BLOCK_PAIRS, pairs)
        total = features[2 * start : 2 * stop].astype(np.float64)
        norm_sum += float(_row_norms(total).sum())
        if mirrored is not None:
            mirror = mirrored[2 * start : 2 * stop].astype(np.float64)
            norm_sum += float(_row_norms(mirror).sum())
            total += mirror
        embeddings = l2_normalized(total)
        similarities[start:stop], distances[start:stop] = pair_distances(
            embeddings[0::2], embeddings[1::2], measure=measure
        )
    rows = 2 * pairs * (1 if mirrored is None else 2)
    return similarities, distances, norm_sum / max(1, rows)


def fold_accuracy(distances: np.ndarray, issame: np.ndarray, *, folds: int = FOLDS) -> FoldAccuracy:
    """Return the accuracy of the published protocol.

    Args:
        distances: (N,) distances of pairs.
        issame: (N,) bool.
        folds: parts; part k is held out while the threshold is chosen on the others.
    """
    genuine, impostor = _accepted_per_fold(distances, issame, folds, ACCURACY_THRESHOLDS)
    pairs = _fold_sizes(len(issame), folds)
    impostors = _per_fold(~issame, folds)
    # Rightly decided pairs per fold and threshold: genuine ones accepted and impostors refused.
    right = genuine + (impostors[:, None] - impostor)
    right_elsewhere = right.sum(axis=0) - right
    choice = np.argmax(right_elsewhere, axis=1)
    accuracies = right[np.arange(folds), choice] / pairs
    return FoldAccuracy(float(accuracies.mean()), float(accuracies.std()), accuracies, ACCURACY_THRESHOLDS[choice])


def validation_rate(
    distances: np.ndarray, issame: np.ndarray, *, far_target: float = VAL_FAR_TARGET, folds: int = FOLDS
) -> ValidationRate:
    """Return VAL@FAR of the published protocol.

    The published code interpolates the threshold with SciPy's ``interp1d(kind="slinear")``, which newer versions
    refuse for repeated FAR values; among equal FARs the highest threshold counts, as it did in those that worked.
    Folds without genuine pairs say nothing about VAL and folds without impostors nothing about FAR; they are left
    out of the respective mean (the published code divides by zero).
    """
    _, impostor = _accepted_per_fold(distances, issame, folds, VAL_THRESHOLDS)
    impostors = _per_fold(~issame, folds)
    elsewhere = impostors.sum() - impostors
    accepted_elsewhere = impostor.sum(axis=0) - impostor
    bounds = np.concatenate([[0], np.cumsum(_fold_sizes(len(issame), folds))])
    vals, fars = [], []
    for fold in range(folds):
        far = accepted_elsewhere[fold] / max(1, elsewhere[fold])
        threshold = np.interp(far_target, far, VAL_THRESHOLDS) if far[-1] >= far_target else 0.0
        accepted = distances[bounds[fold] : bounds[fold + 1]] < threshold
        same = issame[bounds[fold] : bounds[fold + 1]]
        if same.any():
            vals.append(np.count_nonzero(accepted & same) / np.count_nonzero(same))
        if not same.all():
            fars.append(np.count_nonzero(accepted & ~same) / np.count_nonzero(~same))
    return ValidationRate(
        val=float(np.mean(vals)) if vals else None,
        val_std=float(np.std(vals)) if vals else None,
        far=float(np.mean(fars)) if fars else None,
        far_target=far_target,
        impostors=int(elsewhere.min()),
    )


def l2_normalized(features: np.ndarray) -> np.ndarray:
    """Return (N, D) rows scaled to length 1; rows of zeros stay zeros."""
    norms = _row_norms(features)
    return features / np.where(norms == 0, 1.0, norms)[:, None]


def log_lines(result: VerificationResult, *, step: int, highest: float) -> tuple[str, str, str]:
    """Return the three published log lines of a set.

    Args:
        result: what the set gave.
        step: global training step.
        highest: best accuracy of the set so far, this one included.

    >>> # [lfw][2000]XNorm: 9.890562
    >>> # [lfw][2000]Accuracy-Flip: 0.59017+-0.02031
    >>> # [lfw][2000]Accuracy-Highest: 0.59017
    """
    head = f"[{result.name}][{step}]"
    return (
        f"{head}XNorm: {result.xnorm:f}",
        f"{head}Accuracy-Flip: {result.accuracy.mean:1.5f}+-{result.accuracy.std:1.5f}",
        f"{head}Accuracy-Highest: {highest:1.5f}",
    )


def _row_norms(features: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("nd,nd->n", features, features))


def _checked(features: np.ndarray, mirrored: Optional[np.ndarray], issame: np.ndarray, name: str) -> np.ndarray:
    same = np.asarray(issame, dtype=bool)
    if features.ndim != 2 or same.ndim != 1 or len(features) != 2 * len(same):
        raise DataError(f"{name}: features of shape {features.shape} for {len(same)} pairs; needed: (2 x pairs, D)")
    if mirrored is not None and mirrored.shape != features.shape:
        raise DataError(f"{name}: mirrored features of shape {mirrored.shape}, the others {features.shape}")
    if len(same) < FOLDS:
        raise DataError(f"{name}: {len(same)} pairs; the protocol has {FOLDS} folds and needs at least as many pairs")
    for part in (features, mirrored):
        if part is not None and not np.isfinite(part).all():
            row = int(np.argmin(np.isfinite(part).all(axis=1)))
            raise DataError(f"{name}: the feature of image {row} has values that are not finite (NaN or infinity)")
    return same


def _fold_sizes(count: int, folds: int) -> np.ndarray:
    """Return the sizes of KFold's parts: the first ``count % folds`` have one more."""
    sizes = np.full(folds, count // folds)
    sizes[: count % folds] += 1
    return sizes


def _per_fold(flags: np.ndarray, folds: int) -> np.ndarray:
    """Count the True flags of each fold: (N,) bool → (folds,) int."""
    fold_of_pair = np.repeat(np.arange(folds), _fold_sizes(len(flags), folds))
    return np.bincount(fold_of_pair[flags], minlength=folds)


def _accepted_per_fold(
    distances: np.ndarray, issame: np.ndarray, folds: int, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count the genuine and the impostor pairs with distance < threshold: two (folds, T) integer arrays."""
    fold_of_pair = np.repeat(np.arange(folds), _fold_sizes(len(issame), folds))
    # A pair is accepted from the first threshold above its distance on.
    first = np.searchsorted(thresholds, distances, side="right")
    slots = fold_of_pair * (len(thresholds) + 1) + first
    shape = (folds, len(thresholds) + 1)
    counts = [np.bincount(slots[part], minlength=shape[0] * shape[1]).reshape(shape) for part in (issame, ~issame)]
    genuine, impostor = (np.cumsum(count, axis=1)[:, :-1] for count in counts)
    return genuine, impostor
