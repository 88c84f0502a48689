"""Add, list and revoke the API keys of a service; a running one takes notice at once.

    arcface-paddle serve keys add "front desk" --role write --gallery people.index
    arcface-paddle serve keys list --gallery people.index
    arcface-paddle serve keys revoke 1f2e3d4c --gallery people.index

A key is shown once, when it is made: the service keeps a hash of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.cli.tables import text_table
from arcface_paddle.errors import ConfigError
from arcface_paddle.service.service_settings import ROLES, state_folder_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|revoke")
    add = actions.add_parser("add", help="make a key and show it")
    add.add_argument("name", help="whose key it is, for the list")
    add.add_argument("--role", choices=ROLES, default=ROLES[0], help="what it may do (%(default)s)")
    revoke = actions.add_parser("revoke", help="make a key invalid")
    revoke.add_argument("id", help="as the list shows it")
    for action in (add, actions.add_parser("list", help="show the keys"), revoke):
        action.add_argument("--gallery", metavar="FILE", help="gallery file of the service")
        action.add_argument("--state", metavar="DIR", help="its folder, where --state names one")


def run(args: argparse.Namespace) -> int:
    """Change the file of keys, or show it."""
    from arcface_paddle.service.keys import KEYS, KeyFile

    keys = KeyFile(_state_folder(args) / KEYS)
    if args.action == "add":
        print(keys.add(args.name, role=args.role))
    elif args.action == "revoke":
        key = keys.revoke(args.id)
        print(f"revoked: {key.id} {key.label}")
    else:
        print(text_table(["id", "name", "role", "made"], [[k.id, k.label, k.role, k.created] for k in keys.list()]))
    return EXIT_OK


def _state_folder(args: argparse.Namespace) -> Path:
    if (args.gallery is None) == (args.state is None):
        raise ConfigError("say which service: --gallery FILE, or --state DIR")
    return state_folder_of(args.gallery) if args.state is None else Path(args.state)
