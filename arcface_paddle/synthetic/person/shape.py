"""The shape of a person's head: a weight for every target, and the positions that follow."""

from __future__ import annotations

import functools
from typing import Dict, List, Optional, Tuple

import numpy as np

from arcface_paddle.synthetic.person.head import EYES_CENTRE, Head, load_head
from arcface_paddle.synthetic.person.traits import Traits, macro_weights

OPPOSITES = (
    ("incr", "decr"),
    ("up", "down"),
    ("in", "out"),
    ("forward", "backward"),
    ("convex", "concave"),
    ("compress", "uncompress"),
)
"""Ends of the names of two targets that are one control in two directions."""

CONTROL_SIGMA = 0.42
"""Deviation of a control. Above, heads turn into caricatures; below .34 they grow alike."""

_ASYMMETRY = 0.04  # deviation of a side from the control that it shares with the other side
# (part of a target's name, factor of its control); the first that fits counts. Eyes and nose are calmed, since unusual
# ones mislead a detector's landmarks sooner than they tell people apart; cheeks, forehead and chin tell them apart.
_CONTROL_FACTORS = (
    ("nose-trans-in", 0.2),  # sideways
    ("mouth-trans-in", 0.2),
    ("nose-trans", 0.45),
    ("mouth-trans", 0.5),
    ("nose/", 0.72),
    ("scale-vert", 0.6),
    ("eye-trans", 0.45),
    ("eye-scale", 0.55),
    ("neck/", 0.5),
    ("jaw-drop", 0.7),
    ("cheek/", 1.6),
    ("chin/", 1.4),
    ("forehead/", 1.6),
    ("eyebrows/", 1.6),
)
# Share of the head's whole shape (round, square, egg, ...). More of it makes skulls odd and faces alike.
_HEAD_SHAPE_RANGE = (0.05, 0.47)
_TEETH_NARROWING, _TEETH_RETREAT, _TEETH_DROP = 0.90, 0.11, 0.03  # share, dm, dm: keeps them behind tight lips


def draw_shape(rng: np.random.Generator, traits: Traits) -> dict[str, float]:
    """Draw the weights of all shape targets of a person, macro targets included."""
    weights = macro_weights(traits)
    available = load_head().targets.number_of
    weights = {name: weight for name, weight in weights.items() if name in available}
    weights.update(_draw_controls(rng))
    weights.update(_draw_singles(rng))
    return weights


def shaped_positions(head: Head, weights: dict[str, float]) -> np.ndarray:
    """Return the (V, 3) float32 rough positions of a head, moved so that the eyes lie at ``EYES_CENTRE``."""
    positions = head.base.copy()
    head.targets.move(positions, weights)
    positions[head.teeth] = _teeth_behind_lips(head, positions)
    right, left = (positions[eye].mean(axis=0) for eye in head.eyes)
    return positions + (EYES_CENTRE - (right + left) / 2)


def _teeth_behind_lips(head: Head, positions: np.ndarray) -> np.ndarray:
    """Return the teeth where the lips have gone: most shape targets move the lips alone, which teeth then pierce."""
    base_lips, lips = head.base[head.lips], positions[head.lips]
    wider = np.ptp(lips[:, 0]) / np.ptp(base_lips[:, 0])
    teeth = head.base[head.teeth] - base_lips.mean(axis=0)
    return teeth * [wider * _TEETH_NARROWING, 1, 1] + lips.mean(axis=0) - [0, _TEETH_DROP, _TEETH_RETREAT]


def _draw_controls(rng: np.random.Generator) -> dict[str, float]:
    shared: Dict[str, float] = {}
    weights = {}
    for positive, negative in _controls()[0]:
        # By the target, not by the stem: "nose-trans" alone is three controls, in three directions.
        both_sides = positive.replace("/l-", "/").replace("/r-", "/")
        if both_sides not in shared:
            # MakeHuman's sliders end at 1; beyond it a target is extrapolated, and surfaces may cross.
            shared[both_sides] = float(np.clip(rng.normal(0, CONTROL_SIGMA), -0.95, 0.95))
        value = shared[both_sides]
        if both_sides != positive:
            value = float(np.clip(value + rng.normal(0, _ASYMMETRY), -1.1, 1.1))
        value *= _factor_of(positive)
        weights[positive if value > 0 else negative] = abs(value)
    return weights


def _draw_singles(rng: np.random.Generator) -> dict[str, float]:
    weights: Dict[str, float] = {}
    singles = _controls()[1]
    head_shapes = [name for name in singles if name.startswith("head/")]
    # A concentration below 1 makes it sparse: one or two shapes and not a mean of all, which nobody has.
    shares = rng.dirichlet([0.25] * len(head_shapes)) * rng.uniform(*_HEAD_SHAPE_RANGE)
    weights.update(zip(head_shapes, shares.tolist()))
    for name in singles:
        if name.startswith("asym/"):
            weights[name] = abs(rng.normal(0, 0.10)) if rng.random() < 0.5 else 0.0
        elif "ear-shape" in name:
            weights[name] = max(0.0, rng.normal(0, 0.35))
        elif name == "chin/chin-triangle":
            weights[name] = max(0.0, rng.normal(0, 0.3))
    return weights


def _factor_of(target: str) -> float:
    return next((factor for part, factor in _CONTROL_FACTORS if part in target), 1.0)


@functools.lru_cache(maxsize=1)
def _controls() -> Tuple[List[Tuple[str, str]], List[str]]:
    """Split the local targets into controls (positive target, negative target) and single targets."""
    names = [name for name in load_head().targets.number_of if "/" in name]
    controls: List[Tuple[str, str]] = []
    singles: List[str] = []
    for name in names:
        opposite = _opposite(name)
        if opposite is None or opposite[1] not in names:
            singles.append(name)
        elif opposite[0]:
            controls.append((name, opposite[1]))
    return controls, singles


def _opposite(name: str) -> Optional[Tuple[bool, str]]:
    """Return whether ``name`` is the positive direction of a control, and the name of the other direction."""
    stem, _, end = name.rpartition("-")
    for positive, negative in OPPOSITES:
        if end == positive:
            return True, f"{stem}-{negative}"
        if end == negative:
            return False, f"{stem}-{positive}"
    return None
