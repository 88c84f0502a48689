"""The module of the published wheel ``insightface-paddle``, on top of ``arcface_paddle``: code written for it runs on.

    import insightface_paddle as face

    args = face.parser().parse_args([])
    args.det, args.output = True, "./output"
    for result in face.InsightFace(args).predict("friends.jpg"):
        print(result["box_list"], result["labels"])

There is nothing in it but these two names and ``main``, the console script; see ``arcface_paddle.cli.insightface_api``.
The published distribution has a module of this name, too: of two that are installed, the one installed last has written
the files.
"""

from __future__ import annotations

import importlib.metadata
import warnings

from arcface_paddle import __version__ as __version__
from arcface_paddle.cli.insightface_api import InsightFace as InsightFace
from arcface_paddle.cli.insightface_api import parser as parser
from arcface_paddle.cli.main import insightfacepaddle as main

__all__ = ["InsightFace", "__version__", "main", "parser"]


def _warn_of_the_published_distribution() -> None:
    """Say that two distributions share this folder, of which uninstalling either takes the files of both."""
    try:
        other = importlib.metadata.version("insightface-paddle")
    except importlib.metadata.PackageNotFoundError:
        return
    warnings.warn(
        f"insightface-paddle {other} is installed beside arcface-paddle, and both have a module insightface_paddle; "
        "this is that of arcface-paddle, installed last. To keep one: pip uninstall insightface-paddle, then "
        "pip install --force-reinstall --no-deps arcface-paddle",
        stacklevel=3,
    )


_warn_of_the_published_distribution()
