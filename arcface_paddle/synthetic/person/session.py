"""One day of a person: hair style, beard, make-up, clothes, glasses, hat. Several pictures share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np

from arcface_paddle.synthetic.color import HAIR_COLORS, draw_any_color, fractal_noise, linear_from_srgb, mix
from arcface_paddle.synthetic.person.hair import HairStyle, Strands, draw_hair_style, grow_beard, grow_hair
from arcface_paddle.synthetic.person.head import Head
from arcface_paddle.synthetic.person.identity import Identity
from arcface_paddle.synthetic.person.painting import TEXTURE_WH, Painting
from arcface_paddle.synthetic.person.skin import BEARD_STYLES
from arcface_paddle.synthetic.random_streams import stream

GLASSES_SHARE = 0.20
HAT_SHARE = 0.06
_SUNGLASSES_SHARE = 0.10  # share of the glasses
_DYED_SHARE = 0.08  # share of the women
_MADE_UP_SHARE = 0.55  # share of the women
_HAIR_EDGE_DM, _SHORN_EDGE_DM = 0.10, 0.22  # over which the colour of hair sets in above the hairline
_CLOTH_GLOSS = 0.15  # as of the garment's own material
_SHOULDER_TOP_Y = 5.95  # dm; below it, what is far from the neck is shoulder


@dataclass(frozen=True, eq=False)
class Glasses:
    """A pair of glasses.

    Attributes:
        color: (3,) linear RGB of the frame.
        thickness: thickness of the rim, dm.
        radius_xy: half width and half height of a lens, dm.
        squareness: exponent of the superellipse, 2 = ellipse.
        dark: sunglasses.
    """

    color: np.ndarray
    thickness: float
    radius_xy: tuple[float, float]
    squareness: float
    dark: bool


@dataclass(frozen=True, eq=False)
class Hat:
    """A knitted cap with a turn-up, or a cap of panels with a peak.

    Attributes:
        color: (3,) linear RGB of the crown.
        trim: (3,) linear RGB of turn-up or peak.
        edge_y: height of its edge above the forehead, dm.
        peak: length of the peak, dm; 0 for a knitted cap.
        turn_up: height of the turn-up, dm; 0 for none.
        puff: how far the cap stands off the skull at the top, dm.
    """

    color: np.ndarray
    trim: np.ndarray
    edge_y: float
    peak: float
    turn_up: float
    puff: float

    def edge_at(self, azimuth_rad: np.ndarray) -> np.ndarray:
        """Return the height of the edge in dm by the angle from the front: it sits lower at the back."""
        return self.edge_y - 0.42 * (1 - np.cos(azimuth_rad)) / 2


@dataclass(frozen=True, eq=False)
class Session:
    """One day of a person.

    Attributes:
        number: index among the person's days.
        texture: (576, 768, 5) float32 linear RGB, gloss and share of cloth, with make-up, beard shadow, brows, clothes.
        lips: (3,) factors of the skin's colour on the lips.
        lip_strength: how far those factors are applied, 0 to 1.
        cloth: (3,) linear RGB.
        hair_style: how the hair of the head is worn.
        beard: name from ``BEARD_STYLES``, or None.
        strands: grown hair and beard.
        glasses: the glasses of that day, or None.
        hat: the hat of that day, or None.
    """

    number: int
    texture: np.ndarray
    lips: np.ndarray
    lip_strength: float
    cloth: np.ndarray
    hair_style: HairStyle
    beard: Optional[str]
    strands: tuple[Strands, ...]
    glasses: Optional[Glasses]
    hat: Optional[Hat]


@dataclass(frozen=True, eq=False)
class _Beard:
    style: Optional[str]
    length: float
    shadow: np.ndarray  # (H, W) opacity of stubble


def build_session(head: Head, identity: Identity, *, seed: int, number: int) -> Session:
    """Draw and build day ``number`` of a person."""
    rng = stream(seed, "session", identity.number, number)
    traits = identity.traits
    hat = _draw_hat(rng) if rng.random() < HAT_SHARE else None
    style = draw_hair_style(rng, traits, under_hat=hat is not None)
    color = traits.hair * np.exp(rng.normal(0, 0.06, 3))
    if not traits.is_male and rng.random() < _DYED_SHARE:
        color = HAIR_COLORS[rng.integers(2, len(HAIR_COLORS))]
    beard = _draw_beard(rng, identity)
    painted = _paint_scalp_shade(rng, identity, style, color)
    painted = mix(painted, traits.brows * 0.8, beard.shadow)
    painted = mix(painted, traits.brows * 0.75, identity.skin.brows)
    painted, lips, lip_strength = _apply_make_up(rng, head.painting, identity, painted)
    cloth = draw_any_color(rng, low=8, high=235, saturation=rng.uniform(0, 0.65))
    painted, dressed = _dress(rng, head.painting, painted, cloth)
    edge = None if hat is None else hat.edge_at(np.radians(head.painting.angle_deg))
    strands = grow_hair(rng, head, identity, style, color=color, hat_edge=edge)
    if beard.style is not None:
        zone = identity.skin.beard_zones[beard.style]
        strands = (*strands, grow_beard(rng, head, identity, zone, beard.length))
    gloss = identity.skin.gloss * (1 - dressed) + _CLOTH_GLOSS * dressed
    texture = np.dstack([np.clip(painted, 0.004, 0.95), gloss, dressed])
    return Session(
        number=number,
        texture=np.ascontiguousarray(texture, dtype=np.float32),
        lips=lips,
        lip_strength=lip_strength,
        cloth=cloth,
        hair_style=style,
        beard=beard.style,
        strands=strands,
        glasses=_draw_glasses(rng) if rng.random() < GLASSES_SHARE else None,
        hat=hat,
    )


def _paint_scalp_shade(rng: np.random.Generator, identity: Identity, style: HairStyle, color: np.ndarray) -> np.ndarray:
    """Darken the skin below hair, or paint shorn hair."""
    is_shorn = style.name in ("bald", "buzz")
    edge = _SHORN_EDGE_DM if is_shorn else _HAIR_EDGE_DM
    opacity = np.clip(identity.skin.above_hairline / edge, 0, 1) * style.scalp_opacity
    if is_shorn:
        grain = np.clip(0.5 + 0.5 * fractal_noise(rng, TEXTURE_WH, octaves=2, cells=300, persistence=0.9), 0, 1)
        opacity = opacity * (0.6 + 0.4 * grain)
    return mix(identity.skin.albedo, color * 0.6, opacity)


def _draw_beard(rng: np.random.Generator, identity: Identity) -> _Beard:
    traits = identity.traits
    shadow: np.ndarray = np.zeros((TEXTURE_WH[1], TEXTURE_WH[0]), dtype=np.float32)
    if not traits.is_male or traits.age < 18:
        return _Beard(None, 0.0, shadow)
    grown = rng.random() * 0.5 + traits.beardiness * 0.6
    grain = np.clip(fractal_noise(rng, TEXTURE_WH, octaves=2, cells=165, persistence=1.0) * 0.5 + 0.5, 0, 1)
    grain = 0.45 + 0.55 * grain
    shadow = identity.skin.beard_zones["full"] * float(np.clip(grown - 0.25, 0, 0.5)) * 0.7 * grain
    if grown < 0.7:
        return _Beard(None, 0.0, shadow)
    style = BEARD_STYLES[rng.choice(len(BEARD_STYLES), p=[0.2, 0.25, 0.55])]
    below = identity.skin.beard_zones[style] * rng.uniform(0.25, 0.55) * grain
    return _Beard(style, rng.uniform(0.03, 0.12), np.maximum(shadow, below))


def _apply_make_up(
    rng: np.random.Generator, painting: Painting, identity: Identity, painted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    traits = identity.traits
    natural = np.array([0.85, 0.62, 0.68]) if traits.tone > 3.5 else np.array([0.92, 0.60, 0.62])
    lips, strength = natural * np.exp(rng.normal(0, 0.08, 3)), rng.uniform(0.5, 1)
    if traits.is_male or rng.random() >= _MADE_UP_SHARE:
        return painted, lips, strength
    lips = np.array([rng.uniform(0.7, 1.0), rng.uniform(0.2, 0.55), rng.uniform(0.25, 0.6)])
    shadow = painting.spot((0.31, 7.37), (0.19, 0.06)) * rng.uniform(0, 0.6)
    shadow_color = np.array([rng.uniform(0.1, 0.5), rng.uniform(0.08, 0.3), rng.uniform(0.08, 0.4)])
    painted = mix(painted, painted * shadow_color.astype(np.float32) * 1.6, shadow)
    blush = painting.spot((0.46, 6.92), (0.18, 0.13)) * rng.uniform(0, 0.4)
    painted = painted * (1 - blush[:, :, None] * np.array([0.05, 0.45, 0.35], dtype=np.float32))
    return painted, lips, rng.uniform(0.6, 1.0)


def _dress(
    rng: np.random.Generator, painting: Painting, painted: np.ndarray, cloth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the clothes below a neckline and over the shoulders; returns the painted skin and the share of cloth."""
    depth = rng.uniform(0.0, 0.35)
    width = rng.uniform(18, 45)
    neckline = rng.uniform(5.5, 5.85) - depth * np.exp(-((painting.angle_deg / width) ** 2))
    below = (neckline - painting.y) * 60
    around = cv2.dilate(painting.radius, np.ones((13, 13), np.uint8))
    on_shoulder = np.where(painting.y < _SHOULDER_TOP_Y, (around - rng.uniform(0.62, 0.95)) * 40, -1)
    dressed = np.clip(np.maximum(below, on_shoulder), 0, 1).astype(np.float32)
    folds = 1 + 0.03 * fractal_noise(rng, TEXTURE_WH, octaves=3, cells=20)
    return mix(painted, cloth.astype(np.float32) * folds[:, :, None], dressed), dressed


