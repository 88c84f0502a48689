"""What a run's settings and curve say about why it does not learn; each rule is a function of the run."""

from __future__ import annotations

from typing import Callable, Iterator, Optional

from arcface_paddle.training.config import WITHOUT_COSINES
from arcface_paddle.training.explain.recorded_run import RecordedRun
from arcface_paddle.training.explain.verdict import ABOVE_UNTRAINED, CERTAIN, LIKELY, POSSIBLE, Obstacle
from arcface_paddle.training.schedule import REFERENCE_BATCH, learning_rate

_SMALL_RATE = 0.004
"""Peak rate of SGD below which the published networks need several times as many steps (batch 512 trains at .1)."""
_LARGE_RATE = 0.5
_DECAYED = 0.02
"""Share of the peak rate at which hardly anything moves any more."""
_FEW_VIEWS = 40.0
"""Pictures seen per person before ArcFace leaves its plateau: the published runs see 60 in their first epoch."""
_SMALL_BATCH = 16
"""Images per process below which the statistics of BatchNorm are mostly noise."""
_CLIPPED = 10.0
_SKIPPED_SHARE = 0.02
_LARGE_DECAY = 5e-3
_EMPTY_NORM, _HUGE_NORM = 0.05, 2000.0


def run_reasons(run: RecordedRun) -> Iterator[Obstacle]:
    """Give every reason that the settings and the curve show."""
    for rule in _RULES:
        reason = rule(run)
        if reason is not None:
            yield reason


def _small_rate(run: RecordedRun) -> Optional[Obstacle]:
    peak = run.schedule.peak_lr
    if run.config.network.pretrained or peak >= _SMALL_RATE:
        return None
    lr, better = run.config.optimizer.lr, _suggested_rate(run)
    return Obstacle(
        "rate_too_small",
        LIKELY,
        f"the rate at its peak is {peak:.2g}: --lr {lr:g} holds for {REFERENCE_BATCH} images a step and is scaled to "
        f"{run.global_batch}",
        f"try --lr {better:g} (a peak of {better * run.global_batch / REFERENCE_BATCH:.2g}), or a larger --batch_size",
    )


def _suggested_rate(run: RecordedRun) -> float:
    return float(f"{0.02 * REFERENCE_BATCH / run.global_batch:.1g}")


def _large_rate(run: RecordedRun) -> Optional[Obstacle]:
    peak, loss = run.schedule.peak_lr, run.latest("loss")
    if loss is None:
        return None
    above = loss > ABOVE_UNTRAINED * run.untrained_loss and run.step > run.schedule.warmup_steps
    if not above and peak <= _LARGE_RATE:
        return None
    lr = run.config.optimizer.lr
    return Obstacle(
        "rate_too_large",
        LIKELY if above else POSSIBLE,
        f"the rate at its peak is {peak:.2g}; loss {loss:.2f}, that of an untrained network {run.untrained_loss:.2f}",
        f"try --lr {lr / 10:g}, or a longer --warmup_epochs",
    )


def _early_decay(run: RecordedRun) -> Optional[Obstacle]:
    now = learning_rate(run.schedule, max(0, run.step - 1))
    if run.step <= run.schedule.warmup_steps or now > _DECAYED * run.schedule.peak_lr:
        return None
    if run.schedule.decay != "step" and run.step > 0.8 * run.schedule.total_steps:
        return None  # such a schedule is meant to end low
    return Obstacle(
        "decay_too_early",
        LIKELY,
        f"after {run.step} steps the rate has fallen to {now:.2g}, {now / run.schedule.peak_lr:.2%} of its peak",
        "let it fall later (--decay_epochs), or choose --decay cosine; few images make epochs short",
    )


