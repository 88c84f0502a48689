"""How code blocks break where the screen is narrower than their lines.

Every line becomes an element of its own, so that the style sheet can indent what follows of a broken command, and every
flag one, because browsers break behind its dashes. Output in columns is marked, because it is unreadable when it is
broken: it scrolls. So is code in a sentence that is longer than a telephone's line.
"""

from __future__ import annotations

import re
from typing import Any, Iterator

from docutils import nodes
from pygments.formatters import HtmlFormatter
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge

_FLAG = re.compile(r"(?<![^\s>])--?[A-Za-z][\w-]*")
_LONGEST_WORD = 28
_IN_COLUMNS = re.compile(r"^\s*[|+]|\S {2,}\S")


class LineFormatter(HtmlFormatter[str]):
    """Puts each line, with its end, into ``<span class="line">``, and each flag into ``<span class="flag">``."""

    def wrap(self, source: Any) -> Any:
        """Return the lines of a block inside of what Pygments puts around them."""
        return super().wrap(self._lines(source))

    def _lines(self, source: Any) -> Iterator[tuple[int, str]]:
        for kind, line in source:
            flagged = _FLAG.sub(r'<span class="flag">\g<0></span>', line)
            yield kind, f'<span class="line">{flagged}</span>' if kind else line


def is_in_columns(text: str) -> bool:
    """Tell whether most lines of an output belong to a table."""
    lines = [line for line in text.splitlines() if line.strip()]
    return sum(bool(_IN_COLUMNS.search(line)) for line in lines) * 2 > len(lines)


def mark(app: Sphinx, doctree: nodes.document) -> None:
    """Give output in columns the class ``columns``, and code in sentences that has to break the class ``long``."""
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") == "text" and is_in_columns(block.astext()):
            block["classes"].append("columns")
    for code in doctree.findall(nodes.literal):
        if max((len(word) for word in code.astext().split()), default=0) > _LONGEST_WORD:
            code["classes"].append("long")


def setup(app: Sphinx) -> dict[str, Any]:
    """Take the place of Sphinx's formatter, and look at every page."""
    PygmentsBridge.html_formatter = LineFormatter
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
