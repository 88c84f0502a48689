"""A slow classifier for tests: dense numpy in float64, one-hot targets, no shards, derivatives by formula."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class DenseClassifier:
    """Normalised softmax with an ArcFace or CosFace margin and momentum SGD over all or some rows."""

    weight: np.ndarray
    m2: float = 0.5
    m3: float = 0.0
    scale: float = 64.0
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        self.weight = self.weight.astype(np.float64)
        self.velocity = np.zeros_like(self.weight)

    def loss_and_gradients(self, features, labels, rows=None):
        """Return the mean loss, d loss / d features and d loss / d weight (zero in rows that take no part)."""
        rows = np.arange(len(self.weight)) if rows is None else np.union1d(rows, labels)
        features, centres = features.astype(np.float64), self.weight[rows]
        one_hot = (labels[:, None] == rows[None, :]).astype(np.float64)
        feature_norms = np.linalg.norm(features, axis=1, keepdims=True)
        centre_norms = np.linalg.norm(centres, axis=1, keepdims=True)
        directions, units = features / feature_norms, centres / centre_norms
        cosines = directions @ units.T

        angles = np.arccos(np.clip(cosines, -1, 1)) + self.m2
        beyond = angles > np.pi
        margined = np.where(beyond, cosines - np.cos(np.pi - self.m2) - 1.0, np.cos(angles)) - self.m3
        slopes = np.where(beyond, 1.0, np.sin(angles) / np.sin(angles - self.m2))
        logits = self.scale * np.where(one_hot > 0, margined, cosines)
        logits -= logits.max(1, keepdims=True)
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        loss = -np.log((probabilities * one_hot).sum(1)).mean()

        per_cosine = (probabilities - one_hot) * self.scale / len(labels) * np.where(one_hot > 0, slopes, 1.0)
        to_directions, to_units = per_cosine @ units, per_cosine.T @ directions
        to_features = (to_directions - directions * (to_directions * directions).sum(1, keepdims=True)) / feature_norms
        to_centres = (to_units - units * (to_units * units).sum(1, keepdims=True)) / centre_norms
        to_weight = np.zeros_like(self.weight)
        to_weight[rows] = to_centres
        return loss, to_features, to_weight, rows

    def step(self, gradient, lr, rows=None):
        """Momentum SGD on some rows only."""
        rows = slice(None) if rows is None else rows
        change = gradient[rows] + self.weight_decay * self.weight[rows]
        self.velocity[rows] = self.momentum * self.velocity[rows] + change
        self.weight[rows] -= lr * self.velocity[rows]
