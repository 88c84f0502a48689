"""The face of one moment: mimicry by ARKit face units, blinks and gaze."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Mapping, Tuple

import numpy as np

from arcface_paddle.synthetic.person.head import load_head

_SIDES = ("", "Left", "Right", "Lower", "Upper")
_JITTER_SIGMA = 0.03  # of the weight of each face unit: no face is quite at rest
_BLINK_SHARE, _HALF_CLOSED_SHARE = 0.03, 0.26  # bounds of one draw: closed below the first, half closed below the other

# (name, share, face units without their side). Half of the faces smile. Where teeth are to be seen
# the lips must be parted by their own units, since smiling alone stretches the closed mouth.
EXPRESSIONS: Tuple[Tuple[str, float, Mapping[str, float]], ...] = (
    ("neutral", 0.24, {}),
    (
        "grin",
        0.13,
        {"mouthSmile": 0.9, "mouthUpperUp": 0.5, "mouthLowerDown": 0.55, "jawOpen": 0.16, "cheekSquint": 0.4},
    ),
    (
        "smile with teeth",
        0.12,
        {"mouthSmile": 0.75, "mouthUpperUp": 0.4, "mouthLowerDown": 0.35, "jawOpen": 0.14, "eyeSquint": 0.2},
    ),
    ("closed smile", 0.10, {"mouthSmile": 0.7, "cheekSquint": 0.4}),
    ("laugh", 0.06, {"mouthSmile": 1.0, "jawOpen": 0.28, "cheekSquint": 0.5, "mouthUpperUp": 0.4}),
    ("slight smile", 0.10, {"mouthSmile": 0.35}),
    ("talking", 0.05, {"jawOpen": 0.2, "mouthFunnel": 0.35, "mouthLowerDown": 0.2}),
    ("squint", 0.04, {"eyeSquint": 0.6}),
    ("surprise", 0.04, {"browInnerUp": 0.7, "browOuterUp": 0.5, "eyeWide": 0.4}),
    ("frown", 0.03, {"mouthFrown": 0.6, "browDown": 0.5}),
    ("mouth open", 0.02, {"jawOpen": 0.5, "browInnerUp": 0.3}),
    ("pucker", 0.02, {"mouthPucker": 0.6}),
    ("anger", 0.02, {"browDown": 0.8, "eyeSquint": 0.5, "mouthPress": 0.4}),
    ("disgust", 0.015, {"mouthStretch": 0.5, "noseSneer": 0.4, "browDown": 0.3}),
    ("rolled lips", 0.015, {"mouthRoll": 0.4}),
)


@dataclass(frozen=True, eq=False)
class Expression:
    """What the face does.

    Attributes:
        name: one of the names in ``EXPRESSIONS``.
        units: weight per face unit.
        gaze_rad: (2,) how far the eyes look to the right of the picture and up.
    """

    name: str
    units: Mapping[str, float]
    gaze_rad: np.ndarray


def draw_expression(rng: np.random.Generator) -> Expression:
    """Draw an expression with small disorder in all face units."""
    shares = np.array([share for _, share, _ in EXPRESSIONS])
    name, _, preset = EXPRESSIONS[rng.choice(len(EXPRESSIONS), p=shares / shares.sum())]
    strength = rng.uniform(0.5, 1.1)
    wanted = {unit: weight * strength for unit, weight in preset.items()}
    blink = rng.random()
    if blink < _BLINK_SHARE:
        wanted["eyeBlink"] = 1.0
    elif blink < _HALF_CLOSED_SHARE:
        wanted["eyeBlink"] = rng.uniform(0, 0.3)
    gaze = np.clip(rng.normal(0, [0.18, 0.10]), -0.45, 0.45)
    if gaze[1] < -0.05:  # lids follow a gaze that goes down
        wanted["eyeLookDown"] = min(1.0, -gaze[1] * 1.5)
    jitter = np.clip(rng.normal(0, _JITTER_SIGMA, len(_unit_names())), 0, None)
    units = dict(zip(_unit_names(), jitter.tolist()))
    for stem, weight in wanted.items():
        for side in _SIDES:
            if stem + side in units:
                units[stem + side] += weight * (1 + rng.normal(0, 0.08))
    units["tongueOut"] = 0.0  # jitter would push the tongue through the lips
    return Expression(name, units, gaze)


@functools.lru_cache(maxsize=1)
def _unit_names() -> Tuple[str, ...]:
    names = list(load_head().targets.number_of)
    return tuple(names[names.index("browDownLeft") :])  # the pack ends with the face units
