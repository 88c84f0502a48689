"""Walking through folders: sorted, links followed but never in circles, hidden files and system folders left alone.

Systems put folders of their own beside those of people, such as ``#recycle`` and ``@eaDir`` on network storage. What
they hold are thumbnails and deleted pictures, and their names are nobody's; see ``pipeline.inputs.SYSTEM_FOLDERS``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterator

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.pipeline.inputs import is_system_folder


def subfolders(root: files.PathLike) -> Iterator[str]:
    """Give the names of the folders in a folder, sorted by code point, without hidden ones and those of systems.

    Raises:
        DataError: no such folder, a file, or it cannot be listed.
    """
    return (
        entry.name
        for entry in _sorted_entries(os.fspath(root))
        if _is_folder(entry) and not is_system_folder(entry.name)
    )


def system_folders(root: files.PathLike) -> list[str]:
    """Return the names of the folders that ``subfolders`` passes over, hidden ones aside.

    Raises:
        DataError: as ``subfolders``.
    """
    return [
        entry.name for entry in _sorted_entries(os.fspath(root)) if _is_folder(entry) and is_system_folder(entry.name)
    ]


def files_below(root: files.PathLike, folder: str = "") -> Iterator[str]:
    """Give the paths, relative to ``root``, of all files below it (or below its subfolder ``folder``), depth first.

    Names that begin with a dot are skipped: they are what file managers and archivers leave behind (``._a.jpg``). So
    are system folders.
    A link to a folder is followed unless it leads back to one that is being walked through.

    Raises:
        DataError: no such folder, a file, or one that cannot be listed.
    """
    if not folder:
        return _walk(os.fspath(root), "", ())
    return _walk(os.fspath(Path(root, folder)), f"{folder}/", (_identity(os.fspath(root)),))


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    here = _identity(folder)
    if here in above:
        return
    for entry in _sorted_entries(folder):
        if not _is_folder(entry):
            yield prefix + entry.name
        elif not is_system_folder(entry.name):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, here))


def _sorted_entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise _cannot_list(folder, error) from None


def _identity(folder: str) -> tuple[int, int]:
    try:
        found = Path(folder).stat()
    except OSError as error:
        raise _cannot_list(folder, error) from None
    return found.st_dev, found.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False


def _cannot_list(folder: str, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{folder}: no such folder")
    if isinstance(error, NotADirectoryError):
        return DataError(f"{folder}: is a file; a folder is expected")
    return DataError(f"{folder}: cannot be listed: {error.strerror or error}")
