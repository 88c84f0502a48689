"""How a run begins: at a checkpoint or anew; only here is the output folder touched, when nothing refuses any more."""

from __future__ import annotations

from typing import Optional

import paddle

from arcface_paddle import distributed
from arcface_paddle.errors import ConfigError
from arcface_paddle.files import write_text
from arcface_paddle.training.checkpoint import make_newest
from arcface_paddle.training.config import CONFIG_FILE, RESUME_AUTO, config_text
from arcface_paddle.training.earlier_run import set_aside_earlier_run
from arcface_paddle.training.restore import DamagedError, Restored
from arcface_paddle.training.run import Run, continue_from, find_restored
from arcface_paddle.training.run_log import RunLog


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
    if restored is not None:
        continue_from(run, restored, say=log.line)
    elif resume and not anew:
        log.line(f"nothing to resume from in {run.config.run.output}; starting at the beginning")
    distributed.barrier()  # all ranks have read before rank 0 changes the folder
    _prepare_folder(run, log, restored, anew=anew)
    log.open()
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
        f"{identity.network}, embedding {identity.embedding_size}, {config.classifier.words}, "
        f"{identity.num_classes} identities, {identity.epoch_images} images; "
        f"{distributed.world_size()} processes on {paddle.get_device()}, {identity.global_batch} images per step, "
        f"{run.schedule.total_steps} steps"
    )
    if config.optimizer.precision != "float32" and paddle.get_device().startswith("cpu"):
        log.line(
            f"paddle has no mixed precision on CPU: computing in float32 instead of {config.optimizer.precision}"
            + (", with loss scaling" if config.optimizer.fp16 else "")
        )
