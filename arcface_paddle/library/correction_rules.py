"""From what somebody said, one thing after the other, to what must hold at once.

Later words undo earlier ones that contradict them: who splits what was merged has unmerged it, and the other way round.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Iterable, Sequence

from arcface_paddle.library.correction_files import (
    BIRTH,
    MERGE,
    MOVE,
    NAME,
    NOT_PERSON,
    SPLIT,
    UNKNOWN,
    Action,
)
from arcface_paddle.library.records import Corrections, Grouping

ANCHORS = 8
"""Faces of a group, its most typical ones, from which a face is kept apart that is somebody else.

All of them would be a pair for each face of a group of thousands. One would let the face come back as soon as that one
leaves the group.
"""


def corrections_of(actions: Iterable[Action]) -> Corrections:
    """Return what all actions together demand."""
    demands = _Demands()
    for action in actions:
        demands.hear(action)
    return demands.corrections()


class _Demands:
    """What must hold after the actions heard so far."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._linked: dict[str, set[str]] = {}
        self._apart: dict[str, set[str]] = {}
        self._not_person: dict[tuple[str, str], None] = {}
        self._unknown: dict[str, None] = {}
        self._birth: dict[str, date] = {}

    def hear(self, action: Action) -> None:
        """Let an action count."""
        heard = {
            NAME: self._name, MERGE: self._merge, SPLIT: self._split, MOVE: self._move,
            NOT_PERSON: self._deny, UNKNOWN: self._ignore, BIRTH: self._born,
        }  # fmt: skip
        heard[action.do](action)

    def corrections(self) -> Corrections:
        """Return the demands as the grouping takes them."""
        return Corrections(
            names=dict(self._names),
            must_link=_pairs(self._linked),
            cannot_link=_pairs(self._apart),
            not_person=tuple(self._not_person),
            birth=dict(self._birth),
            unknown=tuple(self._unknown),
        )

    def _name(self, action: Action) -> None:
        if not action.name:
            for face_id in action.faces:
                self._names.pop(face_id, None)
            return
        bearers = [face_id for face_id, name in self._names.items() if name == action.name]
        self._allow(action.faces, bearers)
        self._call(action.faces, action.name)

    def _merge(self, action: Action) -> None:
        self._allow(action.faces, action.faces)
        self._link(action.faces)
        name = next((self._names[face_id] for face_id in action.faces if face_id in self._names), action.name)
        if name:
            self._call(action.faces, name)

    def _split(self, action: Action) -> None:
        self._part(action.faces, action.others, action.name)
        self._link(action.faces)

    def _move(self, action: Action) -> None:
        for face_id in action.faces:
            self._part([face_id], sorted(self._linked.get(face_id, ())), self._names.get(face_id, ""))
        self._allow(action.faces, action.others)
        if action.others:
            self._link([action.others[0], *action.faces])
        name = next((self._names[face_id] for face_id in action.others if face_id in self._names), action.name)
        if name:
            self._call(action.faces, name)

    def _deny(self, action: Action) -> None:
        self._part(action.faces, action.others, action.name)

    def _ignore(self, action: Action) -> None:
        for face_id in action.faces:
            for other in self._linked.pop(face_id, set()):
                self._linked[other].discard(face_id)
            self._names.pop(face_id, None)
            self._unknown[face_id] = None

    def _born(self, action: Action) -> None:
        self._birth[action.name] = date.fromisoformat(action.born)

    def _call(self, faces: Iterable[str], name: str) -> None:
        for face_id in faces:
            self._names[face_id] = name
            self._not_person.pop((face_id, name), None)
            self._unknown.pop(face_id, None)

    def _allow(self, faces: Iterable[str], others: Iterable[str]) -> None:
        """Take back that faces are apart."""
        inside = set(others)
        for face_id in faces:
            self._unknown.pop(face_id, None)
            for other in self._apart.get(face_id, set()) & inside:
                self._apart[face_id].discard(other)
                self._apart[other].discard(face_id)

    def _link(self, faces: Sequence[str]) -> None:
        for face_id in faces[1:]:
            self._linked.setdefault(faces[0], set()).add(face_id)
            self._linked.setdefault(face_id, set()).add(faces[0])

    def _part(self, faces: Sequence[str], others: Sequence[str], name: str) -> None:
        """Let faces be somebody else than the others; those stay linked who were linked by way of the faces."""
        leaving, staying = set(faces), set(others)
        left_behind = []
        for face_id in faces:
            linked = self._linked.get(face_id, set())
            for other in sorted(linked & staying):
                linked.discard(other)
                self._linked[other].discard(face_id)
                left_behind.append(other)
        self._link(list(dict.fromkeys(left_behind)))
        names = {self._names[face_id] for face_id in staying if face_id in self._names} | {name} - {""}
        for face_id in faces:
            if self._names.get(face_id) in names:
                del self._names[face_id]
            for forbidden in sorted(names):
                self._not_person[face_id, forbidden] = None
            for other in others[:ANCHORS]:
                if other not in leaving:
                    self._apart.setdefault(face_id, set()).add(other)
                    self._apart.setdefault(other, set()).add(face_id)


def _pairs(related: dict[str, set[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((one, other) for one in sorted(related) for other in sorted(related[one]) if one < other)


def leave_alone(grouping: Grouping, unknown: Iterable[str]) -> Grouping:
    """Return a grouping in which faces of nobody in particular are alone, and ask about nobody.

    A group without a name that keeps a single face is dissolved. The cohesion of a group stays what it was.
    """
    gone = set(unknown)
    groups, alone = [], [face_id for face_id in grouping.alone if face_id not in gone]
    for group in grouping.groups:
        kept = tuple(face_id for face_id in group.face_ids if face_id not in gone)
        if len(kept) == len(group.face_ids):
            groups.append(group)
        elif len(kept) > 1 or (kept and group.name):
            groups.append(replace(group, face_ids=kept))
        else:
            alone += kept
    left = {group.group_id for group in groups}
    uncertain = []
    for one in grouping.uncertain:
        candidates = tuple(candidate for candidate in one.candidates if candidate.group_id in left)
        if one.face_id not in gone and candidates:
            uncertain.append(replace(one, candidates=candidates))
        elif one.face_id not in gone:
            alone.append(one.face_id)
    placed = {face_id for group in grouping.groups for face_id in group.face_ids} | set(grouping.alone)
    placed |= {one.face_id for one in grouping.uncertain}
    return replace(grouping, groups=tuple(groups), uncertain=tuple(uncertain), alone=(*alone, *sorted(gone & placed)))
