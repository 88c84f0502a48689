"""The page for users of the published toolkit: its flags have the defaults that it says, in both languages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from test_docs_capabilities import complaint

from arcface_paddle.cli.commands import train
from arcface_paddle.training.config import DEFAULT_NETWORK, NetworkConfig, options
from arcface_paddle.training.network import choose_network

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("published_en.md", "published_ch.md")


def flags_of(page: str) -> dict[str, str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `--(\w+)` \| ([^|]+) \|", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_the_table_tells_the_defaults(page):
    known = {option.name: option.default for option in options()}
    left_open = {
        "network": DEFAULT_NETWORK,
        "embedding_size": choose_network(NetworkConfig()).embedding_size,
    }
    said = flags_of(page)
    assert len(said) == 15
    for name, value in said.items():
        default = known[name] if known[name] is not None else left_open[name]
        assert value == (train._shown(default) if not isinstance(default, float) else f"{default:g}"), name


def test_both_languages_say_the_same():
    pages = [(DOCS / page).read_text(encoding="utf-8") for page in PAGES]
    blocks = [re.findall(r"```\n(.*?)```", page, re.DOTALL) for page in pages]
    assert blocks[0] == blocks[1] and len(blocks[0]) == 4
    assert flags_of(PAGES[0]) == flags_of(PAGES[1])
    figures = [sorted(re.findall(r"\.\d{3,4}|\d+\.\d", page)) for page in pages]
    assert figures[0] == figures[1]


def test_the_commands_are_understood():
    block = re.findall(r"```\n(.*?)```", (DOCS / PAGES[0]).read_text(encoding="utf-8"), re.DOTALL)[2]
    commands = block.strip().splitlines()
    assert len(commands) == 5
    for command in commands:
        words = [word for word in shlex.split(command) if word not in ("--devices", "0,1,2,3")]
        assert complaint(shlex.join(words)) == "", command
