"""What somebody has said of the faces of a library: the file that the page gives, and the memory of all such files.

A corrections file is a list of actions, in the order in which they were done::

    {"format": "arcface-paddle-corrections", "version": 1, "actions": [
      {"do": "name",       "group": "g1", "name": "Ada"},                      "" takes a name away
      {"do": "merge",      "groups": ["g1", "g2"]},                            they are one person
      {"do": "split",      "faces": ["9f86d081884c7d65-0"], "from": "g1"},     they are another person
      {"do": "move",       "faces": ["9f86d081884c7d65-0"], "to": "g2"},
      {"do": "not_person", "faces": ["9f86d081884c7d65-0"], "group": "g1"},    or "name": "Ada"
      {"do": "unknown",    "faces": ["9f86d081884c7d65-0"]},                   nobody of interest: leave it alone
      {"do": "birth",      "name": "Ada", "date": "2010-05-01"}]}              "" takes a date away

A group is an id of ``people.json``, or a list of ids of faces. When a file is taken, ids of groups are replaced by the
faces that are in them, so that what was said keeps its meaning when groups change; so it is remembered beside the
embeddings, file by file, and each can be taken back.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Sequence

from arcface_paddle import files
from arcface_paddle.errors import DataError, GalleryError
from arcface_paddle.library.records import Grouping
from arcface_paddle.pipeline.gallery.entries import clean_name
from arcface_paddle.untrusted import DOCUMENT_ERRORS

FORMAT, VERSION = "arcface-paddle-corrections", 1
MEMORY_FORMAT = "arcface-paddle-corrections-memory"
MEMORY_NAME = "corrections.json"
"""The memory's name in the folder of a library."""

_FROM_XMP = "xmp"
"""In place of a file's hash: names that were read from XMP."""

NAME, MERGE, SPLIT, MOVE, NOT_PERSON, UNKNOWN, BIRTH = (
    *("name", "merge", "split", "move", "not_person", "unknown", "birth"),
)
ACTIONS = (NAME, MERGE, SPLIT, MOVE, NOT_PERSON, UNKNOWN, BIRTH)


