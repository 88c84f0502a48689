"""What somebody said of groups: files, memory, and what must hold after all of it."""

from __future__ import annotations

import errno
import json
import random
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from library_making import FACTS, face_of, picture_of

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.library.album import corrections_for
from arcface_paddle.library.assembly import AssembledLibrary
from arcface_paddle.library.correction_files import (
    MEMORY_NAME,
    MERGE,
    MOVE,
    NAME,
    NOT_PERSON,
    SPLIT,
    UNKNOWN,
    Action,
    CorrectionMemory,
    CorrectionSet,
    read_corrections,
)
from arcface_paddle.library.correction_rules import corrections_of, leave_alone
from arcface_paddle.library.grouping.constraints import make_units
from arcface_paddle.library.records import Group, GroupCandidate, Grouping, Library, UncertainFace

GROUPING = Grouping(
    (
        Group("g1", ("a0", "a1", "a2"), "Ada", 0.7),
        Group("g2", ("b0", "b1"), None, 0.7),
        Group("g3", ("c0", "c1"), None, 0.7),
    ),
    (UncertainFace("u0", (GroupCandidate("g2", 0.4), GroupCandidate("g1", 0.3))),),
    ("x0", "x1"),
    FACTS,
)


def written(path, *actions, **changes):
    document = {"format": "arcface-paddle-corrections", "version": 1, "actions": list(actions), **changes}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def heard(tmp_path, *actions):
    return corrections_of(read_corrections(written(tmp_path / "c.json", *actions), GROUPING).actions)


def components(pairs, faces):
    """Return the sets of faces that pairs tie together, by a slow twin of union-find."""
    parts = [{face} for face in faces]
    for one, other in pairs:
        joined = [part for part in parts if one in part or other in part]
        parts = [part for part in parts if part not in joined] + [set().union(*joined)]
    return sorted(map(sorted, parts))


def test_a_name_holds_for_the_faces_that_the_group_has_now(tmp_path):
    names = heard(tmp_path, {"do": "name", "group": "g2", "name": " Grace "}).names
    assert names == {"b0": "Grace", "b1": "Grace"}
    taken_back = [{"do": "name", "group": "g2", "name": "Grace"}, {"do": "name", "faces": ["b1"], "name": ""}]
    assert heard(tmp_path, *taken_back).names == {"b0": "Grace"}


def test_groups_that_are_merged_are_linked_and_take_the_name(tmp_path):
    said = heard(tmp_path, {"do": "merge", "groups": ["g2", "g1", ["x0"]]})
    assert components(said.must_link, ["a0", "a1", "a2", "b0", "b1", "x0", "x1"]) == [
        ["a0", "a1", "a2", "b0", "b1", "x0"],
        ["x1"],
    ]
    assert set(said.names.values()) == {"Ada"}
    assert len(said.names) == 6


def test_faces_that_are_split_off_are_one_and_somebody_else(tmp_path):
    said = heard(tmp_path, {"do": "split", "faces": ["a1", "a2"], "from": "g1"})
    assert said.must_link == (("a1", "a2"),)
    assert said.cannot_link == (("a0", "a1"), ("a0", "a2"))
    assert said.not_person == (("a1", "Ada"), ("a2", "Ada"))


def test_not_this_person_and_later_that_person_after_all(tmp_path):
    no = {"do": "not_person", "faces": ["u0"], "group": "g1"}
    said = heard(tmp_path, no, {"do": "not_person", "faces": ["x0"], "name": "Eve"})
    assert said.not_person == (("u0", "Ada"), ("x0", "Eve"))
    assert said.cannot_link == (("a0", "u0"), ("a1", "u0"), ("a2", "u0"))
    said = heard(tmp_path, no, {"do": "move", "faces": ["u0"], "to": "g1"})
    assert (said.not_person, said.cannot_link, said.names) == ((), (), {"u0": "Ada"})
    assert said.must_link == (("a0", "u0"),)


