"""Tables for the terminal: as wide as they need to be, and never wider than the window."""

from __future__ import annotations

import shutil
import textwrap
from typing import Optional, Sequence

_NARROWEST_TEXT = 20
"""A column of text, or a line, is folded to no less than this: narrower, it reads like a list of words."""


def text_table(
    head: Sequence[str], rows: Sequence[Sequence[object]], *, keys: int = 1, width: Optional[int] = None
) -> str:
    """Return a table, aligned to the left.

    What is wider than the window gets its longest column folded, if that is enough; otherwise it becomes several tables
    below each other, each of which begins with the key columns.

    Args:
        head: titles of the columns.
        rows: cells; None is shown as a dash.
        keys: how many columns from the left say what a row is about.
        width: characters that a line may have; None: those of the terminal (or of ``$COLUMNS``). Output that goes
            into a file or a pipe is not folded, so that words stay beside each other for whoever searches it.
    """
    lines = [["-" if cell is None else str(cell) for cell in row] for row in (head, *rows)]
    columns = [list(column) for column in zip(*lines)]
    limit = shutil.get_terminal_size((0, 0)).columns if width is None else width
    if limit <= 0 or _width(columns) <= limit:
        return _drawn(columns)
    limit = max(limit, _NARROWEST_TEXT)  # no window is narrower; some programs say COLUMNS=1
    columns = _folded(columns, limit)
    return "\n".join(_drawn(group) for group in _groups(columns, limit, keys=keys))


def _width(columns: Sequence[Sequence[str]]) -> int:
    return 1 + sum(_column_width(column) + 3 for column in columns)


def _column_width(column: Sequence[str]) -> int:
    return max(len(line) for cell in column for line in cell.split("\n"))


def _folded(columns: list[list[str]], limit: int) -> list[list[str]]:
    """Fold the longest text to the room beside the others; where there is none, whatever takes half of the line."""
    widths = [_column_width(column) for column in columns]
    widest = widths.index(max(widths))
    room = limit - (_width(columns) - widths[widest])
    if room >= _NARROWEST_TEXT:
        limits = [room if at == widest else width for at, width in enumerate(widths)]
    else:
        limits = [limit // 2] * len(columns)
    return [["\n".join(textwrap.wrap(cell, most)) for cell in column] for column, most in zip(columns, limits)]


def _groups(columns: list[list[str]], limit: int, *, keys: int) -> list[list[list[str]]]:
    """Part the columns behind the keys so that each part fits beside them; one that never fits stands alone."""
    fixed, rest = columns[:keys], columns[keys:]
    groups: list[list[list[str]]] = []
    part: list[list[str]] = []
    for column in rest:
        if part and _width([*fixed, *part, column]) > limit:
            groups.append([*fixed, *part])
            part = []
        part.append(column)
    return [*groups, [*fixed, *part]]


def _drawn(columns: Sequence[Sequence[str]]) -> str:
    titles, *rows = map(list, zip(*columns))
    from prettytable import PrettyTable  # here, so that commands without tables start sooner

    table = PrettyTable()
    table.field_names = _distinct(titles)
    table.align = "l"
    table.add_rows(rows)
    return table.get_string()


def _distinct(titles: Sequence[str]) -> list[str]:
    """Make titles differ by spaces at their end, which nobody sees; PrettyTable refuses equal ones."""
    seen: list[str] = []
    for title in titles:
        while title in seen:
            title += " "
        seen.append(title)
    return seen
