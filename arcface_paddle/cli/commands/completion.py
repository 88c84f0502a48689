"""Print the script that completes subcommands, flags and files when Tab is pressed.

  arcface-paddle completion bash > ~/.local/share/bash-completion/completions/arcface-paddle
  arcface-paddle completion zsh > ~/.zsh/completions/_arcface-paddle        (a folder of $fpath)

It is made from the flags of all commands, so make it anew after an update; a new shell reads it.
"""

from __future__ import annotations

import argparse
import importlib

from arcface_paddle.cli.main import COMMANDS, EXIT_OK
from arcface_paddle.errors import MissingDependencyError

SHELLS = ("bash", "zsh", "tcsh")
PROGRAM = "arcface-paddle"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the shell."""
    parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab
    except ImportError:
        raise MissingDependencyError("shtab", extra="completion", purpose="shell completion") from None
    parser = full_parser()
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, args.shell))
    return EXIT_OK


def full_parser() -> argparse.ArgumentParser:
    """Return one parser of all commands; made for completion, it needs the module of every command."""
    parser = argparse.ArgumentParser(PROGRAM, description="Face recognition on PaddlePaddle.")
    commands = parser.add_subparsers(dest="command")
    for name, (module_name, text) in COMMANDS.items():
        _add_command(commands, name, module_name, text)
    return parser


def _add_command(commands: argparse._SubParsersAction, name: str, module_name: str, text: str) -> None:
    module = importlib.import_module(f"arcface_paddle.cli.commands.{module_name}")
    parser = commands.add_parser(name, help=text, description=text)
    inner = getattr(module, "SUBCOMMANDS", None)
    if inner is None:
        module.configure(parser)
        return
    nested = parser.add_subparsers(dest="subcommand")
    for inner_name in inner:  # a command whose subcommands are modules of their own, loaded when chosen
        _add_command(nested, inner_name, f"{module_name}_{inner_name}", inner_name)


def _complete_files(parser: argparse.ArgumentParser, files: object) -> None:
    """Let every value that is text of the user's own be completed as a file."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_files(inner, files)
        elif action.nargs != 0 and action.choices is None and action.type in (None, str):
            action.complete = files  # type: ignore[attr-defined]  # what shtab looks for
