"""What the charts of a report show: the figures of the curves, the axes they stand on, and what is written there."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.evaluation import plots
from arcface_paddle.evaluation.identification import IdentificationResult
from arcface_paddle.evaluation.metrics import ConfidenceInterval, Curve, OperatingPoint
from arcface_paddle.evaluation.plots import Scores, cmc_figure, score_figure

GENUINE = np.array([0.9, 0.8, 0.7, 0.2])
IMPOSTOR = np.linspace(0.0, 0.75, 16)


def scores(genuine: np.ndarray = GENUINE, impostor: np.ndarray = IMPOSTOR) -> Scores:
    similarities = np.concatenate([genuine, impostor])
    return Scores(similarities, np.arange(len(similarities)) < len(genuine))


def titles(axes) -> tuple[str, str, str]:
    return axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()


@pytest.fixture(scope="module")
def figure():
    nobody = scores(genuine=GENUINE[:0])
    return score_figure(
        {"lfw": {"one": scores(), "a$b": scores(GENUINE / 2)}, "other": {"one": scores(), "none": nobody}}
    )


def test_a_row_for_each_set_and_a_colour_for_each_model(figure) -> None:
    assert [titles(axes)[0] for axes in figure.axes] == [
        f"{name}: {chart}" for name in ("lfw", "other") for chart in ("ROC", "DET", "similarities")
    ]
    assert tuple(figure.get_size_inches()) == (14.0, 2 * 3.9)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", r"a\$b", "none"]
    assert [line.get_color() for line in legend.get_lines()] == ["#0072B2", "#D55E00", "#009E73"]
    assert [line.get_color() for line in figure.axes[0].lines[:2]] == ["#0072B2", "#D55E00"]
    assert len(figure.axes[3].lines) == 2, "no curve without genuine pairs, and the mark of the lowest rate"


def test_the_roc_has_every_rate_and_its_lowest_is_marked(figure) -> None:
    axes = figure.axes[0]
    assert titles(axes)[1:] == ("FAR (impostor pairs accepted)", "TAR (genuine pairs accepted)")
    curve, line, mark = scores().curve, axes.lines[0], axes.lines[2]
    np.testing.assert_allclose(line.get_xdata(), np.maximum(curve.far, 1 / 32))
    np.testing.assert_allclose(line.get_ydata(), curve.tar)
    assert (axes.get_xscale(), axes.get_yscale(), line.get_drawstyle()) == ("log", "linear", "steps-post")
    assert axes.get_xlim() == pytest.approx((1 / 32, 1))
    assert list(mark.get_xdata()) == [1 / 16, 1 / 16]
    (words,) = axes.texts
    assert words.get_text() == " one impostor pair" and words.xy == (1 / 16, 0.02)


def test_the_det_is_what_the_roc_leaves(figure) -> None:
    axes = figure.axes[1]
    assert titles(axes)[1:] == ("FAR (impostor pairs accepted)", "FRR (genuine pairs refused)")
    curve = scores().curve
    line, equal = axes.lines[0], axes.lines[2]
    np.testing.assert_allclose(line.get_xdata(), np.maximum(curve.far, 1 / 32))
    np.testing.assert_allclose(line.get_ydata(), np.maximum(1 - curve.tar, 1 / 8))  # half of one pair of four
    assert list(equal.get_xdata()) == list(equal.get_ydata()) == [1 / 32, 1]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_xlim() == pytest.approx((1 / 32, 1)) and axes.get_ylim() == pytest.approx((1 / 8, 1))
    (words,) = axes.texts
    x, y = words.xy
    assert words.get_text() == "FAR = FRR" and 1 / 8 < y < x <= 1, "below the line that it names"


def test_histograms_are_densities_of_both_kinds(figure) -> None:
    axes = figure.axes[2]
    assert titles(axes)[1:] == ("similarity", "density")
    drawn = [stairs.get_data() for stairs in axes.patches]
    filled = [stairs.get_fill() for stairs in axes.patches]
    assert filled == [False, True, False] * 2, "genuine pairs, their area, strangers"
    for (values, edges, _), part in zip((drawn[0], drawn[1], drawn[2]), (GENUINE, GENUINE, IMPOSTOR)):
        assert len(values) == 8 and (edges[0], edges[-1]) == (0.0, 0.9)
        np.testing.assert_allclose(values, np.histogram(part, edges, density=True)[0])
    assert [stairs.get_linestyle() for stairs in axes.patches[0:3:2]] == ["-", "--"]
    only = score_figure({"s": {"m": scores(np.array([0.5]), np.array([0.5]))}}).axes[2].patches[0].get_data()
    assert (only.edges[0], only.edges[-1]) == (0.5, 0.501) and only.values.max() == pytest.approx(8 / 0.001)


@pytest.mark.parametrize(("pairs", "bins"), [(1, 8), (16, 8), (25, 10), (100, 20), (900, 60), (10_000, 60)])
def test_bins_follow_the_fewer_kind(pairs: int, bins: int) -> None:
    many = np.linspace(0, 1, 20_000)
    assert (
        plots._histogram_bins(scores(many[:pairs], many)) == plots._histogram_bins(scores(many, many[:pairs])) == bins
    )
    assert plots._histogram_bins(scores(many[:0], many[:pairs])) == bins


def test_ranks_and_strangers() -> None:
    def point(target: float, *tar: float) -> OperatingPoint:
        interval = ConfidenceInterval(*tar[1:]) if tar else None
        return OperatingPoint(target, 9, 9, tar=tar[0] if tar else None, tar_interval=interval)

    few, many = np.array([0.5, 0.75, 1.0]), np.linspace(0.1, 1, 80)
    interval = ConfidenceInterval(0.1, 0.9)
    points = (point(0.1, 0.9, 0.8, 0.95), point(0.01, 0.6, 0.65, 0.7), point(0.001))
    results = [IdentificationResult("s", len(cmc), 9, 9, cmc, interval, points) for cmc in (few, many)]
    figure = cmc_figure({"one": results[0], "other": results[1]})
    assert tuple(figure.get_size_inches()) == (14.0, 3.9)
    ranks, open_set = figure.axes
    assert titles(ranks) == ("closed set: CMC", "rank k", "right person among the first k")
    assert ranks.lines[0].get_xdata().tolist() == [1, 2, 3] and ranks.lines[0].get_ydata().tolist() == few.tolist()
    assert ranks.lines[1].get_xdata().tolist() == list(range(1, 51))
    assert titles(open_set) == ("open set: TPIR with 95 % interval", "FPIR (strangers given a name)", "TPIR")
    assert open_set.get_xscale() == "log"
    assert open_set.get_xlim() == pytest.approx((5e-4, 0.5)) and open_set.get_ylim() == pytest.approx((0, 1.03))
    first = open_set.containers[0]
    assert first.lines[0].get_xdata().tolist() == [0.1, 0.01] and first.lines[0].get_ydata().tolist() == [0.9, 0.6]
    (bars,) = first.lines[2]
    reach = [segment[:, 1].tolist() for segment in bars.get_segments()]
    np.testing.assert_allclose(reach, [[0.8, 0.95], [0.6, 0.7]])  # an interval that leaves its rate out ends at it


def test_few_pairs_have_an_axis_of_one_in_ten() -> None:
    assert plots._lowest_far([scores(impostor=IMPOSTOR[:3])]) == 0.1
    assert plots._lowest_far([scores(), scores(impostor=np.linspace(0, 1, 50))]) == 1 / 50
    assert plots._lowest_far([]) == 0.1


def test_colours_are_used_again_behind_the_seventh() -> None:
    colors = plots._colors(9)
    assert len(set(colors[:7])) == 7 and colors[7:] == colors[:2]


def test_a_curve_is_thinned_above_two_thousand_points_only() -> None:
    def curve(count: int) -> Curve:
        share = np.linspace(0, 1, count)
        return Curve(1 - share, share, share**0.5)

    short = curve(2000)
    assert plots._thinned(short) is short and len(plots._thinned(curve(2001)).far) < 2001
    long, thin = curve(200_001), plots._thinned(curve(200_001))
    assert 1200 < len(thin.far) <= 2002
    assert (thin.far[0], thin.far[1], thin.far[-1]) == (0, long.far[1], 1)
    positions = np.searchsorted(long.far, thin.far)
    np.testing.assert_array_equal(long.tar[positions], thin.tar)
    np.testing.assert_array_equal(long.threshold[positions], thin.threshold)
    assert len(np.unique(np.searchsorted(np.geomspace(1 / 200_000, 1, 1000), thin.far[1:]))) > 700, "evenly in log FAR"
    assert np.diff(thin.tar).max() < 0.004 and np.diff(np.log(thin.far[1:])).max() < 0.75