def _draw_glasses(rng: np.random.Generator) -> Glasses:
    if rng.random() < 0.75:
        color = linear_from_srgb(np.full(3, rng.uniform(5, 80)))
    else:
        color = linear_from_srgb(rng.uniform(20, 200, 3))
    return Glasses(
        color=color,
        thickness=rng.uniform(0.012, 0.036),
        radius_xy=(rng.uniform(0.20, 0.27), rng.uniform(0.14, 0.22)),
        squareness=rng.uniform(2, 5),
        dark=rng.random() < _SUNGLASSES_SHARE,
    )


def _draw_hat(rng: np.random.Generator) -> Hat:
    color = draw_any_color(rng, low=8, high=200, saturation=rng.uniform(0, 0.7))
    trim = color if rng.random() < 0.6 else draw_any_color(rng, low=8, high=200, saturation=rng.uniform(0, 0.6))
    if rng.random() < 0.5:
        edge, puff = rng.uniform(7.70, 7.90), rng.uniform(0.10, 0.22)
        return Hat(color, trim, edge, peak=rng.uniform(0.60, 0.85), turn_up=0.0, puff=puff)
    turn_up = rng.uniform(0.28, 0.45) if rng.random() < 0.75 else 0.0
    return Hat(color, trim, edge_y=rng.uniform(7.58, 7.84), peak=0.0, turn_up=turn_up, puff=rng.uniform(0.05, 0.40))
