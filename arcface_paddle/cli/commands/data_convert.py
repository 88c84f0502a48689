"""Write any dataset in another layout, without loss and in parallel; run it again to go on after an interruption.

arcface-paddle data convert MS1M_bin packed/ --to packed
arcface-paddle data convert faces_emore/ MS1M_bin/ --to bin          (from train.rec, without mxnet)
arcface-paddle data convert people/ faces/ --to recordio

layouts:
  bin        images/00000000.bin and label.txt, the published layout
  image      images/00000000.jpg and label.txt
  folder     00000012/00000000.jpg, one folder per label, and label.txt
  recordio   train.rec, train.idx, property, train.lst, as insightface packs them
  packed     tar shards with an index: few large files, random access

exit codes: 0 all samples written; 1 some could not be read and were left out (each is named); 2 wrong use or an
error; 130 interrupted
"""

from __future__ import annotations

import argparse

from arcface_paddle.cli.data_flags import (
    add_source,
    add_workers,
    open_source,
    positive_int,
    progress_bar,
    refuse_target_in_source,
    report_bad,
)
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.data.base import FaceDataset
from arcface_paddle.data.convert import FILE_LAYOUTS, ConvertReport, Progress, export_files
from arcface_paddle.data.packed import DEFAULT_SHARD_BYTES, pack_dataset
from arcface_paddle.data.recordio_writing import export_recordio
from arcface_paddle.errors import ConfigError

LAYOUTS = (*FILE_LAYOUTS, "recordio", "packed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_conversion(parser)
    parser.add_argument("--to", choices=LAYOUTS, required=True, help="layout to write")


def run(args: argparse.Namespace) -> int:
    """Convert and report."""
    return convert_and_report(args, layout=args.to)


def add_conversion(parser: argparse.ArgumentParser) -> None:
    """Declare source, target and what else every layout needs."""
    add_source(parser)
    parser.add_argument("target", help="folder to write to")
    parser.add_argument(
        "--shard_mb", type=positive_int, help=f"size of a packed shard in MiB ({DEFAULT_SHARD_BYTES >> 20})"
    )
    add_workers(parser)


def convert_and_report(args: argparse.Namespace, *, layout: str) -> int:
    """Convert the dataset that the flags of ``add_conversion`` name, say what was done, return the exit code."""
    if layout != "packed" and args.shard_mb is not None:
        raise ConfigError(f"--shard_mb has no meaning with --to {layout}; leave it out")
    require_writable_folder(args.target, option="target")
    dataset = open_source(args)
    refuse_target_in_source(dataset, args.target)
    with progress_bar(len(dataset), "samples") as bar:
        report = _convert(dataset, args, layout, bar.update)
    print(f"{args.target}: {report.written} samples written, {report.unchanged} were there, {len(report.bad)} left out")
    return report_bad(report.bad, args.target)


def _convert(dataset: FaceDataset, args: argparse.Namespace, layout: str, progress: Progress) -> ConvertReport:
    if layout == "recordio":
        return export_recordio(dataset, args.target, workers=args.workers, progress=progress)
    if layout != "packed":
        return export_files(dataset, args.target, layout=layout, workers=args.workers, progress=progress)
    shard_bytes = DEFAULT_SHARD_BYTES if args.shard_mb is None else args.shard_mb << 20
    packed = pack_dataset(dataset, args.target, shard_bytes=shard_bytes, workers=args.workers, progress=progress)
    return ConvertReport(packed.samples - packed.resumed_samples, packed.resumed_samples, packed.bad)
