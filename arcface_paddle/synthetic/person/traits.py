"""Who a person is: sex, age, ancestry, build, and the colours of skin, hair and eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arcface_paddle.synthetic.color import GREY_HAIR_COLORS, HAIR_COLORS, IRIS_COLORS, SKIN_TONES

ANCESTRIES = ("african", "asian", "caucasian")
"""The words of the asset's target names, in the order of ``Traits.ancestry``."""

_ANCESTRY_CONCENTRATION = 0.28  # below 1: most people lie near one corner of the triangle
_TONE_OF_ANCESTRY = np.array([5.2, 1.8, 0.9])  # index into SKIN_TONES
# MakeHuman's scale of ages: child at 12, young at 25, old at 90 years, linear between.
_CHILD_AGE, _YOUNG_AGE, _OLD_AGE = 12, 25, 90
_CHILDLIKENESS = 0.6  # calms the child's target: at 16, the youngest age here, it weighs .42 and not .69


@dataclass(frozen=True, eq=False)
class Traits:
    """Attributes that shape, skin and hair follow.

    Attributes:
        masculinity: 0 (female) to 1 (male); drawn near either end.
        age: years, 16 to 82.
        ancestry: (3,) weights that sum to 1, see ``ANCESTRIES``.
        muscle: 0 to 1.
        weight: 0 to 1.
        tone: index into ``SKIN_TONES``, fractional.
        skin: (3,) linear RGB.
        hair: (3,) linear RGB, greyed by age.
        brows: (3,) linear RGB.
        iris: (3,) linear RGB.
        curl: curl of the hair, 0 straight to 1 tight.
        beardiness: 0 to 1; 0 for women.
        is_balding: the top of the head is bare or shorn.
    """

    masculinity: float
    age: float
    ancestry: np.ndarray
    muscle: float
    weight: float
    tone: float
    skin: np.ndarray
    hair: np.ndarray
    brows: np.ndarray
    iris: np.ndarray
    curl: float
    beardiness: float
    is_balding: bool

    @property
    def is_male(self) -> bool:
        """Whether male hair, beard and make-up habits apply."""
        return self.masculinity > 0.5


def draw_traits(rng: np.random.Generator) -> Traits:
    """Draw a person."""
    sex = float(rng.integers(2))
    masculinity = float(np.clip(sex + (1 - 2 * sex) * abs(rng.normal(0, 0.12)), 0, 1))
    is_male = masculinity > 0.5
    age = float(np.clip(rng.gamma(2.6, 10.5) + 14, 16, 82))  # half of the people are 29 to 51 years old
    ancestry = rng.dirichlet([_ANCESTRY_CONCENTRATION] * 3)
    tone = float(np.clip(ancestry @ _TONE_OF_ANCESTRY + rng.normal(0, 0.8), 0, 6.6))
    fairness = max(0.0, ancestry[2] - 0.15) * (tone < 2.6)
    hair, brows = _draw_hair_colors(rng, age=age, fairness=fairness)
    beardiness = rng.beta(1.2, 1.2) * (0.5 if ancestry[1] > 0.6 else 1) if is_male else 0.0
    return Traits(
        masculinity=masculinity,
        age=age,
        ancestry=ancestry,
        muscle=float(np.clip(rng.normal(0.5, 0.21), 0, 1)),
        weight=float(np.clip(rng.normal(0.52, 0.29), 0, 1)),
        tone=tone,
        skin=_skin_color(tone) * np.exp(rng.normal(0, 0.045, 3)),
        hair=hair,
        brows=brows,
        iris=_draw_iris(rng, fairness),
        curl=float(np.clip(rng.normal(0.12 + 0.75 * ancestry[0] - 0.1 * ancestry[1], 0.18), 0, 1)),
        beardiness=float(beardiness),
        is_balding=bool(is_male and rng.random() < np.clip((age - 28) / 70, 0.03, 0.5)),
    )


def macro_weights(traits: Traits) -> dict[str, float]:
    """Return MakeHuman's macro targets and weights: each is the product of the weights of the words in its name."""
    old = float(np.clip((traits.age - _YOUNG_AGE) / (_OLD_AGE - _YOUNG_AGE), 0, 1))
    child = float(np.clip((_YOUNG_AGE - traits.age) / (_YOUNG_AGE - _CHILD_AGE), 0, 1)) * _CHILDLIKENESS
    ages = {"child": child, "young": 1 - old - child, "old": old}
    sexes = {"female": 1 - traits.masculinity, "male": traits.masculinity}
    weights = {}
    for sex, sex_weight in sexes.items():
        for age, age_weight in ages.items():
            for ancestry, ancestry_weight in zip(ANCESTRIES, traits.ancestry):
                weights[f"{ancestry}-{sex}-{age}"] = sex_weight * age_weight * float(ancestry_weight)
            for muscle, muscle_weight in _three_steps(traits.muscle).items():
                for weight, weight_weight in _three_steps(traits.weight).items():
                    name = f"universal-{sex}-{age}-{muscle}muscle-{weight}weight"
                    weights[name] = sex_weight * age_weight * muscle_weight * weight_weight
    return weights


def _three_steps(value: float) -> dict[str, float]:
    """Return MakeHuman's weights of a slider with three targets: piecewise linear, they sum to 1."""
    return {"min": max(0.0, 1 - 2 * value), "average": 1 - abs(2 * value - 1), "max": max(0.0, 2 * value - 1)}


def _skin_color(tone: float) -> np.ndarray:
    step = int(tone)
    share = tone - step
    return SKIN_TONES[step] * (1 - share) + SKIN_TONES[step + 1] * share


def _draw_hair_colors(rng: np.random.Generator, *, age: float, fairness: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw the colours of hair and brows; brows grey less."""
    odds = np.array(  # in the order of HAIR_COLORS
        [
            3 + 3 * (1 - fairness),
            2.5,
            2.2 * fairness + 0.6,
            2 * fairness + 0.15,
            1.6 * fairness,
            1.4 * fairness,
            0.6 * fairness,
        ]
    )
    young = HAIR_COLORS[rng.choice(len(odds), p=odds / odds.sum())]
    young = young * np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.05, 3))
    grey = float(np.clip((age - 46) / 30 + rng.normal(0, 0.22) - 0.08, 0, 1))
    target = GREY_HAIR_COLORS[int(rng.random() < 0.4)]
    brows = young * (1 - 0.6 * grey) + GREY_HAIR_COLORS[0] * 0.6 * grey
    return young * (1 - grey) + target * grey, brows


def _draw_iris(rng: np.random.Generator, fairness: float) -> np.ndarray:
    odds = np.array(  # in the order of IRIS_COLORS
        [4, 3, 1.2 * fairness + 0.4, fairness, fairness, 1.4 * fairness, 1.4 * fairness, fairness], dtype=np.float64
    )
    return IRIS_COLORS[rng.choice(len(odds), p=odds / odds.sum())] * np.exp(rng.normal(0, 0.15))
