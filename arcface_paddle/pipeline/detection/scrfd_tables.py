"""What the tables of a SCRFD say (Guo et al. 2021, https://arxiv.org/abs/2105.04714): scores, boxes and five points.

For each stride the network looks at every cell with ``anchors`` anchors, all of which stand on the cell's corner
(column * stride, row * stride). The tables have a row for each anchor, row by row of the picture, the anchors of a cell
beside each other: a score from 0 to 1, four distances to the left, top, right and bottom edge, and x, y of five points
from the anchor, distances in strides.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np

from arcface_paddle.errors import ModelFileError

POINTS = 5
_KINDS = {1: "scores", 4: "boxes", 2 * POINTS: "points"}


def decode_tables(
    tables: Sequence[np.ndarray],
    *,
    size_wh: tuple[int, int],
    strides: Sequence[int],
    anchors: Sequence[int],
    keypoints: int,
    threshold: float,
) -> np.ndarray:
    """Turn the tables of one picture into rows of box, score and points.

    Which table is which is told by its shape, so that the order in which an engine gives them does not matter.

    Args:
        tables: (rows, 1), (rows, 4) and perhaps (rows, 10) for each stride, with or without a first axis of 1.
        size_wh: width and height of the network's input.
        strides: input pixels per cell.
        anchors: number of anchors of a cell, for each stride.
        keypoints: 5, or 0 for a network that gives none.
        threshold: least score, 0 to 1.

    Returns:
        (N, 5 + 2 * keypoints) float64 in input pixels: left, top, right, bottom, score, then x, y of the points.

    Raises:
        ModelFileError: tables are missing, of other shapes, or hold NaN.
    """
    kinds = (1, 4, 2 * POINTS) if keypoints else (1, 4)
    by_shape = {array.shape: array for array in map(_without_batch, tables)}
    found = []
    for stride, count in zip(strides, anchors):
        columns, lines = size_wh[0] // stride, size_wh[1] // stride
        rows = columns * lines * count
        missing = [_KINDS[kind] for kind in kinds if (rows, kind) not in by_shape]
        if missing or len(tables) != len(kinds) * len(strides):
            raise ModelFileError(
                f"the detector gave tables {[table.shape for table in tables]} for {size_wh[0]}x{size_wh[1]} pixels; "
                f"its card promises {', '.join(_KINDS[kind] for kind in kinds)} of {rows} anchors at stride {stride}"
            )
        level = [by_shape[rows, kind] for kind in kinds]
        found.append(_decode(level, columns=columns, anchors=count, stride=stride, threshold=threshold))
    return np.concatenate(found)


def _without_batch(table: np.ndarray) -> np.ndarray:
    return table[0] if table.ndim == 3 and len(table) == 1 else table


def _decode(level: Sequence[np.ndarray], *, columns: int, anchors: int, stride: int, threshold: float) -> np.ndarray:
    """Decode the tables of one stride."""
    scores, *distances = level
    chosen = np.flatnonzero(~(scores[:, 0] < threshold))  # NaN is chosen, and found below
    rows = np.concatenate([scores[chosen], *(table[chosen] for table in distances)], axis=1).astype(np.float64)
    if not np.isfinite(rows).all():
        raise ModelFileError("the detector gave values that are not finite")
    cells = chosen // anchors
    anchor = np.stack([cells % columns, cells // columns], axis=1) * float(stride)
    boxes = rows[:, 1:5] * stride
    points = rows[:, 5:] * stride + np.tile(anchor, (rows.shape[1] - 5) // 2)
    return np.concatenate([anchor - boxes[:, :2], anchor + boxes[:, 2:], rows[:, :1], points], axis=1)
