"""In place of the class centres where a run looks at no label: the same calls, and nothing behind them."""

from __future__ import annotations

from typing import Mapping, Optional, Union

import numpy as np
import paddle

from arcface_paddle.heads.margins import Margin
from arcface_paddle.heads.memory import STATES_OF, counts_updates, extra_states_of
from arcface_paddle.heads.sharded_classifier import BatchClasses
from arcface_paddle.heads.update_rules import COUNT

_NOTHING = np.zeros(0, np.int64)


class NoClassifier:
    """No class at all, with the calls of ``ShardedClassifier``; a checkpoint holds empty shards of it."""

    start = end = 0
    feature_centres = None

    def __init__(self, *, embedding_size: int, rule: str, margin: Margin) -> None:
        """Take the length of an embedding, which is the width of the empty shards, and the update rule's name."""
        assert rule in STATES_OF, rule
        self.row_size = embedding_size
        self.margin = margin
        self.statistics: dict[str, paddle.Tensor] = {}
        self._rule = rule

    def choose_classes(self, labels: np.ndarray, *, step: int, sampled: Optional[np.ndarray] = None) -> BatchClasses:
        """Return no classes; labels are not looked at."""
        none = paddle.zeros([0], dtype="int64")
        return BatchClasses(_NOTHING, none, none, none.astype("bool"), none)

    def loss(self, features: paddle.Tensor, classes: BatchClasses) -> paddle.Tensor:
        """Return 0, and note the mean norm of the features."""
        norm = features.detach().astype("float32").square().sum(axis=1).sqrt().mean()
        nothing = paddle.full([], float("nan"), dtype="float32")
        self.statistics = {"target_cosine": nothing, "margin_cosine": nothing, "feature_norm": norm}
        return paddle.zeros([], dtype="float32")

    def gradient_square_sum(self) -> paddle.Tensor:
        """Return 0."""
        return paddle.zeros([], dtype="float32")

    def weight_square_sum(self) -> paddle.Tensor:
        """Return 0."""
        return paddle.zeros([], dtype="float32")

    def step(
        self,
        lr: float,
        *,
        factor: Union[float, paddle.Tensor] = 1.0,
        finite: Optional[paddle.Tensor] = None,
        decay_share: Union[float, paddle.Tensor] = 1.0,
    ) -> None:
        """Change nothing."""

    def weight(self) -> np.ndarray:
        """Return (0, row size) float32."""
        return np.zeros((0, self.row_size), np.float32)

    def velocity(self) -> np.ndarray:
        """Return (0, row size) float32."""
        return self.weight()

    def extra_states(self) -> dict[str, np.ndarray]:
        """Return the rule's further states, all of them empty."""
        states = {name: self.weight() for name in extra_states_of(self._rule)}
        return {**states, COUNT: np.zeros((0, 1), np.float32)} if counts_updates(self._rule) else states

    def load_rows(
        self,
        start: int,
        weight: np.ndarray,
        velocity: Optional[np.ndarray] = None,
        *,
        extra_states: Optional[Mapping[str, np.ndarray]] = None,
    ) -> int:
        """Take over nothing, and return 0."""
        return 0
