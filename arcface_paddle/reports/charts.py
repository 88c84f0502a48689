"""Inline SVG charts for report pages: bars, coloured by the page, so that they follow light and dark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

import numpy as np

from arcface_paddle.reports.html import Html, escape

_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 64, 18, 30, 46
_LABEL_CHARACTER_PX, _LABEL_GAP_PX = 7, 8  # of the page's 12 px sans-serif, generously


@dataclass(frozen=True)
class Axes:
    """Titles and size of a chart.

    Attributes:
        title: line above the plot.
        x_title: name of the horizontal axis with its unit.
        y_title: name of the vertical axis with its unit.
        size_wh: width and height in CSS pixels.
    """

    title: str
    x_title: str = ""
    y_title: str = ""
    size_wh: tuple[int, int] = (480, 290)


def bar_chart(labels: Sequence[str], values: Sequence[float], *, axes: Axes) -> Html:
    """Draw one bar per label from zero upwards; each bar tells its value when pointed at.

    Raises:
        ValueError: lengths differ, or a value is negative or not finite.
    """
    heights = np.asarray(values, dtype=np.float64)
    if len(labels) != len(heights):
        raise ValueError(f"{len(labels)} labels for {len(heights)} values")
    if not np.isfinite(heights).all() or (heights < 0).any():
        raise ValueError("bars must be finite and not negative")
    ticks = nice_ticks(0.0, float(heights.max(initial=0.0)) or 1.0)
    frame = _Frame(axes, (0.0, max(len(labels), 1)), (0.0, ticks[-1]))
    parts = [_y_axis(frame, ticks)]
    step = _label_step(labels, frame.right - frame.left)
    for index, (label, height) in enumerate(zip(labels, heights)):
        parts.append(_bar(frame, (index + 0.1, index + 0.9), height, title=f"{label}: {_plain(height)}"))
        if index % step == 0:
            parts.append(_text(frame.x(index + 0.5), frame.y(0) + 16, label, anchor="middle"))
    return _figure(axes, parts)


def histogram(values: np.ndarray, *, axes: Axes, bins: int = 20) -> Html:
    """Draw how often values occur; bars and ticks begin at round numbers, each bar tells its range when pointed at.

    Args:
        values: (N,), at least one.
        axes: titles and size.
        bins: about how many bars.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("a histogram needs at least one value, all of them finite")
    x_ticks = nice_ticks(float(values.min()), float(values.max()))
    bars_a_tick = max(1, round(bins / (len(x_ticks) - 1)))
    edges = np.linspace(x_ticks[0], x_ticks[-1], bars_a_tick * (len(x_ticks) - 1) + 1)
    counts = np.histogram(values, edges)[0]
    y_ticks = nice_ticks(0.0, float(counts.max()))
    frame = _Frame(axes, (x_ticks[0], x_ticks[-1]), (0.0, y_ticks[-1]))
    parts = [_y_axis(frame, y_ticks)]
    for low, high, count in zip(edges, edges[1:], counts):
        parts.append(_bar(frame, (low, high), count, title=f"{_plain(low)} to {_plain(high)}: {count:,}"))
    parts += [_text(frame.x(tick), frame.bottom + 16, _plain(tick), anchor="middle") for tick in x_ticks]
    return _figure(axes, parts)


def nice_ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers (1, 2 or 5 times a power of ten) that span ``low`` to ``high``.

    >>> nice_ticks(0, 93)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


class _Frame:
    """Maps values to pixels of the plot area."""

    def __init__(self, axes: Axes, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        width, height = axes.size_wh
        self.left, self.right = _MARGIN_LEFT, width - _MARGIN_RIGHT
        self.top, self.bottom = _MARGIN_TOP, height - _MARGIN_BOTTOM
        self._x_range, self._y_range = x_range, y_range

    def x(self, value: float) -> float:
        low, high = self._x_range
        return self.left + (value - low) / ((high - low) or 1.0) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self._y_range
        return self.bottom - (value - low) / ((high - low) or 1.0) * (self.bottom - self.top)


def _label_step(labels: Sequence[str], width_px: float) -> int:
    """Return n so that every n-th label fits beside the next."""
    widest = max(map(len, labels), default=1) * _LABEL_CHARACTER_PX + _LABEL_GAP_PX
    return max(1, math.ceil(len(labels) * widest / width_px))


def _bar(frame: _Frame, x_range: tuple[float, float], height: float, *, title: str) -> str:
    left, right, top = frame.x(x_range[0]), frame.x(x_range[1]), frame.y(height)
    return (
        f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{frame.y(0) - top:.1f}"><title>{escape(title)}</title></rect>'
    )


def _y_axis(frame: _Frame, ticks: Sequence[float]) -> str:
    parts = []
    for tick in ticks:
        y = frame.y(tick)
        parts.append(f'<line class="axis" x1="{frame.left}" y1="{y:.1f}" x2="{frame.right}" y2="{y:.1f}"/>')
        parts.append(_text(frame.left - 8, y + 4, _plain(tick), anchor="end"))
    return "".join(parts)


def _figure(axes: Axes, parts: Sequence[str]) -> Html:
    width, height = axes.size_wh
    middle = (height - _MARGIN_BOTTOM + _MARGIN_TOP) / 2
    titles = [
        f'<text class="title" x="{_MARGIN_LEFT}" y="18">{escape(axes.title)}</text>',
        _text((width + _MARGIN_LEFT - _MARGIN_RIGHT) / 2, height - 8, axes.x_title, anchor="middle"),
        f'<text text-anchor="middle" transform="translate(14 {middle:.0f}) rotate(-90)">{escape(axes.y_title)}</text>',
    ]
    return Html(
        f'<figure class="chart"><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(axes.title)}">{"".join(titles)}{"".join(parts)}</svg></figure>'
    )


def _text(x: float, y: float, text: str, *, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _plain(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"
