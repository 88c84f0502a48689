"""Plots inside pages, made of the files that ``tools/benchmark.py TOPIC --json FILE`` writes.

``{plot} inference_cpu`` reads ``benchmarks/inference_cpu.json``. ``:label:`` names the column of the words,
``:values:`` the columns of the bars (their names, with commas), ``:rows:`` the rows, by their label, where not all are
shown. With ``:over:`` there is a line for each row instead, of one value over another, both from its ``series``. The
machine is written below, so that no figure stands without it.
"""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from typing import Any, Sequence

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = Path(__file__).parents[1] / "benchmarks"
COLOURS = ("fill-one", "fill-two", "fill-three", "fill-soft")
CHINESE = {
    "1 worker, 1 thread": "1 个工作者，1 线程",
    "1 worker, 2 threads": "1 个工作者，2 线程",
    "2 workers, 1 thread each": "2 个工作者，各 1 线程",
    "analyzer": "8 个线程",
    "default ms": "默认，毫秒",
    "detector 640x480": "BlazeFace 640x480",
    "file": "文件",
    "loops over folds and thresholds (numpy)": "逐折逐阈值循环（numpy）",
    "minutes": "分钟",
    "one embedding": "单个特征",
    "onnxruntime ms": "ONNX Runtime，毫秒",
    "openvino fp32 ms": "OpenVINO float32，毫秒",
    "paddle ms": "Paddle，毫秒",
    "predecessor: cosine and argpartition": "公开的做法：余弦与部分排序",
    "service": "服务",
    "trainer": "训练",
    "video": "视频",
}
"""What the files of the benchmarks say, in Chinese; names stay as they are."""
LINES = ("one", "two", "three", "dashed")
WIDTH, LABEL_WIDTH, BAR, GAP = 700, 260, 20, 14
LEFT, HEIGHT, TICKS = 60, 200, 4


def bars(labels: Sequence[str], columns: dict[str, Sequence[float]]) -> str:
    """Return horizontal bars from zero as SVG: a group for each label, in it a bar with its value for each column.

    Raises:
        ValueError: more columns than colours, or a value below zero.
    """
    if len(columns) > len(COLOURS) or min(value for values in columns.values() for value in values) < 0:
        raise ValueError(f"{len(columns)} columns; allowed: {len(COLOURS)}, with values from 0")
    most = max(value for values in columns.values() for value in values) or 1.0
    parts, top = _legend(list(columns)) if len(columns) > 1 else ([], 10)
    for index, label in enumerate(labels):
        middle = top + BAR * len(columns) / 2 + 5
        parts.append(f'<text x="{LABEL_WIDTH - 10}" y="{middle:g}" text-anchor="end">{escape(label)}</text>')
        for colour, values in zip(COLOURS, columns.values()):
            length = max(1.0, values[index] / most * (WIDTH - LABEL_WIDTH - 80))
            parts.append(
                f'<rect class="{colour}" x="{LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="{BAR - 3}"/>'
            )
            parts.append(f'<text x="{LABEL_WIDTH + length + 6:.1f}" y="{top + 14}">{_shown(values[index])}</text>')
            top += BAR
        top += GAP
    size = f'viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'


def lines(over: str, points: dict[str, Sequence[tuple[float, float]]]) -> str:
    """Return lines over an axis from zero as SVG, one for each name, of points (x, y) that grow in x.

    Raises:
        ValueError: more lines than ways to draw them.
    """
    if len(points) > len(LINES):
        raise ValueError(f"{len(points)} lines; allowed: {len(LINES)}")
    most_x = max(x for line in points.values() for x, _ in line)
    most_y = _round_number_from(max(y for line in points.values() for _, y in line))
    top = 10 + BAR * len(points) + GAP
    bottom, wide = top + HEIGHT, WIDTH - LEFT - 20
    parts = []
    for index, (style, name) in enumerate(zip(LINES, points)):
        y = 18 + BAR * index
        parts.append(f'<line class="{style}" x1="{LEFT}" x2="{LEFT + 30}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT + 40}" y="{y + 5}">{escape(name)}</text>')
    for tick in range(TICKS + 1):
        y, x = bottom - HEIGHT * tick / TICKS, LEFT + wide * tick / TICKS
        parts.append(f'<line class="faint" x1="{LEFT}" x2="{LEFT + wide}" y1="{y:g}" y2="{y:g}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 5:g}" text-anchor="end">{_shown(most_y * tick / TICKS)}</text>')
        parts.append(f'<text x="{x:g}" y="{bottom + 20}" text-anchor="middle">{_shown(most_x * tick / TICKS)}</text>')
    parts.append(f'<text class="soft" x="{LEFT + wide}" y="{bottom + 38}" text-anchor="end">{escape(over)}</text>')
    for style, line in zip(LINES, points.values()):
        places = " ".join(f"{LEFT + x / most_x * wide:.1f},{bottom - y / most_y * HEIGHT:.1f}" for x, y in line)
        parts.append(f'<polyline class="{style}" points="{places}"/>')
    size = f'viewBox="0 0 {WIDTH} {bottom + 45}" width="{WIDTH}" height="{bottom + 45}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'


def _round_number_from(value: float) -> float:
    """Return the next of 1, 2, 4 and 8 times a power of ten, whose quarters are short."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(power * factor for factor in (1, 2, 4, 8, 10) if power * factor >= value)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _legend(names: Sequence[str]) -> tuple[list[str], int]:
    parts = []
    for index, (colour, name) in enumerate(zip(COLOURS, names)):
        y = 10 + BAR * index
        parts.append(f'<rect class="{colour}" x="{LABEL_WIDTH}" y="{y}" width="14" height="14"/>')
        parts.append(f'<text x="{LABEL_WIDTH + 22}" y="{y + 12}">{escape(name)}</text>')
    return parts, 10 + BAR * len(names) + GAP


class Plot(SphinxDirective):
    """``{plot} NAME`` with ``:label:``, ``:values:``, perhaps ``:over:``, and a caption."""

    required_arguments = 1
    has_content = True
    option_spec = {  # noqa: RUF012  (docutils' own name and form)
        "label": directives.unchanged_required,
        "values": directives.unchanged_required,
        "rows": directives.unchanged,
        "over": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """Return a figure: bars or lines, the caption and the machine."""
        file = FOLDER / f"{self.arguments[0]}.json"
        self.env.note_dependency(str(file))
        document = json.loads(file.read_text(encoding="utf-8"))
        svg = self._drawn(self._chosen(document["rows"]))
        caption = f"{' '.join(self.content)} ({document['machine']})"
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
        figure = f'<figure class="drawing plot">{svg}<figcaption>{escape(caption)}</figcaption></figure>'
        return [nodes.raw("", figure, format="html")]

    def _drawn(self, rows: list[dict[str, Any]]) -> str:
        said = CHINESE if self.config.language.startswith("zh") else {}
        labels = [said.get(label, label) for label in (str(row[self.options["label"]]) for row in rows)]
        names = _names(self.options["values"])
        over = self.options.get("over")
        if over is None:
            return bars(labels, {said.get(name, name): [float(row[name]) for row in rows] for name in names})
        points = [list(zip(row["series"][over], row["series"][names[0]])) for row in rows]
        return lines(said.get(over, over), dict(zip(labels, points)))

    def _chosen(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        wanted = _names(self.options.get("rows", ""))
        return [row for row in rows if not wanted or str(row[self.options["label"]]) in wanted]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("plot", Plot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
