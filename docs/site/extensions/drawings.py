"""Drawings inside pages: SVG files whose colours are the page's, so that they follow light and dark.

``{drawing} margins`` puts ``drawings/margins.svg`` into the page; its text is what readers without pictures get. A
``<text>`` or ``<tspan>`` has its Chinese words in ``data-zh``. Colours come from the classes of ``static/site.css``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = Path(__file__).parents[1] / "drawings"
_WORDS = re.compile(r'(<(text|tspan)\b[^>]*?) data-zh="([^"]*)"([^>]*>)[^<]*')


def drawing(name: str, *, language: str) -> str:
    """Return a drawing's SVG with the words of a language."""
    text = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    if language.startswith("zh"):
        return _WORDS.sub(r"\1\4\3", text)
    return re.sub(r' data-zh="[^"]*"', "", text)


class Drawing(SphinxDirective):
    """``{drawing} NAME`` with a caption, which also is what a screen reader says."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a figure: the SVG and its caption."""
        name = self.arguments[0]
        self.env.note_dependency(str(FOLDER / f"{name}.svg"))
        caption = " ".join(self.content)
        svg = drawing(name, language=self.config.language)
        label = caption.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        start = nodes.raw("", f'<figure class="drawing" id="drawing-{name}">{svg}<figcaption>', format="html")
        shown, _ = self.state.inline_text(caption, self.lineno)
        return [
            nodes.container(
                "", start, nodes.paragraph("", "", *shown), nodes.raw("", "</figcaption></figure>", format="html")
            )
        ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("drawing", Drawing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
