"""Ids of groups that stay the same from run to run."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Optional, Sequence

from arcface_paddle.library.records import Grouping

_DIGITS = 10


def lasting_ids(groups: Sequence[Sequence[str]], before: Optional[Grouping]) -> list[str]:
    """Return an id for each group of faces.

    A group goes on under the id of the former group with which it shares most faces, when no other group shares more
    with that one: the larger part of a split keeps the id, and a merged group has that of its larger part. A group
    without such a past gets an id that follows from its faces.

    Args:
        groups: ids of the faces of each, each face in one group at most.
        before: the former grouping; None for the first.
    """
    former = before.group_of() if before is not None else {}
    shared: Counter[tuple[int, str]] = Counter()
    for number, face_ids in enumerate(groups):
        shared.update((number, former[face_id]) for face_id in face_ids if face_id in former)
    ids: dict[int, str] = {}
    taken: set[str] = set()
    for (number, old), _ in sorted(shared.items(), key=lambda item: (-item[1], item[0][1], item[0][0])):
        if number not in ids and old not in taken:
            ids[number] = old
            taken.add(old)
    reserved = taken | set(former.values())
    for number, face_ids in enumerate(groups):
        if number not in ids:
            ids[number] = _new_id(min(face_ids), reserved)
            reserved.add(ids[number])
    return [ids[number] for number in range(len(groups))]


def _new_id(face_id: str, reserved: set[str]) -> str:
    for attempt in range(len(reserved) + 1):
        digest = hashlib.sha256(f"{face_id}/{attempt}".encode()).hexdigest()
        if f"p-{digest[:_DIGITS]}" not in reserved:
            return f"p-{digest[:_DIGITS]}"
    raise AssertionError("one more attempt than there are ids finds a free one")
