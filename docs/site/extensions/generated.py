"""Lines ``<!-- generated: KIND ARGUMENTS -->`` of a page are replaced by what the code itself says.

The kinds stand in ``KINDS``. What they make is Markdown, before the page is parsed, so that its headings, anchors and
tables are the page's own.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from sphinx.application import Sphinx

KINDS = {
    "python-public": ("reference_python", "public_names"),
    "python-room": ("reference_python", "room"),
    "command": ("reference_commands", "command"),
    "commands": ("reference_commands", "overview"),
    "training-options": ("reference_settings", "training"),
    "settings": ("reference_settings", "settings_class"),
    "http-routes": ("reference_http", "http_routes"),
    "http-schemas": ("reference_http", "http_schemas"),
    "http-errors": ("reference_http", "http_errors"),
    "errors": ("reference_errors", "errors"),
    "environment": ("reference_environment", "environment"),
    "models": ("reference_models", "models"),
    "model-card": ("reference_models", "card"),
    "backbones": ("reference_models", "backbones"),
    "file": ("repository_files", "file"),
}
"""Module and function of this folder that make the Markdown; they are called with the language and the arguments."""

_LINE = re.compile(r"^<!-- generated: ([\w-]+)((?: [^\s>]+)*) -->$", re.MULTILINE)


def fill(text: str, *, language: str) -> str:
    """Return a page's source with its generated parts."""

    def made(found: re.Match[str]) -> str:
        module, function = KINDS[found[1]]
        return getattr(importlib.import_module(module), function)(language, *found[2].split())

    return _LINE.sub(made, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = fill(source[0], language="zh" if app.config.language.startswith("zh") else "en")


def setup(app: Sphinx) -> dict[str, Any]:
    """Ask for every page's source."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