def test_an_unknown_face_loses_its_name_and_links_until_it_gets_a_name(tmp_path):
    actions = [{"do": "name", "group": "g2", "name": "Grace"}, {"do": "merge", "groups": ["g2", "g3"]}]
    actions.append({"do": "unknown", "faces": ["c0"]})
    said = heard(tmp_path, *actions)
    assert said.unknown == ("c0",)
    assert "c0" not in said.names
    assert components(said.must_link, ["b0", "b1", "c0", "c1"]) == [["b0", "b1", "c1"], ["c0"]]
    assert heard(tmp_path, *actions, {"do": "name", "faces": ["c0"], "name": "Eve"}).unknown == ()


def test_birth_dates(tmp_path):
    born = {"do": "birth", "name": "Ada", "date": "2010-05-01"}
    assert heard(tmp_path, born).birth == {"Ada": date(2010, 5, 1)}
    assert heard(tmp_path, born, {**born, "date": ""}).birth == {}


@pytest.mark.parametrize("seed", range(5))
def test_the_last_word_counts_whatever_came_before(seed):
    chance = random.Random(seed)
    faces = [f"f{i}" for i in range(12)]
    groups, actions = [[face] for face in faces], []
    for _ in range(60):
        one, *rest = chance.sample(groups, len(groups))
        if chance.random() < 0.4 and rest:
            groups = [[*one, *rest[0]], *rest[1:]]
            actions.append(Action(MERGE, tuple(groups[0])))
        elif len(one) > 1:
            leaving = chance.sample(one, chance.randint(1, len(one) - 1))
            staying = [face for face in one if face not in leaving]
            do = chance.choice([SPLIT, NOT_PERSON, MOVE if rest else SPLIT])
            leaving = leaving if do == SPLIT else leaving[:1]
            staying = [face for face in one if face not in leaving]
            others = rest[0] if do == MOVE else staying
            actions.append(Action(do, tuple(leaving), tuple(others)))
            groups = [staying, *([*others, *leaving], *rest[1:])] if do == MOVE else [staying, leaving, *rest]
        said = corrections_of(actions)
        assert components(said.must_link, faces) == sorted(map(sorted, groups)), actions
        together = {face: number for number, group in enumerate(groups) for face in group}
        assert not [pair for pair in said.cannot_link if together[pair[0]] == together[pair[1]]]


def test_what_is_said_of_a_copy_is_said_of_the_original(tmp_path):
    same = {"a0": "a0", "a1": "a0", "x1": "x0", "x0": "x0"}
    actions = [{"do": "split", "faces": ["a1"], "from": "g1"}, {"do": "unknown", "faces": ["x1"]}]
    given = read_corrections(written(tmp_path / "c.json", *actions), GROUPING)
    said = corrections_of(given.actions, same=same)
    assert said.cannot_link == (("a0", "a2"),)  # and not a1, which is a0
    assert said.not_person == (("a0", "Ada"),)
    assert set(said.unknown) == {"x0", "x1"}


