"""The curves of a run as a picture: loss, learning rate and the accuracy of every verification set over the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Sequence

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.files import PathLike, write_bytes
from arcface_paddle.reports.figures import new_figure, png_bytes, round_ticks
from arcface_paddle.training.config import CONFIG_FILE, ClassifierConfig, load_config
from arcface_paddle.training.run_log import read_metrics

CURVES_FILE = "curves.png"
ACCURACY_PREFIX = "accuracy/"


def draw_curves(output: PathLike) -> Path:
    """Draw ``{output}/metrics.jsonl`` into ``{output}/curves.png`` and return its path.

    Where ``{output}/config.yaml`` says that the run began with plain softmax, the step at which the margin took over is
    marked: the loss jumps there, and that is no fault.

    Raises:
        DataError: the run has no figures yet.
        MissingDependencyError: matplotlib is not installed.
    """
    rows = read_metrics(output)
    if not any("loss" in row for row in rows):
        raise DataError(f"{Path(output)}: metrics.jsonl has no loss yet; train for some steps first")
    figure = new_figure(10, 4, purpose="drawing the training curves")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    _draw_loss(loss_axes, rows)
    _draw_margin_start(loss_axes, Path(output), last_step=rows[-1]["step"])
    _draw_accuracy(accuracy_axes, rows)
    path = Path(output) / CURVES_FILE
    write_bytes(path, png_bytes(figure, dpi=120))
    return path


def _draw_loss(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    axes.plot(*_series(rows, "loss"), color="tab:blue", label="loss")
    axes.set(xlabel="step", ylabel="loss", title="Training")
    axes.grid(alpha=0.3)
    round_ticks(axes.xaxis, whole=True)
    right = axes.twinx()
    right.plot(*_series(rows, "learning_rate"), color="tab:orange", linewidth=0.8, label="learning rate")
    right.set_ylabel("learning rate", color="tab:orange")


def _draw_margin_start(axes: Any, output: Path, *, last_step: float) -> None:
    """Mark where the warm start with plain softmax ended, if the run has come so far."""
    classifier = _classifier_of(output)
    if classifier is None or classifier.loss == "Softmax" or not 0 < classifier.softmax_steps < last_step:
        return
    axes.axvline(classifier.softmax_steps, color="#666666", linestyle="--", linewidth=1)
    axes.annotate(
        f"softmax \N{RIGHTWARDS ARROW} {classifier.loss}",
        (classifier.softmax_steps, 0.98),
        xycoords=("data", "axes fraction"),
        xytext=(-4, 0),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="top",
        fontsize=8,
        color="#666666",
    )


def _classifier_of(output: Path) -> Optional[ClassifierConfig]:
    try:
        return load_config(output / CONFIG_FILE).classifier
    except ConfigError:  # none, or one of another version: a picture without the mark is better than none
        return None


def _draw_accuracy(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    names = sorted({key for row in rows for key in row if key.startswith(ACCURACY_PREFIX)})
    for name in names:
        axes.plot(*_series(rows, name), marker=".", label=name[len(ACCURACY_PREFIX) :])
    axes.set(xlabel="step", ylabel="accuracy", title="Verification")
    axes.grid(alpha=0.3)
    for axis in (axes.xaxis, axes.yaxis):
        round_ticks(axis, whole=axis is axes.xaxis)
    if names:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no validation yet", ha="center", va="center", transform=axes.transAxes)


def _series(rows: Sequence[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    points = [(row["step"], row[key]) for row in rows if key in row]
    return [step for step, _ in points], [value for _, value in points]
