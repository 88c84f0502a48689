"""What CenterFace's maps say: boxes, scores and five landmarks."""

from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np

from arcface_paddle.errors import ModelFileError

POINTS = 5
COLUMNS = [0, 1, 2, 3, *range(5, 5 + 2 * POINTS)]
"""Columns of a row that are x and y in turn; column 4 is the score."""


def decode_maps(maps: Sequence[np.ndarray], *, stride: int, threshold: float) -> np.ndarray:
    """Turn the maps of one picture into rows of box, score and five points, best score first.

    Args:
        maps: heat (1, 1, h, w) logits, size (1, 2, h, w), offset (1, 2, h, w), landmarks (1, 10, h, w); see
            ``backbones.centerface.CenterFace``.
        stride: input pixels per cell.
        threshold: least score, 0 to 1.

    Returns:
        (N, 15) float64 in input pixels: left, top, right, bottom, score, then x, y of five points.

    Raises:
        ModelFileError: maps of other shapes.
    """
    return decode_batch(maps, stride=stride, threshold=threshold)[0]


def decode_batch(maps: Sequence[np.ndarray], *, stride: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Do the same for the maps of several pictures (B, ...) at once.

    Returns:
        (N, 15) rows as of ``decode_maps``, best score first; (N,) the picture of each.
    """
    heat = _checked(maps)[0][:, 0]
    # The threshold is brought to the logits, so that the exponential is taken of the faces and not of the whole map.
    cells = np.nonzero(heat >= _logit(threshold))
    order = np.argsort(-heat[cells], kind="stable")
    pictures, ys, xs = (places[order] for places in cells)
    return _rows_at((pictures, ys, xs), maps, stride), pictures


def small_peaks(
    maps: Sequence[np.ndarray], *, stride: int, scores: tuple[float, float], widest: float, most: int
) -> np.ndarray:
    """Return where the heat of one picture has a faint peak that would be a small face.

    Args:
        maps: as for ``decode_maps``.
        stride: input pixels per cell.
        scores: from the first to below the second.
        widest: most width of the face in input pixels.
        most: how many; the best.

    Returns:
        (N, 15) rows as of ``decode_maps``, best score first.
    """
    heat, log_widths = (found[0] for found in (_checked(maps)[0][:, 0], maps[1][:, 1]))
    least, limit = (_logit(score) for score in scores)
    peaks = (heat == cv2.dilate(heat, np.ones((3, 3), np.uint8))) & (heat >= least) & (heat < limit)
    ys, xs = np.nonzero(peaks & (log_widths < np.log(widest / stride)))
    order = np.argsort(-heat[ys, xs], kind="stable")[:most]
    return _rows_at((np.zeros(len(order), np.int64), ys[order], xs[order]), maps, stride)


def _checked(maps: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    channels = [found.shape[1] for found in maps if found.ndim == 4]
    if channels != [1, 2, 2, 2 * POINTS] or len({found.shape[2:] for found in maps}) != 1:
        raise ModelFileError(f"the detector gave maps {[found.shape for found in maps]}; its card promises others")
    return maps


def _logit(score: float) -> float:
    return float(np.log(score / (1 - score))) if score < 1 else float("inf")


def _rows_at(cells: tuple[np.ndarray, ...], maps: Sequence[np.ndarray], stride: int) -> np.ndarray:
    """Return the rows (N, 15) of some cells, given by picture, y and x."""
    pictures, ys, xs = cells
    heat, size, offset, landmarks = (found[pictures, :, ys, xs].T.astype(np.float64) for found in maps)
    scores = 1 / (1 + np.exp(-heat[0]))
    heights, widths = np.exp(size) * stride
    lefts = (xs + offset[1] + 0.5) * stride - widths / 2
    tops = (ys + offset[0] + 0.5) * stride - heights / 2
    rows = np.empty((len(ys), 5 + 2 * POINTS))
    rows[:, :5] = np.stack([lefts, tops, lefts + widths, tops + heights, scores], axis=1)
    rows[:, 5::2] = (landmarks[1::2] * widths + lefts).T
    rows[:, 6::2] = (landmarks[0::2] * heights + tops).T
    return rows
