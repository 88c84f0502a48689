"""Skin that a person keeps: tone, blotches, freckles, moles, wrinkles, brows, and where beard and hair grow."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from arcface_paddle.synthetic.color import fractal_noise
from arcface_paddle.synthetic.person.painting import TEXTURE_WH, Painting
from arcface_paddle.synthetic.person.traits import Traits

BEARD_STYLES = ("moustache", "goatee", "full")

# Height of the hairline in dm by angle from the front in degrees.
_HAIRLINE_ANGLE = np.array([0, 20, 38, 52, 64, 74, 84, 100, 115, 130, 155, 181.0])
_HAIRLINE_Y = np.array([8.00, 7.98, 7.88, 7.70, 7.42, 7.12, 7.40, 7.62, 7.20, 6.80, 6.55, 6.45])
# Upper edge of a full beard in dm by angle.
_BEARD_ANGLE = np.array([0, 20, 40, 60, 75, 95, 180.0])
_BEARD_Y = np.array([6.40, 6.45, 6.72, 6.78, 7.05, 7.2, 6.0])

_SUBPIXEL_BITS = 3  # OpenCV draws at 1/8 pixel
_BLOOD = np.array([0.03, 0.22, 0.20], dtype=np.float32)  # what redness takes from R, G, B
_PIGMENT = np.array([0.55, 0.75, 0.80], dtype=np.float32)  # what a mole takes
_CREASE = np.array([0.45, 0.60, 0.65], dtype=np.float32)  # what a wrinkle takes


@dataclass(frozen=True, eq=False)
class Skin:
    """Maps (576, 768) float32 in texture coordinates.

    Attributes:
        albedo: (576, 768, 3) linear RGB of the bare skin.
        gloss: factor of the specular light.
        brows: opacity of the eyebrows, 0 to 1.
        beard_zones: where hair grows, 0 to 1, by the names of ``BEARD_STYLES``.
        above_hairline: height above the hairline in dm, below 0 where no head hair grows.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    brows: np.ndarray
    beard_zones: dict[str, np.ndarray]
    above_hairline: np.ndarray


def paint_skin(rng: np.random.Generator, painting: Painting, traits: Traits) -> Skin:
    """Paint the skin of a person."""
    albedo = _paint_tone(rng, painting, traits)
    albedo *= 1 - _paint_spots(rng, painting, traits)[:, :, None] * _PIGMENT
    albedo *= 1 - _paint_wrinkles(rng, painting, traits)[:, :, None] * _CREASE
    return Skin(
        albedo=albedo,
        gloss=_paint_gloss(rng, painting),
        brows=_paint_brows(rng, painting, traits),
        beard_zones=_beard_zones(painting),
        above_hairline=_measure_hairline(rng, painting, traits),
    )


def draw_strokes(canvas: np.ndarray, starts: np.ndarray, ends: np.ndarray, *, opacity: float = 1.0) -> None:
    """Draw hairs one texel wide from ``starts`` (N, 2) to ``ends`` (N, 2), in texture pixels, onto ``canvas``."""
    scale = 1 << _SUBPIXEL_BITS
    for start, end in zip((starts * scale).astype(int).tolist(), (ends * scale).astype(int).tolist()):
        cv2.line(canvas, start, end, opacity, 1, cv2.LINE_8, _SUBPIXEL_BITS)


def _blank() -> np.ndarray:
    return np.zeros((TEXTURE_WH[1], TEXTURE_WH[0]), dtype=np.float32)


def _paint_tone(rng: np.random.Generator, painting: Painting, traits: Traits) -> np.ndarray:
    coarse = fractal_noise(rng, TEXTURE_WH, octaves=4, cells=6)
    fine = fractal_noise(rng, TEXTURE_WH, octaves=3, cells=90, persistence=0.8)
    brightness = 1 + rng.uniform(0.02, 0.06) * coarse + 0.035 * rng.uniform(0.5, 1.6) * fine
    albedo = traits.skin.astype(np.float32) * brightness[:, :, None]
    redness = (
        painting.spot((0.42, 6.95), (0.24, 0.20)) * rng.uniform(0.1, 1.2)
        + painting.spot((0, 6.93), (0.14, 0.13)) * rng.uniform(0.1, 1.3)
        + painting.spot((0, 6.30), (0.15, 0.12)) * rng.uniform(0, 0.7)
        + painting.spot((0.31, 7.28), (0.20, 0.12)) * rng.uniform(0, 0.6)
        + 0.18 * np.maximum(0, fractal_noise(rng, TEXTURE_WH, octaves=4, cells=10))
    )
    redness = np.clip(redness * rng.uniform(0.2, 1.5) * (1 if traits.tone < 3.5 else 0.6), 0, 1.6)
    albedo *= 1 - redness[:, :, None] * _BLOOD
    eye_rings = painting.spot((0.30, 7.14), (0.17, 0.06)) * rng.uniform(0.0, 0.85)
    eye_rings += painting.spot((0.20, 7.30), (0.08, 0.10)) * rng.uniform(0.1, 0.35)
    albedo *= 1 - 0.35 * eye_rings[:, :, None] * np.array([0.8, 1, 0.9], dtype=np.float32)
    forehead = painting.spot((0, 7.75), (0.50, 0.25))
    return albedo * (1 + 0.06 * rng.normal() * forehead[:, :, None])


