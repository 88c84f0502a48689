"""Where a face will be: a Kalman filter of place and size in the picture, in units of the face itself.

Three values move independently: middle x, middle y (pixels) and the logarithm of the size (root of the area). Each
goes on with its velocity, which fades (people stop), and is pushed by accelerations at random. All noise of the places
is in widths of the face, so that a near and a far face, 360 and 2160 lines behave alike. Time is in seconds and never
in frames: ``--every 10``, a variable frame rate and a stream with gaps need nothing more.
"""

from __future__ import annotations

import copy
import math

import numpy as np

_FADE_S = 0.8  # after which a velocity has fallen to 1/e
_ACCELERATION = np.array([6.0, 6.0, 1.5])  # deviations: faces per second squared, and of the logarithm of the size
_JITTER = np.array([0.07, 0.07, 0.09])  # deviations of a detector's boxes
_FIRST_SPEED = np.array([3.0, 3.0, 0.5])  # deviations of what is not known yet: somebody walks close to the camera
_RATIO_SHARE = 0.3  # of a new box in the ratio of its sides


class Motion:
    """The motion of one face.

    Attributes:
        time_s: of the last box.
    """

    def __init__(self, box_xyxy: np.ndarray, time_s: float) -> None:
        """Begin with a box at rest."""
        values, self._ratio = _measured(box_xyxy)
        self.time_s = time_s
        self._mean = np.column_stack([values, np.zeros(3)])
        unit = self._units()
        self._cov = np.zeros((3, 2, 2))
        self._cov[:, 0, 0] = (_JITTER * unit) ** 2
        self._cov[:, 1, 1] = (_FIRST_SPEED * unit) ** 2

    def copy(self) -> Motion:
        """Return the same state, to go back to."""
        return copy.copy(self)  # an update replaces the arrays and changes none

    @property
    def size(self) -> float:
        """Root of the box's area, pixels."""
        return math.exp(min(float(self._mean[2, 0]), 20.0))

    def box_at(self, time_s: float) -> np.ndarray:
        """Return the box (4,) float64 that is expected at a time."""
        mean, _ = self._at(time_s)
        size = math.exp(min(float(mean[2, 0]), 20.0))
        half = np.array([size * math.sqrt(self._ratio), size / math.sqrt(self._ratio)]) / 2
        return np.concatenate([mean[:2, 0] - half, mean[:2, 0] + half])

    def gating_distance(self, box_xyxy: np.ndarray, time_s: float) -> float:
        """Return the squared Mahalanobis distance of a box (4,) from the expected one: about 3 for the face itself."""
        mean, cov = self._at(time_s)
        values, _ = _measured(box_xyxy)
        variance = cov[:, 0, 0] + (_JITTER * self._units()) ** 2
        return float(((values - mean[:, 0]) ** 2 / variance).sum())

    def update(self, box_xyxy: np.ndarray, time_s: float) -> None:
        """Take in the box of a later time."""
        mean, cov = self._at(time_s)
        values, ratio = _measured(box_xyxy)
        gain = cov[:, :, 0] / (cov[:, 0, 0] + (_JITTER * self._units()) ** 2)[:, None]
        self._mean = mean + gain * (values - mean[:, 0])[:, None]
        self._cov = cov - gain[:, :, None] * cov[:, None, 0, :]
        self._ratio += _RATIO_SHARE * (ratio - self._ratio)
        self.time_s = time_s

    def _at(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return mean (3, 2) and covariance (3, 2, 2) of place and velocity, predicted."""
        dt = max(0.0, time_s - self.time_s)
        kept = math.exp(-dt / _FADE_S)
        step = np.array([[1.0, _FADE_S * (1 - kept)], [0.0, kept]])
        push = np.array([dt * dt / 2, dt])
        noise = ((_ACCELERATION * self._units()) ** 2)[:, None, None] * np.outer(push, push)
        return self._mean @ step.T, step @ self._cov @ step.T + noise

    def _units(self) -> np.ndarray:
        return np.array([self.size, self.size, 1.0])


def _measured(box_xyxy: np.ndarray) -> tuple[np.ndarray, float]:
    """Return middle x, middle y and logarithm of the size (3,), and the ratio of width to height."""
    left, top, right, bottom = (float(edge) for edge in box_xyxy)
    width, height = max(right - left, 1e-3), max(bottom - top, 1e-3)
    return np.array([(left + right) / 2, (top + bottom) / 2, math.log(width * height) / 2]), width / height
