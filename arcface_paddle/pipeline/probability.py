"""What a similarity means, by the model's card."""

from __future__ import annotations

import math
from typing import Optional

from arcface_paddle.pipeline.cards import ModelCard


def same_person_probability(card: ModelCard, similarity: float) -> Optional[float]:
    """Return the estimated probability (0 to 1) that two pictures of this similarity show one person.

    The similarity is what the card makes of the cosine. The probability is read off the logistic curve in the card,
    which 'arcface-paddle calibrate' fits, and assumes that one person and two persons were equally likely before. None
    when the card has no such curve.
    """
    calibration = card.recognizer.calibration if card.recognizer else None
    if calibration is None or calibration.logistic is None:
        return None
    slope, intercept = calibration.logistic
    odds = slope * similarity + intercept
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, odds))))
