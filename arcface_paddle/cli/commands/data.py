"""Work on datasets: look at them, convert and pack them, align photographs, build verification sets, find faults.

subcommands:
  info      say what a dataset is
  preview   show pictures of a dataset, and what augmentation makes of them
  convert   write any dataset in another layout (per-image .bin, pictures, folders, RecordIO, TFRecord, packed shards)
  pairs     build an lfw-style verification set (.bin)
  align     turn photographs into a dataset of aligned 112x112 faces
  doctor    report duplicates, broken pictures, doubtful labels; write a cleaned label file
  noisy     doubt labels by the sub-centres of a training run; write a cleaned label file
  leaks     tell whether synthetic people are near real ones; write a label file without these

'arcface-paddle data SUBCOMMAND --help' lists the flags of each.
"""

from __future__ import annotations

import argparse

from arcface_paddle.cli.main import run_module

SUBCOMMANDS = ("info", "preview", "convert", "pairs", "align", "doctor", "noisy", "leaks")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; only the chosen one is imported, because some need the models."""
    parser.add_argument("subcommand", choices=SUBCOMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    return run_module(f"data_{args.subcommand}", args.arguments, prog=f"arcface-paddle data {args.subcommand}")