@dataclass(frozen=True)
class Action:
    """One thing that somebody said, about faces.

    Attributes:
        do: one of ``ACTIONS``.
        faces: the faces that it is about; of ``merge`` all of them.
        others: the group that they leave (``split``, ``not_person``) or join (``move``), the most typical face first.
        name: who it is, or is not.
        born: date of birth, ``2010-05-01``; empty but for ``birth``.
    """

    do: str
    faces: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    name: str = ""
    born: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the action as the memory holds it."""
        held = {"faces": list(self.faces), "others": list(self.others), "name": self.name, "born": self.born}
        return {"do": self.do, **{key: value for key, value in held.items() if value}}


@dataclass(frozen=True)
class CorrectionSet:
    """The actions of one file.

    Attributes:
        sha256: of the file; ``xmp`` for the names that other programs have written.
        taken: when it was taken, UTC, ``2026-01-31T12:00:00Z``.
        actions: with the faces that they were about.
    """

    sha256: str
    taken: str
    actions: tuple[Action, ...]


class CorrectionMemory:
    """All corrections of a library, in the order in which they were taken.

    Attributes:
        path: the file.
        sets: what it holds.
    """

    def __init__(self, path: files.PathLike, sets: Sequence[CorrectionSet] = ()) -> None:
        """Take what a file holds; ``load`` reads it."""
        self.path = Path(path)
        self.sets = tuple(sets)

    @classmethod
    def load(cls, folder: files.PathLike) -> CorrectionMemory:
        """Read the memory in a library's folder; one of nothing where there is none.

        Raises:
            DataError: it cannot be read.
        """
        path = Path(folder) / MEMORY_NAME
        if not path.exists():
            return cls(path)
        document = _read_json(path)
        if document.get("format") != MEMORY_FORMAT or document.get("version") != VERSION:
            raise DataError(f"{path}: not a memory of corrections of version {VERSION}; move it away to begin anew")
        try:
            return cls(path, [_set_of_json(one) for one in document["sets"]])
        except DOCUMENT_ERRORS as error:
            raise DataError(f"{path}: damaged ({error!r}); move it away to begin anew") from None

    def with_set(self, added: CorrectionSet) -> CorrectionMemory:
        """Return the memory with one more file; one that was taken before counts from now on as the newest."""
        return CorrectionMemory(self.path, [*(one for one in self.sets if one.sha256 != added.sha256), added])

    def with_xmp(self, names: Mapping[str, str]) -> CorrectionMemory:
        """Return the memory with names that other programs have written, by face, in place of those read before.

        They count as said first: whatever was said here goes before them.
        """
        faces: dict[str, list[str]] = {}
        for face_id, name in names.items():
            faces.setdefault(name, []).append(face_id)
        actions = tuple(Action(NAME, tuple(own), name=name) for name, own in faces.items())
        others = [one for one in self.sets if one.sha256 != _FROM_XMP]
        return CorrectionMemory(self.path, [CorrectionSet(_FROM_XMP, _now(), actions), *others] if actions else others)

    def without_last(self) -> CorrectionMemory:
        """Return the memory without the file that was taken last. Raises ``DataError`` when there is none."""
        if not self.sets:
            raise DataError(f"{self.path.parent}: there are no corrections to take back")
        return CorrectionMemory(self.path, self.sets[:-1])

    @property
    def actions(self) -> tuple[Action, ...]:
        return tuple(action for one in self.sets for action in one.actions)

    def save(self) -> None:
        """Write the memory atomically. Raises ``DataError`` when it cannot be written."""
        sets = [
            {"sha256": one.sha256, "taken": one.taken, "actions": [action.to_json() for action in one.actions]}
            for one in self.sets
        ]
        try:
            files.write_json(self.path, {"format": MEMORY_FORMAT, "version": VERSION, "sets": sets})
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror or error}") from None


def read_corrections(path: files.PathLike, grouping: Grouping, *, taken: Sequence[CorrectionSet] = ()) -> CorrectionSet:
    """Read a corrections file, as the page gives it or somebody writes it.

    Args:
        path: the file.
        grouping: what its ids mean.
        taken: the files that were taken before. One of them keeps its meaning where the groups that it names are gone
            by what it says: after an error behind it, as a full disk, the same command is given again.

    Raises:
        DataError: it cannot be read, is no such file, or names a face or group that is not in ``grouping``.
    """
    document = _read_json(Path(path))
    name = files.printable(path)
    if document.get("format") != FORMAT or document.get("version") != VERSION:
        raise DataError(
            f"{name}: format {document.get('format')!r}, version {document.get('version')!r}; a corrections file has "
            f"{FORMAT!r}, version {VERSION}, as the page of 'arcface-paddle people' gives it"
        )
    listed = document.get("actions")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise DataError(f"{name}: actions must be a list of objects")
    sha256 = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    before = next((one for one in taken if one.sha256 == sha256), None)
    reading = _Reading(grouping)
    actions = []
    for number, given in enumerate(listed, 1):
        try:
            actions.append(reading.action(given))
        except (DataError, GalleryError) as error:
            if before is not None:
                return replace(before, taken=_now())
            raise DataError(f"{name}: action {number} of {len(listed)}: {error}; nothing was taken") from None
    return CorrectionSet(sha256, _now(), tuple(actions))


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Reading:
    """Reads actions by what a grouping calls its faces and groups."""

    def __init__(self, grouping: Grouping) -> None:
        self._groups = {group.group_id: group for group in grouping.groups}
        self._faces = {face_id for group in grouping.groups for face_id in group.face_ids}
        self._faces |= {one.face_id for one in grouping.uncertain} | set(grouping.alone)

    def action(self, given: Mapping[str, Any]) -> Action:
        do = given.get("do")
        makers = {
            NAME: self._name, MERGE: self._merge, SPLIT: self._split, MOVE: self._move,
            NOT_PERSON: self._not_person, UNKNOWN: self._unknown, BIRTH: self._birth,
        }  # fmt: skip
        if not isinstance(do, str) or do not in makers:
            raise DataError(f"do is {do!r}; allowed: {', '.join(ACTIONS)}")
        return makers[do](given)

    def _name(self, given: Mapping[str, Any]) -> Action:
        name = _text(given, "name")
        return Action(NAME, self._group(given, "group", "faces"), name=clean_name(name) if name.strip() else "")

    def _merge(self, given: Mapping[str, Any]) -> Action:
        groups = given.get("groups")
        if not isinstance(groups, list) or len(groups) < 2:
            raise DataError(f"groups is {groups!r}; a merge needs a list of two or more")
        members = [face_id for group in groups for face_id in self._members(group)]
        return Action(MERGE, tuple(dict.fromkeys(members)), name=self._name_of(groups))

    def _split(self, given: Mapping[str, Any]) -> Action:
        faces, others = self._group(given, "faces"), self._group(given, "from")
        return Action(SPLIT, faces, _without(others, faces), self._name_of([given["from"]]))

    def _move(self, given: Mapping[str, Any]) -> Action:
        faces, others = self._group(given, "faces"), self._group(given, "to")
        return Action(MOVE, faces, _without(others, faces), self._name_of([given["to"]]))

    def _not_person(self, given: Mapping[str, Any]) -> Action:
        faces = self._group(given, "faces")
        if "group" not in given:
            return Action(NOT_PERSON, faces, name=clean_name(_text(given, "name")))
        others = _without(self._group(given, "group"), faces)
        return Action(NOT_PERSON, faces, others, self._name_of([given["group"]]))

    def _unknown(self, given: Mapping[str, Any]) -> Action:
        return Action(UNKNOWN, self._group(given, "faces", "group"))

    def _birth(self, given: Mapping[str, Any]) -> Action:
        born = _text(given, "date")
        try:
            if born:
                date.fromisoformat(born)
        except ValueError:
            raise DataError(f"date is {born!r}; allowed: as in 2010-05-01, or nothing to take one away") from None
        return Action(BIRTH, name=clean_name(_text(given, "name")), born=born)

    def _group(self, given: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
        key = next((key for key in keys if key in given), None)
        if key is None:
            raise DataError(f"{' or '.join(keys)} is missing")
        return self._members(given[key])

    def _members(self, group: Any) -> tuple[str, ...]:
        """Return the faces of a group, given by its id or by themselves."""
        if isinstance(group, str):
            if group not in self._groups:
                raise DataError(f"no group {group!r} in the people file{_nearest(group, self._groups)}")
            return self._groups[group].face_ids
        if not isinstance(group, list) or not group or not all(isinstance(face_id, str) for face_id in group):
            raise DataError(f"{group!r} is neither a group's id nor a list of ids of faces")
        missing = [face_id for face_id in group if face_id not in self._faces]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DataError(f"no face {missing[0]!r}{more} in the people file; look at the page of this folder again")
        return tuple(dict.fromkeys(group))

    def _name_of(self, groups: Iterable[Any]) -> str:
        """Return the name of the first group that has one, if it is given by its id."""
        known = (self._groups[group].name for group in groups if isinstance(group, str) and group in self._groups)
        return next((name for name in known if name), "")


def _set_of_json(given: Mapping[str, Any]) -> CorrectionSet:
    actions = tuple(
        Action(
            _known_action(one["do"]),
            tuple(map(str, one.get("faces", ()))),
            tuple(map(str, one.get("others", ()))),
            str(one.get("name", "")),
            _known_date(str(one.get("born", ""))),
        )
        for one in given["actions"]
    )
    return CorrectionSet(str(given["sha256"]), str(given["taken"]), actions)


def _known_action(do: Any) -> str:
    if do not in ACTIONS:
        raise ValueError(f"action {do!r}")
    return str(do)


def _known_date(born: str) -> str:
    if born:
        date.fromisoformat(born)
    return born


def _without(faces: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    gone = set(taken)
    return tuple(face_id for face_id in faces if face_id not in gone)


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str):
        raise DataError(f"{key} is {value!r}; it must be a text")
    return value


def _nearest(word: str, known: Iterable[str]) -> str:
    near: Optional[list[str]] = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def _read_json(path: Path) -> dict[str, Any]:
    name = files.printable(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON ({error})") from None
    if not isinstance(document, dict):
        raise DataError(f"{name}: not a JSON object")
    return document
