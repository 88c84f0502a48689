"""Where results may go, checked before the long work and not after it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from arcface_paddle import files
from arcface_paddle.errors import ConfigError


def require_writable_folder(path: Optional[str], *, option: str) -> None:
    """Check before the long work that files can be written into the folder ``path`` (None: nothing to check).

    Nothing is created: the probe is a nameless file in the folder, or in its nearest parent that exists.

    Raises:
        ConfigError: it is a file, or may not be written to.
    """
    if path is not None:
        _require_writable(Path(path).absolute(), what=f"{option} {path}")


def require_writable_file(path: Optional[str], *, option: str) -> None:
    """Check before the long work that the file ``path`` can be written (None: nothing to check).

    Raises:
        ConfigError: it is a folder, or its folder may not be written to.
    """
    if path is None:
        return
    with _refusals_name(f"{option} {path}"):
        is_folder = Path(path).is_dir()
    if is_folder:
        raise ConfigError(f"{option} {path}: is a folder; give the name of a file")
    _require_writable(Path(path).absolute().parent, what=f"{option} {path}")


def _require_writable(folder: Path, *, what: str) -> None:
    with _refusals_name(what):
        while not folder.exists() and folder != folder.parent:
            if folder.is_symlink():  # in whose place no folder can be made
                raise ConfigError(f"{what}: {folder} is a link that leads nowhere")
            folder = folder.parent
        if not folder.is_dir():
            raise ConfigError(f"{what}: {folder} is a file, not a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            files.remove_abandoned(folder)
    except OSError as error:
        raise ConfigError(f"{what}: cannot write into {folder}: {error.strerror or error}") from None


@contextlib.contextmanager
def _refusals_name(what: str) -> Iterator[None]:
    """Say of which option a path is that the system will not even look at: too long, or in a closed folder."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror or error}; name another place") from None
