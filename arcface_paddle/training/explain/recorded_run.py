"""What a run's folder tells: settings, the curve of its log, how many images a step took."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.files import PathLike, read_bytes
from arcface_paddle.training.config import CONFIG_FILE, TrainConfig, load_config
from arcface_paddle.training.curves import ACCURACY_PREFIX
from arcface_paddle.training.loss_watch import chance_loss
from arcface_paddle.training.run import margin_of
from arcface_paddle.training.run_log import LOG_FILE, METRICS_FILE, read_metrics
from arcface_paddle.training.schedule import Schedule, build_schedule

_COUNT = r"[1-9][0-9]{0,14}"
_ANNOUNCEMENT = re.compile(
    rf"(?P<classes>{_COUNT}) identities, (?P<images>{_COUNT}) images; (?P<processes>{_COUNT}) processes on \S+, "
    rf"(?P<batch>{_COUNT}) images per step"
)
_SKIPPED = re.compile(r"^step \d+ skipped: gradient not finite", re.MULTILINE)
_UNREADABLE = re.compile(r"^unreadable sample, replaced by another: ", re.MULTILINE)
_FIRST = 3
_LATEST = 20
"""Log intervals over which the latest figures are averaged; a fifth of the run where that is less."""


@dataclass(frozen=True)
class RecordedRun:
    """A run as its folder tells it.

    Attributes:
        folder: of the run.
        config: the resolved settings.
        rows: the figures of each log interval, see ``run_log.progress_scalars``.
        num_classes: size of the classifier.
        images: samples of the training data.
        global_batch: images per step, over all processes.
        processes: ranks of the run.
        chance: loss of a network that has learnt nothing, with the margin, see ``chance_loss``.
        skipped: steps that changed nothing because the gradient was not finite.
        unreadable: samples that were replaced.
    """

    folder: Path
    config: TrainConfig
    rows: tuple[dict[str, float], ...]
    num_classes: int
    images: int
    global_batch: int
    processes: int
    chance: float
    skipped: int
    unreadable: int

    @property
    def step(self) -> int:
        """Steps done when the latest interval ended."""
        return int(self.rows[-1]["step"])

    @property
    def schedule(self) -> Schedule:
        """The learning rate of every step."""
        return build_schedule(
            self.config.schedule,
            lr=self.config.optimizer.lr,
            global_batch=self.global_batch,
            steps_per_epoch=max(1, self.images // self.global_batch),
        )

    @property
    def seen_per_class(self) -> float:
        """How many pictures of a person the network has seen so far, on average, repetitions included."""
        return self.step * self.global_batch / self.num_classes

    def series(self, name: str) -> np.ndarray:
        """Return a figure over the intervals that have it, in the order of steps."""
        return np.array([row[name] for row in self.rows if name in row], dtype=np.float64)

    def latest(self, name: str) -> Optional[float]:
        """Return the mean of a figure over the latest intervals; None where the log does not have it."""
        values = self.series(name)
        if not len(values):
            return None
        return float(values[-max(1, min(_LATEST, len(values) // 5)) :].mean())

    @property
    def untrained_loss(self) -> float:
        """The loss of a network that has learnt nothing: by chance, or at the start of this run where that is more.

        Features of few dimensions are not at right angles to the class centres: 128 of them begin about 4 above chance.
        """
        return max(self.chance, float(self.series("loss")[:_FIRST].mean()))

    def best_accuracy(self) -> Optional[float]:
        """Return the best mean accuracy over the verification sets; None before the first validation."""
        values = self.series("accuracy_mean")
        return float(values.max()) if len(values) else None

    def has_validation(self) -> bool:
        """Tell whether a verification set was measured."""
        return any(name.startswith(ACCURACY_PREFIX) for row in self.rows for name in row)


def read_run(folder: PathLike) -> RecordedRun:
    """Read a run's folder.

    Raises:
        ConfigError: it is no run's folder.
        DataError: the run has not logged any loss yet.
    """
    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigError(f"{folder} is no folder of a run: it has no {CONFIG_FILE}; name the folder of --output")
    config = load_config(folder / CONFIG_FILE)
    if config.distillation.teacher is not None:
        raise ConfigError(
            f"{folder} was taught by {config.distillation.teacher}; --explain judges runs that learn from labels: "
            f"look at teacher_cosine and relation_loss in {METRICS_FILE}"
        )
    rows = tuple(row for row in read_metrics(folder) if "loss" in row or "accuracy_mean" in row)
    if not any("loss" in row for row in rows):
        raise DataError(
            f"{folder}: {METRICS_FILE} has no loss yet; the first one comes after {config.run.log_every} steps"
        )
    log = _log_of(folder)
    announced = list(_ANNOUNCEMENT.finditer(log))
    if not announced:
        raise DataError(f"{folder}: {LOG_FILE} does not say how large a step was; it is no log of this trainer")
    said = {name: int(value) for name, value in announced[-1].groupdict().items()}
    return RecordedRun(
        folder=folder,
        config=config,
        rows=rows,
        num_classes=said["classes"],
        images=said["images"],
        global_batch=said["batch"],
        processes=said["processes"],
        chance=_chance(config, said["classes"]),
        skipped=len(_SKIPPED.findall(log)),
        unreadable=len(_UNREADABLE.findall(log)),
    )


def _log_of(folder: Path) -> str:
    try:
        return read_bytes(folder / LOG_FILE).decode("utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"cannot read {folder / LOG_FILE}: {error.strerror or error}") from None


def _chance(config: TrainConfig, num_classes: int) -> float:
    return chance_loss(margin_of(config.classifier), num_classes, focal_gamma=config.classifier.gamma)
