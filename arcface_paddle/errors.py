"""Every error that a user of arcface_paddle can cause, by the kind of input that caused it.

The command line turns each of them into one line on stderr and exit code 2. A message says what was
wrong, quotes the value, says what is allowed and what to do next.
"""

from __future__ import annotations

import sys

FIRST_PYTHON_WITHOUT = {"paddlepaddle": (3, 14), "paddle2onnx": (3, 13)}
"""Packages that have no build for this Python and newer ones; setup.py does not ask for them there."""


class ArcfaceError(Exception):
    """Base of all errors raised on purpose by this package."""


class ConfigError(ArcfaceError):
    """An option, configuration key or combination of them is not valid."""


class DataError(ArcfaceError):
    """A dataset, label file, record or verification set cannot be read or is inconsistent."""


class CheckpointError(ArcfaceError):
    """A training checkpoint is missing, damaged or belongs to another run."""


class ModelFileError(ArcfaceError):
    """An exported model, its card or a weight file is missing, damaged or unsuitable."""


class ImageError(ArcfaceError):
    """A picture cannot be read, decoded or written."""


class GalleryError(ArcfaceError):
    """A gallery cannot be read or written, or does not fit the model in use."""


class MissingDependencyError(ArcfaceError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: {how_to_install(package, extra=extra)}"
        )


def how_to_install(package: str, *, extra: str, python: tuple[int, ...] = sys.version_info[:2]) -> str:
    """Return the command that installs a package, or that this Python is too new for it."""
    first_without = FIRST_PYTHON_WITHOUT.get(package)
    if first_without is None or python < first_without:
        return f"pip install 'arcface-paddle[{extra}]' (or pip install {package})"
    version, last = (".".join(map(str, numbers)) for numbers in (python, (3, first_without[1] - 1)))
    return f"it has no build for Python {version}; use Python 3.9 to {last}"