def test_what_somebody_writes_by_hand_may_contradict_itself_and_the_demands_do_not(tmp_path):
    linked = {"do": "merge", "groups": [["b0"], ["c0"], ["x0"]]}
    named = [{"do": "name", "faces": ["b0"], "name": "Eve"}, {"do": "name", "faces": ["x0"], "name": "Grace"}]
    said = heard(tmp_path, linked, *named)
    assert said.must_link == ()
    assert said.names == {"b0": "Eve", "x0": "Grace"}
    denied = {"do": "not_person", "faces": ["c0"], "name": "Eve"}
    said = heard(tmp_path, denied, linked, named[0])
    assert components(said.must_link, ["b0", "c0", "x0"]) == [["b0", "c0", "x0"]]
    assert said.not_person == ()
    by_another_way = {"do": "split", "faces": ["b0"], "from": ["x0"]}  # c0 links the two
    said = heard(
        tmp_path,
        {"do": "merge", "groups": [["b0"], ["c0"]]},
        {"do": "merge", "groups": [["c0"], ["x0"]]},
        by_another_way,
    )
    assert components(said.must_link, ["b0", "c0", "x0"]) == [["b0"], ["c0", "x0"]]
    assert said.cannot_link == (("b0", "x0"),)


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ({"do": "dance"}, "do is 'dance'; allowed: name, merge"),
        ({"do": "name", "group": "g11", "name": "Eve"}, "no group 'g11' in the people file, did you mean g1?"),
        ({"do": "name", "group": "g1", "name": "a\nb"}, "control characters"),
        ({"do": "name", "group": "g1", "name": 7}, "name is 7"),
        ({"do": "name", "name": "Eve"}, "group or faces is missing"),
        ({"do": "merge", "groups": ["g1"]}, "two or more"),
        ({"do": "split", "faces": ["a0"]}, "from is missing"),
        ({"do": "split", "faces": ["zz", "zy"], "from": "g1"}, "no face 'zz' and 1 more in the people file"),
        ({"do": "move", "faces": "a0", "to": "g1"}, "no group 'a0'"),
        ({"do": "unknown", "faces": []}, "neither a group's id nor a list"),
        ({"do": "unknown", "faces": [["a0"]]}, "neither a group's id nor a list"),
        ({"do": "birth", "name": "Ada", "date": "1.5.2010"}, "date is '1.5.2010'"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused_with_the_whole_file(tmp_path, action, reason):
    good = {"do": "merge", "groups": ["g1", "g2"]}
    with pytest.raises(DataError) as refused:
        heard(tmp_path, good, action)
    assert "c.json: action 2 of 2: " in str(refused.value)
    assert reason in str(refused.value)
    assert str(refused.value).endswith("nothing was taken")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "x"}', "[" * 100_000])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"c\.json"):
        read_corrections(path, GROUPING)
    with pytest.raises(DataError, match=r"gone\.json: cannot be read"):
        read_corrections(tmp_path / "gone.json", GROUPING)
    with pytest.raises(DataError, match="list of objects"):
        read_corrections(written(path, "name"), GROUPING)


def test_what_was_said_is_remembered_and_can_be_taken_back(tmp_path):
    first = read_corrections(written(tmp_path / "1.json", {"do": "merge", "groups": ["g1", "g2"]}), GROUPING)
    second = read_corrections(written(tmp_path / "2.json", {"do": "split", "faces": ["b0"], "from": "g2"}), GROUPING)
    memory = CorrectionMemory.load(tmp_path)
    assert memory.actions == ()
    memory.with_set(first).with_set(second).save()
    read = CorrectionMemory.load(tmp_path)
    assert read.sets == (first, second)
    assert read.with_set(first).sets == (second, first)
    assert read.without_last().sets == (first,)
    with pytest.raises(DataError, match="no corrections to take back"):
        read.without_last().without_last().without_last()


def test_names_of_other_programs_count_before_all_that_was_said_here(tmp_path):
    said = read_corrections(written(tmp_path / "1.json", {"do": "name", "group": "g1", "name": "Ada"}), GROUPING)
    denied = written(tmp_path / "2.json", {"do": "not_person", "faces": ["x0"], "name": "Eve"})
    memory = CorrectionMemory.load(tmp_path).with_set(said).with_set(read_corrections(denied, GROUPING))
    memory = memory.with_xmp({"a0": "Augusta", "x0": "Eve", "x1": "Eve"})
    assert corrections_of(memory.actions).names == {"a0": "Ada", "a1": "Ada", "a2": "Ada", "x1": "Eve"}
    memory.save()
    again = CorrectionMemory.load(tmp_path).with_xmp({"x1": "Grace"})
    assert (len(again.sets), corrections_of(again.actions).names["x1"]) == (3, "Grace")
    assert len(again.with_xmp({}).sets) == 2


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"format": "arcface-paddle-corrections-memory", "version": 1, "sets": [1]}']
)
def test_a_broken_memory_is_refused(tmp_path, content):
    (tmp_path / MEMORY_NAME).write_text(content)
    with pytest.raises(DataError, match=MEMORY_NAME):
        CorrectionMemory.load(tmp_path)


