"""Boxes against boxes, and landmarks against landmarks. A box is left, top, right, bottom in continuous coordinates."""

from __future__ import annotations

import numpy as np

_TINY = np.finfo(np.float64).tiny


def intersection_areas(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (N,) areas that a box (4,) shares with each of ``others`` (N, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:4], others[:, 2:4])
    return _products(np.maximum(high - low, 0))


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Return (N,) areas of boxes (N, 4)."""
    return _products(np.maximum(boxes[:, 2:4] - boxes[:, :2], 0))


def _products(sides: np.ndarray) -> np.ndarray:
    return sides[:, 0] * sides[:, 1]  # a quarter of the time of np.prod over so short an axis


def overlaps(box: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare a box (4,) with others (N, 4).

    Returns:
        (N,) intersection over union, and (N,) share of the smaller box that lies in the larger one.
    """
    shared = intersection_areas(box, others)
    own, areas = box_areas(box[None])[0], box_areas(others)
    return shared / np.maximum(own + areas - shared, _TINY), shared / np.maximum(np.minimum(own, areas), _TINY)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union, 0 to 1, of two boxes (4,).

    Example:
        >>> round(iou(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])), 3)
        0.333
    """
    sides = np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2])
    shared = float(max(sides[0], 0.0) * max(sides[1], 0.0))
    areas = [float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)) for box in (one, other)]
    return shared / max(sum(areas) - shared, 1e-9)


def weighted_nms(candidates: np.ndarray, *, iou: float) -> np.ndarray:
    """Replace each group of overlapping candidates by their mean, weighted by score.

    The best candidate takes all that overlap it by more than ``iou`` into its group and gives it its score; then the
    best of the rest does (Bazarevsky et al. 2019, section 3.5).

    Args:
        candidates: (N, 5 + K) rows of box, score, and K further coordinates.
        iou: intersection over union.

    Returns:
        (M, 5 + K), best score first.
    """
    rest = candidates[np.argsort(-candidates[:, 4], kind="stable")]
    merged = []
    while len(rest):
        grouped = overlaps(rest[0, :4], rest[:, :4])[0] > iou
        grouped[0] = True
        group = rest[grouped]
        mean = np.average(group, axis=0, weights=group[:, 4])
        mean[4] = group[0, 4]
        merged.append(mean)
        rest = rest[~grouped]
    return np.array(merged).reshape(-1, candidates.shape[1])


def nms(candidates: np.ndarray, *, iou: float) -> np.ndarray:
    """Choose candidates so that no two overlap by more than ``iou``, each time the best that is left.

    Args:
        candidates: (N, 5 + K) rows of box, score, and anything.
        iou: intersection over union.

    Returns:
        (M,) positions of those kept, best score first.
    """
    rest = np.argsort(-candidates[:, 4], kind="stable")
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        rest = rest[overlaps(candidates[best, :4], candidates[rest, :4])[0] <= iou]
    return np.array(kept, dtype=np.int64)


def disagreement(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (N,) mean distances between points (N, 5, 2) and others, over the mean distance of the eyes."""
    eyes = [np.linalg.norm(one[:, 1] - one[:, 0], axis=1) for one in (points, others)]
    apart = np.linalg.norm(points - others, axis=2).mean(axis=1)
    return apart / np.maximum((eyes[0] + eyes[1]) / 2, _TINY)
