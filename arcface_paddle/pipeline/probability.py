"""What a similarity means, by the model's card."""

from __future__ import annotations

import math
from typing import Optional

from arcface_paddle.pipeline.cards import ModelCard


def same_person_probability(card: ModelCard, similarity: float) -> Optional[float]:
    """Return the estimated probability (0 to 1) that two pictures with this signed cosine show one person.

    The logistic curve of the card, fitted by 'arcface-paddle calibrate', for equal prior odds. None for a card without.
    """
    calibration = card.recognizer.calibration if card.recognizer else None
    if calibration is None or calibration.logistic is None:
        return None
    slope, intercept = calibration.logistic
    odds = slope * similarity + intercept
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, odds))))
