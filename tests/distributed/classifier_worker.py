"""One rank of the equality tests: trains every scenario on its share of seeded global batches and saves what it got.

Usage: classifier_worker.py FOLDER. Writes FOLDER/{scenario}_{ranks}_{rank}.npz.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
import paddle
from paddle import nn

from arcface_paddle import distributed
from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.normalization import freeze_batch_norm, use_synchronised_batch_norm
from arcface_paddle.heads.margins import build_margin
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier
from arcface_paddle.heads.update_rules import UpdateRule

BATCH = 12
SIZE = 8
CLASSES = 37  # neither 2 nor 3 divides it


@dataclass(frozen=True)
class Scenario:
    """What to train; see the table below."""

    network: str = "plain"
    margin: str = "ArcFace"
    scale: float = 16.0
    subcentres: int = 1
    focal_gamma: float = 0.0
    centre_weight: float = 0.0
    sample_rate: float = 1.0
    inject: bool = False
    accumulation: int = 1
    steps: int = 20
    logits_bytes: int = 1 << 30
    classes: int = CLASSES
    lr: float = 0.02
    rule: str = "sgd"
    tolerance: float = 1e-5


SCENARIOS = {
    "plain": Scenario(),
    "synchronised": Scenario(network="synchronised"),
    "frozen": Scenario(network="frozen"),
    "iresnet": Scenario(network="iresnet", steps=1, tolerance=2e-5),  # float32 through 20 layers
    "pieces": Scenario(logits_bytes=BATCH * 4 * 5),
    "sampled": Scenario(sample_rate=0.3),
    "injected": Scenario(sample_rate=0.5, inject=True),
    "accumulated": Scenario(accumulation=2, network="synchronised"),
    "accumulated_sampled": Scenario(accumulation=2, sample_rate=0.3),
    "curricular": Scenario(margin="CurricularFace"),
    "adaface": Scenario(margin="AdaFace"),
    "cosface_sampled": Scenario(margin="CosFace", sample_rate=0.1),
    "amsgrad_sampled": Scenario(rule="amsgrad", sample_rate=0.3, steps=10),
    "dense_head_and_centre_loss": Scenario(
        margin="CenterLoss", scale=1.0, centre_weight=1.0, sample_rate=0.3, accumulation=2, lr=0.005, steps=4
    ),
    "focal_subcentres": Scenario(subcentres=3, focal_gamma=2.0, centre_weight=0.1, logits_bytes=BATCH * 4 * 5, steps=4),
    "subcentres_sampled": Scenario(subcentres=2, sample_rate=0.3, steps=4),
    "few_classes": Scenario(classes=3, sample_rate=0.01),  # a rank often has no class in the step at all
}


def make_network(kind: str) -> nn.Layer:
    """A small network with seeded weights, or a narrow iResNet.

    The iResNet is frozen, because statistics over 12 pictures make a deep network ill-conditioned: in one process,
    a change of the input by 1e-7 changes some gradients by 3e-3.
    """
    paddle.seed(7)
    if kind == "iresnet":
        return freeze_batch_norm(build_backbone("iresnet18", embedding_size=SIZE, width=0.125))
    norm = [] if kind == "plain" else [nn.BatchNorm2D(6, momentum=0.9)]
    last = [] if kind == "plain" else [nn.BatchNorm1D(SIZE, momentum=0.9)]
    bias = None if kind == "plain" else False  # a bias before a normalisation has no gradient but rounding
    stem, head = nn.Conv2D(3, 6, 3, stride=2, bias_attr=bias), nn.Linear(6 * 9, SIZE, bias_attr=bias)
    layers = [stem, *norm, nn.PReLU(6), nn.Flatten(), head, *last]
    network = nn.Sequential(*layers)
    if kind == "synchronised":
        return use_synchronised_batch_norm(network)
    return freeze_batch_norm(network)


def micro_batch(scenario: Scenario, step: int, part: int) -> tuple[np.ndarray, np.ndarray]:
    """The global batch of one pass; the same in every process."""
    random = np.random.default_rng([step, part])
    side = 112 if scenario.network == "iresnet" else 8
    images = random.normal(size=(BATCH, 3, side, side)).astype(np.float32)
    return images, random.integers(0, scenario.classes, BATCH)


def injected(scenario: Scenario, step: int) -> Optional[np.ndarray]:
    """Classes to use as negatives, or None for the classifier's own draw."""
    if not scenario.inject:
        return None
    return np.random.default_rng(1000 + step).choice(scenario.classes, 11, replace=False)


def train(scenario: Scenario) -> dict[str, np.ndarray]:
    """Run the scenario and return losses, the gradients of the first step and the final weights."""
    network = make_network(scenario.network)
    network.train()
    parameters = [(name, weight) for name, weight in network.named_parameters() if not weight.stop_gradient]
    settings = ClassifierSettings(
        scenario.classes,
        SIZE,
        sample_rate=scenario.sample_rate,
        rule=UpdateRule(scenario.rule, epsilon=1e-3),
        subcentres=scenario.subcentres,
        focal_gamma=scenario.focal_gamma,
        centre_weight=scenario.centre_weight,
        weight_decay=5e-4,
        logits_bytes=scenario.logits_bytes,
        seed=3,
    )
    classifier = ShardedClassifier(settings, build_margin(scenario.margin, scale=scenario.scale))
    optimizer = paddle.optimizer.Momentum(scenario.lr, 0.9, [weight for _, weight in parameters], weight_decay=5e-4)
    own = BATCH // distributed.world_size()
    part_of_rank = slice(distributed.rank() * own, (distributed.rank() + 1) * own)
    results: dict[str, np.ndarray] = {}
    losses = []
    for step in range(scenario.steps):
        for part in range(scenario.accumulation):
            images, labels = micro_batch(scenario, step, part)
            features = network(paddle.to_tensor(images[part_of_rank]))
            features.retain_grads()
            classes = classifier.choose_classes(
                labels[part_of_rank], step=step * scenario.accumulation + part, sampled=injected(scenario, step)
            )
            loss = classifier.loss(features, classes)
            (loss / scenario.accumulation).backward()
            losses.append(float(loss))
        for _, weight in parameters:
            weight.grad.copy_(distributed.all_reduce_sum(weight.grad), False)
        if step == 0:
            results["rows:feature_gradient"] = features.grad.numpy()
            results["rows:centre_gradient"] = classifier.gradient()
            results.update({f"gradient:{name}": weight.grad.numpy() for name, weight in parameters})
        optimizer.step()
        optimizer.clear_grad()
        classifier.step(scenario.lr)
    results["loss"] = np.array(losses)
    results["rows:centres"] = classifier.weight()
    results["rows:velocity"] = classifier.velocity()
    results.update({f"rows:{name}": array for name, array in classifier.extra_states().items()})
    if classifier.feature_centres is not None:
        results["rows:feature_centres"] = classifier.feature_centres.rows()
    results.update({f"weight:{name}": tensor.numpy() for name, tensor in network.state_dict().items()})
    results["margin"] = np.array(sorted(classifier.margin.state().values()))
    return results


def main() -> None:
    """Train all scenarios on this rank."""
    with distributed.process_group():
        for name, scenario in SCENARIOS.items():
            target = Path(sys.argv[1]) / f"{name}_{distributed.world_size()}_{distributed.rank()}.npz"
            np.savez(target, **train(scenario))


if __name__ == "__main__":
    main()
