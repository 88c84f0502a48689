"""SECURITY.md names tests as its witnesses: each exists, and they are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_witness_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = sorted(set(re.findall(r"(?:tests|tools)/[\w/]+(?:\.py)?", text)))
    assert len(named) >= 8
    assert not [name for name in named if not (ROOT / name).exists()]
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / link).exists(), link
