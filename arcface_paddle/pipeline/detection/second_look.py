"""The second look at each place where a face was noticed: in a small window, upright, at the size that is seen best.

A pass over the whole picture notices faces of all sizes, but it judges small, large and tilted ones badly. Cut out so
that the face stands upright and has its best size, nearly every real face scores above .6 and nearly every other place
below .25. The window is mirrored, so that the second look errs in other ways than the first: the middle of both looks
is better than either, and their distance says how far the landmarks can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import cv2
import numpy as np

from arcface_paddle.pipeline.cards import InputSpec, ScanSpec
from arcface_paddle.pipeline.detection.centerface_maps import COLUMNS, decode_batch
from arcface_paddle.pipeline.preprocessing import to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime

MIRRORED_POINTS = (1, 0, 2, 4, 3)
"""Order of the five points in a mirrored picture."""

_BATCH = 16  # windows per run: more save nothing and take memory
_BARELY = 0.02  # score from which on a window's find counts at all
_OFF_CENTRE = 0.45  # most distance of the find from the window's middle, in widths of the face
_SIZE_RATIO = 2.2  # most by which the find may be larger or smaller than expected
_TILTED_RAD = np.deg2rad(20)  # from here on the window is turned; below, landmarks of small faces tilt by chance
_STILL_TILTED_RAD = np.deg2rad(30)
_HEIGHT_SHARE = 0.8  # width of a face that is seen from the front, in heights


@dataclass(frozen=True, eq=False)
class Window:
    """A square cut out of a picture.

    Attributes:
        transform: (2, 3) from continuous coordinates of the picture to those of the window.
        angle_rad: by which the picture was turned, and which must be added to directions in the window.
    """

    transform: np.ndarray
    angle_rad: float

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Bring points (..., 2) of the window to the picture."""
        return (points - self.transform[:, 2]) @ np.linalg.inv(self.transform[:, :2]).T

    def cut(self, image: np.ndarray, side: int) -> np.ndarray:
        """Return the window as (side, side, 3) uint8, black outside of the picture.

        The surroundings are averaged down by a whole number first, so that bilinear sampling leaves out nothing.
        """
        corners = self.to_picture(np.array([[0, 0], [side, 0], [0, side], [side, side]], np.float64))
        low = np.maximum(np.floor(corners.min(axis=0)) - 1, 0).astype(int)
        high = np.minimum(np.ceil(corners.max(axis=0)) + 1, image.shape[1::-1]).astype(int)
        if (high <= low).any():
            return np.zeros((side, side, 3), np.uint8)
        scale = float(np.sqrt(abs(np.linalg.det(self.transform[:, :2]))))
        step = max(1, round(1 / scale))
        low, high = whole_steps(low, high, step, np.array(image.shape[1::-1]))
        part = image[low[1] : high[1], low[0] : high[0]]
        size_wh = (-(-part.shape[1] // step), -(-part.shape[0] // step))
        shrunk = part if step == 1 else cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA)
        stretch = np.array([part.shape[1] / shrunk.shape[1], part.shape[0] / shrunk.shape[0]])
        matrix = self.transform[:, :2] * stretch
        shift = self.transform[:, :2] @ low + self.transform[:, 2]
        indices = np.column_stack([matrix, shift + matrix @ [0.5, 0.5] - 0.5])  # pixel 0 reaches from 0 to 1
        return cv2.warpAffine(shrunk, indices, (side, side), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))


