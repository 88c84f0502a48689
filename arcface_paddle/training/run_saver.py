"""When a run is saved: at most once per state, with its best network kept, and with the time that training took."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Optional

from arcface_paddle.training.checkpoint import drop_old_checkpoints, list_checkpoints, mark_best, save_checkpoint
from arcface_paddle.training.log_interval import LogInterval
from arcface_paddle.training.run import Run, take_snapshot


class RunSaver:
    """Writes the checkpoints of a run; all ranks together.

    A run that goes on from a checkpoint has that one already, so that it is not written again.
    """

    def __init__(self, run: Run, interval: LogInterval) -> None:
        """Begin to count the time of training; the time of saving is left out of ``interval``."""
        self._run = run
        self._interval = interval
        self._counted_until = time.perf_counter()
        self._saved_step: Optional[int] = run.state.step if run.state.step else None

    def is_saved(self) -> bool:
        """Tell whether the newest checkpoint holds the present state."""
        return self._saved_step == self._run.state.step

    def save(self) -> Path:
        """Save the present state unless that is done already, and return the checkpoint's folder.

        Raises:
            CheckpointError: on all ranks, if one of them cannot write.
        """
        run, config = self._run, self._run.config.run
        if self.is_saved():
            return list_checkpoints(config.output)[0][1]
        now = time.perf_counter()
        run.state.trained_s += now - self._counted_until
        self._counted_until = now
        with self._interval.paused():
            folder = save_checkpoint(
                config.output, take_snapshot(run), keep_last=config.keep_last, kept_step=self._kept_step()
            )
        self._saved_step = run.state.step
        return folder

    def drop_old(self) -> None:
        """Drop old checkpoints once more: the run that saved this state may have ended before it had dropped them.

        Raises:
            CheckpointError: on all ranks, if one cannot be removed.
        """
        step, config = self._run.state.step, self._run.config.run
        drop_old_checkpoints(config.output, step, keep_last=config.keep_last, kept_step=self._kept_step())

    def _kept_step(self) -> Optional[int]:
        """Return the step of the best checkpoint, which stays where the run may end behind it."""
        return self._run.state.best_step if self._run.config.finetuning.early_stop is not None else None

    def save_best(self, accuracy: float) -> None:
        """Note the present state as the best one, save it and keep its network apart.

        Raises:
            CheckpointError: on all ranks, if one of them cannot write.
        """
        state = self._run.state
        state.best_accuracy, state.best_step = accuracy, state.step
        self._saved_step = None  # an earlier checkpoint of this step does not know that it is the best
        folder = self.save()
        mark_best(
            self._run.config.run.output,
            folder,
            network=self._run.identity.network,
            step=state.step,
            accuracy=accuracy,
        )
