"""The programs of examples/ run as their docstrings say, and give what they promise."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINKED = ("demo", "examples")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def commands_of(path: Path) -> list[str]:
    """Return the commands of a program's docstring, which stand in lines of their own."""
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.findall(r"^    (\S.+)$", said, re.MULTILINE)


def run_example(name: str, folder: Path) -> str:
    """Run a program as its docstring says and return what it prints."""
    (command,) = [line for line in commands_of(ROOT / "examples" / name) if f"examples/{name}" in line]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_small_and_says_how_it_is_run(path):
    text = path.read_text(encoding="utf-8")
    assert 20 <= len(text.splitlines()) <= 60
    assert f"python examples/{path.name}" in "\n".join(commands_of(path))


def test_name_faces(workplace):
    said = run_example("name_faces.py", workplace)
    assert "3 people" in said and "Barack Obama" in said and "unknown" in said
    assert (workplace / "output" / "named" / "group.png").stat().st_size > 10_000
