"""List, check, show and fetch models.

    arcface-paddle models list                     what is known by name, and where it lies
    arcface-paddle models check [MODEL ...]        hold the files against the hashes of their cards, and load them
    arcface-paddle models show MODEL               the card
    arcface-paddle models fetch MODEL ...          get published archives into the cache folder (--sha256 HEX: of one)
    arcface-paddle models backbones                networks to train (--network), with their size

MODEL is a name of the list or a folder. Fetched models lie in $ARCFACE_PADDLE_HOME/models (~/.arcface_paddle/models).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from arcface_paddle.cli.console import complain
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.cli.tables import text_table
from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.pipeline.settings import PRESETS, PUBLISHED_MODELS

if TYPE_CHECKING:  # what opens models is imported where it is used, so that --help is quick
    from arcface_paddle.pipeline.cards import ModelCard
    from arcface_paddle.pipeline.model_files import ModelFolder, RegisteredModel

_WHICH_RECOGNIZER = (
    "recognisers: FaceFusion errs least, MobileFace is the smallest, both for research only; for commercial use: "
    "ResNet29 (CC0)"
)
_LICENCE_WIDTH = 50  # licences are sentences: folded, so that a model stays one row


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="table of the known models")
    listing.set_defaults(action=run_list)
    check = actions.add_parser("check", help="check files against their hashes and load them")
    check.add_argument("models", nargs="*", metavar="MODEL", help="names or folders (default: all that are here)")
    check.set_defaults(action=run_check)
    show = actions.add_parser("show", help="print a model's card")
    show.add_argument("model", metavar="MODEL")
    show.add_argument("--preset", choices=PRESETS, help="for a folder without a card")
    show.set_defaults(action=run_show)
    fetch = actions.add_parser("fetch", help="fetch published archives")
    fetch.add_argument("models", nargs="+", metavar="MODEL", choices=PUBLISHED_MODELS, help="%(choices)s")
    fetch.add_argument(
        "--sha256", metavar="HEX", type=_sha256,
        help="of the archive, which is held against it before it is unpacked; for one MODEL that is not here yet",
    )  # fmt: skip
    fetch.set_defaults(action=run_fetch)
    backbones = actions.add_parser("backbones", help="table of the networks that can be trained")
    backbones.set_defaults(action=run_backbones)


def run(args: argparse.Namespace) -> int:
    result: int = args.action(args)
    return result


def run_list(args: argparse.Namespace) -> int:
    from arcface_paddle.pipeline import model_files

    rows = [_row(registered) for registered in model_files.REGISTRY.values()]
    print(text_table(["name", "task", "MB", "where", "licence"], rows))
    print(_WHICH_RECOGNIZER)
    return EXIT_OK


def run_check(args: argparse.Namespace) -> int:
    from arcface_paddle.pipeline import model_files

    names = args.models or [name for name, model in model_files.REGISTRY.items() if model_files.local_folder(model)]
    code = EXIT_OK
    for name in names:
        try:
            proofs = [_proof(model) for model in model_files.open_networks(name)]
        except ModelFileError as error:
            complain(f"{name}: {error}")
            code = EXIT_PARTIAL
            continue
        print(f"{name}: {model_files.find_card(name).task}, {'; '.join(proofs)}")
    return code


def run_show(args: argparse.Namespace) -> int:
    folder, card = _checked(args.model, preset=args.preset)
    document = {"folder": str(folder), **dataclasses.asdict(card)}
    print(
        json.dumps({key: value for key, value in document.items() if value is not None}, ensure_ascii=False, indent=2)
    )
    return EXIT_OK


def run_fetch(args: argparse.Namespace) -> int:
    from arcface_paddle.pipeline import model_files

    if args.sha256 and len(args.models) != 1:
        raise ConfigError(f"--sha256 is of one archive; {len(args.models)} models are named")
    for name in args.models:
        registered = model_files.REGISTRY[name]
        folder = model_files.local_folder(registered)
        if folder is not None and args.sha256:
            raise ConfigError(
                f"{name} is here already, and its archive is not: remove {folder} to fetch it by its hash"
            )
        if folder is None:
            found = model_files.fetch_model(registered, sha256=args.sha256 or "")
            if not (args.sha256 or registered.sha256):
                complain(f"{name}: no hash is published to hold it against; --sha256 {found} fetches the same again")
        print(f"{name}: {model_files.find_folder(name)}")
    return EXIT_OK


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no SHA-256: 64 hexadecimal digits")
    return text.lower()


def run_backbones(args: argparse.Namespace) -> int:
    from arcface_paddle.backbones import BACKBONES
    from arcface_paddle.backbones.facts import FACTS

    rows = []
    for name, entry in BACKBONES.items():
        facts = FACTS[name]
        published = facts.published
        figures = published and f"{published.parameters:g} M, {published.multiply_adds:g} G ({published.of})"
        size = [f"{facts.parameters / 1e6:.2f}", f"{facts.multiply_adds / 1e9:.3f}"]
        rows.append([name, entry.embedding_size, *size, facts.origin, figures])
    print(text_table(["network", "embedding", "10^6 parameters", "10^9 multiply-adds", "from", "published"], rows))
    print(
        "counted for one 112x112 picture at width 1; arcface-paddle plan --network NAME tells what training one takes"
    )
    return EXIT_OK


def _proof(model: ModelFolder) -> str:
    from arcface_paddle.pipeline.runtime import open_runtime

    runtime = open_runtime(model.graph_file, model.weights_file, preferred_engine=model.card.engine)
    proof = f"{len(model.card.files)} hashes match" if model.card.files else "whole, but without hashes to compare"
    return f"{proof}, loads with {len(runtime.input_names)} input(s) ({runtime.execution})"


def _checked(name: str, *, preset: Optional[str]) -> tuple[Path, ModelCard]:
    """Return folder and card of a model whose files, or whose members' files, were checked."""
    from arcface_paddle.pipeline import model_files

    if model_files.find_card(name, preset=preset).fusion is not None:
        united = model_files.open_fusion(name)
        return united.path, united.card
    model = model_files.open_model(name, preset=preset)
    return model.path, model.card


def _megabytes(folder: Path) -> float:
    """Return the size of what recognition reads of a model: the weights for training beside it do not count."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".pdparams") / 1e6


def _row(registered: RegisteredModel) -> list[str]:
    from arcface_paddle.pipeline import model_files

    folder = model_files.local_folder(registered)
    size = "" if folder is None else f"{_megabytes(folder):5.1f}"
    place = f"not here: {registered.url}" if folder is None else str(folder)
    licence = textwrap.fill(_licence(registered, folder), _LICENCE_WIDTH)
    return [registered.name, registered.task, size, place, licence]


def _licence(registered: RegisteredModel, folder: Optional[Path]) -> str:
    from arcface_paddle.pipeline import cards, model_files

    if folder is not None and (folder / cards.CARD_NAME).exists():
        return cards.read_card(folder / cards.CARD_NAME).licence
    return model_files.preset_card(registered.preset).licence
