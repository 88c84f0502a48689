"""What may be done to training pictures at random, and how it is written: ``NAME[:PROBABILITY[:LOW-HIGH]]``.

This module imports nothing heavy, because the command line needs it for every ``--help``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

from arcface_paddle.errors import ConfigError

NONE = "none"

CCROP_SIDE = 128
"""Side in pixels to which a crop of 112 is enlarged before its middle is cut out (arcface-tf2's ``is_ccrop``)."""


@dataclass(frozen=True)
class Step:
    """One augmentation of a list.

    Attributes:
        name: key of ``STEPS``.
        probability: share of the pictures that it changes, 0 to 1.
        low: smallest strength, in the unit that ``STEPS`` names.
        high: largest strength.
    """

    name: str
    probability: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as ``parse_steps`` reads it."""
        return f"{self.name}:{self.probability:g}:{self.low:g}-{self.high:g}"


@dataclass(frozen=True)
class StepKind:
    """A known augmentation: what it does, what is taken where nothing is given, and what is allowed.

    Attributes:
        usual: the step with its usual probability and strength.
        least: smallest strength that makes sense.
        most: largest one.
        meaning: what it does, and what its strength is.
    """

    usual: Step
    least: float
    most: float
    meaning: str


def _kinds(*kinds: StepKind) -> dict[str, StepKind]:
    return {kind.usual.name: kind for kind in kinds}


STEPS = _kinds(
    StepKind(Step("crop", 1.0, 128, 128), 112, 224, "enlarge to this side, cut 112 at a random place"),
    StepKind(Step("tilt", 0.5, 0.0, 15.0), 0, 180, "turn to either side by this many degrees, edges repeated"),
    StepKind(Step("zoom", 0.5, 0.85, 1.15), 0.25, 4, "scale about a random place by this, edges repeated"),
    StepKind(Step("crop_black", 0.2, 0.2, 1.0), 0.05, 1, "keep this share of the area, at a random place, rest black"),
    StepKind(Step("brightness", 0.2, 0.6, 1.4), 0, 4, "multiply all values by this"),
    StepKind(Step("brightness_shift", 1.0, 0.0, 0.4), 0, 1, "add or subtract this share of the range of values"),
    StepKind(Step("contrast", 0.2, 0.6, 1.4), 0, 4, "multiply the distance to the mean grey by this"),
    StepKind(Step("saturation", 0.2, 0.6, 1.4), 0, 4, "multiply the distance to grey by this"),
    StepKind(Step("photometric", 0.2, 0.5, 1.5), 0, 4, "brightness, contrast, saturation in random order"),
    StepKind(Step("low_resolution", 0.2, 0.2, 1.0), 0.05, 1, "shrink by this and enlarge, random interpolations"),
    StepKind(Step("compression", 0.2, 20, 90), 1, 100, "JPEG of this quality"),
    StepKind(Step("noise", 0.2, 2.0, 20.0), 0, 128, "add Gaussian noise of this standard deviation in levels"),
    StepKind(Step("motion_blur", 0.1, 3.0, 9.0), 1, 31, "smear over this many pixels in a random direction"),
    StepKind(Step("blur", 0.1, 0.5, 2.0), 0.1, 10, "Gaussian blur of this standard deviation in pixels"),
    StepKind(Step("grey", 0.05, 1.0, 1.0), 0, 1, "mix grey in by this share"),
    StepKind(Step("erase", 0.1, 0.02, 0.2), 0.01, 0.9, "noise over a rectangle of this share of the area"),
)
"""By name. The usual values: AdaFace (Kim et al. 2022, its published trainer) for crop_black, photometric and
low_resolution; arcface-tf2 for crop, brightness_shift and the ranges of saturation; Zhong et al. 2017 for erase."""

PRESETS = {
    NONE: (),
    # What arcface-tf2 and its forks train with.
    "light": (Step("crop", 1.0, 128, 128), Step("saturation", 1.0, 0.6, 1.4), Step("brightness_shift", 1.0, 0.0, 0.4)),
    # What AdaFace trains with, in its order.
    "adaface": tuple(STEPS[name].usual for name in ("crop_black", "low_resolution", "photometric")),
    # Heavy, for rendered people: the kinds of change of DigiFace-1M (Bae et al. 2023: crop and warp, then the look of
    # colour, blur, noise, low resolution and JPEG); probabilities and strengths are ours.
    "rendered": (
        Step("tilt", 0.4, 0.0, 15.0),
        Step("zoom", 0.6, 0.8, 1.2),
        Step("crop_black", 0.2, 0.4, 1.0),
        Step("erase", 0.3, 0.02, 0.25),
        Step("photometric", 0.7, 0.5, 1.5),
        Step("grey", 0.2, 1.0, 1.0),
        Step("motion_blur", 0.1, 3.0, 9.0),
        Step("blur", 0.15, 0.5, 2.0),
        Step("low_resolution", 0.4, 0.15, 1.0),
        Step("noise", 0.3, 2.0, 15.0),
        Step("compression", 0.5, 15.0, 90.0),
    ),
}

HELP = (
    "random changes of the training pictures, in this order, as NAME[:PROBABILITY[:LOW-HIGH]],...; a name given again "
    f"replaces the earlier one. Presets: {', '.join(PRESETS)}; names: {', '.join(STEPS)} ('arcface-paddle data "
    "preview' shows them)"
)


def parse_steps(items: Sequence[str]) -> tuple[Step, ...]:
    """Read a list of augmentations.

    Args:
        items: names of ``PRESETS``, and steps as ``NAME``, ``NAME:PROBABILITY``, ``NAME:PROBABILITY:STRENGTH`` or
            ``NAME:PROBABILITY:LOW-HIGH``.

    Returns:
        The steps in their order; one whose name comes again stands at its first place with its last values.

    Raises:
        ConfigError: an unknown name, a value out of range, or ``none`` together with others.
    """
    steps: dict[str, Step] = {}
    for item in items:
        name, *values = item.strip().lower().split(":")
        if name in PRESETS and not values:
            if name == NONE and len(items) > 1:
                raise ConfigError(f"augment: {NONE} together with {', '.join(items)}; leave out {NONE} or the others")
            steps.update({step.name: step for step in PRESETS[name]})
        else:
            steps[name] = _step(item, name, values)
    return tuple(steps.values())


def refuse_two_crops(steps: Sequence[Step], *, ccrop: bool) -> None:
    """Refuse ``crop`` on top of ``ccrop``: both enlarge to 128, and no peer does one after the other.

    Raises:
        ConfigError: both are asked for.
    """
    if ccrop and any(step.name == "crop" for step in steps):
        raise ConfigError("ccrop and augment crop both cut 112 out of 128; leave one of them out")


def _step(item: str, name: str, values: list[str]) -> Step:
    kind = STEPS.get(name)
    if kind is None:
        raise ConfigError(f"augment: {item!r} is not known; allowed: {', '.join((*PRESETS, *STEPS))}")
    if len(values) > 2:
        raise ConfigError(f"augment: {item!r} has {len(values)} values; allowed: {name}[:PROBABILITY[:LOW-HIGH]]")
    probability = _number(values[0], item) if values else kind.usual.probability
    if not 0 <= probability <= 1:
        raise ConfigError(f"augment: {item!r} has the probability {probability:g}; allowed: 0 to 1")
    low, high = kind.usual.low, kind.usual.high
    if len(values) == 2:
        first, dash, second = values[1].partition("-")
        low = _number(first, item)
        high = _number(second, item) if dash else low
    if not kind.least <= low <= high <= kind.most:
        raise ConfigError(
            f"augment: {item!r} has the strength {low:g} to {high:g}; allowed: from {kind.least:g} up to "
            f"{kind.most:g}, the smaller one first ({kind.meaning})"
        )
    return Step(name, probability, low, high)


def _number(text: str, item: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"augment: {text!r} in {item!r} is not a number; for example crop_black:0.2:0.5-1")
    return number
