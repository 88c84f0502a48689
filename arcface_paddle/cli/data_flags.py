"""Flags and reports that the data commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from arcface_paddle import files
from arcface_paddle.cli.console import complain
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.data.data_settings import (
    CONTAINER_LAYOUTS,
    DEFAULT_SHARD_BYTES,
    KINDS,
    SHARDED_LAYOUTS,
    default_workers,
)
from arcface_paddle.errors import ConfigError

if TYPE_CHECKING:  # what reads and writes data is imported where it is used, so that --help is quick
    from tqdm import tqdm

    from arcface_paddle.data.dataset import FaceDataset

_LISTED = 20
LEFT_OUT = "left_out.log"


def add_source(parser: argparse.ArgumentParser) -> None:
    """Declare the dataset that is read."""
    parser.add_argument("dataset", help="folder of the dataset, or a .rec or TFRecord file")
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
    """Open the dataset that the flags of ``add_source`` name, and say how it was read where that is not as usual."""
    from arcface_paddle.data.kinds import open_dataset

    dataset = open_dataset(args.dataset, label_file=args.label_file, kind=args.kind)
    say_remarks(dataset)
    return dataset


def say_remarks(dataset: FaceDataset) -> None:
    """Print what a user should know of how a dataset was read."""
    for remark in dataset.remarks:
        print(remark)


def add_conversion(parser: argparse.ArgumentParser) -> None:
    """Declare source, target and what else every layout needs."""
    add_source(parser)
    parser.add_argument("target", help="folder to write to")
    parser.add_argument(
        "--shard_mb",
        type=positive_int,
        help=f"MiB of a shard, of packed or tfrecord ({DEFAULT_SHARD_BYTES >> 20})",
    )
    parser.add_argument(
        "--shuffle",
        action="store_true",
        help="write the samples in random order, for readers that go through a file (recordio, tfrecord, packed)",
    )
    parser.add_argument("--seed", type=int, help="of --shuffle (0)")
    add_workers(parser)


def convert_and_report(args: argparse.Namespace, *, layout: str) -> int:
    """Convert the dataset that the flags of ``add_conversion`` name, say what was done, return the exit code."""
    from arcface_paddle.data.file_dataset import FolderDataset
    from arcface_paddle.data.layouts import convert_dataset
    from arcface_paddle.data.writing import refuse_target_in_source

    if layout not in SHARDED_LAYOUTS and args.shard_mb is not None:
        raise ConfigError(f"--shard_mb has no meaning with --to {layout}; leave it out")
    if args.shuffle and layout not in CONTAINER_LAYOUTS:
        raise ConfigError(f"--shuffle has no meaning with --to {layout}, a file for every sample; leave it out")
    if args.seed is not None and not args.shuffle:
        raise ConfigError("--seed has no meaning without --shuffle; leave it out")
    require_writable_folder(args.target, option="target")
    dataset = open_source(args)
    refuse_target_in_source(dataset, args.target)
    with progress_bar(len(dataset), "samples") as bar:
        report = convert_dataset(
            dataset,
            args.target,
            layout=layout,
            shard_bytes=None if args.shard_mb is None else args.shard_mb << 20,
            shuffle_seed=(args.seed or 0) if args.shuffle else None,
            workers=args.workers,
            progress=bar.update,
        )
    print(f"{args.target}: {report.written} samples written, {report.unchanged} were there, {len(report.bad)} left out")
    if isinstance(dataset, FolderDataset) and dataset.passed_over:
        print(f"{args.dataset}: passed over the folders of systems: {', '.join(dataset.passed_over)}")
    return report_bad(report.bad, Path(args.target) / LEFT_OUT)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare the number of threads."""
    parser.add_argument("--workers", type=positive_int, default=default_workers(), help="threads (%(default)s)")


def positive_int(text: str) -> int:
    """Read an integer from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def progress_bar(total: int, unit: str) -> tqdm:
    """Return a progress bar on stderr, which in a log is a line every half minute."""
    from arcface_paddle.progress import progress

    return progress(total=total, unit=unit)


def report_bad(bad: Sequence[tuple[str, str]], listing: files.PathLike) -> int:
    """Name what was left out, on stderr and, if it is much, all of it in the file ``listing``; return the exit code."""
    from arcface_paddle.data.writing import disk_errors_as_data_errors

    lines = [reason if path in reason else f"{path}: {reason}" for path, reason in bad]
    for line in lines[:_LISTED]:
        complain(f"left out: {line}")
    if len(lines) > _LISTED:
        with disk_errors_as_data_errors(Path(listing).parent):
            files.write_bytes(listing, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
        complain(f"left out: {len(lines) - _LISTED} more, all of them are in {listing}")
    return EXIT_PARTIAL if bad else EXIT_OK