def whole_steps(low: np.ndarray, high: np.ndarray, step: int, size_wh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Widen a part of a picture to multiples of ``step`` where it has room: averaging takes a third of the time then.

    Args:
        low, high: (2,) int, x and y of its corners.
        step: pixels that become one.
        size_wh: (2,) of the picture.
    """
    sides = -(-(high - low) // step) * step
    low = np.maximum(np.minimum(low, size_wh - sides), 0)
    return low, np.minimum(low + sides, size_wh)


class SecondLook:
    """Looks at places of a picture in windows.

    Args:
        runtime: CenterFace.
        card_input: of its card.
        scan: of its card; ``window`` and ``face_in_window`` are used.
        stride: of its maps.
    """

    def __init__(self, runtime: InferenceRuntime, card_input: InputSpec, scan: ScanSpec, *, stride: int) -> None:
        self._runtime = runtime
        self._input = card_input
        self._scan = scan
        self._stride = stride

    def look(self, image: np.ndarray, rows: np.ndarray, *, mirror: int) -> np.ndarray:
        """Look at places once, and again where the face turns out to stand askew in its window.

        Args:
            image: (H, W, 3) uint8 RGB.
            rows: (N, 15) box, score and five points each, in pixels of the picture.
            mirror: -1 for mirrored windows, 1 for others.

        Returns:
            (N, 15) likewise, as seen now; where nothing was seen, the same row with score 0.
        """
        return self._look_again(image, rows, np.full(len(rows), mirror))

    def look_twice(self, image: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look at places mirrored and as they are, in one go, which saves a third of the time of two looks.

        Args:
            image, rows: as for ``look``.

        Returns:
            (N, 15) what ``look`` returns for either, the mirrored look first.
        """
        mirrors = np.repeat([-1, 1], len(rows))
        seen = self._look_again(image, np.concatenate([rows, rows]), mirrors)
        return seen[: len(rows)], seen[len(rows) :]

    def _look_again(self, image: np.ndarray, rows: np.ndarray, mirrors: np.ndarray) -> np.ndarray:
        """Look at places, each mirrored (-1) or not (1), and again at those whose face stands askew in its window."""
        seen = self._look_once(image, rows, mirrors)
        # Where nothing was seen the row is as before, and stands in its window as straight as that was turned for it.
        askew = np.abs(_angle_between(rolls(seen), _window_angles(rows))) > _STILL_TILTED_RAD
        again = np.flatnonzero(askew)
        if len(again):
            closer = self._look_once(image, seen[again], mirrors[again])
            better = closer[:, 4] >= seen[again, 4]
            seen[again[better]] = closer[better]
        return seen

    def _look_once(self, image: np.ndarray, rows: np.ndarray, mirrors: np.ndarray) -> np.ndarray:
        seen = rows.copy()
        seen[:, 4] = 0
        placed = zip(rows, _window_angles(rows), mirrors)
        windows = [self._window(row, angle, mirror=mirror) for row, angle, mirror in placed]
        for start in range(0, len(rows), _BATCH):
            batch = windows[start : start + _BATCH]
            blob = to_blob([window.cut(image, self._scan.window) for window in batch], self._input)
            rows_seen, indices = self._best(self._runtime.run([blob]))
            for row, index in zip(rows_seen, indices):
                seen[start + index] = _row_in_picture(row, batch[index], mirror=mirrors[start + index])
        return seen

    def _window(self, row: np.ndarray, angle: float, *, mirror: int) -> Window:
        width = max(row[2] - row[0], _HEIGHT_SHARE * (row[3] - row[1]), 1.0)
        scale = self._scan.face_in_window / width
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        matrix = np.array([[mirror * cos, mirror * sin], [-sin, cos]])
        center = np.array([row[0] + row[2], row[1] + row[3]]) / 2
        return Window(np.column_stack([matrix, self._scan.window / 2 - matrix @ center]), angle)

    def _best(self, maps: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the best faces in the middle of windows, and the numbers of these windows."""
        found, numbers = decode_batch(maps, stride=self._stride, threshold=_BARELY)
        middle, expected = self._scan.window / 2, self._scan.face_in_window
        off = np.abs(found[:, :2] + found[:, 2:4] - 2 * middle).max(axis=1, initial=0) / 2
        ratio = np.maximum(found[:, 2] - found[:, 0], _HEIGHT_SHARE * (found[:, 3] - found[:, 1])) / expected
        fits = np.flatnonzero((off < _OFF_CENTRE * expected) & (ratio < _SIZE_RATIO) & (ratio > 1 / _SIZE_RATIO))
        windows, firsts = np.unique(numbers[fits], return_index=True)  # the first is the best
        return found[fits[firsts]], windows


def rolls(rows: np.ndarray) -> np.ndarray:
    """Return (N,) by how much the faces of rows (N, 15) are tilted, radians, clockwise in the picture."""
    across = rows[:, 7:9] - rows[:, 5:7]
    return np.arctan2(across[:, 1], across[:, 0])


def _window_angles(rows: np.ndarray) -> np.ndarray:
    angles = rolls(rows)
    return np.where(np.abs(angles) > _TILTED_RAD, angles, 0.0)


def _angle_between(angles: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (angles - others + np.pi) % (2 * np.pi) - np.pi


def _row_in_picture(row: np.ndarray, window: Window, *, mirror: int) -> np.ndarray:
    """Bring a row of a window to the picture; a turned box becomes an upright one of about the same size."""
    points = row[COLUMNS].reshape(-1, 2)
    in_picture = window.to_picture(points)
    scale = float(np.sqrt(abs(np.linalg.det(window.transform[:, :2]))))
    width, height = (row[2] - row[0]) / scale, (row[3] - row[1]) / scale
    level, upright = np.cos(window.angle_rad) ** 2, np.sin(window.angle_rad) ** 2
    half = np.array([width * level + height * upright, height * level + width * upright]) / 2
    center = in_picture[:2].mean(axis=0)
    landmarks = in_picture[2:][list(MIRRORED_POINTS)] if mirror < 0 else in_picture[2:]
    return np.concatenate([center - half, center + half, row[4:5], landmarks.reshape(-1)])
