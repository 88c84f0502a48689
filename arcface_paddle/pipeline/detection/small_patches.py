"""A closer look at places that may be small faces: patches of the finest level, side by side in one input.

A coarse pass sees a face of 16 pixels as one of 5, with a score of .005 to .03, which hundreds of other places have as
well. The finest level tells them apart but costs four times the coarse one; patches around the best places cost less
than a tenth of it.
"""

from __future__ import annotations

import numpy as np

from arcface_paddle.pipeline.cards import InputSpec
from arcface_paddle.pipeline.detection import scanning
from arcface_paddle.pipeline.detection.centerface_maps import COLUMNS, decode_maps
from arcface_paddle.pipeline.preprocessing import to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime

_SIDE = 64  # pixels of a patch, for a face of 10 to 20: with 48 and no more around it, false faces score up to .6
_GRIDS = ((2, 4), (4, 6))  # rows and columns: few shapes, because each costs the engine time when it is new
_NEAR = 16  # pixels of a patch from its place within which a face counts


def look_at_patches(
    image: np.ndarray,
    centers: np.ndarray,
    *,
    factor: float,
    runtime: InferenceRuntime,
    card_input: InputSpec,
    stride: int,
    noticed: float,
) -> np.ndarray:
    """Look at places of a picture at some resolution.

    Args:
        image: (H, W, 3) uint8 RGB.
        centers: (N, 2) x, y of the places in pixels of the picture.
        factor: by which the picture is shrunk.
        runtime: CenterFace.
        card_input: of its card.
        stride: of its maps.
        noticed: least score.

    Returns:
        (M, 15) box, score and five points of what may be faces, in pixels of the picture.
    """
    found = [np.empty((0, 15))]
    most = _GRIDS[-1][0] * _GRIDS[-1][1]
    for start in range(0, len(centers), most):
        places = centers[start : start + most]
        pieces = [_piece(center, factor, (image.shape[1], image.shape[0])) for center in places]
        grid = next(grid for grid in _GRIDS if grid[0] * grid[1] >= len(pieces))
        mosaic = np.zeros((grid[0] * _SIDE, grid[1] * _SIDE, 3), np.uint8)
        for number, piece in enumerate(pieces):
            top, left = _corner(number, grid)
            part = piece.scaled(image)
            mosaic[top : top + part.shape[0], left : left + part.shape[1]] = part
        maps = runtime.run([to_blob([mosaic], card_input)])
        rows = decode_maps(maps, stride=stride, threshold=noticed)
        found.append(_in_picture(rows, pieces, places, grid=grid))
    return np.concatenate(found)


def _piece(center: np.ndarray, factor: float, size_wh: tuple[int, int]) -> scanning.Piece:
    """Return the patch around a place, moved so that it lies in the picture."""
    side = round(_SIDE / factor)
    low = [max(0, min(round(float(at) - side / 2), whole - side)) for at, whole in zip(center, size_wh)]
    high = [min(start + side, whole) for start, whole in zip(low, size_wh)]
    scaled = [min(_SIDE, max(1, round((end - start) * factor))) for start, end in zip(low, high)]
    return scanning.Piece((low[0], low[1], high[0], high[1]), (scaled[0], scaled[1]), 0, (False,) * 4)


def _corner(number: int, grid: tuple[int, int]) -> tuple[int, int]:
    return number // grid[1] * _SIDE, number % grid[1] * _SIDE


def _in_picture(
    rows: np.ndarray, pieces: list[scanning.Piece], places: np.ndarray, *, grid: tuple[int, int]
) -> np.ndarray:
    """Bring rows of a mosaic to the picture, without those that are not at the place for which their patch was cut."""
    kept = []
    for row in rows:
        x, y = (row[0] + row[2]) / 2, (row[1] + row[3]) / 2
        number = int(y // _SIDE) * grid[1] + int(x // _SIDE)
        if not (0 <= number < len(pieces) and 0 <= x < grid[1] * _SIDE):
            continue
        top, left = _corner(number, grid)
        brought = row.copy()
        brought[COLUMNS] = pieces[number].to_picture(row[COLUMNS].reshape(-1, 2) - [left, top]).reshape(-1)
        offset = np.abs((brought[:2] + brought[2:4]) / 2 - places[number]).max()
        if offset <= _NEAR / pieces[number].factor:
            kept.append(brought)
    return np.array(kept).reshape(-1, rows.shape[1])
