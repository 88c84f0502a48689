"""Say what a dataset is: layout, samples, identities, pictures per identity.

arcface-paddle data info MS1M_bin
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from arcface_paddle.cli.data_flags import add_source, open_source
from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.errors import DataError, ImageError

if TYPE_CHECKING:
    from arcface_paddle.data.facts import StoredPicture


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Print the facts as a table."""
    from prettytable import PrettyTable

    from arcface_paddle.data.facts import dataset_facts, stored_picture

    dataset = open_source(args)
    facts = dataset_facts(dataset)
    table = PrettyTable(["property", "value"], align="l")
    table.add_row(["reader", facts.reader])
    table.add_row(["samples", facts.samples])
    table.add_row(["identities", facts.identities])
    table.add_row(["classes of a classifier", facts.classes])
    table.add_row(["labels without a sample", facts.unused_labels])
    table.add_row(["samples per identity", f"{facts.fewest} to {facts.most}, median {int(facts.median)}"])
    if facts.passed_over:
        table.add_row(["folders of systems, passed over", ", ".join(facts.passed_over)])
    table.add_row(["first sample", facts.first_sample])
    try:
        table.add_row(["what it holds", _described(stored_picture(dataset, 0), dataset.image_size)])
    except (DataError, ImageError) as error:
        print(table)
        raise type(error)(f"the first sample cannot be read: {error}; 'data doctor' lists all that cannot") from None
    print(table)
    return EXIT_OK


def _described(picture: StoredPicture, image_size: int) -> str:
    width, height = picture.size_wh
    tail = "" if (width, height) == (image_size, image_size) else f", resized to {image_size}x{image_size} for training"
    return f"{width}x{height} {picture.suffix}, {picture.num_bytes:,} bytes{tail}"
