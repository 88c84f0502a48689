"""One training step: forward and backward passes, one verdict on the gradient, one update. Nothing is fetched."""

from __future__ import annotations

import os
from typing import Optional, Sequence

import numpy as np
import paddle

from arcface_paddle import distributed
from arcface_paddle.backbones.batch_renorm import ramped_limits, set_renorm_limits
from arcface_paddle.data import Batch
from arcface_paddle.errors import ConfigError
from arcface_paddle.heads.margins import EasedMargin, Margin
from arcface_paddle.heads.sharded_classifier import BatchClasses
from arcface_paddle.training import pictures
from arcface_paddle.training.optimizer import StepVerdict, judge_gradient
from arcface_paddle.training.precision import mixed_precision
from arcface_paddle.training.run import Run
from arcface_paddle.training.schedule import learning_rate
from arcface_paddle.training.state import seed_step

RECORD_FIELDS = (
    *("loss", "gradient_norm", "finite", "target_cosine", "feature_norm", "loss_scale", "reg_loss", "reg_coef"),
)
"""What ``train_step`` notes of a step, in this order; the last two only where the weight decay can shrink."""

TEACHER_FIELDS = ("teacher_cosine", "relation_loss")
"""What it notes behind them where there is a teacher."""


def record_fields(run: Run) -> tuple[str, ...]:
    """Return the names of the figures that ``train_step`` gives for this run."""
    known = RECORD_FIELDS if run.decay.enabled else RECORD_FIELDS[:-2]
    return known if run.teacher is None else (*known, *TEACHER_FIELDS)


def train_step(run: Run, batches: Sequence[Batch]) -> paddle.Tensor:
    """Do the step of ``run.state.step`` on one batch per accumulated pass; all ranks together.

    Returns:
        float32 on the device, what ``record_fields`` names; ``finite`` 0 means that the step was skipped.

    Raises:
        ConfigError: the backbone gets no gradient at all.
    """
    state, optimizer = run.state, run.config.optimizer
    seed_step(state.seed, state.step, distributed.rank())
    run.classifier.margin = _margin_now(run)
    if run.config.network.norm == "batch_renorm":
        set_renorm_limits(run.network, ramped_limits(state.step, run.schedule.warmup_steps))
    run.statistics.remember()
    first_pass = state.step * optimizer.accumulation
    with run.profile.phase("classifier"):
        chosen = [
            run.classifier.choose_classes(batch.labels, step=first_pass + number)
            for number, batch in enumerate(batches)
        ]
    noted = [_forward_backward(run, batch, classes) for batch, classes in zip(batches[:-1], chosen)]
    run.exchange.begin_with_next_pass()
    noted.append(_forward_backward(run, batches[-1], chosen[-1]))
    _refuse_missing_gradient(run)

    with run.profile.phase("exchange"):
        gradients = run.exchange.finish()
        square_sum = distributed.all_reduce_sum(run.classifier.gradient_square_sum().reshape([1]))[0]
    with run.profile.phase("update"):
        return _judge_and_update(run, gradients, square_sum, paddle.stack(noted).mean(axis=0))


def _refuse_missing_gradient(run: Run) -> None:
    """Refuse a backward pass that ends before the backbone, which flags of Paddle bring about without a word.

    Raises:
        ConfigError: no parameter of the backbone has a gradient.
    """
    if run.optimizer.has_gradient():
        return
    flags = ", ".join(sorted(name for name in os.environ if name.startswith("FLAGS_"))) or "none"
    raise ConfigError(
        "the backward pass has given the backbone no gradient at all, so that it would never learn: take --mode "
        f"dynamic, or leave out Paddle's flags (set in the environment: {flags})"
    )


def _judge_and_update(
    run: Run, gradients: Sequence[paddle.Tensor], square_sum: paddle.Tensor, means: paddle.Tensor
) -> paddle.Tensor:
    """Decide on the step, do it, and return its record.

    Args:
        run: the run.
        gradients: of the backbone, summed over the ranks.
        square_sum: 0-d, of the classifier's gradient over all ranks.
        means: what ``_forward_backward`` gives, over the passes.
    """
    for gradient in gradients:
        square_sum = square_sum + gradient.square().sum()
    verdict = judge_gradient(square_sum, loss_scale=run.scaler.scale, clip_norm=run.config.optimizer.clip_norm)
    loss, cosine, feature_norm, *lesson = means.unbind()
    record = [loss, verdict.norm, verdict.finite.astype("float32"), cosine, feature_norm]
    penalty = _penalty(run) if run.decay.enabled else None
    _update(run, gradients, verdict)
    record.append(run.scaler.scale)  # of the next step
    if penalty is not None:
        record += [penalty, run.decay.value]
        run.decay.update(penalty, loss, finite=verdict.finite)
    return paddle.stack([*record, *lesson])


def _update(run: Run, gradients: Sequence[paddle.Tensor], verdict: StepVerdict) -> None:
    """Change weights, class centres, loss scale and statistics as the verdict permits."""
    rate = learning_rate(run.schedule, run.state.step)
    share = run.decay.value if run.decay.enabled else 1.0
    run.optimizer.apply(gradients, verdict, rate * run.config.finetuning.backbone_lr_scale, decay_share=share)
    run.classifier.step(rate, factor=verdict.factor, finite=verdict.finite, decay_share=share)
    run.scaler.update(verdict.finite)
    run.statistics.settle(verdict.finite)


@paddle.no_grad()
def _penalty(run: Run) -> paddle.Tensor:
    """Return the L2 term of the loss, 0-d, the same on all ranks: that of everything that weight decay will act on."""
    centres = distributed.all_reduce_sum(run.classifier.weight_square_sum().reshape([1]))[0]
    squares = run.optimizer.decayed_square_sum() + centres
    return squares * run.decay.value * (0.5 * run.config.optimizer.weight_decay)


def _targets(run: Run, batch: Batch) -> Optional[np.ndarray]:
    """Return what the teacher says of the pictures of a pass, (B, D); None without a teacher."""
    if run.teacher is None:
        return None
    with run.profile.phase("data"):
        return run.teacher.targets(batch.indices)


def _forward_backward(run: Run, batch: Batch, classes: BatchClasses) -> paddle.Tensor:
    """Add the gradient of one pass; returns (3,): loss, mean target cosine, mean feature norm; (5,) with a teacher."""
    settings = run.config.optimizer
    targets = _targets(run, batch)
    with run.profile.phase("forward"), mixed_precision(settings.precision):
        features = run.network(pictures.on_device(batch, run.upload))
    with run.profile.phase("classifier"):
        features = features.astype("float32")
        loss = run.classifier.loss(features, classes)
        noted = [loss, run.classifier.statistics["target_cosine"], run.classifier.statistics["feature_norm"]]
        if run.teacher is not None and targets is not None:
            lesson = run.teacher.lesson(features, targets)
            loss = loss * run.config.distillation.class_weight + lesson.loss
            noted = [loss, *noted[1:], lesson.cosine, lesson.relation]
    with run.profile.phase("backward"):
        (loss * (run.scaler.scale / settings.accumulation)).backward()
    return paddle.stack([value.detach().astype("float32").reshape([]) for value in noted])


def _margin_now(run: Run) -> Margin:
    if run.state.step < run.config.classifier.softmax_steps:
        return Margin(scale=run.config.classifier.scale)
    share = run.curriculum.value("margin", run.state.step)
    return run.margin if share == 1.0 else EasedMargin(run.margin, share)
