"""What stands behind a person: mostly calm walls and blurred rooms, seldom anything loud."""

from __future__ import annotations

import cv2
import numpy as np

from arcface_paddle.synthetic.color import draw_any_color, fractal_noise


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return (size, size, 3) float32 linear RGB."""
    kind = rng.random()
    if kind < 0.35:  # 35 % gradients, 25 % clouds, 40 % rooms
        picture = _gradient(rng, size)
    elif kind < 0.60:
        picture = _clouds(rng, size)
    else:
        picture = _blurred_room(rng, size)
    grain = 1 + 0.015 * fractal_noise(rng, (size, size), octaves=3, cells=16)
    return np.clip(picture * grain[:, :, None], 0, None).astype(np.float32)


def _calm_color(rng: np.random.Generator) -> np.ndarray:
    saturation = rng.uniform(0, 0.25) if rng.random() < 0.85 else rng.uniform(0.25, 0.7)
    return draw_any_color(rng, low=15, high=240, saturation=saturation)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    down, right = np.mgrid[0:size, 0:size] / size - 0.5
    share = np.clip(0.5 + rng.normal(0, 0.7) * down + rng.normal(0, 0.7) * right, 0, 1)[:, :, None]
    first = _calm_color(rng)
    return first * share + first * np.exp(rng.normal(0, 0.6)) * (1 - share)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    share = np.clip(0.5 + 0.3 * fractal_noise(rng, (size, size), octaves=3, cells=2), 0, 1)[:, :, None]
    share = cv2.GaussianBlur(share, (0, 0), 0.03 * size)[:, :, None]
    return _calm_color(rng) * share + _calm_color(rng) * (1 - share)


def _blurred_room(rng: np.random.Generator, size: int) -> np.ndarray:
    """Paint boxes and lamps in the shades of one room, out of focus; a quarter of the size is enough for that."""
    small = max(24, size // 4)
    base = _calm_color(rng)
    picture = np.ones((small, small, 3), dtype=np.float32) * base.astype(np.float32)
    for _ in range(int(rng.integers(3, 14))):
        color = base * np.exp(rng.normal(0, 0.6)) * 0.65 + _calm_color(rng) * 0.35
        centre = rng.uniform(-0.2, 1.2, 2) * small
        extent = rng.uniform(0.08, 0.7, 2) * small
        if rng.random() < 0.8:
            tilt = float(rng.choice([0, 90])) + float(rng.normal(0, 2))
            corners = cv2.boxPoints((tuple(centre.tolist()), tuple(extent.tolist()), tilt))
            cv2.fillPoly(picture, [corners.astype(np.int32)], color.tolist())
        else:
            cv2.circle(picture, tuple(centre.astype(int).tolist()), int(extent[0] / 2.5), color.tolist(), -1)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.02, 0.09) * small)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
