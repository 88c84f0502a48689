"""What must hold whatever the similarities say: which faces are one person for sure, and which are not.

Faces that are one person for sure are put into one *unit* before anything is compared:

- the face of a near duplicate and the same face of the original,
- two detections of one face in one photograph (their boxes overlap),
- what a correction links, and all faces to which one name is given.

Two units are kept apart when

- a photograph shows a face of each: nobody is on one photograph twice (mirrors and collages are the exception, for
  which there are corrections: a link that somebody asks for goes before this rule),
- a correction says so, or gives them different names, or says that a face of one is not the person of the other's name,
- a face of one was photographed before the person of the other's name was born.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import Iterable, Mapping, Optional, Sequence

import numpy as np

from arcface_paddle.errors import DataError
from arcface_paddle.library.records import Corrections, Grouping, LibraryFace, LibraryPicture
from arcface_paddle.pipeline.detection.boxes import iou

SAME_FACE_IOU = 0.4
"""Overlap of two boxes of one photograph from which they are one face, found twice."""


@dataclass(frozen=True, eq=False)
class Units:
    """Faces that belong together for sure, and units that must stay apart.

    Attributes:
        unit_of: (N,) int64, the unit of each face, 0 to U - 1.
        names: name by unit, of those whose faces somebody has named.
        apart: (P, 2) int64 pairs of units, lower one first, each once.
    """

    unit_of: np.ndarray
    names: Mapping[int, str]
    apart: np.ndarray

    @property
    def count(self) -> int:
        """U, how many units there are."""
        return int(self.unit_of.max()) + 1 if len(self.unit_of) else 0


def make_units(
    faces: Sequence[LibraryFace],
    pictures: Mapping[str, LibraryPicture],
    *,
    corrections: Corrections,
    copies: Mapping[str, str],
    before: Optional[Grouping] = None,
) -> Units:
    """Return what is sure of some faces.

    Args:
        faces: of the library.
        pictures: by SHA-256.
        corrections: what somebody has said.
        copies: the original's face by the face of a near duplicate, both by id.
        before: the grouping that the ids of groups in ``corrections`` refer to.

    Raises:
        DataError: the corrections contradict each other.
    """
    row_of = {face.face_id: row for row, face in enumerate(faces)}
    names = _names_of_rows(corrections, row_of, before)
    joined = _Joined(len(faces))
    for one, other in _known_pairs(copies.items(), row_of):
        joined.join(one, other)
    for rows in _by_picture(faces).values():
        for one, other in combinations(rows, 2):
            if iou(faces[one].box_xyxy, faces[other].box_xyxy) >= SAME_FACE_IOU:
                joined.join(one, other)
    bearer: dict[str, int] = {}
    for row, name in names.items():
        joined.join(bearer.setdefault(name, row), row)
    for one, other in _known_pairs(corrections.must_link, row_of):
        joined.join(one, other)
    unit_of = joined.numbers()
    unit_names = _names_of_units(names, unit_of, faces)
    said = _said_apart(faces, pictures, corrections, row_of=row_of, unit_of=unit_of, unit_names=unit_names)
    together = (
        (unit_of[one], unit_of[other])
        for rows in _by_picture(faces).values()
        for one, other in combinations(rows, 2)
        if unit_of[one] != unit_of[other]
    )
    return Units(unit_of, unit_names, _distinct([*said, *together]))


def _said_apart(
    faces: Sequence[LibraryFace],
    pictures: Mapping[str, LibraryPicture],
    corrections: Corrections,
    *,
    row_of: Mapping[str, int],
    unit_of: np.ndarray,
    unit_names: Mapping[int, str],
) -> list[tuple[int, int]]:
    """Return the pairs of units that corrections keep apart."""
    apart: list[tuple[int, int]] = []
    for one, other in _known_pairs(corrections.cannot_link, row_of):
        if unit_of[one] == unit_of[other]:
            raise DataError(
                f"the corrections say that {faces[one].face_id} and {faces[other].face_id} are two people, and by "
                "their names or links that they are one; take one of the two back"
            )
        apart.append((unit_of[one], unit_of[other]))
    unit_by_name = {name: unit for unit, name in unit_names.items()}
    for face_id, name in corrections.not_person:
        if face_id not in row_of or name not in unit_by_name:
            continue
        if unit_of[row_of[face_id]] == unit_by_name[name]:
            raise DataError(
                f"the corrections say that {face_id} is {name}, by its name or a link, and that it is not; take one of "
                "the two back"
            )
        apart.append((unit_of[row_of[face_id]], unit_by_name[name]))
    apart += combinations(sorted(unit_names), 2)
    apart += _too_early(faces, pictures, corrections, unit_of=unit_of, unit_by_name=unit_by_name)
    return apart


def _too_early(
    faces: Sequence[LibraryFace],
    pictures: Mapping[str, LibraryPicture],
    corrections: Corrections,
    *,
    unit_of: np.ndarray,
    unit_by_name: Mapping[str, int],
) -> list[tuple[int, int]]:
    """Return pairs of a face's unit and that of a person who was not born when it was taken; what was said goes on."""
    born = [(unit_by_name[name], day) for name, day in corrections.birth.items() if name in unit_by_name]
    if not born:
        return []
    apart = []
    for row, face in enumerate(faces):
        captured = pictures[face.picture].captured
        if captured is not None:
            apart += [(unit_of[row], u) for u, day in born if captured.date() < day and u != unit_of[row]]
    return apart


def _names_of_rows(corrections: Corrections, row_of: Mapping[str, int], before: Optional[Grouping]) -> dict[int, str]:
    """Return the name of each face that has one; its own goes before that of its group."""
    groups = {group.group_id: group for group in before.groups} if before else {}
    names: dict[int, str] = {}
    for key, name in corrections.names.items():
        if key in groups:
            names.update({row_of[face_id]: name for face_id in groups[key].face_ids if face_id in row_of})
    for key, name in corrections.names.items():
        if key in row_of:
            names[row_of[key]] = name
    return names


def _names_of_units(names: Mapping[int, str], unit_of: np.ndarray, faces: Sequence[LibraryFace]) -> dict[int, str]:
    found: dict[int, tuple[str, int]] = {}
    for row, name in sorted(names.items()):
        other, other_row = found.setdefault(int(unit_of[row]), (name, row))
        if other != name:
            raise DataError(
                f"the corrections call {faces[other_row].face_id} {other} and {faces[row].face_id} {name}, and link "
                "the two as one person; take one of these back"
            )
    return {unit: name for unit, (name, _) in found.items()}


def _known_pairs(pairs: Iterable[tuple[str, str]], row_of: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return pairs of faces that exist as rows; of pictures that are gone there is nothing to correct."""
    return [(row_of[one], row_of[other]) for one, other in pairs if one in row_of and other in row_of]


def _by_picture(faces: Sequence[LibraryFace]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, face in enumerate(faces):
        rows[face.picture].append(row)
    return rows


def _distinct(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    if not pairs:
        return np.empty((0, 2), np.int64)
    return np.unique(np.sort(np.array(pairs, np.int64), axis=1), axis=0)


class _Joined:
    """Union-find over rows."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def join(self, one: int, other: int) -> None:
        """Unite the sets of two rows."""
        low, high = sorted((self._root(one), self._root(other)))
        self._parent[high] = low

    def numbers(self) -> np.ndarray:
        """Return (N,) int64, numbers of the sets from 0 on, in the order of their first rows."""
        roots = np.array([self._root(row) for row in range(len(self._parent))], np.int64)
        return np.unique(roots, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def _root(self, row: int) -> int:
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row
