"""Groups of a library: what somebody has said holds exactly, ids last, every face has one place."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.library.grouping.engine import RecognizerFacts, group_library
from arcface_paddle.library.grouping.scores import score_groups
from arcface_paddle.library.records import Corrections, Grouping, Library, LibraryFace, LibraryPicture, face_id_of
from arcface_paddle.pipeline.model_files import find_card

FACTS = RecognizerFacts("M sha256:00", find_card("MobileFace"), "00" * 32, True)
SIZE = 64


def sha(number: int) -> str:
    return f"{number:08x}" * 8


def make_library(labels: list[list[int]], *, seed: int = 0, noise: float = 0.4) -> Library:
    """Return a library with a picture for each list, whose faces are of these people."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(100, SIZE))
    pictures, faces, vectors = [], [], []
    for number, people in enumerate(labels):
        captured = datetime(2000 + number % 20, 1, 1)
        pictures.append(LibraryPicture(sha(number), f"{number}.jpg", (640, 480), captured))
        for at, person in enumerate(people):
            box = np.float32([100 * at, 0, 100 * at + 80, 80])
            faces.append(LibraryFace(face_id_of(sha(number), at), sha(number), box, None, 0.9, 0.8, 80.0, len(faces)))
            vectors.append(centres[person] + noise * rng.normal(size=SIZE))
    rows = np.array(vectors, np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Library("/photos", tuple(pictures), tuple(faces), rows)


def face(picture: int, number: int = 0) -> str:
    return face_id_of(sha(picture), number)


def together(grouping: Grouping, one: str, other: str) -> bool:
    place = grouping.group_of()
    return one in place and place[one] == place.get(other)


def check_places(grouping: Grouping, library: Library) -> None:
    placed = [face_id for group in grouping.groups for face_id in group.face_ids]
    placed += [one.face_id for one in grouping.uncertain] + list(grouping.alone)
    assert sorted(placed) == sorted(one.face_id for one in library.faces)
    ids = [group.group_id for group in grouping.groups]
    assert len(set(ids)) == len(ids)
    assert all(candidate.group_id in ids for one in grouping.uncertain for candidate in one.candidates)


FAMILY = [[number % 8] for number in range(48)] + [[20 + number] for number in range(6)]
"""Six pictures of each of eight people, and six strangers."""


def test_people_are_groups_and_strangers_are_alone():
    library = make_library(FAMILY)
    grouping = group_library(library, recognizer=FACTS)
    check_places(grouping, library)
    assert [len(group.face_ids) for group in grouping.groups] == [6] * 8
    assert all(0.7 < group.cohesion < 1 and group.name is None for group in grouping.groups)
    assert len(grouping.alone) + len(grouping.uncertain) == 6
    assert grouping.facts.counts["groups"] == 8
    assert group_library(library, recognizer=FACTS) == grouping


def test_an_empty_library_and_a_single_face():
    empty = group_library(Library("/photos", (), (), np.empty((0, 0), np.float32)), recognizer=FACTS)
    assert (empty.groups, empty.uncertain, empty.alone) == ((), (), ())
    single = group_library(make_library([[0]]), recognizer=FACTS)
    assert single.alone == (face(0),)


def test_nobody_is_on_one_photograph_twice():
    """Twins, as alike as two pictures of one person, stand side by side on every second photograph."""
    library = make_library([[1], [1, 1], [1], [1, 1], *FAMILY[:40]])
    grouping = group_library(library, recognizer=FACTS)
    check_places(grouping, library)
    for picture in (1, 3):
        assert not together(grouping, face(picture, 0), face(picture, 1))
    asked = Corrections(must_link=[(face(1, 0), face(1, 1))])  # a mirror: somebody says so
    mirrored = group_library(library, recognizer=FACTS, corrections=asked)
    assert together(mirrored, face(1, 0), face(1, 1))
    assert not together(mirrored, face(3, 0), face(3, 1))


def test_one_face_that_was_found_twice_is_one():
    library = make_library(FAMILY)
    first = library.faces[0]
    twice = replace(first, face_id=face(0, 1), box_xyxy=first.box_xyxy + 5, row=len(library.faces))
    doubled = replace(
        library, faces=(*library.faces, twice), embeddings=np.vstack([library.embeddings, library.embeddings[:1]])
    )
    assert together(group_library(doubled, recognizer=FACTS), face(0, 0), face(0, 1))


@pytest.mark.parametrize("exact_units", [10_000, 20])
def test_corrections_are_obeyed_whatever_is_similar(exact_units):
    library = make_library(FAMILY)
    corrections = Corrections(
        names={face(0): "Ann", face(1): "Ben", face(2): "Ann"},  # 0 and 2 are strangers to each other
        must_link=[(face(3), face(4))],
        cannot_link=[(face(5), face(13)), (face(5), face(21))],
        not_person=[(face(8), "Ann"), (face(48), "Ben")],
    )
    grouping = group_library(library, recognizer=FACTS, corrections=corrections, exact_units=exact_units)
    check_places(grouping, library)
    names = {group.name: group for group in grouping.groups if group.name}
    assert set(names) == {"Ann", "Ben"}
    assert {face(0), face(2)} <= set(names["Ann"].face_ids)
    assert face(1) in names["Ben"].face_ids
    assert together(grouping, face(3), face(4))
    assert not together(grouping, face(5), face(13))
    assert not together(grouping, face(5), face(21))
    assert face(8) not in names["Ann"].face_ids
    candidates = {one.face_id: [c.group_id for c in one.candidates] for one in grouping.uncertain}
    assert names["Ann"].group_id not in candidates.get(face(8), [])
    if exact_units == 10_000:
        undone = group_library(library, recognizer=FACTS, before=grouping)
        assert [len(group.face_ids) for group in undone.groups] == [6] * 8  # what is taken back leaves no trace


def test_names_of_former_groups_and_of_the_same_person():
    library = make_library(FAMILY)
    before = group_library(library, recognizer=FACTS)
    one, other = before.groups[0], before.groups[1]
    named = Corrections(names={one.group_id: "Ann", other.group_id: "Ann", "p-gone": "Ben", other.face_ids[0]: "Eve"})
    grouping = group_library(library, recognizer=FACTS, corrections=named, before=before)
    names = {group.name: set(group.face_ids) for group in grouping.groups if group.name}
    assert names == {"Ann": {*one.face_ids, *other.face_ids[1:]}, "Eve": {other.face_ids[0]}}


def test_nobody_is_photographed_before_birth():
    """Pictures are taken in 2000 to 2019; the child of 2010 looks like its mother at that age."""
    library = make_library(FAMILY)
    born = Corrections(names={face(10): "Kim"}, birth={"Kim": date(2010, 1, 1), "Nobody": date(1900, 1, 1)})
    grouping = group_library(library, recognizer=FACTS, corrections=born)
    taken = {picture.sha256: picture.captured for picture in library.pictures}
    picture_of = {one.face_id: one.picture for one in library.faces}
    kim = next(group for group in grouping.groups if group.name == "Kim")
    years = {taken[picture_of[face_id]].year for face_id in kim.face_ids}
    assert min(years) >= 2010
    plain = group_library(library, recognizer=FACTS)
    assert min(taken[picture_of[f]].year for g in plain.groups if face(10) in g.face_ids for f in g.face_ids) < 2010


@pytest.mark.parametrize(
    "corrections",
    [
        Corrections(names={face(0): "Ann", face(1): "Ben"}, must_link=[(face(0), face(1))]),
        Corrections(must_link=[(face(0), face(1)), (face(1), face(2))], cannot_link=[(face(0), face(2))]),
        Corrections(names={face(0): "Ann"}, not_person=[(face(0), "Ann")]),
    ],
)
def test_contradictions_are_told(corrections):
    with pytest.raises(DataError, match="take one of"):
        group_library(make_library(FAMILY), recognizer=FACTS, corrections=corrections)


def test_ids_last_when_pictures_come_and_go():
    library = make_library(FAMILY)
    part = make_library(FAMILY[:30])
    before = group_library(part, recognizer=FACTS)
    after = group_library(library, recognizer=FACTS, before=before)
    shared = set(before.group_of()) & set(after.group_of())
    assert len(shared) == 30
    assert all(before.group_of()[face_id] == after.group_of()[face_id] for face_id in shared)
    again = group_library(part, recognizer=FACTS, before=after)
    assert {g.group_id for g in again.groups} == {g.group_id for g in before.groups}


def test_the_larger_part_of_a_split_keeps_the_id():
    library = make_library(FAMILY)
    before = group_library(library, recognizer=FACTS)
    group = before.groups[0].face_ids
    split = Corrections(must_link=[(group[0], group[1])], cannot_link=[(group[0], other) for other in group[2:]])
    after = group_library(library, recognizer=FACTS, corrections=split, before=before)
    places = after.group_of()
    assert {places[face_id] for face_id in group[2:]} == {before.groups[0].group_id}
    assert places[group[0]] == places[group[1]] not in before.group_of().values()
    healed = group_library(library, recognizer=FACTS, before=after)
    assert {healed.group_of()[face_id] for face_id in group} == {before.groups[0].group_id}


def test_near_duplicates_count_once():
    """A face and its near duplicate alone make no group; with a real second picture both are in it."""
    library = make_library([*FAMILY, [20]])
    copies = {face(49): face(48), face(54): face(0)}
    grouping = group_library(library, recognizer=FACTS, copies=copies)
    assert face(48) not in grouping.group_of()
    assert face(49) not in grouping.group_of()
    assert together(grouping, face(54), face(0))


def test_poor_pictures_found_no_group():
    library = make_library(FAMILY)
    poor = [replace(one, quality=0.05) if at % 8 == 3 and at < 48 else one for at, one in enumerate(library.faces)]
    grouping = group_library(replace(library, faces=tuple(poor)), recognizer=FACTS)
    check_places(grouping, library)
    assert len(grouping.groups) == 7
    assert not {poor[at].face_id for at in range(3, 48, 8)} & set(grouping.group_of())


def test_scores_are_those_of_loops():
    rng = np.random.default_rng(0)
    groups, people = rng.integers(0, 6, 40), rng.integers(0, 7, 40)
    scores = score_groups(groups, people)
    pairs = [(i, j) for i in range(40) for j in range(i)]
    grouped = [pair for pair in pairs if groups[pair[0]] == groups[pair[1]]]
    same = [pair for pair in pairs if people[pair[0]] == people[pair[1]]]
    assert scores.pair_precision == pytest.approx(len(set(grouped) & set(same)) / len(grouped))
    assert scores.pair_recall == pytest.approx(len(set(grouped) & set(same)) / len(same))
    precision = np.mean([np.mean(people[groups == groups[i]] == people[i]) for i in range(40)])
    recall = np.mean([np.mean(groups[people == people[i]] == groups[i]) for i in range(40)])
    assert (scores.bcubed_precision, scores.bcubed_recall) == (pytest.approx(precision), pytest.approx(recall))
    assert scores.bcubed_f == pytest.approx(2 * precision * recall / (precision + recall))
