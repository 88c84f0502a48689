"""From what a store knows to a library: pictures once each, near duplicates told, faces with their embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.library.duplicates import find_duplicates, same_places
from arcface_paddle.library.records import Library, LibraryFace, LibraryPicture, face_id_of
from arcface_paddle.library.store import StoredPicture
from arcface_paddle.pipeline.inputs import FoundPicture

_SAME_FACE_COSINE = 0.9
"""A face at the same place of a near duplicate is the same one when its embedding agrees, too. Recompression and
halving leave a cosine above; where another frame of a series shows somebody else there, it is far lower."""


@dataclass(frozen=True, eq=False)
class AssembledLibrary:
    """A library, and which of its faces are seen twice.

    Attributes:
        library: pictures, faces, embeddings.
        copies: the original's face by the face of a near duplicate, both by id.
    """

    library: Library
    copies: Mapping[str, str]


def assemble(
    contents: Mapping[FoundPicture, str], stored: Mapping[str, StoredPicture], *, root: Path
) -> AssembledLibrary:
    """Put a library together.

    Args:
        contents: SHA-256 of each readable picture.
        stored: what was found in them.
        root: the library's folder; paths below it are given relative to it.
    """
    paths: dict[str, list[str]] = {}
    for found, sha256 in sorted(contents.items(), key=lambda item: item[0].path.as_posix()):
        paths.setdefault(sha256, []).append(_path_text(found.path, root))
    known = [stored[sha256] for sha256 in paths]
    duplicate_of = find_duplicates(known)
    pictures = tuple(
        LibraryPicture(
            picture.sha256,
            paths[picture.sha256][0],
            picture.size_wh,
            picture.captured,
            duplicate_of.get(picture.sha256),
            tuple(paths[picture.sha256][1:]),
        )
        for picture in known
    )
    faces: list[LibraryFace] = []
    for picture in known:
        faces += _faces_of(picture, first_row=len(faces))
    embeddings = [picture.embeddings for picture in known if picture.face_count]
    matrix = np.concatenate(embeddings) if embeddings else np.empty((0, 0), np.float32)
    library = Library(files.printable(root), pictures, tuple(faces), matrix)
    return AssembledLibrary(library, _copies(duplicate_of, stored))


def _faces_of(picture: StoredPicture, *, first_row: int) -> Sequence[LibraryFace]:
    faces = []
    for number in range(picture.face_count):
        box, points = picture.boxes_xyxy[number], picture.landmarks[number]
        quality = float(picture.qualities[number])
        faces.append(
            LibraryFace(
                face_id=face_id_of(picture.sha256, number),
                picture=picture.sha256,
                box_xyxy=box,
                landmarks=None if np.isnan(points).any() else points,
                score=float(picture.scores[number]),
                quality=None if np.isnan(quality) else quality,
                size_px=float((box[2:] - box[:2]).max()),
                row=first_row + number,
            )
        )
    return faces


def _copies(duplicate_of: Mapping[str, str], stored: Mapping[str, StoredPicture]) -> dict[str, str]:
    """Return the original's face of each face of a near duplicate that is the same one."""
    copies: dict[str, str] = {}
    for duplicate, original in duplicate_of.items():
        twin, first = stored[duplicate], stored[original]
        for number, of_original in same_places(first, twin).items():
            if float(twin.embeddings[number] @ first.embeddings[of_original]) >= _SAME_FACE_COSINE:
                copies[face_id_of(duplicate, number)] = face_id_of(original, of_original)
    return copies


def _path_text(path: Path, root: Path) -> str:
    """Return a path as ``people.json`` has it: relative to the library's folder where it lies in there, with ``/``."""
    try:
        place = path.absolute().relative_to(root.absolute())
    except ValueError:
        place = path.absolute()
    return files.printable(place.as_posix())
