"""The training loop, read aloud: step, log, validate, save, until the end, a target or a signal."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from dataclasses import dataclass
from typing import Iterator, Optional

from tqdm import tqdm

from arcface_paddle import devices, distributed
from arcface_paddle.data import Batch
from arcface_paddle.data.batches import Lesson, Lessons
from arcface_paddle.errors import ArcfaceError, DataError, MissingDependencyError
from arcface_paddle.evaluation.verification import log_lines
from arcface_paddle.progress import progress
from arcface_paddle.training.beginning import begin
from arcface_paddle.training.config import TrainConfig
from arcface_paddle.training.curves import ACCURACY_PREFIX, draw_curves
from arcface_paddle.training.log_interval import IntervalSummary, LogInterval
from arcface_paddle.training.loss_watch import FlatWatch, LossWatch, chance_loss
from arcface_paddle.training.run import Run, Say, build_run
from arcface_paddle.training.run_log import (
    Progress,
    RunLog,
    memory_megabytes,
    progress_lines,
    progress_scalars,
)
from arcface_paddle.training.run_saver import RunSaver
from arcface_paddle.training.schedule import learning_rate
from arcface_paddle.training.sole_writer import sole_writer
from arcface_paddle.training.state import LoopState
from arcface_paddle.training.step import record_fields, train_step
from arcface_paddle.training.stopping import StopRequest, stop_on_signals
from arcface_paddle.training.validation import mean_accuracy, validate


class DivergedError(ArcfaceError):
    """Training makes no progress any more: every gradient is NaN or infinite."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: where it stands.
        reason: ``finished``, ``target`` (accuracy reached), ``patience`` (no gain in too many validations) or
            ``stopped`` (by a signal, after saving).
        bad_samples: pictures of the training data that could not be read and were replaced, over all ranks.
    """

    state: LoopState
    reason: str
    bad_samples: int


def train(config: TrainConfig, *, say: Say) -> Outcome:
    """Train as configured; call it on every rank, inside ``distributed.process_group``.

    Args:
        config: the settings.
        say: gets every line for the terminal.

    Raises:
        ConfigError: settings that do not fit together, the machine or the data; or another training writes into the
            output folder.
        DataError: the data cannot be read.
        CheckpointError: nothing sound to resume from, or a checkpoint cannot be written.
        ModelFileError: ``--pretrained`` is no model.
        DivergedError: too many steps in a row had a non-finite gradient.
    """
    with sole_writer(config.run.output) if distributed.is_main() else contextlib.nullcontext():
        return _train_in_folder(config, say=say)


def _train_in_folder(config: TrainConfig, *, say: Say) -> Outcome:
    log = RunLog(config.run.output, config.run.logdir, say=say, active=distributed.is_main(), loggers=config.run.logger)
    try:
        run = build_run(config, say=log.line)
        begin(run, log)
        with stop_on_signals() as stop, run.loader:
            return _Loop(run, log, stop).go()
    finally:
        log.close()


class _Loop:
    """The loop and what it keeps besides the state of the run: the log, the clock, the last validation."""

    def __init__(self, run: Run, log: RunLog, stop: StopRequest) -> None:
        self.run, self.log, self.stop = run, log, stop
        self.interval = LogInterval(record_fields(run))
        self.first_step = run.state.step
        self.saver = RunSaver(run, self.interval)
        chance = _chance_of(run)
        warmup = run.schedule.warmup_steps
        switch = run.config.classifier.softmax_steps
        self.watch = LossWatch(chance=chance, warmup_steps=warmup, switch_step=switch)
        self.flat_watch = FlatWatch(
            chance=chance,
            full_rate_step=max(warmup, switch),
            steps_per_epoch=run.identity.epoch_images // run.identity.global_batch,
        )
        self.logged_step = run.state.step
        self.started = time.perf_counter()
        self.validated_step: Optional[int] = None
        self.reported_bad: set[str] = set()

    def go(self) -> Outcome:
        """Train to the end, then save, validate and draw the curves."""
        self._validate_start()
        reason = self._train()
        if reason == "finished" and self.run.sets and self.validated_step != self.run.state.step:
            self._validate()
        self._log()
        self._save()
        self._report_bad_samples()
        self._say_all(self.run.profile.finish())
        if reason != "stopped":
            self._draw_curves()
        self.log.line(self._farewell(reason))
        return Outcome(self.run.state, reason, len(self.reported_bad))

    def _train(self) -> str:
        state, total = self.run.state, self.run.schedule.total_steps
        reason = "patience" if self._is_out_of_patience() else None
        with progress(total=total, initial=state.step, unit="step", shown=distributed.is_main()) as bar:
            while reason is None and state.step < total:
                reason = self._train_epoch(bar)
        return reason or "finished"

    def _train_epoch(self, bar: tqdm) -> Optional[str]:
        """Train to the end of the epoch or of the run; return why training is to end before, if it is."""
        for batches in self._batches_of_epoch():
            self._step(batches)
            bar.update()
            reason = self._after_step()
            if reason is not None:
                return reason
            if self._asked_to_stop():
                return "stopped"
        return None

    def _batches_of_epoch(self) -> Iterator[list[Batch]]:
        """Give the batches of every step that is left of the epoch, or of the run if that is less."""
        run, state = self.run, self.run.state
        left_in_epoch = (run.identity.epoch_images - state.sample) // run.identity.global_batch
        steps = min(left_in_epoch, run.schedule.total_steps - state.step)
        batches = run.loader.epoch(state.epoch, start_sample=state.sample, lessons=self._lessons())
        for _ in range(steps):
            run.profile.begin_step()
            with run.profile.phase("data"):
                own = list(itertools.islice(batches, run.config.optimizer.accumulation))
            yield own

    def _lessons(self) -> Lessons:
        """Return what the curriculum says of the batches from here on; batches are made ahead of their steps."""
        run, first_step = self.run, self.run.state.step

        def lesson(batch: int) -> Lesson:
            step = first_step + batch // run.config.optimizer.accumulation
            value = run.curriculum.value
            return Lesson(augment=value("augment", step), difficulty=value("difficulty", step))

        return lesson

    def _step(self, batches: list[Batch]) -> None:
        run = self.run
        with run.profile.phase("exchange"):
            distributed.barrier()  # a rank may have waited for its data for longer than a collective is patient
        record = train_step(run, batches)
        self._say_all(run.profile.end_step())
        images = run.identity.global_batch
        self.interval.add(record, run.state, images=images, wait_s=sum(batch.wait_s for batch in batches))
        run.state.advance(images=images, epoch_images=run.identity.epoch_images)

    def _say_all(self, lines: list[str]) -> None:
        for line in lines:
            self.log.line(line)

    def _asked_to_stop(self) -> bool:
        """Agree on stopping; on an accelerator only at log steps, where the host waits for the device anyway."""
        if devices.is_accelerator() and self.run.state.step % self.run.config.run.log_every:
            return False
        return distributed.any_rank(bool(self.stop))

    def _after_step(self) -> Optional[str]:
        """Log, validate and save where they are due; return why training is to end, if it is."""
        run, step = self.run.config.run, self.run.state.step
        if step % run.log_every == 0:
            self._log()
        reason = None
        if self.run.sets and run.validate_every and step % run.validate_every == 0:
            reason = self._validate()
        if step % run.save_every == 0:
            self._save()
        return reason

    def _log(self) -> None:
        """Fetch the figures of the interval, the only wait for the device, and write lines and scalars."""
        self._note_skipped()
        summary = self.interval.close()
        if summary is None:
            return
        place = self._progress(summary)
        for line in progress_lines(summary, place):
            self.log.line(line)
        ramps = self.run.curriculum.scalars(place.step - 1)
        self.log.scalars(place.step, {**progress_scalars(summary, place), **ramps})
        self._warn_of_growth(summary.loss)
        if self.flat_watch.stands(place.step, summary.loss, summary.target_cosine):
            self.log.line(
                f"warning: at step {place.step} the loss {summary.loss:.2f} is still that of an untrained network: "
                f"'train.py --explain {self.run.config.run.output}' looks for the reason"
            )

    def _warn_of_growth(self, loss: float) -> None:
        first_step, self.logged_step = self.logged_step, self.run.state.step
        growth = self.watch.growth(first_step, self.run.state.step, loss)
        if growth is None:
            return
        before, now = growth
        rate, step = self.run.config.optimizer.lr, self.run.state.step
        self.log.line(
            f"warning: the loss has grown from {before:.2f} at the beginning to {now:.2f} at step {step}: "
            f"--lr {rate:g} is probably too large; try --lr {rate / 10:g}, or a longer --warmup_epochs"
        )

    def _progress(self, summary: IntervalSummary) -> Progress:
        run, state = self.run, self.run.state
        step_s = (time.perf_counter() - self.started) / (state.step - self.first_step)
        rate, scale = learning_rate(run.schedule, state.step - 1), run.config.finetuning.backbone_lr_scale
        return Progress(
            epoch=state.epoch + state.sample / run.identity.epoch_images,
            epoch_of_step=state.epoch_of_latest_step,
            step=state.step,
            learning_rate=rate,
            hours=step_s * (run.schedule.total_steps - state.step) / 3600,
            memory_mb=memory_megabytes(),
            loss_scale=summary.loss_scale if run.scaler.enabled else None,
            backbone_rate=None if scale == 1.0 else scale * rate,
        )

    def _note_skipped(self) -> None:
        """Count and report the steps that changed nothing; many in a row end the run."""
        state, images = self.run.state, self.run.identity.global_batch
        for verdict in self.interval.verdicts():
            state.skipped_in_a_row = 0 if verdict.finite else state.skipped_in_a_row + 1
            if verdict.finite:
                continue
            state.skipped += 1
            last = verdict.first_image + images - 1
            self.log.line(
                f"step {verdict.step} skipped: gradient not finite (epoch {verdict.epoch}, images "
                f"{verdict.first_image} to {last} of its order)"
            )
        if state.skipped_in_a_row >= self.run.config.optimizer.max_skipped:
            raise DivergedError(
                f"the gradient was not finite in {state.skipped_in_a_row} steps in a row up to step {state.step}: "
                "training has diverged or the data holds NaN; weights and checkpoints are those before it. "
                "Try a smaller --lr, a longer --warmup_epochs or --softmax_steps"
            )

    def _validate_start(self) -> None:
        """With ``early_stop`` measure what the run begins with: it may well be the best."""
        state = self.run.state
        if self.run.config.finetuning.early_stop is not None and state.step == 0 and state.best_accuracy is None:
            self._validate()

    def _is_out_of_patience(self) -> bool:
        patience = self.run.config.finetuning.early_stop
        return patience is not None and self.run.state.without_gain >= patience

    def _validate(self) -> Optional[str]:
        """Validate on all ranks, keep the best backbone; return why training is to end, if it is."""
        run, state = self.run, self.run.state
        with self.interval.paused():
            results = validate(run.network, run.sets, ccrop=run.config.data.ccrop)
        for result in results:
            state.highest[result.name] = max(state.highest.get(result.name, 0.0), result.accuracy.mean)
            for line in log_lines(result, step=state.step, highest=state.highest[result.name]):
                self.log.line(line)
        mean = mean_accuracy(results)
        scalars = {f"{ACCURACY_PREFIX}{result.name}": result.accuracy.mean for result in results}
        self.log.scalars(state.step, {**scalars, "accuracy_mean": mean})
        self.validated_step = state.step
        if state.best_accuracy is None or mean > state.best_accuracy:
            state.without_gain = 0
            self._note_skipped()
            self.saver.save_best(mean)
            self._report_bad_samples()
        else:
            state.without_gain += 1
        target = run.config.schedule.target_accuracy
        if target is not None and mean >= target:
            return "target"
        return "patience" if self._is_out_of_patience() else None

    def _save(self) -> None:
        """Save unless this very state is saved already, and name the samples that were bad since the last save."""
        if self.saver.is_saved():
            self.saver.drop_old()
            return
        self._note_skipped()  # the state counts them
        self.saver.save()
        self._report_bad_samples()

    def _report_bad_samples(self) -> None:
        own = [f"{sample.path}: {sample.reason}" for sample in self.run.loader.bad_samples]
        everybody = {text for texts in distributed.gather_json(own) for text in texts}
        for text in sorted(everybody - self.reported_bad):
            self.log.line(f"unreadable sample, replaced by another: {text}")
        self.reported_bad |= everybody

    def _draw_curves(self) -> None:
        if not distributed.is_main():
            return
        try:
            self.log.line(f"curves drawn into {draw_curves(self.run.config.run.output)}")
        except (MissingDependencyError, DataError) as error:
            self.log.line(f"no picture of the curves: {error}")

    def _farewell(self, reason: str) -> str:
        state = self.run.state
        where = f"at step {state.step}, epoch {state.epoch}; saved in {self.run.config.run.output}"
        if reason == "stopped":
            return f"stopped by {self.stop.signal_name or 'another rank'} {where}; continue with --resume 1"
        if reason == "patience":
            return f"no gain in {state.without_gain} validations: ended {where}; {self._best()}"
        return f"{'target accuracy reached' if reason == 'target' else 'finished'} {where}"

    def _best(self) -> str:
        """Say where the best network is."""
        state, run = self.run.state, self.run
        weights = f"{run.config.run.output}/best/{run.identity.network}.pdparams"
        return f"the best, with accuracy {state.best_accuracy:.4f}, is that of step {state.best_step}: {weights}"


def _chance_of(run: Run) -> float:
    """Return the loss of an untrained network; infinite where that is not known, so that nothing is warned of."""
    if run.teacher is not None:
        return math.inf
    return chance_loss(run.margin, run.identity.num_classes, focal_gamma=run.config.classifier.gamma)
