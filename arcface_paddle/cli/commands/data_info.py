"""Say what a dataset is: layout, samples, identities, pictures per identity.

arcface-paddle data info MS1M_bin
"""

from __future__ import annotations

import argparse

import numpy as np
from prettytable import PrettyTable

from arcface_paddle import images
from arcface_paddle.cli.data_flags import add_source, open_source
from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.data.base import FaceDataset
from arcface_paddle.errors import DataError, ImageError


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
    try:
        table.add_row(["what it holds", _described(dataset)])
    except (DataError, ImageError) as error:
        print(table)
        raise type(error)(f"the first sample cannot be read: {error}; 'data doctor' lists all that cannot") from None
    print(table)
    return EXIT_OK


def _described(dataset: FaceDataset) -> str:
    """Return size and format of the first picture, as it is stored."""
    content = dataset.read_encoded(0)
    height, width = images.decode_crop(content, name=dataset.path_of(0)).shape[:2]
    size = dataset.image_size
    tail = "" if (width, height) == (size, size) else f", resized to {size}x{size} for training"
    return f"{width}x{height} {images.suffix_by_content(content) or ''}, {len(content):,} bytes{tail}"
