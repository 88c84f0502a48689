"""How a run begins: at a checkpoint or anew; only here is the output folder touched, when nothing refuses any more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

import paddle

from arcface_paddle import devices, distributed
from arcface_paddle.errors import ConfigError
from arcface_paddle.files import write_text
from arcface_paddle.training.checkpoint import list_checkpoints, make_newest, save_checkpoint
from arcface_paddle.training.config import CONFIG_FILE, RESUME_AUTO, config_text, plain_settings
from arcface_paddle.training.earlier_run import set_aside_checkpoint, set_aside_earlier_run
from arcface_paddle.training.first_centres import set_first_centres
from arcface_paddle.training.override import apply_override, text_of
from arcface_paddle.training.restore import DamagedError, Restored
from arcface_paddle.training.run import Run, continue_from, due_override, find_restored, take_snapshot
from arcface_paddle.training.run_log import RunLog
from arcface_paddle.training.schedule import REFERENCE_BATCH

_USUAL_RATE_OF_ADAM = 0.01
"""Above it Adam and its kin seldom learn anything; their published rates for faces are 0.001 to 0.004."""


def begin(run: Run, log: RunLog) -> None:
    """Bring run and output folder to the same state, that of a checkpoint or the beginning; all ranks together.

    Raises:
        CheckpointError: on resuming: nothing sound to continue from, or it belongs to another run.
        ConfigError: the output folder cannot be written.
        MissingDependencyError: a package for configuration or log is not installed.
    """
    settings = config_text(run.config)
    distributed.barrier()
    resume = run.config.run.resume
    restored = None
    anew = not resume
    if resume == RESUME_AUTO:
        restored, anew = _restored_if_sound(run, log)
    elif resume:
        restored = find_restored(run, say=log.line)
    goes_back = False
    if restored is not None:
        continue_from(run, restored, say=log.line)
        goes_back = _override(run, log)
    elif resume and not anew:
        log.line(f"nothing to resume from in {run.config.run.output}; starting at the beginning")
    if restored is None:
        set_first_centres(run, say=log.line)
    distributed.barrier()  # all ranks have read before rank 0 changes the folder
    if goes_back:
        _begin_again(run, log)
    else:
        _prepare_folder(run, log, restored, anew=anew)
    log.open(first_step=run.state.step, settings=plain_settings(run.config))
    if not anew:
        log.rewind(run.state.step)
    _write_settings(run, settings)
    distributed.barrier()
    _announce(run, log)


def _restored_if_sound(run: Run, log: RunLog) -> tuple[Optional[Restored], bool]:
    """Return what can be resumed from, and whether the run must begin anew because all of it is damaged."""
    restored, problem = None, ""
    try:
        restored = find_restored(run, say=log.line)
    except DamagedError as error:
        problem = str(error)
    if not distributed.any_rank(bool(problem)):
        return restored, False
    log.line(f"nothing sound to resume from ({problem or 'another rank cannot read it'}); starting at the beginning")
    return None, True


def _override(run: Run, log: RunLog) -> bool:
    """Do what ``--override`` asks for, and return whether checkpoints of later steps are there already."""
    changes = due_override(run, run.state)
    if changes:
        changed = apply_override(changes, run.state, total_steps=run.schedule.total_steps)
        log.line(f"override {text_of(changes)}: {changed}")
    elif run.config.run.override:
        log.line("this run has gone on with the same override before: it is not applied again")
    return bool(changes) and any(step > run.state.step for step, _ in list_checkpoints(run.config.run.output))


def _begin_again(run: Run, log: RunLog) -> None:
    """Save the overridden state, then set aside what has later steps, so that the next resume finds this state.

    Whoever is killed in between finds the later steps again, and the override makes the same of them.
    """
    output = run.config.run.output
    aside: Optional[Path] = None
    if distributed.is_main():
        aside = set_aside_checkpoint(output, run.state.step)
    newest = save_checkpoint(output, take_snapshot(run), keep_last=sys.maxsize)
    if distributed.is_main():
        moved = set_aside_earlier_run(output, kept=newest, target=aside)
        make_newest(output, newest, say=log.line)
        log.line(f"what this run had written before the override is now in {moved}")
    distributed.barrier()


def _prepare_folder(run: Run, log: RunLog, restored: Optional[Restored], *, anew: bool) -> None:
    output = run.config.run.output
    if not distributed.is_main():
        return
    if anew:
        moved = set_aside_earlier_run(output)
        if moved is not None:
            log.line(f"{output} holds an earlier run, which is not resumed: all its files are now in {moved}")
    else:
        make_newest(output, None if restored is None else restored.versioned, say=log.line)


def _write_settings(run: Run, text: str) -> None:
    if distributed.is_main():
        try:
            write_text(f"{run.config.run.output}/{CONFIG_FILE}", text)
        except OSError as error:
            raise ConfigError(f"cannot write to the output folder {run.config.run.output}: {error}") from None


def _announce(run: Run, log: RunLog) -> None:
    identity, config = run.identity, run.config
    log.line(
        f"{identity.network}, embedding {identity.embedding_size}, {_aim(run)}, {identity.epoch_images} images; "
        f"{distributed.world_size()} processes on {paddle.get_device()}, {identity.global_batch} images per step, "
        f"{run.schedule.total_steps} steps; lr {config.optimizer.lr:g} x {identity.global_batch} images / "
        f"{REFERENCE_BATCH} = {run.schedule.peak_lr:g}"
    )
    _warn_of_rate(run, log)
    if config.optimizer.precision != "float32" and not devices.is_accelerator():
        log.line(
            f"paddle has no mixed precision on CPU: computing in float32 instead of {config.optimizer.precision}"
            + (", with loss scaling" if config.optimizer.fp16 else "")
        )


def _aim(run: Run) -> str:
    """Return in words what is learnt."""
    settings = run.config.distillation
    if settings.is_without_classes:
        return f"taught by {settings.teacher}"
    taught = "" if settings.teacher is None else f" and taught by {settings.teacher}"
    return f"{run.config.classifier.words}{taught}, {run.identity.num_classes} identities"


def _warn_of_rate(run: Run, log: RunLog) -> None:
    settings = run.config.optimizer
    if settings.rule_name != "sgd" and settings.lr > _USUAL_RATE_OF_ADAM:
        log.line(
            f"warning: --lr {settings.lr:g} is usual for sgd; {settings.optimizer} moves every weight by about the "
            "learning rate in each step: try --lr 0.001"
        )
