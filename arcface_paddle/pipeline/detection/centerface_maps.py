"""What CenterFace's maps say: boxes, scores and five landmarks."""

from __future__ import annotations

from typing import Sequence

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
    channels = [found.shape[1] for found in maps if found.ndim == 4]
    if channels != [1, 2, 2, 2 * POINTS] or len({found.shape[2:] for found in maps}) != 1:
        raise ModelFileError(f"the detector gave maps {[found.shape for found in maps]}; its card promises others")
    heat, size, offset, landmarks = (found[0].astype(np.float64) for found in maps)
    # The threshold is brought to the logits, so that the exponential is taken of the faces and not of the whole map.
    least = np.log(threshold / (1 - threshold)) if threshold < 1 else np.inf
    ys, xs = np.nonzero(heat[0] >= least)
    order = np.argsort(-heat[0, ys, xs], kind="stable")
    ys, xs = ys[order], xs[order]
    scores = 1 / (1 + np.exp(-heat[0, ys, xs]))
    heights, widths = np.exp(size[:, ys, xs]) * stride
    lefts = (xs + offset[1, ys, xs] + 0.5) * stride - widths / 2
    tops = (ys + offset[0, ys, xs] + 0.5) * stride - heights / 2
    points = landmarks[:, ys, xs]
    rows = np.empty((len(ys), 5 + 2 * POINTS))
    rows[:, :5] = np.stack([lefts, tops, lefts + widths, tops + heights, scores], axis=1)
    rows[:, 5::2] = (points[1::2] * widths + lefts).T
    rows[:, 6::2] = (points[0::2] * heights + tops).T
    return rows
