"""VERIFY.md: commands are understood, tests are there, figures are those of the pages, and what is cheap is run."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from test_docs_capabilities import complaint, marks_of_tests_in, parsers_in

ROOT = Path(__file__).parents[2]
COSTS = {"cheap", "seconds", "minutes", "5 min", "20 min", "hours", "GPU"}
MEASURED = (["what", "figure", "how"], ["项目", "数值", "方法"])
ALL_FIGURES = "docs/site/{}/project/measured.md"
BENCHMARK = "tools/benchmark.py"
IN_PASSING = {"time", "--min_face 16"}
"""Code in the column of commands that is none: what to add to the one before it."""


class Row(NamedTuple):
    claim: str
    command: str
    seen: str
    cost: str


def cells_of(name: str) -> list[list[str]]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|")]


def rows() -> list[Row]:
    return [Row(*cells) for cells in cells_of("VERIFY.md") if cells[0] != "claim" and not cells[0].startswith("---")]


def measured_in(name: str) -> dict[str, str]:
    """Return the figures of a page's last table, by what was measured."""
    cells = cells_of(name)
    first = next(number for number, row in enumerate(cells) if row in MEASURED)
    return {what: figure for what, figure, _ in cells[first + 2 :]}


def figures_in(text: str) -> list[str]:
    return re.findall(r"[\d.,]*\d", text)


def commands_of(row: Row) -> list[str]:
    return re.findall(r"`([^`]+)`", row.command)


@pytest.fixture(scope="module")
def benchmarks() -> dict[str, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    for name, module in runpy.run_path(str(ROOT / BENCHMARK))["load_topics"]().items():
        module.configure(subparsers.add_parser(name))
    return dict(parsers_in(parser))


def complaint_of_a_benchmark(words: list[str], topics: dict[str, argparse.ArgumentParser]) -> str:
    if words[0] not in topics:
        return f"no benchmark {words[0]}"
    known = topics[words[0]]._option_string_actions
    return ", ".join(word for word in words[1:] if word.startswith("--") and word not in known)


def test_no_cell_is_empty_and_no_claim_stands_twice():
    table = rows()
    assert len(table) > 80
    assert not [row for row in table if not all(row) or row.cost not in COSTS]
    claims = [row.claim for row in table]
    assert not {claim for claim in claims if claims.count(claim) > 1}


def test_every_command_is_understood(benchmarks):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in {command for row in rows() for command in commands_of(row)}:
        words = shlex.split(command)
        if words[0] == "make":
            assert set(words[1:]) <= targets, command
        elif words[:2] == ["python", BENCHMARK]:
            assert complaint_of_a_benchmark(words[2:], benchmarks) == "", command
        elif words[0] == "arcface-paddle" and words[1:] == ["--version"]:
            continue
        elif words[0] != "pytest" and command not in IN_PASSING:
            assert complaint(command) == "", command


def test_every_test_exists_and_is_run():
    named = re.findall(r"tests/([\w/]+\.py)(?:::(\w+))?", (ROOT / "VERIFY.md").read_text(encoding="utf-8"))
    assert len(named) > 80
    for path, name in named:
        marks = marks_of_tests_in(ROOT / "tests" / path)
        assert not name or name in marks, f"{path}::{name}"
        assert not name or not marks[name] & {"skip", "xfail"}, f"{path}::{name}"


def test_figures_are_those_of_all_pages():
    seen = {row.claim: row.seen for row in rows()}
    measured, shortened = measured_in(ALL_FIGURES.format("en")), measured_in("README_en.md")
    assert len(measured) > 20 and len(shortened) > 6
    for what, figure in (*measured.items(), *shortened.items()):
        assert what in seen, f"VERIFY.md does not have: {what}"
        assert figures_in(seen[what]) == figures_in(figure), what


def test_the_readmes_table_is_a_part_of_the_whole_one():
    for readme, language in (("README_en.md", "en"), ("README.md", "zh")):
        assert measured_in(readme).items() <= measured_in(ALL_FIGURES.format(language)).items(), readme


def test_both_languages_have_the_same_figures():
    for english, chinese in (("README_en.md", "README.md"), [ALL_FIGURES.format(name) for name in ("en", "zh")]):
        pairs = list(zip(measured_in(english).items(), measured_in(chinese).items()))
        assert len(pairs) == len(measured_in(english)) == len(measured_in(chinese))
        for (what, figure), (_, other) in pairs:
            assert sorted(figures_in(figure)) == sorted(figures_in(other)), what


def test_every_witness_of_security_is_here():
    page = (ROOT / "VERIFY.md").read_text(encoding="utf-8")
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    files = set(re.findall(r"tests/[\w/]+\.py|tools/\w+\.py", text))
    assert len(files) >= 6
    assert not {name for name in files if name not in page}


def test_both_readmes_lead_here():
    for name in ("README.md", "README_en.md"):
        assert "](VERIFY.md)" in (ROOT / name).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("row", [row for row in rows() if row.cost == "cheap"], ids=lambda row: row.claim)
def test_what_is_cheap_is_seen(row, tmp_path):
    wanted = re.findall(r"`([^`]+)`", row.seen)
    assert wanted
    (command,) = commands_of(row)
    program, *words = shlex.split(command)
    assert program == "arcface-paddle"
    module = [sys.executable, "-m", "arcface_paddle.cli.main"]
    done = subprocess.run([*module, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for text in wanted:
        assert text in done.stdout, text


def test_a_wrong_row_would_be_noticed(benchmarks):
    assert complaint_of_a_benchmark(["nothing"], benchmarks) == "no benchmark nothing"
    assert complaint_of_a_benchmark(["loader", "--nothing"], benchmarks) == "--nothing"