def _paint_spots(rng: np.random.Generator, painting: Painting, traits: Traits) -> np.ndarray:
    freckled = traits.tone < 3 and rng.random() < 0.35
    freckles = int(rng.gamma(1, 70 if freckled else 6))
    moles = int(rng.poisson(2.6))
    x = np.concatenate([rng.normal(0, 0.3, freckles), rng.uniform(-0.6, 0.6, moles)])
    y = np.concatenate([rng.normal(7.0, 0.25, freckles), rng.uniform(6.2, 7.9, moles)])
    radius = np.concatenate([rng.uniform(0.6, 1.6, freckles), rng.uniform(0.9, 2.9, moles)])
    opacity = np.concatenate([rng.uniform(0.1, 0.4, freckles), rng.uniform(0.4, 0.9, moles)])
    canvas = _blank()
    scale = 1 << _SUBPIXEL_BITS
    for texel, size, value in zip(painting.texels(np.stack([x, y], axis=1)), radius, opacity):
        centre = (int(texel[0] * scale), int(texel[1] * scale))
        cv2.circle(canvas, centre, int(size * scale), float(value), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return cv2.GaussianBlur(canvas, (0, 0), 0.7)


def _paint_wrinkles(rng: np.random.Generator, painting: Painting, traits: Traits) -> np.ndarray:
    canvas = _blank()
    depth = float(np.clip((traits.age - 30) / 40, 0, 1.2))
    for points, strength in _wrinkle_lines(rng, depth):
        share = np.linspace(0, 1, 24)
        along = np.linspace(0, 1, len(points))
        line = np.stack([np.interp(share, along, np.array(points)[:, axis]) for axis in (0, 1)], axis=1)
        line[1:-1] = (line[:-2] + 2 * line[1:-1] + line[2:]) / 4
        line[:, 1] += rng.normal(0, 0.003, len(line))
        texels = painting.texels(line)
        draw = np.zeros_like(canvas)
        draw_strokes(draw, texels[:-1], texels[1:], opacity=strength)
        np.maximum(canvas, draw, out=canvas)
    return cv2.GaussianBlur(canvas, (0, 0), 0.8 + 0.3 * depth) * (1.3 + 0.5 * depth)


def _wrinkle_lines(rng: np.random.Generator, depth: float) -> list[tuple[list[tuple[float, float]], float]]:
    """Return the polylines (dm, frontal) of the wrinkles of an age with their opacity."""
    lines: list[tuple[list[tuple[float, float]], float]] = []
    if depth < 0.05:
        return lines
    fold, feet, bag, forehead = (depth * rng.uniform(0.3, 1.1) for _ in range(4))
    for side in (-1, 1):
        lines.append(([(side * x, y) for x, y in ((0.19, 6.95), (0.30, 6.82), (0.36, 6.62), (0.37, 6.5))], 0.55 * fold))
        lines.append(([(side * x, y) for x, y in ((0.20, 7.12), (0.32, 7.05), (0.45, 7.10))], 0.45 * bag))
        for spread in (-1, 0, 1):
            outer = (side * 0.66, 7.28 + 0.10 * spread + rng.normal(0, 0.01))
            lines.append(([(side * 0.52, 7.28 + 0.05 * spread), outer], 0.45 * feet))
    for number in range(int(rng.integers(2, 5))):
        y = 7.62 + 0.08 * number + rng.normal(0, 0.015)
        lines.append(([(-0.4, y + 0.02), (-0.15, y - 0.01), (0.12, y + 0.01), (0.4, y + 0.02)], 0.42 * forehead))
    return lines


def _paint_gloss(rng: np.random.Generator, painting: Painting) -> np.ndarray:
    gloss = (
        0.7
        + 0.35 * painting.spot((0, 6.95), (0.16, 0.3))
        + 0.25 * painting.spot((0, 7.75), (0.45, 0.22))
        + 0.1 * fractal_noise(rng, TEXTURE_WH, octaves=4, cells=20)
        + 0.25 * fractal_noise(rng, TEXTURE_WH, octaves=2, cells=180, persistence=0.9)
    )
    return np.clip(gloss, 0.2, 2).astype(np.float32)


def _paint_brows(rng: np.random.Generator, painting: Painting, traits: Traits) -> np.ndarray:
    density = rng.uniform(0.3, 1.1) * (1.2 if traits.is_male else 0.85)
    thickness = rng.uniform(0.013, 0.060) * (1.15 if traits.is_male else 0.8)
    arch, tilt = rng.uniform(-0.025, 0.085), rng.normal(0, 0.042)
    inner, outer = rng.uniform(0.06, 0.20), rng.uniform(0.46, 0.58)
    height = 7.445 + rng.normal(0, 0.038)
    canvas = _blank()
    hairs = int(180 * density)
    for side in (-1, 1):
        along = rng.random(hairs)
        profile = np.sin(np.pi * np.clip(along * 0.85 + 0.12, 0, 1)) ** 0.6
        x = inner + (outer - inner) * along
        y = height + arch * np.sin(np.pi * np.clip(along * 1.1, 0, 1)) + tilt * (along - 0.5) + 0.02 * along
        y += (rng.random(hairs) - 0.5) * thickness * profile * 1.6
        length = rng.uniform(0.025, 0.055, hairs)
        slope = np.radians(70 - 62 * along + rng.normal(0, 12, hairs))
        tip = np.stack([side * (x + length * np.cos(slope)), y + 0.7 * length * np.sin(slope)], axis=1)
        draw_strokes(canvas, painting.texels(np.stack([side * x, y], axis=1)), painting.texels(tip))
    return np.clip(cv2.GaussianBlur(canvas, (0, 0), 0.85), 0, 1) * rng.uniform(0.5, 0.95)


@functools.lru_cache(maxsize=1)  # of the head, not of the person
def _beard_zones(painting: Painting) -> dict[str, np.ndarray]:
    x, y, angle = np.abs(painting.x), painting.y, np.abs(painting.angle_deg)
    moustache = np.exp(-((x / 0.31) ** 6)) * np.exp(-(((y - (6.77 - 0.55 * x**2)) / 0.055) ** 2))
    moustache = moustache * (angle < 80) * (1 - 0.4 * np.exp(-((x / 0.03) ** 2)))
    chin = np.exp(-((x / 0.24) ** 4)) * np.exp(-(((y - 6.33) / 0.17) ** 4)) * (angle < 90)
    upper_edge = np.interp(angle, _BEARD_ANGLE, _BEARD_Y)
    jaw = 1 / (1 + np.exp(np.clip((y - upper_edge) / 0.035, -30, 30)))
    jaw = jaw * (angle < 92) * np.clip((y - 5.95) / 0.25, 0, 1)
    lips = np.exp(-((x / 0.27) ** 4)) * np.exp(-(((y - 6.60) / 0.105) ** 4))
    return {
        "moustache": (moustache * (1 - 0.9 * lips)).astype(np.float32),
        "goatee": np.clip(np.maximum(moustache * 0.9, chin) * (1 - 0.9 * lips), 0, 1).astype(np.float32),
        "full": np.clip(np.maximum(jaw, moustache) * (1 - 0.95 * lips), 0, 1).astype(np.float32),
    }


def _measure_hairline(rng: np.random.Generator, painting: Painting, traits: Traits) -> np.ndarray:
    angle = np.abs(painting.angle_deg)
    height = rng.normal(-0.09, 0.09)
    corners = 0.0
    if traits.is_male:
        corners = max(0.0, rng.normal(0, 0.12))
        if rng.random() < np.clip((traits.age - 25) / 45, 0, 0.7):
            height += 0.35 * rng.random()
    line = np.interp(angle, _HAIRLINE_ANGLE, _HAIRLINE_Y)
    line = line + height * np.exp(-((angle / 45) ** 2)) + corners * np.exp(-(((angle - 38) / 14) ** 2))
    edge = 0.03 * fractal_noise(rng, TEXTURE_WH, octaves=4, cells=24)
    return (painting.y - line + edge).astype(np.float32)
