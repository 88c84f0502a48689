"""What a run tells: the published log lines, scalars for VisualDL and others, and the same figures as JSON lines."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence

from arcface_paddle import devices
from arcface_paddle.errors import ConfigError, MissingDependencyError
from arcface_paddle.files import PathLike, write_text
from arcface_paddle.training.log_interval import IntervalSummary
from arcface_paddle.training.loggers import RunFacts, ScalarWriter, find_loggers

LOG_FILE = "training.log"
METRICS_FILE = "metrics.jsonl"
_MOST_STEPS = 1 << 53  # whole numbers below are exact as floats


class RunLog:
    """The log of a run; on ranks other than 0 it is silent.

    ``training.log`` gets every line, ``metrics.jsonl`` and the loggers the scalars. Files are opened for each line: a
    line every few seconds, and nothing is lost when the process is killed. Nothing is created before ``open``, so that
    a run which is refused leaves no trace; lines said until then are written by it.
    """

    def __init__(
        self,
        output: PathLike,
        logdir: str,
        *,
        say: Callable[[str], None],
        active: bool,
        loggers: Sequence[str] = ("visualdl",),
    ) -> None:
        """Note where the log goes.

        Args:
            output: folder of the run.
            logdir: folder of the loggers; empty = none of them.
            say: gets every line for the terminal.
            active: False on the ranks that are silent.
            loggers: which programs get the scalars, see ``loggers.find_loggers``.
        """
        self._say = say
        self._output = Path(output)
        self._logdir = logdir
        self._loggers = tuple(loggers) if logdir else ()
        self._writers: list[ScalarWriter] = []
        self._active = active
        self._is_open = False
        self._waiting: list[str] = []

    def open(self, *, first_step: int = 0, settings: Optional[Mapping[str, Any]] = None) -> None:
        """Create folder and files.

        Args:
            first_step: steps that are finished already.
            settings: every option with its value, for the loggers that show them.

        Raises:
            MissingDependencyError: the package of a logger is not installed; nothing is created then.
            ConfigError: a file or folder cannot be written.
        """
        if not self._active:
            return
        openers = find_loggers(self._loggers, self._logdir)
        try:
            self._output.mkdir(parents=True, exist_ok=True)
            _append(self._output / LOG_FILE, "".join(f"{line}\n" for line in self._waiting))
        except OSError as error:
            raise ConfigError(f"cannot write to the output folder {self._output}: {error.strerror or error}") from None
        facts = RunFacts(self._output, first_step=first_step, settings=settings)
        try:
            if openers:
                Path(self._logdir).mkdir(parents=True, exist_ok=True)  # without it VisualDL only warns, at every figure
            self._writers = [open_log(facts) for open_log in openers]
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(
                f"cannot write to --logdir {self._logdir}: {reason}; name a folder, or '' for no log of this kind"
            ) from None
        self._is_open = True
        self._waiting.clear()

    def line(self, text: str) -> None:
        """Say a line and append it to ``training.log``."""
        if not self._active:
            return
        self._say(text)
        if self._is_open:
            _append(self._output / LOG_FILE, text + "\n")
        else:
            self._waiting.append(text)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append figures of a step to ``metrics.jsonl`` and the loggers; values that are not finite are left out."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if not self._active:
            return
        _append(self._output / METRICS_FILE, json.dumps({"step": step, **finite}) + "\n")
        for writer in self._writers:
            writer.scalars(step, finite)

    def rewind(self, step: int) -> None:
        """Drop the figures of steps after ``step``: they are about to be made again."""
        if self._active:
            kept = [row for row in read_metrics(self._output) if row["step"] <= step]
            write_text(self._output / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in kept))

    def close(self) -> None:
        """Finish the logs of the loggers."""
        for writer in self._writers:
            writer.close()


def read_metrics(output: PathLike) -> list[dict[str, float]]:
    """Read ``metrics.jsonl``; a last line cut short by a killed process is left out."""
    path = Path(output) / METRICS_FILE
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and all(map(_is_figure, row.values())) and 0 <= row.get("step", -1) < _MOST_STEPS:
            rows.append(row)
    return rows


def _is_figure(value: object) -> bool:
    """Tell whether a value is a number that a float can hold, or none at all (NaN)."""
    return isinstance(value, float) or (type(value) is int and abs(value) < _MOST_STEPS)


@dataclass(frozen=True)
class Progress:
    """Where the run stands when a log line is written.

    Attributes:
        epoch: passes over the data, with the fraction of the current one.
        epoch_of_step: the epoch of the latest step, from 0.
        step: steps finished.
        learning_rate: the rate of the latest step.
        hours: estimated time until the end.
        memory_mb: memory in use, see ``memory_megabytes``.
        loss_scale: the loss scale of float16; None in other precisions.
        backbone_rate: the learning rate of the backbone; None where it is that of the class centres.
    """

    epoch: float
    epoch_of_step: int
    step: int
    learning_rate: float
    hours: float
    memory_mb: float
    loss_scale: Optional[float] = None
    backbone_rate: Optional[float] = None


def progress_lines(summary: IntervalSummary, progress: Progress) -> tuple[str, str]:
    """Return the published log line and one with what else helps."""
    backbone_rate = progress.learning_rate if progress.backbone_rate is None else progress.backbone_rate
    return (
        f"Speed {summary.speed:.2f} samples/sec   Loss {summary.loss:.4f}   Epoch: {progress.epoch_of_step}   "
        f"Global Step: {progress.step}   Required: {progress.hours:1.0f} hours, "
        f"lr_backbone_value: {backbone_rate:f}, lr_pfc_value: {progress.learning_rate:f}",
        f"[train][{progress.step}]Data wait: {100 * summary.wait_share:.1f} %   "
        f"Gradient norm: {summary.gradient_norm:.4f}   {_target(summary)}"
        f"Feature norm: {summary.feature_norm:.2f}   Memory: {progress.memory_mb:.0f} MB"
        + _regularisation(summary)
        + _lesson(summary),
    )


def _regularisation(summary: IntervalSummary) -> str:
    if summary.reg_loss is None or summary.reg_coef is None:
        return ""
    return f"   Reg loss: {summary.reg_loss:.4f}   Reg coef: {summary.reg_coef:.4f}"


def _target(summary: IntervalSummary) -> str:
    """Return the cosine to the class centres; nothing where a teacher takes their place."""
    without_classes = summary.relation_loss is not None and math.isnan(summary.target_cosine)
    return "" if without_classes else f"Target cosine: {summary.target_cosine:.4f}   "


def _lesson(summary: IntervalSummary) -> str:
    if summary.relation_loss is None:
        return ""
    cosine = summary.teacher_cosine
    known = "" if cosine is None or math.isnan(cosine) else f"   Teacher cosine: {cosine:.4f}"
    return f"{known}   Relation loss: {summary.relation_loss:.4f}"


def progress_scalars(summary: IntervalSummary, progress: Progress) -> dict[str, float]:
    """Return the same as named scalars; ``loss`` and ``time_for_end`` (hours) are the published ones."""
    scalars = {
        "loss": summary.loss,
        "time_for_end": progress.hours,
        "learning_rate": progress.learning_rate,
        "images_per_second": summary.speed,
        "data_wait_share": summary.wait_share,
        "gradient_norm": summary.gradient_norm,
        "target_cosine": summary.target_cosine,
        "feature_norm": summary.feature_norm,
        "memory_mb": progress.memory_mb,
        "epoch": progress.epoch,
    }
    sometimes = {
        "loss_scale": progress.loss_scale,
        "backbone_rate": progress.backbone_rate,
        "reg_loss": summary.reg_loss,
        "reg_coef": summary.reg_coef,
        "teacher_cosine": summary.teacher_cosine,
        "relation_loss": summary.relation_loss,
    }
    return {**scalars, **{name: value for name, value in sometimes.items() if value is not None}}


def memory_megabytes() -> float:
    """Return the memory in use: the peak allocated on the GPU, or the resident set of this process on CPU.

    Raises:
        MissingDependencyError: psutil is not installed.
    """
    on_gpu = devices.peak_memory_bytes()
    if on_gpu is not None:
        return on_gpu / 2**20
    try:
        import psutil
    except ImportError:
        raise MissingDependencyError("psutil", extra="train", purpose="the memory in the training log") from None
    return float(psutil.Process().memory_info().rss) / 2**20


def _append(path: Path, text: str) -> None:
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise ConfigError(
            f"cannot write to the output folder: {path}: {error.strerror or error}; checkpoints are intact"
        ) from None
