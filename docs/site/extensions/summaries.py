"""Lists of pages say what each page gives: the first paragraph of the page stands behind its title.

Every page begins with a title and one paragraph (CONTRIBUTING.md), so that a list of pages is a toctree and no more.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def note_summary(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the first paragraph below the title of a page that was read."""
    section = next(doctree.findall(nodes.section), None)
    first = next((child for child in section.children if not isinstance(child, (nodes.title, nodes.comment))), None)
    if isinstance(first, nodes.paragraph):
        app.env.metadata[app.env.docname]["summary"] = first.astext().replace("\n", " ")


def write_lists(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Replace the visible toctrees of a page by lists with the summaries."""
    for toctree in list(doctree.findall(addnodes.toctree)):
        if not toctree.get("hidden"):
            items = [_item(app, page, target) for _, target in toctree["entries"]]
            toctree["hidden"] = True
            toctree.parent.parent.insert(
                toctree.parent.parent.index(toctree.parent), nodes.bullet_list("", *items, classes=["summaries"])
            )


def _item(app: Sphinx, page: str, target: str) -> nodes.list_item:
    title = app.env.titles[target].astext()
    link = nodes.reference("", title, internal=True, refuri=app.builder.get_relative_uri(page, target))
    item = nodes.list_item("", nodes.paragraph("", "", link))
    summary = app.env.metadata[target].get("summary")
    if summary:
        item += nodes.paragraph("", summary, classes=["summary"])
    return item


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at every page."""
    app.connect("doctree-read", note_summary)
    app.connect("doctree-resolved", write_lists)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
