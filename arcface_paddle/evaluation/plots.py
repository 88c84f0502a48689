"""ROC, DET, histograms and CMC drawn with matplotlib, several models in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, Mapping, Sequence

import numpy as np

from arcface_paddle.evaluation.identification import IdentificationResult
from arcface_paddle.evaluation.metrics import Curve, roc_curve
from arcface_paddle.reports.figures import new_figure, round_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_ROW_HEIGHT_IN = 3.9
_WIDTH_IN = 14.0
_CURVE_POINTS = 2000  # more than the pixels of any axis here


class Scores:
    """Similarities of genuine and impostor pairs of one model on one set, with their curve."""

    def __init__(self, similarities: np.ndarray, issame: np.ndarray) -> None:
        self.genuine = similarities[issame]
        self.impostor = similarities[~issame]
        self.curve = _thinned(roc_curve(self.genuine, self.impostor))

    @property
    def complete(self) -> bool:
        """Whether both kinds of pair are there, so that there is a curve."""
        return len(self.genuine) > 0 and len(self.impostor) > 0


def score_figure(by_set: Mapping[str, Mapping[str, Scores]]) -> Figure:
    """Draw one row per set: ROC with a logarithmic FAR axis, DET, histograms.

    Args:
        by_set: set name → model name → scores.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = new_figure(_WIDTH_IN, _ROW_HEIGHT_IN * len(by_set), purpose="the report")
    axes = figure.subplots(len(by_set), 3, squeeze=False)
    for row, (set_name, by_model) in zip(axes, by_set.items()):
        _draw_roc(row[0], set_name, by_model)
        _draw_det(row[1], set_name, by_model)
        _draw_histograms(row[2], set_name, by_model)
    _name_models(figure, dict.fromkeys(name for by_model in by_set.values() for name in by_model))
    return figure


