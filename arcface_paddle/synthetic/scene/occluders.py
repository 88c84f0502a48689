"""What comes between camera and face for one picture: face masks and hands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.synthetic.color import draw_any_color, linear_from_srgb
from arcface_paddle.synthetic.person.hands import Hand, draw_hand

# Rare: they hide what tells people apart, and a detector's points are worse below them.
MASK_SHARE = 0.02
HAND_SHARE = 0.02


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
        return Occluders(hand=draw_hand(rng))
    return Occluders()


def _draw_mask_color(rng: np.random.Generator) -> np.ndarray:
    usual = linear_from_srgb([[150, 190, 215], [235, 238, 240], [30, 30, 34], [120, 170, 150]])
    if rng.random() < 0.75:
        return usual[rng.integers(len(usual))] * np.exp(rng.normal(0, 0.1))
    return draw_any_color(rng, low=20, high=220, saturation=rng.uniform(0, 0.7))
