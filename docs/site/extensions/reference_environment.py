"""The table of environment variables, from ``environment.yaml``; a test holds it against the source."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import markdown
import yaml

import arcface_paddle

FILE = Path(__file__).parents[1] / "environment.yaml"
WORDS = {"en": ("variable", "meaning", "without it"), "zh": ("变量", "含义", "未设置时")}


@functools.cache
def variables() -> tuple[dict[str, Any], ...]:
    """Return the entries of the file."""
    return tuple(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def in_the_source() -> set[str]:
    """Return every variable that the package reads or that it sets where it is not set."""
    folder = Path(arcface_paddle.__file__).parent
    text = "\n".join(file.read_text(encoding="utf-8") for file in folder.rglob("*.py"))
    asked = re.findall(r"environ(?:\.get\(|\.setdefault\(|\[)\s*\"(\w+)\"", text)
    return {*asked, *re.findall(r"\"(ARCFACE_PADDLE_[A-Z_]+)\"", text)}


def environment(language: str) -> str:
    """Return the table."""
    rows = [[markdown.code(one["name"]), one[language], one[f"without_{language}"]] for one in variables()]
    return markdown.table(WORDS[language], rows)
