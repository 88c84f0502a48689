"""Plain text as Markdown."""

from __future__ import annotations

import re
from typing import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$^])")


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def prose(text: str) -> str:
    """Return a docstring's paragraph: ``code`` stays code, all else is shown as it is."""
    parts = re.split(r"``(.+?)``", text, flags=re.DOTALL)
    return "".join(code(part) if index % 2 else _kept(part) for index, part in enumerate(parts))


def _kept(text: str) -> str:
    """Return escaped text whose spaces at both ends stay."""
    return (" " if text[:1].isspace() else "") + escaped(text) + (" " if text.strip() and text[-1:].isspace() else "")


def code(text: str) -> str:
    """Return text in a fixed-width font."""
    flat = " ".join(text.split())
    fence = "``" if "`" in flat else "`"
    return f"{fence} {flat} {fence}" if "`" in flat else f"{fence}{flat}{fence}"


def block(text: str, *, language: str = "text") -> str:
    """Return text as it stands, lines and all."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text).replace("\n", " ")
