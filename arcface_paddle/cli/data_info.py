"""Say what a dataset is: layout, samples, identities, pictures per identity.

arcface-paddle data info MS1M_bin
"""

from __future__ import annotations

import argparse

import numpy as np
from prettytable import PrettyTable

from arcface_paddle.cli.data_options import add_source, open_source
from arcface_paddle.cli.main import EXIT_OK


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Print the facts as a table."""
    dataset = open_source(args)
    present = np.unique(dataset.labels, return_counts=True)[1]
    table = PrettyTable(["property", "value"], align="l")
    table.add_row(["reader", type(dataset).__name__])
    table.add_row(["samples", len(dataset)])
    table.add_row(["identities", len(present)])
    table.add_row(["classes of a classifier", dataset.num_classes])
    table.add_row(["labels without a sample", dataset.num_classes - len(present)])
    table.add_row(["samples per identity", f"{present.min()} to {present.max()}, median {int(np.median(present))}"])
    table.add_row(["first sample", dataset.path_of(0)])
    table.add_row(["its size", "x".join(map(str, dataset.read_image(0).shape[1::-1])) + " when given out"])
    print(table)
    return EXIT_OK
