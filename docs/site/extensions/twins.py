"""A link from every page to the same page in the other language."""

from __future__ import annotations

from typing import Any, Optional

from docutils import nodes
from sphinx.application import Sphinx

LANGUAGES = {"en": "English", "zh": "中文"}


def add_link(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Optional[nodes.document]) -> None:
    """Put the link above the page's text. Generated pages without a text (search, source) have a twin by name too."""
    if "body" not in context or page.startswith("_modules"):
        return
    other = "en" if app.config.language.startswith("zh") else "zh"
    up = "../" * (page.count("/") + 1)
    # The name is no text of the page, because the results of a search would show it; the style sheet writes it.
    name = f'aria-label="{LANGUAGES[other]}" data-name="{LANGUAGES[other]}"'
    link = f'<a href="{up}{other}/{page}.html" hreflang="{other}" lang="{other}" {name}></a>'
    context["body"] = f'<p class="twin">{link}</p>{context["body"]}'


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask for every page."""
    app.connect("html-page-context", add_link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
