"""Write any dataset in another layout, without loss and in parallel; run it again to go on after an interruption.

arcface-paddle data convert MS1M_bin packed/ --to packed
arcface-paddle data convert faces_emore/ MS1M_bin/ --to bin          (from train.rec, without mxnet)
arcface-paddle data convert people/ faces/ --to recordio
arcface-paddle data convert faces_emore/ shuffled/ --to tfrecord --shuffle --seed 1
arcface-paddle data convert train.tfrecord packed/ --to packed       (without TensorFlow)

layouts:
  bin        images/00000000.bin and label.txt, the published layout
  image      images/00000000.jpg and label.txt
  folder     00000012/00000000.jpg, one folder per label, and label.txt
  recordio   train.rec, train.idx, property, train.lst, as insightface packs them
  tfrecord   train-00000.tfrecord, ..., as TensorFlow trainers read them (image/encoded, label)
  packed     tar shards with an index: few large files, random access
  val        NAME.bin of the bcolz folders NAME with NAME_list.npy, verification sets of InsightFace_Pytorch and others

exit codes: 0 all samples written; 1 some could not be read and were left out (each is named); 2 wrong use or an
error; 130 interrupted
"""

from __future__ import annotations

import argparse

from arcface_paddle.cli.data_flags import add_conversion, convert_and_report
from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.data.data_settings import LAYOUTS
from arcface_paddle.errors import ConfigError

_VERIFICATION = "val"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_conversion(parser)
    parser.add_argument("--to", choices=(*LAYOUTS, _VERIFICATION), required=True, help="layout to write")


def run(args: argparse.Namespace) -> int:
    """Convert and report."""
    if args.to == _VERIFICATION:
        return _convert_sets(args)
    return convert_and_report(args, layout=args.to)


def _convert_sets(args: argparse.Namespace) -> int:
    from arcface_paddle.data.verification_sources import convert_verification_sets

    for option in ("label_file", "shard_mb", "seed"):
        if getattr(args, option) is not None:
            raise ConfigError(f"--{option} has no meaning with --to {_VERIFICATION}; leave it out")
    if args.shuffle or args.kind != "auto":
        raise ConfigError(f"--shuffle and --kind have no meaning with --to {_VERIFICATION}; leave them out")
    require_writable_folder(args.target, option="target")
    report = convert_verification_sets(args.dataset, args.target, progress=lambda name: print(f"{name}: done"))
    print(f"{args.target}: {report.written} verification sets written, {report.unchanged} were there")
    return EXIT_OK
