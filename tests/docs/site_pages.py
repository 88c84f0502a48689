"""The sources of the documentation site, as its tests read them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"
sys.path.insert(0, str(SITE / "extensions"))

_FENCE = re.compile(
    r"^(?P<marks>(?:<!-- [^\n]+ -->\n)*)(?P<fence>```+|:::+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"<!-- (\w[\w ]*?): (.+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced part of a page.

    Attributes:
        language: what stands behind the fence.
        text: its lines.
        not_run: why it is not run; "" for one that is.
        needs: a command that is run before it and not shown, "" for none.
    """

    language: str
    text: str
    not_run: str
    needs: str

    @property
    def is_run(self) -> bool:
        return self.language in ("bash", "python") and not self.not_run


def pages(language: str) -> list[str]:
    """Return the names of all pages of a language, without suffix."""
    folder = SITE / language
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.md"))


def source(language: str, page: str) -> str:
    """Return the source of a page."""
    return (SITE / language / f"{page}.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Return the fenced parts of a page in order."""
    found = []
    for match in _FENCE.finditer(text):
        marks = dict(_MARK.findall(match["marks"]))
        found.append(Block(match["language"].strip(), match["text"], marks.get("not run", ""), marks.get("needs", "")))
    return found


def is_long(text: str) -> bool:
    """Tell whether the blocks of a page run among the long tests only."""
    return "<!-- runs long -->" in text


def without_blocks(text: str) -> str:
    """Return the source of a page without what is fenced."""
    return _FENCE.sub("", text)
