"""Plots inside pages, made of the files that ``tools/benchmark.py TOPIC --json FILE`` writes.

``{plot} inference_cpu`` reads ``benchmarks/inference_cpu.json``. ``:label:`` names the column of the words,
``:values:`` the columns of the bars (their names, with commas), ``:rows:`` the rows, by their label, where not all are
shown. The machine is written below, so that no figure stands without it.
"""

from __future__ import annotations

import json
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
    "default ms": "默认，毫秒",
    "detector 640x480": "BlazeFace 640x480",
    "file": "文件",
    "loops over folds and thresholds (numpy)": "逐折逐阈值循环（numpy）",
    "one embedding": "单个特征",
    "onnxruntime ms": "ONNX Runtime，毫秒",
    "openvino fp32 ms": "OpenVINO float32，毫秒",
    "paddle ms": "Paddle，毫秒",
    "predecessor: cosine and argpartition": "公开的做法：余弦与部分排序",
}
"""What the files of the benchmarks say, in Chinese; names stay as they are."""
WIDTH, LABEL_WIDTH, BAR, GAP = 700, 260, 20, 14


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
    """``{plot} NAME`` with ``:label:``, ``:values:`` and a caption."""

    required_arguments = 1
    has_content = True
    option_spec = {  # noqa: RUF012  (docutils' own name and form)
        "label": directives.unchanged_required,
        "values": directives.unchanged_required,
        "rows": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """Return a figure: the bars, the caption and the machine."""
        file = FOLDER / f"{self.arguments[0]}.json"
        self.env.note_dependency(str(file))
        document = json.loads(file.read_text(encoding="utf-8"))
        rows = self._chosen(document["rows"])
        said = CHINESE if self.config.language.startswith("zh") else {}
        columns = {said.get(name, name): [float(row[name]) for row in rows] for name in _names(self.options["values"])}
        labels = [str(row[self.options["label"]]) for row in rows]
        svg = bars([said.get(label, label) for label in labels], columns)
        caption = f"{' '.join(self.content)} ({document['machine']})"
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
        figure = f'<figure class="drawing plot">{svg}<figcaption>{escape(caption)}</figcaption></figure>'
        return [nodes.raw("", figure, format="html")]

    def _chosen(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        wanted = _names(self.options.get("rows", ""))
        return [row for row in rows if not wanted or str(row[self.options["label"]]) in wanted]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("plot", Plot)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
