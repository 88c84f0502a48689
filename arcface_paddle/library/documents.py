"""``people.json``: a library and who is in it, as one file that other programs can read.

::

    {"format": 1, "root": "/photos", "store": "/photos-people/store",
     "facts": {"model": ..., "algorithm": ..., "threshold": .52, "rule": ..., "counts": {"pictures": 3, ...}},
     "pictures": [{"sha256": ..., "path": "2019/a.jpg", "size": [4000, 3000], "captured": "2019-07-01T12:00:00",
                   "duplicate_of": null, "copies": []}, ...],
     "faces": [{"id": ..., "picture": ..., "box": [x0, y0, x1, y1], "landmarks": [[x, y], ...], "score": .99,
                "quality": .8, "size": 120.0}, ...],
     "groups": [{"id": ..., "name": null, "cohesion": .71, "faces": [...]}, ...],
     "uncertain": [{"face": ..., "candidates": [{"group": ..., "similarity": .43}]}, ...],
     "alone": [...]}

Each picture, face and group stands on a line of its own, so that the file can be read, searched and compared. The
embeddings are not in it: they lie in the store, in whose order ``faces`` need not be.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.library.records import (
    Group,
    GroupCandidate,
    Grouping,
    GroupingFacts,
    Library,
    LibraryFace,
    LibraryPicture,
    UncertainFace,
)
from arcface_paddle.untrusted import DOCUMENT_ERRORS

FORMAT = 1
PEOPLE_NAME = "people.json"
_LONGEST_PATH, _LONGEST_PART = 2000, 255  # bytes; systems allow 4096 for the whole, of which the folder takes a share
_LISTS = ("pictures", "faces", "groups", "uncertain", "alone")


@dataclass(frozen=True, eq=False)
class PeopleDocument:
    """The content of a ``people.json``.

    Attributes:
        root: the folder of the pictures, to which their paths are relative.
        store: the folder of the embeddings.
        pictures: as in ``Library``.
        faces: as in ``Library``; ``row`` is the position in this tuple.
        grouping: who is who.
    """

    root: str
    store: str
    pictures: tuple[LibraryPicture, ...]
    faces: tuple[LibraryFace, ...]
    grouping: Grouping


def write_people(path: files.PathLike, library: Library, *, grouping: Grouping, store: files.PathLike) -> None:
    """Write a library and its groups atomically.

    Args:
        path: the file, usually called ``PEOPLE_NAME``.
        library: pictures and faces.
        grouping: of these faces.
        store: the folder that holds the embeddings.

    Raises:
        OSError: it cannot be written.
    """
    facts = grouping.facts
    head = {
        "format": FORMAT,
        "root": library.root,
        "store": files.printable(store),
        "facts": {
            "model": facts.model,
            "algorithm": facts.algorithm,
            "threshold": round(facts.threshold, 4),
            "rule": facts.rule,
            "counts": dict(facts.counts),
            "fingerprint": facts.fingerprint,
        },
    }
    lists: dict[str, Iterable[Any]] = {
        "pictures": map(_picture_to_json, library.pictures),
        "faces": map(_face_to_json, library.faces),
        "groups": map(_group_to_json, grouping.groups),
        "uncertain": map(_uncertain_to_json, grouping.uncertain),
        "alone": grouping.alone,
    }
    parts = [f"{_json(key)}: {_json(value)}" for key, value in head.items()]
    for key, rows in lists.items():
        lines = ",\n".join(f"  {_json(row)}" for row in rows)
        parts.append(f"{_json(key)}: [\n{lines}\n]" if lines else f"{_json(key)}: []")
    files.write_text(path, "{" + ",\n".join(parts) + "}\n")


def read_people(path: files.PathLike) -> PeopleDocument:
    """Read a ``people.json``.

    Raises:
        DataError: no such file, not JSON, of another format, or inconsistent.
    """
    try:
        document = json.loads(files.read_bytes(path).decode("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); write it anew with 'arcface-paddle people'") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise DataError(f"{path}: format is {found!r}; this version reads people files of format {FORMAT}")
    try:
        people = _from_document(document)
    except DOCUMENT_ERRORS as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error}); write it anew") from None
    _check_references(people, path)
    return people


def _from_document(document: Mapping[str, Any]) -> PeopleDocument:
    lists = {key: document[key] for key in _LISTS}
    if not all(isinstance(value, list) for value in lists.values()):
        raise TypeError(f"{', '.join(_LISTS)} must be lists")
    facts = document["facts"]
    grouping = Grouping(
        tuple(_group_from_json(row) for row in lists["groups"]),
        tuple(_uncertain_from_json(row) for row in lists["uncertain"]),
        tuple(str(face_id) for face_id in lists["alone"]),
        GroupingFacts(
            str(facts["model"]), str(facts["algorithm"]), _finite(facts["threshold"]), str(facts["rule"]),
            {str(key): int(value) for key, value in facts["counts"].items()},
            str(facts.get("fingerprint", "")),
        ),
    )  # fmt: skip
    return PeopleDocument(
        root=_path(document["root"]),
        store=str(document["store"]),
        pictures=tuple(_picture_from_json(row) for row in lists["pictures"]),
        faces=tuple(_face_from_json(row, number) for number, row in enumerate(lists["faces"])),
        grouping=grouping,
    )


def _check_references(people: PeopleDocument, path: files.PathLike) -> None:
    """Refuse faces that are in no picture, in no part of the grouping or in two: somebody has edited the file."""
    pictures = {picture.sha256 for picture in people.pictures}
    orphan = next((face.face_id for face in people.faces if face.picture not in pictures), None)
    if orphan is not None:
        raise DataError(f"{path}: the picture of face {orphan} is not listed")
    grouping = people.grouping
    placed = [face_id for group in grouping.groups for face_id in group.face_ids]
    placed += [uncertain.face_id for uncertain in grouping.uncertain]
    placed += grouping.alone
    known = {face.face_id for face in people.faces}
    if len(placed) != len(known) or set(placed) != known:
        raise DataError(
            f"{path}: {len(known)} faces, but groups, uncertain and alone name {len(set(placed))} in {len(placed)} "
            "places; each face has one place. Corrections belong into the corrections file"
        )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _picture_to_json(picture: LibraryPicture) -> dict[str, Any]:
    return {
        "sha256": picture.sha256,
        "path": picture.path,
        "size": list(picture.size_wh),
        "captured": None if picture.captured is None else picture.captured.isoformat(),
        "duplicate_of": picture.duplicate_of,
        "copies": list(picture.copies),
    }


def _picture_from_json(row: Mapping[str, Any]) -> LibraryPicture:
    width, height = row["size"]
    captured, duplicate_of = row["captured"], row["duplicate_of"]
    return LibraryPicture(
        sha256=str(row["sha256"]),
        path=_picture_path(row["path"]),
        size_wh=(int(width), int(height)),
        captured=None if captured is None else datetime.fromisoformat(captured),
        duplicate_of=None if duplicate_of is None else str(duplicate_of),
        copies=tuple(map(_picture_path, row["copies"])),
    )


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number that can be written again")
    return number


def _points(values: Any) -> np.ndarray:
    points = np.array(values, np.float32)
    if not np.isfinite(points).all():
        raise ValueError("coordinates that are not finite")
    return points


def _path(text: Any) -> str:
    """Return a path that a system can be asked for. Raises ``ValueError`` for others."""
    if not isinstance(text, str) or "\0" in text or len(text.encode()) > _LONGEST_PATH:
        raise ValueError(f"{text!r:.60} is no path")
    if any(len(part.encode()) > _LONGEST_PART for part in text.split("/")):
        raise ValueError(f"{text!r:.60} is no path: a name of more than {_LONGEST_PART} bytes")
    return text


def _picture_path(text: Any) -> str:
    if not Path(_path(text)).name:
        raise ValueError(f"{text!r:.60} is no path of a picture")
    return str(text)


def _face_to_json(face: LibraryFace) -> dict[str, Any]:
    return {
        "id": face.face_id,
        "picture": face.picture,
        "box": _rounded(face.box_xyxy),
        "landmarks": None if face.landmarks is None else [_rounded(point) for point in face.landmarks],
        "score": round(face.score, 4),
        "quality": None if face.quality is None else round(face.quality, 4),
        "size": round(face.size_px, 1),
    }


def _face_from_json(row: Mapping[str, Any], number: int) -> LibraryFace:
    landmarks, quality = row["landmarks"], row["quality"]
    return LibraryFace(
        face_id=str(row["id"]),
        picture=str(row["picture"]),
        box_xyxy=_points(row["box"]).reshape(4),
        landmarks=None if landmarks is None else _points(landmarks).reshape(5, 2),
        score=_finite(row["score"]),
        quality=None if quality is None else _finite(quality),
        size_px=_finite(row["size"]),
        row=number,
    )


def _group_to_json(group: Group) -> dict[str, Any]:
    return {
        "id": group.group_id,
        "name": group.name,
        "cohesion": round(group.cohesion, 4),
        "faces": list(group.face_ids),
    }


def _group_from_json(row: Mapping[str, Any]) -> Group:
    name: Optional[str] = row["name"]
    faces = tuple(str(face_id) for face_id in row["faces"])
    return Group(str(row["id"]), faces, None if name is None else str(name), _finite(row["cohesion"]))


def _uncertain_to_json(uncertain: UncertainFace) -> dict[str, Any]:
    candidates = [{"group": c.group_id, "similarity": round(c.similarity, 4)} for c in uncertain.candidates]
    return {"face": uncertain.face_id, "candidates": candidates}


def _uncertain_from_json(row: Mapping[str, Any]) -> UncertainFace:
    candidates = tuple(GroupCandidate(str(c["group"]), _finite(c["similarity"])) for c in row["candidates"])
    return UncertainFace(str(row["face"]), candidates)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in values]
