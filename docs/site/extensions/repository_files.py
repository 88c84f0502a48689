"""Pages of the repository as pages of the site: ``<!-- generated: file docs/capabilities.md -->``."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]

PAGES = {
    "ARCHITECTURE.md": "project/architecture",
    "CHANGELOG.md": "project/changelog",
    "SECURITY.md": "project/security",
    "THIRD_PARTY_NOTICES.md": "project/notices",
    "VERIFY.md": "project/verify",
    "deploy/README.md": "project/deploy",
    "deploy/README_ch.md": "project/deploy",
    "docs/capabilities.md": "project/capabilities",
    "docs/gpu_checklist_ch.md": "project/gpu-checklist",
    "docs/gpu_checklist_en.md": "project/gpu-checklist",
    "docs/published_ch.md": "project/published",
    "docs/published_en.md": "project/published",
    "install_ch.md": "howto/install",
    "install_en.md": "howto/install",
    "README.md": "index",
    "README_en.md": "index",
}
"""Files that links of included files may name, and the pages that they then lead to."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def file(language: str, english: str, chinese: str = "") -> str:
    """Return a file without its title; links lead to pages of the site, or lose what they would lead to."""
    name = chinese if chinese and language == "zh" else english
    text = (ROOT / name).read_text(encoding="utf-8")
    body = re.sub(r"\A# .*\n", "", text)
    return _LINK.sub(lambda found: _link(found, name), body)


def _link(found: re.Match[str], name: str) -> str:
    picture, words, target = found.groups()
    if target.startswith(("https://", "http://", "mailto:")):
        return found[0]
    if picture:
        return ""  # drawings of the repository's pages are made for a forge's light page
    path = os.path.normpath(Path(name).parent / target.partition("#")[0]) if target[0] != "#" else name
    own = re.fullmatch(r"docs/site/(?:en|zh)/(.+)\.md", Path(path).as_posix())
    page = own[1] if own else PAGES.get(Path(path).as_posix())
    return f"[{words}](/{page}.md)" if page else words
