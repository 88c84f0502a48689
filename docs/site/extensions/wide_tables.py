"""Tables with many words, readable on a telephone: there each row becomes a card with the column's name at each cell.

Whether a table has too many words is decided here (the class ``wordy``), and each cell gets its column's name
(``data-label``); ``static/site.css`` makes the cards.
"""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

_FITS = 38
"""Letters that stand side by side on 390 pixels."""
_UNBREAKABLE = 24


def is_wordy(rows: list[list[nodes.entry]]) -> bool:
    """Tell whether the cells of a row do not fit side by side on a telephone."""
    if not rows or len(rows[0]) < 2:
        return False
    if len(rows[0]) == 2:
        return any(len(code.astext()) > _UNBREAKABLE for row in rows for cell in row for code in _code(cell))
    return sum(_width(cell.astext()) for row in rows for cell in row) / len(rows) > _FITS


def _code(cell: nodes.entry) -> list[nodes.literal]:
    return list(cell.findall(nodes.literal))


def _width(text: str) -> int:
    return sum(2 if ord(letter) > 0x2E7F else 1 for letter in text)


def mark(app: Sphinx, doctree: nodes.document) -> None:
    """Mark the wordy tables of a page, and write the columns' names at their cells."""
    for table in doctree.findall(nodes.table):
        heads = [entry.astext() for entry in _rows(table, nodes.thead)[0]] if _rows(table, nodes.thead) else []
        rows = _rows(table, nodes.tbody)
        if not is_wordy(rows):
            continue
        table["classes"].append("wordy")
        for row in rows:
            for label, cell in zip(heads, row):
                cell["label"] = label
                cell["classes"] += [] if cell.astext().strip() else ["nothing"]


def _rows(table: nodes.table, part: type[nodes.Element]) -> list[list[nodes.entry]]:
    return [list(row.findall(nodes.entry)) for found in table.findall(part) for row in found.findall(nodes.row)]


def visit_entry(self: HTML5Translator, node: nodes.entry) -> None:
    """Write the head of a cell, with the name of its column."""
    HTML5Translator.visit_entry(self, node)
    if node.get("label"):
        self.body[-1] = self.body[-1].replace("<td", f'<td data-label="{escape(node["label"])}"', 1)


def depart_entry(self: HTML5Translator, node: nodes.entry) -> None:
    """Write the end of a cell."""
    HTML5Translator.depart_entry(self, node)


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at every page, and write cells."""
    app.add_node(nodes.entry, override=True, html=(visit_entry, depart_entry))
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
