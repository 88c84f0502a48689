"""The curves of a run as a picture: loss, learning rate and the accuracy of every verification set over the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from arcface_paddle.errors import DataError, MissingDependencyError
from arcface_paddle.files import PathLike, atomic_writer
from arcface_paddle.training.run_log import read_metrics

CURVES_FILE = "curves.png"
ACCURACY_PREFIX = "accuracy/"


def draw_curves(output: PathLike) -> Path:
    """Draw ``{output}/metrics.jsonl`` into ``{output}/curves.png`` and return its path.

    Raises:
        DataError: the run has no figures yet.
        MissingDependencyError: matplotlib is not installed.
    """
    rows = read_metrics(output)
    if not any("loss" in row for row in rows):
        raise DataError(f"{Path(output)}: metrics.jsonl has no loss yet; train for some steps first")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("matplotlib", extra="report", purpose="drawing the training curves") from None
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    _draw_loss(loss_axes, rows)
    _draw_accuracy(accuracy_axes, rows)
    path = Path(output) / CURVES_FILE
    with atomic_writer(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
    return path


def _draw_loss(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    axes.plot(*_series(rows, "loss"), color="tab:blue", label="loss")
    axes.set(xlabel="step", ylabel="loss", title="Training")
    axes.grid(alpha=0.3)
    right = axes.twinx()
    right.plot(*_series(rows, "learning_rate"), color="tab:orange", linewidth=0.8, label="learning rate")
    right.set_ylabel("learning rate", color="tab:orange")


def _draw_accuracy(axes: Any, rows: Sequence[dict[str, float]]) -> None:
    names = sorted({key for row in rows for key in row if key.startswith(ACCURACY_PREFIX)})
    for name in names:
        axes.plot(*_series(rows, name), marker=".", label=name[len(ACCURACY_PREFIX) :])
    axes.set(xlabel="step", ylabel="accuracy", title="Verification")
    axes.grid(alpha=0.3)
    if names:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no validation yet", ha="center", va="center", transform=axes.transAxes)


def _series(rows: Sequence[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    points = [(row["step"], row[key]) for row in rows if key in row]
    return [step for step, _ in points], [value for _, value in points]
