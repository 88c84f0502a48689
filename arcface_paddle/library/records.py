"""What is known of a photo library: its pictures, their faces, the groups, and what somebody has said of them.

Everything is frozen and refers to other things by name: a picture is its SHA-256, a face is ``face_id``, a group is
``group_id``. The embeddings stand beside the records in one array (N, D); ``LibraryFace.row`` is the row of a face.
``documents`` writes these records as ``people.json`` and reads them back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Mapping, Optional, Sequence

import numpy as np

FACE_ID_DIGITS = 16
"""Hexadecimal digits of the picture's SHA-256 in the name of a face; two of a million pictures share them at 3e-8."""


def face_id_of(sha256: str, number: int) -> str:
    """Return the name of face ``number`` (from 0, the largest first) of a picture.

    Example:
        >>> face_id_of("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 2)
        '9f86d081884c7d65-2'
    """
    return f"{sha256[:FACE_ID_DIGITS]}-{number}"


@dataclass(frozen=True)
class LibraryPicture:
    """One picture, whatever it is called and however often it lies around.

    Attributes:
        sha256: of the file's bytes, 64 hexadecimal digits; the picture's name.
        path: where it lies, relative to the library's folder where it lies in there; printable, with ``/``.
        size_wh: width and height in pixels of the upright picture.
        captured: when it was taken, as the camera's clock said, without a time zone; None when that is not known.
        duplicate_of: the picture of which this is a near duplicate (smaller, recompressed, cropped by a hair), by its
            SHA-256; None for a picture that counts. It is never itself a duplicate.
        copies: other paths with the very same bytes.
    """

    sha256: str
    path: str
    size_wh: tuple[int, int]
    captured: Optional[datetime] = None
    duplicate_of: Optional[str] = None
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LibraryFace:
    """One face of a picture.

    Attributes:
        face_id: the first digits of the picture's SHA-256 and the number of the face in it, see ``face_id_of``.
        picture: SHA-256 of the picture.
        box_xyxy: (4,) float32 left, top, right, bottom in pixels of the upright picture; may reach outside.
        landmarks: (5, 2) float32 as in ``types.Detection``; None when the detector gives boxes only.
        score: confidence of the detector, 0 to 1.
        quality: how good it is for recognition, 0 to 1, see ``pipeline.quality``; None when that is not known.
        size_px: the longer side of the box in pixels.
        row: of its embedding.
    """

    face_id: str
    picture: str
    box_xyxy: np.ndarray
    landmarks: Optional[np.ndarray]
    score: float
    quality: Optional[float]
    size_px: float
    row: int


@dataclass(frozen=True, eq=False)
class Library:
    """All pictures with their faces, and the embeddings.

    Attributes:
        root: the folder that was looked through, printable.
        pictures: in the order of their paths.
        faces: in the order of the pictures, within a picture the largest first.
        embeddings: (N, D) float32, L2-normalised; row i belongs to the face whose ``row`` is i.
    """

    root: str
    pictures: tuple[LibraryPicture, ...]
    faces: tuple[LibraryFace, ...]
    embeddings: np.ndarray


@dataclass(frozen=True)
class Group:
    """Faces of one person.

    Attributes:
        group_id: stays the same in later runs, also when faces come or go; when a group is split, the larger part
            keeps it, and when groups are merged, the merged one has that of the largest.
        face_ids: two or more, or one that somebody has named; the face that is most like all others first.
        name: who it is; None when nobody has said so.
        cohesion: mean similarity of its faces to each other, -1 to 1; 1 for a single face.
    """

    group_id: str
    face_ids: tuple[str, ...]
    name: Optional[str]
    cohesion: float


@dataclass(frozen=True)
class GroupCandidate:
    """A group to which an uncertain face could belong, and the mean similarity (-1 to 1) to its most similar faces."""

    group_id: str
    similarity: float


@dataclass(frozen=True)
class UncertainFace:
    """A face that may belong to a group, and may not: somebody should look at it.

    Attributes:
        face_id: the face; it is in no group.
        candidates: groups that it could belong to, the most similar first; at least one.
    """

    face_id: str
    candidates: tuple[GroupCandidate, ...]


@dataclass(frozen=True)
class GroupingFacts:
    """By which model and rule faces were grouped.

    Attributes:
        model: name of the recogniser and the hash of its weights, as ``"MobileFace sha256:..."``.
        algorithm: the method, in words that a user can look up.
        threshold: least mean score of two groups that become one; ``rule`` says in which measure.
        rule: how the threshold came about, in a sentence.
        counts: pictures, faces, groups, and so on, by name.
        fingerprint: hash of all that decided the grouping; the same again gives the same groups. Empty when unknown.
    """

    model: str
    algorithm: str
    threshold: float
    rule: str
    counts: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True)
class Grouping:
    """Who is who. Every face of the library is in exactly one of ``groups``, ``uncertain`` and ``alone``.

    Attributes:
        groups: named ones first, then the larger first.
        uncertain: faces that may belong to a group.
        alone: ids of faces that are like no other.
        facts: how it came about.
    """

    groups: tuple[Group, ...]
    uncertain: tuple[UncertainFace, ...]
    alone: tuple[str, ...]
    facts: GroupingFacts

    def group_of(self) -> dict[str, str]:
        """Return the group's id of every face that is in a group, by the face's id."""
        return {face_id: group.group_id for group in self.groups for face_id in group.face_ids}


@dataclass(frozen=True)
class Corrections:
    """What somebody has said about faces and groups; it holds in every later run, whatever the similarities say.

    An id of a group stands for the faces that are in it now, by the grouping that is given together with the
    corrections. Ids of faces and groups that no longer exist are passed over, names of people are compared exactly.

    Attributes:
        names: name by the id of a group or of a face. Two groups of one name are one person; faces of different names
            never share a group. A face's own name goes before that of its group.
        must_link: pairs of faces that are one person.
        cannot_link: pairs of faces that are two people.
        not_person: (id of a face, name): the face is not that person.
        birth: date of birth by name: whoever was photographed before it is somebody else.
        unknown: faces of nobody in particular, which stay alone.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    must_link: Sequence[tuple[str, str]] = ()
    cannot_link: Sequence[tuple[str, str]] = ()
    not_person: Sequence[tuple[str, str]] = ()
    birth: Mapping[str, date] = field(default_factory=dict)
    unknown: Sequence[str] = ()

    def is_empty(self) -> bool:
        """Tell whether nothing was said."""
        given: tuple[Any, ...] = (self.names, self.must_link, self.cannot_link, self.not_person, self.birth)
        return not any((*given, self.unknown))


NO_CORRECTIONS = Corrections()
"""Nobody has said anything."""
