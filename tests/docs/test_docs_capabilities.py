"""docs/capabilities.md: every row has a command that is understood and a test that runs."""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import re
import shlex
from pathlib import Path
from typing import Iterator, NamedTuple

import pytest

from arcface_paddle.cli.commands import data
from arcface_paddle.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "capabilities.md"
SYSTEMS = ("P0", "P1", "P2", "P3", "P4")
LEFT_OUT = {"skip", "skipif", "xfail", "long"}
"""Marks of tests that need not run or need not pass."""

SCRIPTS = {
    "train.py": "train",
    "valid.py": "valid",
    "export_inference_model.py": "export",
    "test_recognition": "recognize",
    "insightfacepaddle": "recognize",
    "tools/convert_image_bin.py": "convert_image_bin",
    "tools/pack_dataset.py": "pack_dataset",
}


class Row(NamedTuple):
    systems: str
    capability: str
    command: str
    test: str


def rows() -> list[Row]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return [Row(*line) for line in cells if line[0] != "published by" and not line[0].startswith("---")]


@functools.cache
def marks_of_tests_in(path: Path) -> dict[str, set[str]]:
    """Return the marks of every test function of a file, by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return {node.name: {mark_of(mark) for mark in node.decorator_list} for node in functions}


def mark_of(decorator: ast.expr) -> str:
    """Return ``slow`` of ``@pytest.mark.slow(...)``; what stands in its arguments does not count."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return target.attr if isinstance(target, ast.Attribute) else ""


def parsers_in(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


@functools.cache
def parser_of(module: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"arcface_paddle.cli.commands.{module}").configure(parser)
    return parser


def complaint(command: str) -> str:
    """Return what is wrong with a command of the page, or nothing."""
    words = shlex.split(command)
    while words and words[0] in ("python", "-m", "paddle.distributed.launch"):
        words.pop(0)
    if words[0] == "arcface-paddle":
        words.pop(0)
        if words[0] not in COMMANDS:
            return f"no command {words[0]}"
        module = COMMANDS[words[0]][0]
    elif words[0] in SCRIPTS:
        module = SCRIPTS[words[0]]
    else:
        return ""  # Python, or a file
    if module == "data":  # whose subcommands are modules of their own
        if words[1] not in data.SUBCOMMANDS:
            return f"no subcommand {words[1]}"
        module = f"data_{words[1]}"
    if words[:2] == ["serve", "keys"]:
        words, module = words[1:], "serve_keys"
    parser = parser_of(module)
    inner = dict(parsers_in(parser))
    if inner and words[1] not in inner:
        return f"no subcommand {words[1]}"
    parser = inner.get(words[1], parser) if len(words) > 1 else parser
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    return ", ".join(flag for flag in flags if flag not in parser._option_string_actions)


def test_no_cell_is_empty_and_no_capability_stands_twice():
    table = rows()
    assert len(table) > 60
    assert not [row for row in table if not all(row)]
    names = [row.capability for row in table]
    assert not {name for name in names if names.count(name) > 1}


def test_every_published_system_has_its_rows():
    for system in SYSTEMS:
        assert sum(system in row.systems for row in rows()) >= 8, system


def test_every_test_exists_and_is_not_left_out():
    for row in rows():
        path, _, name = row.test.strip("`").partition("::")
        marks = marks_of_tests_in(ROOT / path).get(name)
        assert marks is not None, row.test
        assert not marks & LEFT_OUT, row.test


@pytest.mark.parametrize("command", sorted({row.command for row in rows()}))
def test_every_command_is_understood(command):
    for part in re.findall(r"`([^`]+)`", command):
        assert complaint(part) == "", part


def test_a_wrong_command_would_be_noticed():
    assert complaint("train.py --no_such_flag 1") == "--no_such_flag"
    assert complaint("arcface-paddle data nothing") == "no subcommand nothing"
    assert complaint("arcface-paddle gallery nothing") == "no subcommand nothing"
    assert complaint("arcface-paddle nothing") == "no command nothing"
