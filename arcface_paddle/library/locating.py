"""Where the people file of a folder is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.library.documents import PEOPLE_NAME, PeopleDocument, read_people
from arcface_paddle.library.folder_run import PeopleSettings


def locate_people(folder: files.PathLike, *, people: Optional[files.PathLike] = None) -> tuple[PeopleDocument, Path]:
    """Read the people file of a folder.

    Args:
        folder: the pictures, or the folder that holds the people file.
        people: the file itself, where it lies elsewhere.

    Returns:
        The document, with the pictures where they are now, and its path.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{files.printable(folder)}: no such folder")
    places = [Path(folder) / PEOPLE_NAME, PeopleSettings(folder).people_file] if people is None else [Path(people)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(
            f"{files.printable(folder)}: there is no {places[-1]} yet; run 'arcface-paddle people "
            f"{files.printable(folder)}' first, or name the file with --people"
        )
    document = read_people(path)
    is_results = files.resolved(path.parent) == files.resolved(folder)
    # A folder of pictures that has moved since is taken where it is now.
    return (document if is_results else replace(document, root=files.printable(folder))), path