def cmc_figure(by_model: Mapping[str, IdentificationResult]) -> Figure:
    """Draw the cumulative match characteristic and TPIR over FPIR targets.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figure = new_figure(_WIDTH_IN, _ROW_HEIGHT_IN, purpose="the report")
    ranks, open_set = figure.subplots(1, 2)
    for color, result in zip(_colors(len(by_model)), by_model.values()):
        shown = result.cmc[:50]
        ranks.plot(np.arange(1, len(shown) + 1), shown, color=color, marker=".")
        points = np.array(
            [
                (point.far_target, point.tar, point.tar_interval.low, point.tar_interval.high)
                for point in result.open_set
                if point.tar is not None and point.tar_interval is not None
            ]
        ).reshape(-1, 4)
        fpir, tpir, low, high = points.T
        reach = np.maximum([tpir - low, high - tpir], 0)
        open_set.errorbar(fpir, tpir, yerr=reach, color=color, marker="o", capsize=3)
    _label(ranks, "closed set: CMC", "rank k", "right person among the first k")
    round_ticks(ranks.xaxis, whole=True)
    open_set.set(xscale="log", xlim=(5e-4, 0.5), ylim=(0, 1.03))
    _label(open_set, "open set: TPIR with 95 % interval", "FPIR (strangers given a name)", "TPIR")
    _name_models(figure, by_model)
    return figure


def _draw_roc(axes: Axes, set_name: str, by_model: Mapping[str, Scores]) -> None:
    lowest = _lowest_far(by_model.values())
    for color, scores in zip(_colors(len(by_model)), by_model.values()):
        if scores.complete:
            far = np.maximum(scores.curve.far, lowest / 2)
            axes.plot(far, scores.curve.tar, drawstyle="steps-post", color=color)
    axes.set_xscale("log")
    axes.set_xlim(lowest / 2, 1)
    axes.axvline(lowest, color="#888888", linestyle=":", linewidth=1)
    axes.annotate(" one impostor pair", (lowest, 0.02), xycoords=("data", "axes fraction"), fontsize=8, color="#666666")
    _label(axes, f"{set_name}: ROC", "FAR (impostor pairs accepted)", "TAR (genuine pairs accepted)")


def _draw_det(axes: Axes, set_name: str, by_model: Mapping[str, Scores]) -> None:
    lowest_far = _lowest_far(by_model.values())
    lowest_frr = 1.0 / max([1, *(len(scores.genuine) for scores in by_model.values())])
    for color, scores in zip(_colors(len(by_model)), by_model.values()):
        if scores.complete:
            far = np.maximum(scores.curve.far, lowest_far / 2)
            frr = np.maximum(1 - scores.curve.tar, lowest_frr / 2)
            axes.plot(far, frr, color=color)
    low = min(lowest_far, lowest_frr) / 2
    axes.plot([low, 1], [low, 1], color="#888888", linestyle=":", linewidth=1)
    axes.annotate("FAR = FRR", (0.5, 0.42), fontsize=8, color="#666666", ha="right")
    axes.set(xscale="log", yscale="log", xlim=(lowest_far / 2, 1), ylim=(lowest_frr / 2, 1))
    _label(axes, f"{set_name}: DET", "FAR (impostor pairs accepted)", "FRR (genuine pairs refused)")


def _draw_histograms(axes: Axes, set_name: str, by_model: Mapping[str, Scores]) -> None:
    from matplotlib.lines import Line2D

    values = [part for scores in by_model.values() for part in (scores.genuine, scores.impostor) if len(part)]
    low, high = min(part.min() for part in values), max(part.max() for part in values)
    for color, scores in zip(_colors(len(by_model)), by_model.values()):
        edges = np.linspace(low, max(high, low + 1e-3), _histogram_bins(scores) + 1)
        for part, style, fill in ((scores.genuine, "-", 0.25), (scores.impostor, "--", 0.0)):
            density = np.histogram(part, edges)[0] / max(1, len(part)) / (edges[1] - edges[0])
            axes.stairs(density, edges, color=color, linestyle=style)
            if fill:
                axes.stairs(density, edges, color=color, alpha=fill, fill=True)
    _label(axes, f"{set_name}: similarities", "similarity", "density")
    # Beside the axes: the genuine pairs of a good model peak in one upper corner, the strangers in the other.
    kinds = [
        Line2D([], [], color="#444444", linestyle="-", label="same person"),
        Line2D([], [], color="#444444", linestyle="--", label="strangers"),
    ]
    axes.legend(handles=kinds, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def _histogram_bins(scores: Scores) -> int:
    """Return a number of bins that leaves several pairs in each where there are few."""
    fewest = min(len(part) for part in (scores.genuine, scores.impostor) if len(part))
    return int(np.clip(2 * fewest**0.5, 8, 60))


def _label(axes: Axes, title: str, x_title: str, y_title: str) -> None:
    axes.set_title(_plain(title), fontsize=11, loc="left")
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "linear":
            round_ticks(axis)


def _name_models(figure: Figure, names: Iterable[str]) -> None:
    """Put one legend of all models above the charts, where it covers no curve."""
    from matplotlib.lines import Line2D

    shown = list(names)
    handles = [Line2D([], [], color=color, label=_plain(name)) for color, name in zip(_colors(len(shown)), shown)]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, fontsize=9, frameon=False)


def _lowest_far(scores: Iterable[Scores]) -> float:
    return 1.0 / max([10, *(len(one.impostor) for one in scores)])


def _thinned(curve: Curve) -> Curve:
    """Keep at most ``_CURVE_POINTS`` points, evenly in log FAR, where a curve of millions would only cost time."""
    if len(curve.far) <= _CURVE_POINTS:
        return curve
    first = max(float(curve.far[curve.far > 0].min(initial=1.0)), 1e-9)
    by_far = np.searchsorted(curve.far, np.geomspace(first, 1.0, _CURVE_POINTS // 2))
    by_tar = np.searchsorted(curve.tar, np.linspace(0.0, 1.0, _CURVE_POINTS // 2))
    kept = np.unique(np.concatenate([[0, len(curve.far) - 1], by_far, by_tar]).clip(0, len(curve.far) - 1))
    return Curve(curve.threshold[kept], curve.far[kept], curve.tar[kept])


def _colors(count: int) -> Sequence[str]:
    return [_COLORS[index % len(_COLORS)] for index in range(count)]


def _plain(text: str) -> str:
    """Keep matplotlib from reading ``$`` in names as mathematics."""
    return text.replace("$", r"\$")
