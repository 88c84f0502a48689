"""A folder for each person, with links to the pictures or copies of them; the pictures themselves stay as they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Iterator

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.library.documents import PeopleDocument
from arcface_paddle.pipeline.outputs import folder_name

LINKS, COPIES, NONE = "links", "copies", "none"
TREES = (LINKS, COPIES, NONE)
"""What the folder of people holds; the values of the flag ``--tree``."""

TREE_NAME = "people"
UNCERTAIN_NAME = "_uncertain"
_MARK = ".made-by-arcface-paddle"


def write_tree(folder: files.PathLike, people: PeopleDocument, *, kind: str) -> int:
    """Write folders of people, in place of those of the last run.

    Args:
        folder: gets a folder for each group, called by its name or id, and ``_uncertain`` with one for each group
            that somebody may belong to.
        people: who is where.
        kind: one of ``TREES``.

    Returns:
        How many links or copies there are.

    Raises:
        DataError: it cannot be written, or the folder is not one that this function has made.
    """
    if kind == NONE:
        return 0
    target = Path(folder)
    if target.exists() and not (target / _MARK).exists():
        raise DataError(f"{target}: was not made by 'arcface-paddle people'; move it away, or name another --output")
    count = 0
    try:
        with files.atomic_folder(target) as fresh:
            (fresh / _MARK).touch()
            for place, picture in _places(people):
                _put(picture, fresh / place, kind)
                count += 1
    except OSError as error:
        hint = (
            "; links need a permission on Windows, --tree copies does not" if kind == LINKS and os.name == "nt" else ""
        )
        raise DataError(f"{target}: cannot be written: {error.strerror or error}{hint}") from None
    return count


def _places(people: PeopleDocument) -> Iterator[tuple[Path, Path]]:
    """Yield where below the tree each picture goes, and the picture; each once a person, near duplicates not."""
    pictures = {picture.sha256: picture for picture in people.pictures}
    picture_of = {face.face_id: face.picture for face in people.faces}
    shown = {group.group_id: folder_name(group.name or group.group_id) for group in people.grouping.groups}
    wanted = [(Path(shown[group.group_id]), face) for group in people.grouping.groups for face in group.face_ids]
    wanted += [
        (Path(UNCERTAIN_NAME) / shown[one.candidates[0].group_id], one.face_id) for one in people.grouping.uncertain
    ]
    taken: set[Path] = set()
    done: set[tuple[Path, str]] = set()
    for folder, face_id in wanted:
        picture = pictures[picture_of[face_id]]
        if picture.duplicate_of is not None or (folder, picture.sha256) in done:
            continue
        done.add((folder, picture.sha256))
        path = Path(people.root) / picture.path
        yield _free(folder / path.name, taken), path


def _free(place: Path, taken: set[Path]) -> Path:
    """Return a path that no other picture has: ``a.jpg``, ``a_2.jpg``; names count as equal in any case."""
    number, candidate = 1, place
    while Path(str(candidate).lower()) in taken:
        number += 1
        candidate = place.with_name(f"{place.stem}_{number}{place.suffix}")
    taken.add(Path(str(candidate).lower()))
    return candidate


def _put(picture: Path, place: Path, kind: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == COPIES:
        shutil.copy2(picture, place)
    else:
        place.symlink_to(picture.absolute())
