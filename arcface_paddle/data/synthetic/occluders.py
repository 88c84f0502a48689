"""What comes between camera and face for one picture: face masks and hands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.data.synthetic.color import draw_any_color, linear_from_srgb
from arcface_paddle.data.synthetic.light_kernels import Light

MASK_SHARE = 0.025
HAND_SHARE = 0.025


@dataclass(frozen=True, eq=False)
class Hand:
    """A hand held to the face, as capsules in units of the distance between the eyes about their midpoint.

    Attributes:
        starts: (N, 2) first ends of the capsules, x right and y down.
        ends: (N, 2) second ends.
        radii: (N,).
    """

    starts: np.ndarray
    ends: np.ndarray
    radii: np.ndarray


@dataclass(frozen=True, eq=False)
class Occluders:
    """What hides a part of the face: the colour of a mask, or None; a hand, or None."""

    mask_color: Optional[np.ndarray] = None
    hand: Optional[Hand] = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what is there."""
        parts = (("mask", self.mask_color), ("hand", self.hand))
        return tuple(name for name, part in parts if part is not None)


def draw_occluders(rng: np.random.Generator) -> Occluders:
    """Draw what hides a part of the face: mostly nothing."""
    choice = rng.random()
    if choice < MASK_SHARE:
        return Occluders(mask_color=_draw_mask_color(rng))
    if choice < MASK_SHARE + HAND_SHARE:
        return Occluders(hand=_draw_hand(rng))
    return Occluders()


def paint_hand(
    image: np.ndarray, alpha: np.ndarray, hand: Hand, eyes: np.ndarray, *, skin: np.ndarray, light: Light
) -> None:
    """Paint a hand over the picture.

    Args:
        image: (H, W, 3) float32 linear RGB, updated.
        alpha: (H, W) float32, set to 1 where painted.
        hand: the capsules.
        eyes: (2, 2) eyes in pixels.
        skin: (3,) linear RGB.
        light: the lamps; a hand throws no shadow.
    """
    height, width = alpha.shape
    scale = float(np.hypot(*(eyes[1] - eyes[0]))) or 1.0
    scale = max(scale, 0.25 * width / 4)
    centre = eyes.mean(axis=0)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (columns - centre[0]) / scale, (rows - centre[1]) / scale
    relief = np.zeros((height, width), dtype=np.float32)
    normal = np.zeros((height, width, 3), dtype=np.float32)
    for start, end, radius in zip(hand.starts, hand.ends, hand.radii):
        _raise_capsule(relief, normal, x, y, start=start, end=end, radius=float(radius))
    seen = relief > 0
    shade = np.zeros((height, width, 3), dtype=np.float32)
    n = normal[seen]
    received = light.ambient[:, 0] + n[:, 1:2] * light.ambient[:, 1] + n[:, 2:3] * light.ambient[:, 2]
    received = np.maximum(received + n[:, 0:1] * light.ambient[:, 3], 0.02)
    for lamp_direction, color in zip(light.directions, light.colors):
        received = received + np.clip((n @ lamp_direction[:, None] + 0.3) / 1.3, 0, None) * color
    crease = 0.75 + 0.25 * np.clip(n[:, 2:3] * 1.6, 0, 1)
    shade[seen] = skin * received * crease
    image[seen] = shade[seen]
    alpha[seen] = 1.0


def _draw_mask_color(rng: np.random.Generator) -> np.ndarray:
    usual = linear_from_srgb([[150, 190, 215], [235, 238, 240], [30, 30, 34], [120, 170, 150]])
    if rng.random() < 0.75:
        return usual[rng.integers(len(usual))] * np.exp(rng.normal(0, 0.1))
    return draw_any_color(rng, low=20, high=220, saturation=rng.uniform(0, 0.7))


def _draw_hand(rng: np.random.Generator) -> Hand:
    """Place a palm beside or below the mouth, fingers along the cheek or before the mouth."""
    side = float(rng.choice([-1, 1]))
    palm = np.array([side * rng.uniform(0.75, 1.15), rng.uniform(1.5, 2.1)])
    towards = np.array([-side * rng.uniform(0.05, 0.8), -1.0])
    towards /= np.hypot(*towards)
    across = np.array([-towards[1], towards[0]])
    starts, ends, radii = [palm], [palm - towards * 1.6], [0.42]
    for finger in range(4):
        offset = (finger - 1.5) * 0.23
        base = palm + across * offset + towards * 0.15
        reach = (0.85, 1.0, 0.95, 0.75)[finger] * rng.uniform(0.7, 1.0)
        middle = base + towards * reach * 0.55 + across * rng.normal(0, 0.02)
        tip = middle + (towards + across * rng.normal(0, 0.12)) * reach * 0.5
        starts += [base, middle]
        ends += [middle, tip]
        radii += [0.125, 0.11]
    return Hand(np.array(starts), np.array(ends), np.array(radii))


def _raise_capsule(
    relief: np.ndarray,
    normal: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    start: np.ndarray,
    end: np.ndarray,
    radius: float,
) -> None:
    """Raise ``relief`` and ``normal`` to the surface of a capsule where that is in front."""
    axis = end - start
    share = ((x - start[0]) * axis[0] + (y - start[1]) * axis[1]) / float(axis @ axis)
    share = np.clip(share, 0, 1)
    dx, dy = x - start[0] - share * axis[0], y - start[1] - share * axis[1]
    square = radius * radius - dx * dx - dy * dy
    above = np.sqrt(np.maximum(square, 0))
    front = above > relief
    relief[front] = above[front]
    normal[front, 0] = dx[front] / radius
    normal[front, 1] = -dy[front] / radius
    normal[front, 2] = above[front] / radius