def _margin_at_once(run: RecordedRun) -> Optional[Obstacle]:
    classifier = run.config.classifier
    if classifier.loss in ("Softmax", *WITHOUT_COSINES) or classifier.softmax_steps or run.config.network.pretrained:
        return None
    steps = max(200, min(5000, 2 * run.images // run.global_batch))
    return Obstacle(
        "margin_from_the_first_step",
        LIKELY,
        f"the margin of {classifier.loss} counts from the first step, on a network that knows nothing yet",
        f"begin with plain softmax: --softmax_steps {steps}; or start from weights: --pretrained MobileFace",
    )


def _margin_in_the_warmup(run: RecordedRun) -> Optional[Obstacle]:
    switch, warmup = run.config.classifier.softmax_steps, run.schedule.warmup_steps
    if run.config.classifier.loss == "Softmax" or not 0 < switch < warmup:
        return None
    return Obstacle(
        "margin_in_the_warmup",
        POSSIBLE,
        f"the margin sets in at step {switch}, before the warm-up of the rate ends at step {warmup}",
        f"try --softmax_steps {2 * warmup}, so that softmax has learnt something at the full rate",
    )


def _few_views(run: RecordedRun) -> Optional[Obstacle]:
    if run.seen_per_class >= _FEW_VIEWS:
        return None
    needed = int(_FEW_VIEWS * run.num_classes / run.global_batch) + 1
    return Obstacle(
        "few_views",
        LIKELY,
        f"so far the network has seen {run.seen_per_class:.1f} pictures of each of {run.num_classes} people; the curve "
        "of a margin loss stays on its plateau for the first tens",
        f"wait until about step {needed}, or begin with fewer people",
    )


def _small_batch(run: RecordedRun) -> Optional[Obstacle]:
    share = run.global_batch // (run.processes * run.config.optimizer.accumulation)
    together = share * run.processes if run.config.network.batch_norm in ("sync", "native_sync") else share
    if run.config.network.batch_norm == "frozen" or together >= _SMALL_BATCH:
        return None
    return Obstacle(
        "batch_too_small",
        LIKELY,
        f"BatchNorm takes its statistics from {together} images",
        f"use --batch_size of {_SMALL_BATCH} and more, or --batch_norm sync over several processes",
    )


def _frozen_from_noise(run: RecordedRun) -> Optional[Obstacle]:
    if run.config.network.batch_norm != "frozen" or run.config.network.pretrained:
        return None
    return Obstacle(
        "frozen_statistics",
        CERTAIN,
        "--batch_norm frozen keeps the statistics of an untrained network",
        "leave --batch_norm out, unless the run starts from --pretrained",
    )


def _clipped(run: RecordedRun) -> Optional[Obstacle]:
    norm, limit = run.latest("gradient_norm"), run.config.optimizer.clip_norm
    if norm is None or not limit or norm < _CLIPPED * limit:
        return None
    return Obstacle(
        "always_clipped",
        POSSIBLE,
        f"the gradient has a norm of {norm:.1f} and is clipped to {limit:g}: every step is {norm / limit:.0f} times "
        "smaller than the rate says",
        "a smaller --lr brings the norm down where the loss is above chance; else raise --clip_norm",
    )


def _skipped(run: RecordedRun) -> Optional[Obstacle]:
    if run.skipped <= _SKIPPED_SHARE * run.step:
        return None
    return Obstacle(
        "steps_skipped",
        CERTAIN,
        f"{run.skipped} of {run.step} steps changed nothing, because the gradient was not finite",
        "training.log names the images; look at them with 'arcface-paddle data doctor', or use a smaller --lr"
        + (", or a smaller --loss_scale" if run.config.optimizer.fp16 else ""),
    )


def _unreadable(run: RecordedRun) -> Optional[Obstacle]:
    if run.unreadable <= 0.01 * run.images:
        return None
    return Obstacle(
        "unreadable_pictures",
        CERTAIN,
        f"{run.unreadable} of {run.images} pictures could not be read and were replaced by others",
        "see training.log; 'arcface-paddle data doctor --fix' leaves them out",
    )


def _weight_decay(run: RecordedRun) -> Optional[Obstacle]:
    decay = run.config.optimizer.weight_decay
    if decay < _LARGE_DECAY:
        return None
    return Obstacle(
        "weight_decay_too_large",
        LIKELY,
        f"--weight_decay {decay:g} pulls the weights to zero faster than they learn",
        "the published runs use 2e-4 to 5e-4",
    )


def _feature_norm(run: RecordedRun) -> Optional[Obstacle]:
    norm = run.latest("feature_norm")
    if norm is None or _EMPTY_NORM < norm < _HUGE_NORM:
        return None
    state = "vanished" if norm <= _EMPTY_NORM else "run away"
    return Obstacle(
        "features_collapsed",
        CERTAIN,
        f"features have a norm of {norm:.3g}: they have {state}",
        "begin anew with a smaller --lr and the published --weight_decay, or go on from an earlier sound checkpoint",
    )


def _unscaled_loss(run: RecordedRun) -> Optional[Obstacle]:
    scale = run.latest("loss_scale")
    if scale is None or scale > 2.0:
        return None
    return Obstacle(
        "loss_scale_at_its_end",
        CERTAIN,
        f"the loss scale of float16 has fallen to {scale:g}: gradients overflow all the time",
        "train with --bf16, or in float32, or with a smaller --lr",
    )


def _foreign_weights(run: RecordedRun) -> Optional[Obstacle]:
    pretrained = run.config.network.pretrained
    if not pretrained or not pretrained.endswith(".pdparams"):
        return None
    return Obstacle(
        "input_of_the_weights",
        POSSIBLE,
        f"{pretrained} does not say for which input it was trained; here it gets RGB, (x/255 - 0.5)/0.5",
        "weights that want BGR, 0-255 or the mean of ImageNet begin at a cosine near 0: start from a model folder, "
        "whose card names its input",
    )


def _no_validation(run: RecordedRun) -> Optional[Obstacle]:
    if run.has_validation() or run.config.data.val_targets:
        return None
    return Obstacle(
        "no_validation",
        POSSIBLE,
        "no verification set is measured, so that the loss is all there is to judge by",
        "name some with --val_targets; 'arcface-paddle data pairs' makes one of your own people",
    )


_RULES: tuple[Callable[[RecordedRun], Optional[Obstacle]], ...] = (
    _frozen_from_noise,
    _skipped,
    _unscaled_loss,
    _feature_norm,
    _unreadable,
    _large_rate,
    _small_rate,
    _early_decay,
    _margin_at_once,
    _margin_in_the_warmup,
    _few_views,
    _small_batch,
    _clipped,
    _weight_decay,
    _foreign_weights,
    _no_validation,
)
