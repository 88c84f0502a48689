"""Flags and reports that the data commands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Sequence

from tqdm import tqdm

from arcface_paddle import files
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.data.base import FaceDataset
from arcface_paddle.data.file_dataset import FolderDataset
from arcface_paddle.data.loader import default_workers
from arcface_paddle.data.opening import KINDS, open_dataset
from arcface_paddle.data.writing import disk_errors_as_data_errors
from arcface_paddle.errors import ConfigError

_LISTED = 20
LEFT_OUT = "left_out.log"


def add_source(parser: argparse.ArgumentParser) -> None:
    """Declare the dataset that is read."""
    parser.add_argument("dataset", help="folder of the dataset, or a .rec file")
    add_source_flags(parser)


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Declare how the dataset is read."""
    parser.add_argument(
        "--label_file",
        metavar="FILE",
        help="label file (default: label.txt in the folder); for RecordIO and shards: numbers of samples with new "
        "labels, as 'data doctor --fix' writes them",
    )
    parser.add_argument("--kind", choices=KINDS, default="auto", help="layout of the dataset (%(default)s)")


def open_source(args: argparse.Namespace) -> FaceDataset:
    """Open the dataset that the flags of ``add_source`` name."""
    return open_dataset(args.dataset, label_file=args.label_file, kind=args.kind)


def refuse_target_in_source(dataset: FaceDataset, target: str) -> None:
    """Refuse to write a dataset into itself. Raises ``ConfigError``.

    A folder inside of a folder per identity would be a new identity when the command is run again.
    """
    source, place = Path(dataset.name).resolve(), Path(target).resolve()
    if place == source or (isinstance(dataset, FolderDataset) and source in place.parents):
        raise ConfigError(
            f"target {target} lies in the dataset {dataset.name} that is read; choose a folder outside of it"
        )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare the number of threads."""
    parser.add_argument("--workers", type=positive_int, default=default_workers(), help="threads (%(default)s)")


def positive_int(text: str) -> int:
    """Read an integer from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def progress_bar(total: int, unit: str) -> tqdm:
    """Return a progress bar on stderr; silent when stderr is not a terminal."""
    return tqdm(total=total, unit=f" {unit}", disable=None)


def report_bad(bad: Sequence[tuple[str, str]], target: str) -> int:
    """Name what was left out, on stderr and, if it is much, all of it in a file in the target; return the exit code."""
    lines = [reason if path in reason else f"{path}: {reason}" for path, reason in bad]
    for line in lines[:_LISTED]:
        print(f"left out: {line}", file=sys.stderr)
    if len(lines) > _LISTED:
        listing = Path(target) / LEFT_OUT
        with disk_errors_as_data_errors(target):
            files.write_bytes(listing, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
        print(f"left out: {len(lines) - _LISTED} more, all of them are in {listing}", file=sys.stderr)
    return EXIT_PARTIAL if bad else EXIT_OK
