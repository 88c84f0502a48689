"""The READMEs' own commands and Python examples are run, in order, in a copy of the repository's root.

A block behind ``<!-- parsed only: reason -->`` needs what cannot be here (millions of photographs); its commands are
given to their parsers.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_docs_capabilities import complaint

ROOT = Path(__file__).parents[2]
LINKED = ("train.py", "valid.py", "export_inference_model.py", "test_recognition.py", "tools", "demo", "configs")
_BLOCK = re.compile(r"(<!-- parsed only: [^>]+-->\n)?```(bash|python)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    parsed_only: bool


def blocks_of(name: str) -> list[Block]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [Block(language, body, bool(mark)) for mark, language, body in _BLOCK.findall(text)]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(block: Block, folder: Path) -> subprocess.CompletedProcess:
    programs = Path(sys.executable).parent
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "-euc", block.text] if block.language == "bash" else [sys.executable, "-c", block.text]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.mark.slow
def test_every_block_of_the_readme_runs(workplace):
    for block in blocks_of("README_en.md"):
        if block.parsed_only or "make demo" in block.text:
            continue
        done = run(block, workplace)
        assert done.returncode == 0, f"{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def test_parsed_only_commands_are_understood():
    lines = [line for block in blocks_of("README_en.md") if block.parsed_only for line in block.text.splitlines()]
    assert len(lines) == 5
    for line in lines:
        assert complaint(line) == "", line


def test_both_languages_show_the_same_commands():
    chinese, english = blocks_of("README.md"), blocks_of("README_en.md")
    strip = re.compile(r"\s+#.*$", re.MULTILINE)
    assert [strip.sub("", block.text) for block in chinese] == [strip.sub("", block.text) for block in english]


def test_the_first_commands_are_demo_and_test():
    for name in ("README.md", "README_en.md"):
        assert re.findall(r"^make \w+", blocks_of(name)[0].text, re.MULTILINE) == ["make demo", "make test"]


def test_a_visitor_needs_two_minutes():
    for name in ("README.md", "README_en.md"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert len(lines) < 150, name
        assert re.match(r"!\[.+\]\(docs/pictures/\w+\.jpg\)", lines[2]), f"{name}: no result at its top"


def test_links_lead_to_files():
    for name in ("README.md", "README_en.md", "install_ch.md", "install_en.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), f"{name} links to {target}"
