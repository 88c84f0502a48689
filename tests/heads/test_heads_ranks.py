"""Two and three ranks get what one gets: losses, gradients and centres, in one process.

``tests/distributed/test_distributed_classifier.py`` shows the same with processes, and longer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from arcface_paddle import distributed
from arcface_paddle.heads.distillation import LessonWeights, lesson_of
from arcface_paddle.heads.margins import build_margin
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier

sys.path.insert(0, str(Path(__file__).parent))
from rank_threads import RankThreads

BATCH, SIZE = 6, 4
CASES: dict[str, dict[str, Any]] = {
    "whole": {},
    "pieces": {"logits_bytes": 4 * BATCH * 3},
    "sampled": {"sample_rate": 0.3, "num_classes": 23},
    "few classes": {"num_classes": 9, "sample_rate": 0.01, "labels_below": 4},  # the last rank has none in the step
    "empty rows": {"row_multiple": 8},
    "centre loss": {"margin": "CenterLoss", "scale": 1.0, "centre_weight": 0.5},
    "focal": {"margin": "AdaFace", "focal_gamma": 2.0, "subcentres": 2},
}


def train(
    *, margin: str = "ArcFace", scale: float = 8.0, num_classes: int = 11, labels_below: int = 11, **settings: Any
) -> dict[str, np.ndarray]:
    """Do two steps on this rank's part of the batch."""
    classifier = ShardedClassifier(
        ClassifierSettings(num_classes, SIZE, seed=1, **settings), build_margin(margin, scale=scale)
    )
    part = own_part()
    losses, gradients = [], []
    for step in range(2):
        features, labels = batch(step, min(labels_below, num_classes))
        tensor = paddle.to_tensor(features[part], stop_gradient=False)
        loss = classifier.loss(tensor, classifier.choose_classes(labels[part], step=step))
        (3.0 * loss).backward()
        losses.append(float(loss))
        gradients.append(tensor.grad.numpy())
        centres = classifier.gradient()
        classifier.step(0.1)
    seen = {"loss": np.array(losses), "rows:features": np.stack(gradients, 1), "rows:gradient": centres}
    if classifier.feature_centres is not None:
        seen["rows:feature centres"] = classifier.feature_centres.rows()
    return {**seen, "rows:centres": classifier.weight(), "rows:velocity": classifier.velocity()}


def own_part() -> slice:
    own = BATCH // distributed.world_size()
    return slice(distributed.rank() * own, (distributed.rank() + 1) * own)


def batch(step: int, labels_below: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(step)
    # Features of very different directions: the largest logit of a sample is not the same on all ranks.
    return random.normal(size=(BATCH, SIZE)).astype(np.float32), random.integers(0, labels_below, BATCH)


def teach() -> dict[str, np.ndarray]:
    """Hold this rank's part of a batch against a teacher."""
    features, _ = batch(0, 2)
    targets, _ = batch(1, 2)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    tensor = paddle.to_tensor(features[own_part()], stop_gradient=False)
    lesson = lesson_of(tensor, paddle.to_tensor(targets[own_part()]), weights=LessonWeights(1.0, 2.0, 0.5))
    lesson.loss.backward()
    return {"loss": lesson.loss.numpy(), "rows:features": tensor.grad.numpy(), "cosine": lesson.cosine.numpy()}


def assert_all_get_the_same(ranks: list[dict[str, np.ndarray]], one: dict[str, np.ndarray]) -> None:
    for name, expected in one.items():
        parts = [rank[name] for rank in ranks]
        for got in [np.concatenate(parts)] if name.startswith("rows:") else parts:
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize(("case", "ranks"), [("whole", 2), *((case, 3) for case in CASES)])
def test_ranks_get_what_one_gets(monkeypatch: pytest.MonkeyPatch, case: str, ranks: int) -> None:
    one = train(**CASES[case])
    threads = RankThreads(ranks)
    threads.use(monkeypatch)
    assert_all_get_the_same(threads.run(lambda: train(**CASES[case])), one)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_are_taught_what_one_is_taught(monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
    one = teach()
    threads = RankThreads(ranks)
    threads.use(monkeypatch)
    assert_all_get_the_same(threads.run(teach), one)
