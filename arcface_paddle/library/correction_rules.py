"""From what somebody said, one thing after the other, to what must hold at once.

Later words undo earlier ones that contradict them: who splits what was merged has unmerged it, and the other way round.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Callable, Iterable, Mapping, Optional, Sequence

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


def corrections_of(actions: Iterable[Action], *, same: Optional[Mapping[str, str]] = None) -> Corrections:
    """Return what all actions together demand; it never contradicts itself.

    Args:
        actions: in the order in which they were said.
        same: for faces that are one face, as that of a near duplicate and that of its original, the one that stands for
            them; what is said of one is said of all. None when there are none.
    """
    same = {} if same is None else same
    demands = _Demands()
    for action in actions:
        demands.hear(_of_originals(action, same))
    said = demands.corrections()
    unknown = set(said.unknown)
    return replace(said, unknown=(*said.unknown, *(copy for copy, first in same.items() if first in unknown - {copy})))


def _of_originals(action: Action, same: Mapping[str, str]) -> Action:
    faces = tuple(dict.fromkeys(same.get(face_id, face_id) for face_id in action.faces))
    meant = set(faces)
    others = dict.fromkeys(same.get(face_id, face_id) for face_id in action.others)
    return replace(action, faces=faces, others=tuple(face_id for face_id in others if face_id not in meant))


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
        """Return the demands as the grouping takes them.

        Where a link by way of a third face contradicts them, as in files that somebody has written by hand, links
        between different names go first, and then whatever keeps apart who is linked.
        """
        self._unlink_different_names()
        person = self._people()
        return Corrections(
            names=dict(self._names),
            must_link=_pairs(self._linked),
            cannot_link=tuple(pair for pair in _pairs(self._apart) if person(pair[0]) != person(pair[1])),
            not_person=tuple((face, name) for face, name in self._not_person if person(face) != person(f"={name}")),
            birth=dict(self._birth),
            unknown=tuple(self._unknown),
        )

    def _unlink_different_names(self) -> None:
        """Of linked faces with several names, leave those linked that have the same one."""
        for component in self._components():
            if len({self._names[face_id] for face_id in component if face_id in self._names}) > 1:
                for face_id in component:
                    name = self._names.get(face_id)
                    self._linked[face_id] = {
                        one for one in self._linked.get(face_id, set()) if name and self._names.get(one) == name
                    }

    def _components(self) -> list[list[str]]:
        """Return the faces that links tie together."""
        seen: set[str] = set()
        components = []
        for start in self._linked:
            if start not in seen:
                component = self._reached([start])
                seen |= component
                components.append(sorted(component))
        return components

    def _reached(self, faces: Iterable[str]) -> set[str]:
        """Return the faces that links lead to from some faces, these included."""
        reached: set[str] = set()
        waiting = list(faces)
        while waiting:
            face_id = waiting.pop()
            if face_id not in reached:
                reached.add(face_id)
                waiting += self._linked.get(face_id, ())
        return reached

    def _people(self) -> Callable[[str], str]:
        """Return a function that gives one text for all faces of a person, and ``=NAME`` for one with a name."""
        of = {face_id: f"={name}" for face_id, name in self._names.items()}
        for component in self._components():
            names = [of[face_id] for face_id in component if face_id in of]
            of.update(dict.fromkeys(component, names[0] if names else component[0]))
        return lambda face_id: of.get(face_id, face_id)

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
        if action.born:
            self._birth[action.name] = date.fromisoformat(action.born)
        else:
            self._birth.pop(action.name, None)

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
        leaving = set(faces)
        staying = (set(others) | self._reached(faces)) - leaving
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
    alone += sorted(gone & placed)
    now = {"groups": len(groups), "uncertain": len(uncertain), "alone": len(alone)}
    counts = {key: now.get(key, count) for key, count in grouping.facts.counts.items()}
    return Grouping(tuple(groups), tuple(uncertain), tuple(alone), replace(grouping.facts, counts=counts))
