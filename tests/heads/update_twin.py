"""Slow update rules for tests: float64, one value at a time, as the papers write them."""

from __future__ import annotations

import numpy as np


class SlowRule:
    """One of sgd, nesterov, adam, amsgrad, adamw over an array; every value is updated alone."""

    def __init__(self, name: str, shape, *, momentum=0.9, beta2=0.999, epsilon=1e-8) -> None:
        self.name, self.beta1, self.beta2, self.epsilon = name, momentum, beta2, epsilon
        self.first, self.second, self.largest = (np.zeros(shape) for _ in range(3))
        self.count = np.zeros(shape)

    def step(self, weight: np.ndarray, gradient: np.ndarray, *, lr: float, decay: float, places=None) -> None:
        """Change ``weight`` in place at the given places (all, unless some are given)."""
        for place in np.ndindex(weight.shape) if places is None else places:
            weight[place] -= lr * self._direction(place, float(weight[place]), float(gradient[place]), decay)

    def _direction(self, place, weight: float, gradient: float, decay: float) -> float:
        if self.name != "adamw":
            gradient += decay * weight
        if self.name in ("sgd", "nesterov"):
            self.first[place] = self.beta1 * self.first[place] + gradient
            ahead = gradient + self.beta1 * self.first[place]
            return ahead if self.name == "nesterov" else self.first[place]
        self.count[place] += 1
        self.first[place] = self.beta1 * self.first[place] + (1 - self.beta1) * gradient
        self.second[place] = self.beta2 * self.second[place] + (1 - self.beta2) * gradient**2
        self.largest[place] = max(self.largest[place], self.second[place])
        spread = self.largest[place] if self.name == "amsgrad" else self.second[place]
        mean = self.first[place] / (1 - self.beta1 ** self.count[place])
        direction = mean / (np.sqrt(spread / (1 - self.beta2 ** self.count[place])) + self.epsilon)
        return direction + decay * weight if self.name == "adamw" else direction
