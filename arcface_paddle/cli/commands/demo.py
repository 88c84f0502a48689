"""A first look, in any folder: a gallery of three people is built, and the faces on six photographs are named.

    arcface-paddle demo
    arcface-paddle demo --output another_folder

The photographs come with the package and are copied into the folder, so that the two commands can be typed again by
hand: each is printed before it runs. Nothing of yours is overwritten.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from arcface_paddle.cli import writable
from arcface_paddle.cli.main import EXIT_OK, run_module
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import demo_photographs

INDEX, RECOGNISED, FOUND = "gallery.index", "recognised", "recognised.json"
"""What the demonstration writes beside the photographs: the gallery, the annotated pictures, everything found."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="DIR", default="arcface_demo", help="folder for everything (%(default)s)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier demonstration left in the folder"
    )


def run(args: argparse.Namespace) -> int:
    """Copy the photographs, build the gallery, recognise, and say how to go on."""
    check_arguments(args)
    folder = Path(args.output)
    copies = demo_photographs.copy_photographs(folder)
    print(f"{folder}: {len(copies)} files copied; who made the photographs: {folder / demo_photographs.ORIGINS}")
    for arguments in (building_arguments(folder), recognising_arguments(folder)):
        print(f"\n$ {shlex.join(['test_recognition', *arguments])}", flush=True)
        status = run_module("recognize", arguments, prog="test_recognition")
        if status != EXIT_OK:
            return status
    print(what_next(folder))
    return EXIT_OK


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse a folder that holds something, unless ``--overwrite`` allows it. Raises ``ConfigError``."""
    writable.require_writable_folder(args.output, option="--output")
    folder = Path(args.output)
    if folder.is_dir() and any(folder.iterdir()) and not args.overwrite:
        raise ConfigError(
            f"--output {folder}: the folder is not empty; name another one, or give --overwrite to replace what an "
            "earlier demonstration left there"
        )


def building_arguments(folder: Path) -> list[str]:
    """Return the arguments of ``test_recognition`` that build the gallery."""
    people, labels = folder / demo_photographs.GALLERY, folder / demo_photographs.LABELS
    return [f"--build_index={folder / INDEX}", f"--img_dir={people}", f"--label={labels}"]


def recognising_arguments(folder: Path) -> list[str]:
    """Return the arguments of ``test_recognition`` that name the faces of all queries."""
    return [
        *("--det", "--rec", f"--index={folder / INDEX}", f"--input={folder / demo_photographs.QUERIES}"),
        *(f"--output={folder / RECOGNISED}", f"--json={folder / FOUND}"),
    ]


def what_next(folder: Path) -> str:
    """Return where to look, and the two commands for the user's own pictures."""
    return (
        f"\nAnnotated pictures: {folder / RECOGNISED}   (everything found, as JSON: {folder / FOUND})\n"
        "\nNext, with pictures of your own, one folder a person in PEOPLE:\n"
        "  test_recognition --build_index=people.index --img_dir=PEOPLE\n"
        "  test_recognition --det --rec --index=people.index --input=PICTURES --output=output"
    )