def test_a_full_disk_leaves_the_memory_as_it_was(tmp_path, monkeypatch):
    given = read_corrections(written(tmp_path / "1.json", {"do": "merge", "groups": ["g1", "g2"]}), GROUPING)
    CorrectionMemory.load(tmp_path).with_set(given).save()
    before = (tmp_path / MEMORY_NAME).read_bytes()
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(DataError, match="cannot be written: No space left"):
        CorrectionMemory(tmp_path / MEMORY_NAME).save()
    assert (tmp_path / MEMORY_NAME).read_bytes() == before


def test_unknown_faces_are_alone():
    left = leave_alone(GROUPING, ["b0", "a0", "gone"])
    assert [(group.group_id, group.face_ids) for group in left.groups] == [("g1", ("a1", "a2")), ("g3", ("c0", "c1"))]
    assert [[candidate.group_id for candidate in one.candidates] for one in left.uncertain] == [["g1"]]
    assert left.alone == ("x0", "x1", "b1", "a0", "b0")
    everybody = leave_alone(GROUPING, ["a0", "a1", "a2", "b0", "b1"])
    assert (everybody.uncertain, len(everybody.groups)) == ((), 1)
    assert sorted(everybody.alone) == ["a0", "a1", "a2", "b0", "b1", "u0", "x0", "x1"]


@pytest.mark.parametrize("seed", range(8))
def test_the_grouping_never_meets_a_contradiction(tmp_path, seed):
    """Copies included, and faces of one photograph: whatever is done on a page, there is a grouping that obeys it."""
    chance = random.Random(seed)
    pictures = [picture_of(tmp_path, f"{number}.jpg", size_wh=(400, 100)) for number in range(8)]
    pictures[6:] = [replace(one, duplicate_of=pictures[at].sha256) for at, one in enumerate(pictures[6:])]
    faces = [face_of(one, k, (100 * k, 0, 100 * k + 50, 50), row=0) for one in pictures for k in range(3)]
    originals = {face.face_id: faces[at - 18].face_id for at, face in enumerate(faces) if at >= 18}
    library = Library(str(tmp_path), tuple(pictures), tuple(faces), np.zeros((len(faces), 1), np.float32))
    assembled = AssembledLibrary(library, originals)
    everybody = [face.face_id for face in faces]
    actions: list[Action] = []
    for _ in range(40):
        do = chance.choice([MERGE, SPLIT, NOT_PERSON, MOVE, NAME, UNKNOWN])
        some = chance.sample(everybody, chance.randint(2, 6))
        at = len(some) if do in (MERGE, NAME, UNKNOWN) else chance.randint(1, len(some) - 1)
        name = chance.choice(["Ada", "Grace", ""])
        actions.append(Action(do, tuple(some[:at]), tuple(some[at:]), name))
        said = corrections_for(CorrectionMemory("m", [CorrectionSet("0", "", tuple(actions))]), assembled)
        by_sha = {picture.sha256: picture for picture in pictures}
        units = make_units(faces, by_sha, corrections=said, copies=originals)  # refuses what contradicts itself
        unit = dict(zip(everybody, units.unit_of.tolist()))
        if do == MERGE:
            assert len({unit[face_id] for face_id in some}) == 1
        if do == SPLIT:
            stay = {originals.get(face_id, face_id) for face_id in some[at:]}
            stay -= {originals.get(face_id, face_id) for face_id in some[:at]}
            assert not {unit[face_id] for face_id in some[:at]} & {unit[face_id] for face_id in stay}
        if do == UNKNOWN:
            assert set(some) <= set(said.unknown)
