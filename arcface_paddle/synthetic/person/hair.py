"""Hair and beards: styles, where strands begin, and how they fall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.synthetic.kernels.hair_kernels import grow_strands
from arcface_paddle.synthetic.person.head import EARS, INNER_MOUTH, Head
from arcface_paddle.synthetic.person.identity import SKULL_CENTRE, Identity
from arcface_paddle.synthetic.person.painting import TEXTURE_WH
from arcface_paddle.synthetic.person.traits import Traits

# A head has about 100,000 hairs; a strand stands for a lock of 25, 1.6 mm wide at its root (a pixel of a crop of 112).
_STRANDS, _POINTS = 4200, 12
_STRAND_WIDTH_DM, _BEARD_WIDTH_DM = 0.016, 0.010
_STRAND_COVERAGE, _BEARD_COVERAGE = 0.9, 0.55  # beards are half transparent: skin shows between the hairs
_STRAND_ROOT_LIGHT, _BEARD_ROOT_LIGHT = 0.35, 0.6  # roots lie in the shadow of the hair above, less so in short hair
_FRINGE_THINNING = 0.45  # share of the strands that hang into the forehead that is kept
_BEARD_POINTS = 4
_FIRST_ROOTS_DM = 0.04  # above the hairline
_NAPE_TOP_Y, _NAPE_LENGTH = 7.0, 0.12  # dm, of short hair

_MALE_STYLES = {"short": 0.55, "back": 0.20, "buzz": 0.19, "long": 0.06}
_FEMALE_STYLES = {"long": 0.42, "bob": 0.22, "back": 0.24, "short": 0.12}
_BALD_STYLES = {"bald": 0.34, "buzz": 0.33, "wreath": 0.33}
_SCALP_OPACITY = {"bald": 0.08, "buzz": 0.85}


@dataclass(frozen=True)
class HairStyle:
    """How the hair of the head is worn.

    Attributes:
        name: bald, buzz, wreath (bald on top), short, back, bob or long.
        parting: x of the parting, dm.
        fringe: whether hair hangs into the forehead.
        volume: how far hair stands off the skull, dm.
        scalp_opacity: how far the scalp takes the colour of the hair.
    """

    name: str
    parting: float
    fringe: bool
    volume: float
    scalp_opacity: float


@dataclass(frozen=True, eq=False)
class Strands:
    """Grown hair of one kind.

    Attributes:
        points: (N, K, 3) float32 in the head's frame.
        colors: (N, 3) float32 linear RGB.
        width: width at the root, dm.
        coverage: probability that a pixel of a strand is drawn.
        root_light: share of the light that reaches the roots.
    """

    points: np.ndarray
    colors: np.ndarray
    width: float
    coverage: float
    root_light: float


@dataclass(frozen=True, eq=False)
class _Growth:
    directions: np.ndarray  # (N, 3) where strands begin to grow
    combs: np.ndarray  # (N, 3) added to the direction at the first step
    comb_decay: float  # from step to step
    gravity: float
    lengths: np.ndarray  # (N,) dm
    curl: float


@dataclass(frozen=True, eq=False)
class _Roots:
    points: np.ndarray  # (N, 3)
    normals: np.ndarray  # (N, 3)
    angle_deg: np.ndarray  # (N,) from the front


def draw_hair_style(rng: np.random.Generator, traits: Traits, *, under_hat: bool) -> HairStyle:
    """Draw how a person wears their hair on one day."""
    odds = _MALE_STYLES if traits.is_male else _FEMALE_STYLES
    if traits.is_balding:
        odds = _BALD_STYLES
    name = str(rng.choice(list(odds), p=list(odds.values())))
    fringe = bool(rng.random() < (0.30 if traits.is_male else 0.32))
    parting, volume = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.04, 0.16))
    opacity = _SCALP_OPACITY.get(name, 0.92)
    if under_hat:
        return HairStyle("short" if name in ("back", "wreath") else name, parting, False, 0.02, opacity)
    return HairStyle(name, parting, fringe, volume, opacity)


def grow_hair(
    rng: np.random.Generator,
    head: Head,
    identity: Identity,
    style: HairStyle,
    *,
    color: np.ndarray,
    hat_edge: Optional[np.ndarray],
) -> tuple[Strands, ...]:
    """Grow the hair of the head; nothing for bald and shorn heads.

    Args:
        rng: source of randomness.
        head: the neutral head.
        identity: the person whose hair it is.
        style: how the hair is worn.
        color: (3,) linear RGB.
        hat_edge: (H, W) height below which hair shows under a hat, or None.
    """
    if style.name in ("bald", "buzz"):
        return ()
    region = (identity.skin.above_hairline > _FIRST_ROOTS_DM).astype(np.float64)
    if style.name == "wreath":
        region = region * (head.painting.y < 7.75)
    if hat_edge is not None:  # what a hat covers is pressed flat and not seen
        region = region * (head.painting.y < hat_edge)
    roots = _draw_roots(rng, head, identity, region, _STRANDS)
    growth = _plan_growth(rng, identity, style, roots)
    if style.fringe and style.name in ("bob", "long"):
        roots, growth = _thin_fringe(rng, roots, growth)
    points = _grow(rng, identity, roots, growth, style.volume)
    count = len(points)
    colors = color * np.exp(rng.normal(0, 0.18, (count, 1))) * np.exp(rng.normal(0, 0.05, (count, 1)))
    colors = colors.astype(np.float32)
    return (Strands(points, colors, _STRAND_WIDTH_DM, _STRAND_COVERAGE, _STRAND_ROOT_LIGHT),)


def grow_beard(rng: np.random.Generator, head: Head, identity: Identity, zone: np.ndarray, length: float) -> Strands:
    """Grow a beard or moustache of ``length`` dm where ``zone`` (H, W) is high: thin, short, half transparent."""
    region = np.where(zone > 0.35, zone, 0)
    count = int(np.clip(region.sum() * 0.10, 250, 1900) * rng.uniform(0.6, 1.1))
    roots = _draw_roots(rng, head, identity, region, count)
    direction = roots.normals * 0.45 + np.array([0, -0.9, 0.1])
    direction += np.sign(roots.points[:, :1]) * np.array([0.25, 0, 0])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    lengths = length * rng.uniform(0.5, 1.3, count)
    # Above the mouth (its corners lie at y 6.62) longer hair would hang over the lips.
    lengths = np.where(roots.points[:, 1] > 6.66, np.minimum(lengths, 0.05), lengths)
    along = np.arange(_BEARD_POINTS) / (_BEARD_POINTS - 1)
    points = roots.points[:, None] + direction[:, None] * along[None, :, None] * lengths[:, None, None]
    curls = rng.normal(0, 0.012, points.shape) * along[None, :, None] * (1 + 2 * identity.traits.curl)
    colors = identity.traits.brows * 0.95 * np.exp(rng.normal(0, 0.25, (count, 1)))
    points, colors = (points + curls).astype(np.float32), colors.astype(np.float32)
    return Strands(points, colors, _BEARD_WIDTH_DM, _BEARD_COVERAGE, _BEARD_ROOT_LIGHT)


def _draw_roots(rng: np.random.Generator, head: Head, identity: Identity, region: np.ndarray, count: int) -> _Roots:
    """Draw ``count`` points on the skin, as dense as ``region`` (H, W) says per area."""
    triangles = head.mesh.skin_triangles
    corners = identity.surface[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.sqrt((normal**2).sum(axis=1))
    uv = head.uv[triangles]
    centre = uv.mean(axis=1)
    usable = (uv[:, :, 0].max(axis=1) - uv[:, :, 0].min(axis=1)) < 0.5  # not across the texture's seam at the back
    usable &= head.masks[triangles][:, :, [EARS, INNER_MOUTH]].max(axis=(1, 2)) < 0.3
    column = np.clip((centre[:, 0] * TEXTURE_WH[0]).astype(int), 0, TEXTURE_WH[0] - 1)
    row = np.clip((centre[:, 1] * TEXTURE_WH[1]).astype(int), 0, TEXTURE_WH[1] - 1)
    cumulated = np.cumsum(area * region[row, column] * usable)
    chosen = np.searchsorted(cumulated, rng.random(count) * cumulated[-1], side="right")
    chosen = np.minimum(chosen, len(triangles) - 1)
    a, b = rng.random((2, count, 1))
    outside = a + b > 1
    a, b = np.where(outside, 1 - a, a), np.where(outside, 1 - b, b)  # fold the square onto the triangle: even density
    first, second, third = (corners[chosen, corner] for corner in range(3))
    return _Roots(
        points=first + a * (second - first) + b * (third - first),
        normals=identity.normals[triangles[chosen, 0]].astype(np.float64),
        angle_deg=(centre[chosen, 0].astype(np.float64) - 0.5) * 360,
    )


# Directions and combs below are by eye: x to the person's left, y up, z forward, per step of a strand.


def _plan_growth(rng: np.random.Generator, identity: Identity, style: HairStyle, roots: _Roots) -> _Growth:
    if style.name == "back":
        growth = _plan_back(rng, roots)
    elif style.name in ("short", "wreath"):
        growth = _plan_short(rng, roots, style)
    else:
        growth = _plan_long(rng, roots, style)
    curl = 0.04 + 0.5 * identity.traits.curl**1.5
    frizzy = identity.traits.curl > 0.6 and style.name != "wreath" and style.volume > 0.03 and rng.random() < 0.8
    lengths = growth.lengths * rng.uniform(0.7, 1.1, len(growth.lengths))
    if frizzy:  # tight curls stand off the head in all directions: no comb, hardly any weight
        lengths = np.minimum(lengths, rng.uniform(0.3, 0.85)) * rng.uniform(0.6, 1.1, len(lengths))
        lengths = _cropped_nape(roots, lengths)
        return _Growth(roots.normals, 0.1 * growth.combs, 1.0, 0.02, lengths, 0.9)
    directions = growth.directions / np.linalg.norm(growth.directions, axis=1, keepdims=True)
    return _Growth(directions, growth.combs, growth.comb_decay, growth.gravity, lengths, curl)


def _plan_back(rng: np.random.Generator, roots: _Roots) -> _Growth:
    count = len(roots.points)
    combs = np.tile(0.5 * np.array([0, 0.25, -1.0]), (count, 1))
    directions = roots.normals * 0.5 + np.array([0, 0.5, -0.6])
    return _Growth(directions, combs, 0.9, 0.08, np.full(count, rng.uniform(0.9, 1.6)), 0)


def _plan_short(rng: np.random.Generator, roots: _Roots, style: HairStyle) -> _Growth:
    combs = {"side": [-np.sign(style.parting), 0.1, 0.2], "up": [0, 0.9, -0.3], "forward": [0, 0, 0.7]}
    comb = np.tile(np.array(combs[str(rng.choice(list(combs)))], dtype=np.float64), (len(roots.points), 1))
    low = roots.points[:, 1] < 7.6
    comb[low] = [0, -0.6, -0.5]
    length = rng.uniform(0.2, 0.65)
    lengths = _cropped_nape(roots, np.where(low, 0.45 * length, length))
    if style.volume < 0.03:
        lengths = np.minimum(lengths, 0.25)
    return _Growth(roots.normals * 0.8 + comb * 0.5, 0.25 * comb, 1.0, 0.05, lengths, 0)


def _plan_long(rng: np.random.Generator, roots: _Roots, style: HairStyle) -> _Growth:
    count = len(roots.points)
    side = np.where(roots.points[:, 0] >= style.parting * 0.5, 1.0, -1.0)
    comb = np.stack([0.55 * side, np.full(count, -0.5), np.full(count, -0.25)], axis=1)
    length = rng.uniform(1.6, 3.2) if style.name == "long" else rng.uniform(1.0, 1.6)
    lengths = np.full(count, length)
    front = _hangs_into_forehead(roots)
    # Without a fringe the hair above the forehead is brushed to the sides and back.
    comb[front] = np.stack([1.9 * side, np.full(count, 0.35), np.full(count, -1.1)], axis=1)[front]
    if style.fringe:
        sideways = rng.uniform(0.05, 0.35)
        comb[front] = np.stack([sideways * side, np.full(count, -0.6), np.full(count, 0.5)], axis=1)[front]
        lengths[front] = rng.uniform(0.5, 0.85)
    directions = roots.normals * 0.5 + comb * 0.8 + np.array([0, 0.1, 0])
    # The comb counts near the root; what hangs below the skull follows gravity alone.
    return _Growth(directions, 0.35 * comb, 0.55, 0.30, lengths, 0)


def _cropped_nape(roots: _Roots, lengths: np.ndarray) -> np.ndarray:
    """Shorten what grows low on the nape, which would hang there as single tufts."""
    return np.where(roots.points[:, 1] < _NAPE_TOP_Y, np.minimum(lengths, _NAPE_LENGTH), lengths)


def _hangs_into_forehead(roots: _Roots) -> np.ndarray:
    return (np.abs(roots.angle_deg) < 55) & (roots.points[:, 1] > 7.6)


def _thin_fringe(rng: np.random.Generator, roots: _Roots, growth: _Growth) -> tuple[_Roots, _Growth]:
    """Drop most strands of a fringe by locks, so that skin is seen between them, and fray their ends."""
    front = _hangs_into_forehead(roots)
    lock = np.floor(roots.angle_deg / 2.5).astype(int)
    density = np.clip(rng.normal(_FRINGE_THINNING, 0.35, 361), 0.05, 1)
    kept = ~front | (rng.random(len(front)) < density[lock + 180])
    lengths = np.where(front, growth.lengths * rng.uniform(0.6, 1.05, len(front)), growth.lengths)
    roots = _Roots(roots.points[kept], roots.normals[kept], roots.angle_deg[kept])
    return roots, _Growth(
        growth.directions[kept], growth.combs[kept], growth.comb_decay, growth.gravity, lengths[kept], growth.curl
    )


def _grow(rng: np.random.Generator, identity: Identity, roots: _Roots, growth: _Growth, volume: float) -> np.ndarray:
    count = len(roots.points)
    # Strands of one lock curl in step: the phase follows the place on the head.
    lock = np.floor(np.arctan2(roots.points[:, 0], roots.points[:, 2]) * 14) + 31 * np.floor(roots.points[:, 1] * 9)
    phases = (lock * 12.9898) % (2 * np.pi) + rng.normal(0, 0.5, count)
    strands = np.empty((count, _POINTS, 3), dtype=np.float32)
    grow_strands(
        np.ascontiguousarray(roots.points, dtype=np.float64),
        np.ascontiguousarray(growth.directions, dtype=np.float64),
        growth.lengths / (_POINTS - 1),
        np.ascontiguousarray(growth.combs, dtype=np.float64),
        float(growth.comb_decay),
        float(growth.gravity),
        float(growth.curl),
        float(rng.uniform(0.5, 1.3)),
        phases,
        rng.random(count) ** 0.7 * volume,
        SKULL_CENTRE,
        identity.skull_radius,
        int(rng.integers(1 << 30)),
        strands,
    )
    return strands
