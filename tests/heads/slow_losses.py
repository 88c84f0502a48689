"""The losses of the classifier as slow loops over samples and classes, and gradients by finite differences; float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np


@dataclass(frozen=True)
class SlowLoss:
    """What a loss is made of; ``linear`` is a dense layer, else cosines with a margin ``cos(angle + m2) - m3``."""

    m2: float = 0.0
    m3: float = 0.0
    scale: float = 64.0
    linear: bool = False
    subcentres: int = 1
    gamma: float = 0.0
    centre_weight: float = 0.0

    def score(self, feature: np.ndarray, row: np.ndarray, is_target: bool) -> float:
        """Return the logit of one class for one sample."""
        if self.linear:
            return float(feature @ row[:-1] + row[-1])
        cosines = [
            feature @ centre / (np.linalg.norm(feature) * np.linalg.norm(centre))
            for centre in row.reshape(self.subcentres, -1)
        ]
        cosine = max(cosines)
        if not is_target:
            return self.scale * cosine
        angle = math.acos(cosine) + self.m2
        value = math.cos(angle) if angle <= math.pi else cosine - math.cos(math.pi - self.m2) - 1.0
        return self.scale * (value - self.m3)

    def __call__(
        self, features: np.ndarray, rows: np.ndarray, labels: np.ndarray, *, centres: Optional[np.ndarray] = None
    ) -> float:
        """Return the mean loss; ``centres`` are those of the centre loss."""
        total = 0.0
        for feature, label in zip(features, labels):
            logits = [self.score(feature, row, number == label) for number, row in enumerate(rows)]
            largest = max(logits)
            entropy = largest + math.log(sum(math.exp(logit - largest) for logit in logits)) - logits[label]
            total += (1.0 - math.exp(-entropy)) ** self.gamma * entropy
            if centres is not None:
                total += self.centre_weight * 0.5 * sum((feature - centres[label]) ** 2)
        return total / len(labels)


def numerical_gradient(value: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the gradient of a function of an array by central differences, in float64."""
    gradient = np.zeros(at.shape)
    for place in np.ndindex(*at.shape):
        up, down = at.astype(np.float64), at.astype(np.float64)
        up[place] += step
        down[place] -= step
        gradient[place] = (value(up) - value(down)) / (2 * step)
    return gradient
