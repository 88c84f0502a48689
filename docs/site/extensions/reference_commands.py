"""The command reference: what every command's own parser says."""

from __future__ import annotations

import argparse
import functools
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional

import markdown

from arcface_paddle.cli.commands import data
from arcface_paddle.cli.main import COMMANDS, command_parser

ROOT = Path(__file__).parents[3]

WORDS = {
    "en": {"default": "Default", "allowed": "One of", "none": "none", "arguments": "Arguments", "command": "command",
           "what": "what it does"},
    "zh": {"default": "默认值", "allowed": "可选值", "none": "无", "arguments": "参数", "command": "命令",
           "what": "用途（英文原文）"},
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command of the reference.

    Attributes:
        page: name of its page in ``reference/commands/``.
        spoken: how it is called in a terminal.
        module: module in ``arcface_paddle.cli.commands``.
    """

    page: str
    spoken: str
    module: str


def commands() -> list[Command]:
    """Return every command in the order of ``arcface-paddle --help``, and the programs of tools/ after them."""
    found = []
    for name, (module, _) in COMMANDS.items():
        found.append(Command(name, f"arcface-paddle {name}", module))
        if name == "data":
            found += [Command(f"data-{sub}", f"arcface-paddle data {sub}", f"data_{sub}") for sub in data.SUBCOMMANDS]
        if name == "serve":
            found.append(Command("serve-keys", "arcface-paddle serve keys", "serve_keys"))
    found.append(Command("convert-image-bin", "python tools/convert_image_bin.py", "convert_image_bin"))
    found.append(Command("pack-dataset", "python tools/pack_dataset.py", "pack_dataset"))
    return found


@functools.cache
def parser_of(page: str) -> argparse.ArgumentParser:
    """Return the parser of a command's page; of ``benchmark``, that of tools/benchmark.py."""
    if page == "benchmark":
        return runpy.run_path(str(ROOT / "tools" / "benchmark.py"))["build_parser"]()
    found = next(command for command in commands() if command.page == page)
    return command_parser(found.module, prog=found.spoken)


def overview(language: str) -> str:
    """Return the table of all commands, with links to their pages."""
    rows = []
    for found in commands():
        parser = parser_of(found.page)
        first = (parser.description or "").strip().partition("\n\n")[0]
        rows.append([f"[`{found.spoken}`]({found.page}.md)", markdown.escaped(first)])
    words = WORDS[language]
    return markdown.table([words["command"], words["what"]], rows)


def command(language: str, page: str) -> str:
    """Return the part of a page that describes a command and all below it."""
    return "\n\n".join(_described(parser_of(page), language, level=2))


def _described(parser: argparse.ArgumentParser, language: str, *, level: int) -> Iterator[str]:
    yield markdown.block(_usage(parser), language="console")
    if parser.description:
        yield markdown.block(parser.description.strip())
    yield f":::{{program}} {parser.prog}\n:::"
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if _is_shown(action)]
        if actions:
            if group.title not in ("options", "optional arguments", "positional arguments"):
                yield f"**{markdown.escaped(str(group.title))}**"
            for action in actions:
                yield _option(parser, action, language)
    for name, inner in subparsers_of(parser):
        yield f"{'#' * level} {name}"
        yield from _described(inner, language, level=level + 1)


def _usage(parser: argparse.ArgumentParser) -> str:
    positional = [action for action in parser._actions if not action.option_strings and _is_usable(action)]
    words = [parser.prog, "[flags]", *(_metavar(parser, action) for action in positional)]
    words += ["SUBCOMMAND ..."] if any(True for _ in subparsers_of(parser)) else []
    return " ".join(words)


def subparsers_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield name and parser of each subcommand that argparse itself knows."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _is_usable(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction)


def _is_shown(action: argparse.Action) -> bool:
    return _is_usable(action) and not isinstance(action, (argparse._HelpAction, argparse._VersionAction))


def shown_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what the reference has to tell of a parser: everything but --help, --version and what is hidden."""
    return [action for action in parser._actions if _is_shown(action)]


def _metavar(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    return str(formatter._format_args(action, formatter._get_default_metavar_for_optional(action)
               if action.option_strings else action.dest))  # fmt: skip


def _option(parser: argparse.ArgumentParser, action: argparse.Action, language: str) -> str:
    """Return one flag or argument as Sphinx's own description of options, so that the search finds it."""
    words = WORDS[language]
    value = "" if action.nargs == 0 else _short(parser, action)
    names = [f"{name} {value}".rstrip() for name in action.option_strings] or [value or action.dest]
    told = [markdown.escaped(parser._get_formatter()._expand_help(action) if action.help else "")]
    if action.choices and not isinstance(action.choices, range):
        told.append(f"{words['allowed']}: {', '.join(markdown.code(str(one)) for one in action.choices)}")
    shown = default_of(action)
    if shown is not None:
        told.append(f"{words['default']}: {markdown.code(shown) if shown else words['none']}")
    paragraphs = "\n\n".join(paragraph for paragraph in told if paragraph)
    return f"::::{{option}} {', '.join(names)}\n{paragraphs}\n::::"


def _short(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the metavar; of long lists of choices, which follow in the text, the flag's name."""
    text = _metavar(parser, action)
    return text if len(text) <= 40 else (action.dest.upper() if action.option_strings else action.dest)


def default_of(action: argparse.Action) -> Optional[str]:
    """Return the default as it would be typed, "" for none, None of switches and arguments, which have none to tell."""
    if not action.option_strings or action.nargs == 0 or action.default == argparse.SUPPRESS:
        return None
    if action.default is None or action.default == [] or action.default == ():
        return ""
    if isinstance(action.default, (list, tuple)):
        return ",".join(str(one) for one in action.default)
    return str(action.default)
