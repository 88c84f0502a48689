"""Verification sets by path or by name: ``.bin`` files and bcolz folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from arcface_paddle import files
from arcface_paddle.data.carray_set import is_carray_set, read_carray_set
from arcface_paddle.data.convert import ConvertReport
from arcface_paddle.data.verification_set import VerificationSet, read_verification_set, verification_bytes
from arcface_paddle.data.writing import disk_errors_as_data_errors, place_file
from arcface_paddle.errors import DataError


def open_verification_set(path: files.PathLike) -> VerificationSet:
    """Open an lfw-style ``.bin``, or a bcolz folder with its ``_list.npy`` beside it.

    Raises:
        DataError: no such set, or it is damaged.
    """
    return read_carray_set(path) if is_carray_set(path) else read_verification_set(path)


def path_of_set(folder: files.PathLike, name: str) -> Path:
    """Return where the set of a name lies: ``NAME.bin``, or else the bcolz folder ``NAME`` if there is one."""
    path = Path(folder) / f"{name}.bin"
    if not path.is_file() and is_carray_set(Path(folder) / name):
        return Path(folder) / name
    return path


def sets_in(folder: files.PathLike) -> list[Path]:
    """Return the paths of all sets in a folder, one of a name, in the order of their names."""
    root = Path(folder)
    found = {path.stem: path for path in root.glob("*.bin")}
    if root.is_dir():
        for path in filter(is_carray_set, root.iterdir()):
            found.setdefault(path.name, path)
    return [found[name] for name in sorted(found)]


def convert_verification_sets(
    source: files.PathLike, target: files.PathLike, *, progress: Callable[[str], Any] = lambda name: None
) -> ConvertReport:
    """Write bcolz sets as lfw-style ``.bin`` files, the pictures as PNG, without loss.

    Args:
        source: the folder of one set, or a folder of sets.
        target: the folder to write ``NAME.bin`` to; one that is there with the same content is kept.
        progress: called with the name of each set when it is done.

    Returns:
        What was done, counted in sets.

    Raises:
        DataError: there is no bcolz set, one is damaged, a file of other content is in the way, or the disk is full.
    """
    paths = [Path(source)] if is_carray_set(source) else [path for path in sets_in(source) if is_carray_set(path)]
    if not paths:
        raise DataError(f"{source}: no bcolz set in this folder; expected NAME/meta, NAME/data and NAME_list.npy")
    written = 0
    with disk_errors_as_data_errors(target):
        for path in paths:
            found = read_carray_set(path)
            written += place_file(
                Path(target) / f"{found.name}.bin", verification_bytes(found.images, found.issame.tolist())
            )
            progress(found.name)
    return ConvertReport(written, len(paths) - written, ())
