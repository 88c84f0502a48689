"""Pack any dataset into tar shards with an index: few large files, random access, readable by tar.

python tools/pack_dataset.py MS1M_bin/ packed/

The same as arcface-paddle data convert MS1M_bin/ packed/ --to packed. Run it again to go on after an interruption.

exit codes: 0 all samples written; 1 some could not be read and were left out (each is named); 2 wrong use or an
error; 130 interrupted
"""

from __future__ import annotations

import argparse

from arcface_paddle.cli.data_flags import add_conversion, convert_and_report


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_conversion(parser)


def run(args: argparse.Namespace) -> int:
    """Pack and report."""
    return convert_and_report(args, layout="packed")
