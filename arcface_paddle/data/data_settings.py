"""What may be chosen of data sets before one is opened.

This module imports nothing heavy, because the command line needs it for every ``--help``.
"""

from __future__ import annotations

from arcface_paddle.pipeline.settings import CENTRE, LARGEST, ONE, available_cores

IMAGE_SIZE = 112
"""Side of the aligned crops in pixels."""

KINDS = ("auto", "bin", "image", "folder", "recordio", "packed", "tfrecord")
"""Layouts that can be read; ``auto`` finds out which one it is."""

FILE_LAYOUTS = ("bin", "image", "folder")
SHARDED_LAYOUTS = ("packed", "tfrecord")
CONTAINER_LAYOUTS = ("recordio", *SHARDED_LAYOUTS)
LAYOUTS = (*FILE_LAYOUTS, *CONTAINER_LAYOUTS)
"""Layouts that can be written; the first three have a file for every sample."""

DEFAULT_SHARD_BYTES = 1 << 30

ALIGN_CHOICES = (ONE, CENTRE, LARGEST)
"""How the face of a photograph may be chosen. Not ``all``: the one label of a photograph would be wrong for most."""


def default_workers(*, ranks_here: int = 1) -> int:
    """Return the number of workers that suits this machine: the cores this process may use, at most 8.

    Args:
        ranks_here: processes of one run that share the machine's cores.
    """
    return min(8, max(1, available_cores() // ranks_here))
