"""The page on which somebody looks at the groups of a library and corrects them.

It is one file that works without a network and without a server. What is done on it leaves it as a small file,
``corrections.json``, see ``correction_files``. Faces are small pictures in sheets (``face_sheets``): up to
``EMBEDDED_BYTES`` of them are in the page itself, so that it can be mailed; beyond, they are files beside it, so that
the page of a hundred thousand faces still opens. A policy allows the page's own script and style, by their hashes, and
pictures; nothing else, from nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import urllib.parse
from datetime import date
from pathlib import Path
from typing import Any, Mapping, Optional

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.library.documents import PeopleDocument
from arcface_paddle.library.duplicates import SAME_PLACE_IOU
from arcface_paddle.library.face_sheets import COLUMNS, FaceSheets
from arcface_paddle.library.regions import Area, area_of_box

EMBEDDED_BYTES = 12_000_000
"""Sheets up to this size together, some 4,000 faces, are put into the page."""

_ASSETS = Path(__file__).parent / "assets"
_PLACE = re.compile(r"\{(policy|title|style|data|script)\}")


def write_page(
    path: files.PathLike,
    people: PeopleDocument,
    *,
    sheets: FaceSheets,
    command: str,
    births: Optional[Mapping[str, date]] = None,
) -> None:
    """Write the page of a library atomically.

    Args:
        path: the page.
        people: whom it shows.
        sheets: the small pictures of the faces; a face that is not in them is shown as a grey square.
        command: what the reader is told to run with the corrections.
        births: dates of birth by name, as far as somebody has said them.

    Raises:
        DataError: it cannot be written, or a sheet cannot be read.
    """
    try:
        content = _content(Path(path), people, sheets=sheets, command=command)
        content["births"] = {name: day.isoformat() for name, day in (births or {}).items()}
        files.write_text(path, _document(content))
    except OSError as error:
        raise DataError(f"{files.printable(path)}: cannot be written: {error.strerror or error}") from None


def _document(content: dict[str, Any]) -> str:
    style = (_ASSETS / "people.css").read_text(encoding="utf-8")
    script = (_ASSETS / "people.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; img-src data: blob: file: "
        "'self'; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(content["title"]),
        "style": style,
        "script": script,
        "data": _as_script(content),
    }
    # In one pass: what is put in is not searched, whatever a folder is called.
    return _PLACE.sub(lambda place: parts[place[1]], (_ASSETS / "people.html").read_text(encoding="utf-8"))


def _source(text: str) -> str:
    """Return what a Content-Security-Policy calls an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _as_script(content: dict[str, Any]) -> str:
    """Return JSON that no HTML parser takes for the end of its element, or for a comment."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _content(path: Path, people: PeopleDocument, *, sheets: FaceSheets, command: str) -> dict[str, Any]:
    """Return what the page shows, faces and pictures by their number."""
    pictures = {picture.sha256: number for number, picture in enumerate(people.pictures)}
    numbers = {face.face_id: number for number, face in enumerate(people.faces)}
    shown = sorted({sheets.places[face_id].sheet for face_id in numbers if face_id in sheets.places})
    order = {sheet: number for number, sheet in enumerate(shown)}
    faces = []
    for face in people.faces:
        place = sheets.places.get(face.face_id)
        where = (-1, 0) if place is None else (order[place.sheet], place.tile)
        faces.append([face.face_id, *where, pictures[face.picture]])
    grouping = people.grouping
    hidden = seen_twice(people)
    groups = [
        [one.group_id, one.name, [numbers[face_id] for face_id in one.face_ids if face_id not in hidden]]
        for one in grouping.groups
    ]
    uncertain = [
        [numbers[one.face_id], [[candidate.group_id, round(candidate.similarity, 3)] for candidate in one.candidates]]
        for one in grouping.uncertain
        if one.face_id not in hidden
    ]
    alone = [numbers[face_id] for face_id in grouping.alone if face_id not in hidden]
    version = json.dumps([people.root, [face.face_id for face in people.faces], groups, uncertain, alone])
    return {
        "title": Path(people.root).name or people.root,
        "id": hashlib.sha256(version.encode("utf-8", "backslashreplace")).hexdigest()[:16],
        "command": command,
        "sheets": _sheets(path, sheets, shown),
        "pictures": [
            [
                picture.path,
                picture.captured.isoformat() if picture.captured else "",
                _address(Path(people.root) / picture.path, page=path),
            ]
            for picture in people.pictures
        ],
        "faces": faces,
        "groups": groups,
        "uncertain": uncertain,
        "alone": alone,
    }


def seen_twice(people: PeopleDocument) -> set[str]:
    """Return the faces of near duplicates of which the original shows the same one; they go where that goes.

    In a group it is the face of the original in that group, for nobody is on a photograph twice; elsewhere it is the
    one at the same place.
    """
    original_of = {picture.sha256: picture.duplicate_of for picture in people.pictures}
    sizes = {picture.sha256: picture.size_wh for picture in people.pictures}
    place_of = {
        face.face_id: (
            face.picture,
            area_of_box(face.box_xyxy.tolist(), stored_size_wh=sizes[face.picture], orientation=1),
        )
        for face in people.faces
    }
    group_of = people.grouping.group_of()
    grouped = {(group_of[face.face_id], face.picture) for face in people.faces if face.face_id in group_of}
    elsewhere: dict[str, list[Area]] = {}
    for face_id, (picture, place) in place_of.items():
        if face_id not in group_of and place is not None:
            elsewhere.setdefault(picture, []).append(place)
    twice = set()
    for face_id, (picture, place) in place_of.items():
        original = original_of[picture]
        if original is None:
            continue
        if face_id in group_of:
            is_there = (group_of[face_id], original) in grouped
        else:
            is_there = place is not None and any(
                place.overlap(other) >= SAME_PLACE_IOU for other in elsewhere.get(original, ())
            )
        twice |= {face_id} if is_there else set()
    return twice


def _sheets(page: Path, sheets: FaceSheets, shown: list[int]) -> dict[str, Any]:
    paths = [sheets.path_of(number) for number in shown]
    embedded = sum(path.stat().st_size for path in paths) <= EMBEDDED_BYTES
    if embedded:
        content = [base64.b64encode(path.read_bytes()).decode("ascii") for path in paths]
    else:
        content = [_address(path, page=page) for path in paths]
    return {"columns": COLUMNS, "embedded": embedded, "content": content}


def _address(path: Path, *, page: Path) -> str:
    """Return the address of a file as seen from the page; absolute where they share no folder (Windows drives)."""
    try:
        relative = os.path.relpath(path.absolute(), page.absolute().parent)
    except ValueError:
        return path.absolute().as_uri()
    return urllib.parse.quote(relative.replace(os.sep, "/").encode("utf-8", "surrogateescape"))
