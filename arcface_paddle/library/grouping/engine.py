"""From a library to its people: groups with lasting ids, faces that somebody should look at, and faces of nobody else.

    grouping = group_library(library, recognizer=recognizer_facts("FaceFusion"), corrections=corrections, before=last)

What is decided here and not by the search for people:

- a group has two faces or more of different photographs (near duplicates count once), or a name,
- a face whose picture is too poor to tell anybody by founds no group; it may be in one,
- a face that is in no group and about as similar to one as strangers are in one comparison of a hundred is uncertain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Mapping, Optional, Sequence

import numpy as np

from arcface_paddle.library.grouping.constraints import Units, make_units
from arcface_paddle.library.grouping.continuity import lasting_ids
from arcface_paddle.library.grouping.search import EXACT_UNITS, Found, Recognition, find_people, renumbered
from arcface_paddle.library.grouping.spread import spread_of
from arcface_paddle.library.grouping.uncertain import Placement, uncertain_faces
from arcface_paddle.library.records import (
    NO_CORRECTIONS,
    Corrections,
    Group,
    Grouping,
    GroupingFacts,
    Library,
    LibraryFace,
    UncertainFace,
)
from arcface_paddle.pipeline.cards import ModelCard

FOUNDING_QUALITY = 0.15
"""Faces of a lower quality found no group: out of focus, far away or covered, they resemble each other."""

_SEED = 13


@dataclass(frozen=True, eq=False)
class RecognizerFacts:
    """The recogniser that made a library's embeddings.

    Attributes:
        model: its name and the hash of its weights, as in ``GroupingFacts``.
        card: its card.
        weights_sha256: the hash alone.
        mirrored: whether embeddings are averaged with those of the mirrored faces.
    """

    model: str
    card: ModelCard
    weights_sha256: str
    mirrored: bool

    def recognition(self) -> Recognition:
        """Return what the search has to know of it."""
        spec = self.card.recognizer
        spread = spread_of(self.weights_sha256, mirrored=self.mirrored)
        return Recognition(spread=spread) if spec is None else Recognition(spec.similarity, spec.calibration, spread)


def group_library(
    library: Library,
    *,
    recognizer: RecognizerFacts,
    corrections: Corrections = NO_CORRECTIONS,
    copies: Optional[Mapping[str, str]] = None,
    before: Optional[Grouping] = None,
    exact_units: int = EXACT_UNITS,
) -> Grouping:
    """Group the faces of a library by person.

    Args:
        library: pictures, faces, embeddings.
        recognizer: which made the embeddings.
        corrections: what somebody has said; it is obeyed exactly.
        copies: the original's face by the face of a near duplicate, both by id.
        before: the last grouping, whose ids go on.
        exact_units: up to so many faces the linkage is exact.

    Raises:
        DataError: the corrections contradict each other.
    """
    copies = {} if copies is None else copies
    faces = library.faces
    pictures = {picture.sha256: picture for picture in library.pictures}
    units = make_units(faces, pictures, corrections=corrections, copies=copies, before=before)
    counts = np.array([face.face_id not in copies for face in faces], bool)
    if not counts.any():
        facts = GroupingFacts(recognizer.model, "none", 0.0, "no faces", _counts(library, (), (), ()))
        return Grouping((), (), (), facts)
    embeddings = library.embeddings[[face.row for face in faces]]
    recognition = recognizer.recognition()
    found = find_people(
        embeddings[counts], units.unit_of[counts], units.apart,
        recognition=recognition, rng=np.random.default_rng(_SEED), exact_units=exact_units,
    )  # fmt: skip
    groups = _without_poor_founders(found, units, faces, counts)
    is_group = _are_groups(groups, found, units)
    members = _members(groups, is_group, units, faces)
    ids = dict(zip(sorted(members), lasting_ids([members[g] for g in sorted(members)], before)))
    placement = Placement(groups, is_group, found, units, ids)
    made = _groups(members, placement, library=library, recognition=recognition)
    uncertain = uncertain_faces(placement, faces, embeddings, counts=counts, recognition=recognition)
    return _grouping(library, made, uncertain, found=found, model=recognizer.model)


def _grouping(
    library: Library,
    groups: tuple[Group, ...],
    uncertain: tuple[UncertainFace, ...],
    *,
    found: Found,
    model: str,
) -> Grouping:
    """Return the result; who is neither in a group nor uncertain is alone."""
    placed = {face_id for group in groups for face_id in group.face_ids} | {face.face_id for face in uncertain}
    alone = tuple(face.face_id for face in library.faces if face.face_id not in placed)
    counts = _counts(library, groups, uncertain, alone)
    facts = GroupingFacts(model, found.algorithm, found.cut.score, _rule(found, counts["groups"]), counts)
    return Grouping(groups, uncertain, alone, facts)


def _without_poor_founders(found: Found, units: Units, faces: Sequence[LibraryFace], counts: np.ndarray) -> np.ndarray:
    """Return the groups (U,) after those that consist of poor pictures alone have been dissolved."""
    quality = np.array([1.0 if face.quality is None else face.quality for face in faces])
    best_of_unit = np.zeros(units.count)
    np.maximum.at(best_of_unit, units.unit_of[counts], quality[counts])
    best_of_unit[list(units.names)] = 1.0
    best_of_group = np.zeros(int(found.groups.max()) + 1)
    np.maximum.at(best_of_group, found.groups, best_of_unit)
    poor = best_of_group[found.groups] < FOUNDING_QUALITY
    groups = found.groups.copy()
    groups[poor] = len(best_of_group) + np.flatnonzero(poor)
    return renumbered(groups)


def _are_groups(groups: np.ndarray, found: Found, units: Units) -> np.ndarray:
    """Tell of each group whether it has two faces that count, or a name."""
    sizes = np.bincount(groups, found.sizes)
    is_group = sizes > 1
    is_group[groups[list(units.names)]] = True
    return is_group


def _members(
    groups: np.ndarray, is_group: np.ndarray, units: Units, faces: Sequence[LibraryFace]
) -> dict[int, list[str]]:
    members: dict[int, list[str]] = {}
    for group, face in zip(groups[units.unit_of].tolist(), faces):
        if is_group[group]:
            members.setdefault(group, []).append(face.face_id)
    return members


def _groups(
    members: Mapping[int, Sequence[str]], placement: Placement, *, library: Library, recognition: Recognition
) -> tuple[Group, ...]:
    """Return the groups, named ones first, then the larger first, the most typical face of each in front."""
    names = {int(placement.groups[unit]): name for unit, name in placement.units.names.items()}
    row_of = {face.face_id: face.row for face in library.faces}
    made = []
    for group, face_ids in members.items():
        vectors = library.embeddings[[row_of[face_id] for face_id in face_ids]]
        typical = np.argsort(-(vectors @ vectors.sum(axis=0)), kind="stable")
        ordered = tuple(face_ids[at] for at in typical)
        made.append(Group(placement.ids[group], ordered, names.get(group), _cohesion(vectors, recognition)))
    made.sort(key=lambda group: (group.name is None, -len(group.face_ids), group.group_id))
    return tuple(made)


def _cohesion(vectors: np.ndarray, recognition: Recognition) -> float:
    """Return the mean similarity of unit vectors (N, D) to each other."""
    count = len(vectors)
    if count < 2:
        return 1.0
    total = vectors.sum(axis=0, dtype=np.float64)
    cosine = (float(total @ total) - count) / (count * (count - 1))
    return recognition.similarity.similarity_of(cosine)


def _rule(found: Found, people: int) -> str:
    learned = "log-likelihood ratio, learned from this library" if found.adapted else "similarity of the model's card"
    strangers = found.cut.strangers
    return (
        f"groups are joined at a mean score of {found.cut.score:.3f} or more ({learned}): strangers here score "
        f"{strangers.mean:.3f} on average with a deviation of {strangers.deviation:.3f}, and for {people} people "
        f"their tail may reach it at a rate of {found.cut.far:.1e}"
    )


def _counts(
    library: Library, groups: Iterable[Group], uncertain: Sequence[UncertainFace], alone: Sequence[str]
) -> dict[str, int]:
    groups = tuple(groups)
    return {
        "pictures": len(library.pictures),
        "duplicates": sum(1 for picture in library.pictures if picture.duplicate_of is not None),
        "faces": len(library.faces),
        "groups": len(groups),
        "grouped": sum(len(group.face_ids) for group in groups),
        "uncertain": len(uncertain),
        "alone": len(alone),
    }
