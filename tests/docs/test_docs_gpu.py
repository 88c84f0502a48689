"""What is said about GPUs: where Paddle's builds are, and the checklist for whoever has one, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_docs_capabilities import complaint

from arcface_paddle.devices import PADDLE_INDEX

ROOT = Path(__file__).parents[2]
OURS = re.compile(r"(?:arcface-paddle|test_recognition|train\.py|valid\.py|export_inference_model\.py) .*")
CHECKLISTS = ("docs/gpu_checklist_en.md", "docs/gpu_checklist_ch.md")


def blocks_of(page: str) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_both_checklists_have_the_same_commands_and_figures():
    english, chinese = (blocks_of(page) for page in CHECKLISTS)
    assert english == chinese and len(english) == 9
    figures = [
        re.findall(r"\d+(?:\.\d+)?e-\d|\d+ %|\b\d{2,5}\b", (ROOT / page).read_text("utf-8")) for page in CHECKLISTS
    ]
    assert sorted(figures[0]) == sorted(figures[1])


def test_the_commands_are_understood():
    commands = [OURS.search(line) for block in blocks_of(CHECKLISTS[0]) for line in block.splitlines()]
    found = [command[0] for command in commands if command is not None]
    assert len(found) == 35
    assert {command: complaint(command) for command in found} == dict.fromkeys(found, "")


@pytest.mark.parametrize("page", ["setup.py", "install_en.md", "install_ch.md", "deploy/Dockerfile.gpu", *CHECKLISTS])
def test_whoever_installs_a_gpu_build_is_told_of_the_index(page):
    """The common one ends with 2.6.2, on which the extra ``gpu`` cannot be resolved."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert PADDLE_INDEX in text
    if page.startswith(("setup", "install", "docs")):
        assert "--extra-index-url" in text and "2.6.2" in text
