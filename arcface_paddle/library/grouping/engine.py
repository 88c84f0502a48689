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
from arcface_paddle.library.grouping.cut import deviations_at
from arcface_paddle.library.grouping.evidence import Evidence
from arcface_paddle.library.grouping.search import EXACT_UNITS, Found, Recognition, find_people, renumbered
from arcface_paddle.library.grouping.spread import spread_of
from arcface_paddle.library.records import (
    NO_CORRECTIONS,
    Corrections,
    Group,
    GroupCandidate,
    Grouping,
    GroupingFacts,
    Library,
    LibraryFace,
    UncertainFace,
)
from arcface_paddle.pipeline.cards import ModelCard

UNCERTAIN_FAR = 0.02
"""A face in no group is uncertain when strangers are as similar to a group in at most this share of comparisons."""

FOUNDING_QUALITY = 0.15
"""Faces of a lower quality found no group: out of focus, far away or covered, they resemble each other."""

_CANDIDATES = 3
_BLOCK = 2_000
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
    places = _Places(groups, is_group, found, units, ids)
    uncertain = _uncertain_faces(places, faces, embeddings, counts=counts, recognition=recognition)
    made = _groups(members, ids, units, groups, library=library, found=found, recognition=recognition)
    placed = {face_id for group in made for face_id in group.face_ids} | {face.face_id for face in uncertain}
    alone = tuple(face.face_id for face in faces if face.face_id not in placed)
    facts = GroupingFacts(
        recognizer.model, found.algorithm, found.cut.score, _rule(found, int(is_group.sum())),
        _counts(library, made, uncertain, alone),
    )  # fmt: skip
    return Grouping(made, uncertain, alone, facts)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the units are.

    Attributes:
        groups: (U,) group of each unit.
        is_group: (G,) whether it counts as one.
        found: by what they were judged.
        units: names and constraints.
        ids: lasting ids by group.
    """

    groups: np.ndarray
    is_group: np.ndarray
    found: Found
    units: Units
    ids: Mapping[int, str]


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
    members: Mapping[int, Sequence[str]],
    ids: Mapping[int, str],
    units: Units,
    groups: np.ndarray,
    *,
    library: Library,
    found: Found,
    recognition: Recognition,
) -> tuple[Group, ...]:
    """Return the groups, named ones first, then the larger first, the most typical face of each in front."""
    names = {int(groups[unit]): name for unit, name in units.names.items()}
    row_of = {face.face_id: face.row for face in library.faces}
    made = []
    for group, face_ids in members.items():
        vectors = library.embeddings[[row_of[face_id] for face_id in face_ids]]
        typical = np.argsort(-(vectors @ vectors.sum(axis=0)), kind="stable")
        ordered = tuple(face_ids[at] for at in typical)
        made.append(Group(ids[group], ordered, names.get(group), _cohesion(vectors, recognition)))
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


def _uncertain_faces(
    places: _Places,
    faces: Sequence[LibraryFace],
    embeddings: np.ndarray,
    *,
    counts: np.ndarray,
    recognition: Recognition,
) -> tuple[UncertainFace, ...]:
    """Return the faces outside of groups that may belong to one, with the groups that are allowed."""
    found = places.found
    group_numbers = np.flatnonzero(places.is_group)
    outside = np.flatnonzero(~places.is_group[places.groups])
    if not len(group_numbers) or not len(outside):
        return ()
    least = (
        found.cut.strangers.mean + deviations_at(UNCERTAIN_FAR, recognition.calibration) * found.cut.strangers.deviation
    )
    means = _means_of_groups(places, group_numbers)
    forbidden = _forbidden_groups(places)
    of_unit = _faces_by_unit(places.units, len(faces))
    face_means = _face_means(places, embeddings, counts, group_numbers)
    uncertain: list[UncertainFace] = []
    for start in range(0, len(outside), _BLOCK):
        block = outside[start : start + _BLOCK]
        part = found.evidence.part(block)
        scores = part.vectors @ means.vectors.T + part.offsets[:, None] + means.offsets[None]
        for unit, row in zip(block.tolist(), scores):
            best = np.argsort(-row, kind="stable")[: _CANDIDATES + len(forbidden.get(unit, ()))]
            allowed = [at for at in best if row[at] >= least and group_numbers[at] not in forbidden.get(unit, ())]
            if not allowed:
                continue
            for face in of_unit[unit]:
                candidates = tuple(
                    GroupCandidate(
                        places.ids[int(group_numbers[at])],
                        recognition.similarity.similarity_of(float(embeddings[face] @ face_means[at])),
                    )
                    for at in allowed[:_CANDIDATES]
                )
                uncertain.append(UncertainFace(faces[face].face_id, candidates))
    uncertain.sort(key=lambda face: (-face.candidates[0].similarity, face.face_id))
    return tuple(uncertain)


def _means_of_groups(places: _Places, group_numbers: np.ndarray) -> Evidence:
    """Return the evidence of the groups that count, each unit weighted by its faces."""
    weights = places.found.sizes * places.is_group[places.groups]
    of_faces = np.repeat(np.arange(len(weights)), weights)
    numbers = np.searchsorted(group_numbers, places.groups[of_faces])
    return places.found.evidence.part(of_faces).averaged(numbers, len(group_numbers))


def _face_means(places: _Places, embeddings: np.ndarray, counts: np.ndarray, group_numbers: np.ndarray) -> np.ndarray:
    """Return the mean embedding (G, D) of each group that counts; its cosine with a face is the mean of cosines."""
    of_faces = places.groups[places.units.unit_of]
    inside = np.flatnonzero(counts & places.is_group[of_faces])
    numbers = np.searchsorted(group_numbers, of_faces[inside])
    offsets = np.zeros(len(inside), np.float32)
    return Evidence(offsets, embeddings[inside]).averaged(numbers, len(group_numbers)).vectors


def _forbidden_groups(places: _Places) -> dict[int, set[int]]:
    """Return by unit the groups that it must not join."""
    forbidden: dict[int, set[int]] = {}
    for one, other in places.units.apart.tolist():
        forbidden.setdefault(one, set()).add(int(places.groups[other]))
        forbidden.setdefault(other, set()).add(int(places.groups[one]))
    return forbidden


def _faces_by_unit(units: Units, count: int) -> list[list[int]]:
    of_unit: list[list[int]] = [[] for _ in range(units.count)]
    for row in range(count):
        of_unit[int(units.unit_of[row])].append(row)
    return of_unit


def _rule(found: Found, people: int) -> str:
    learned = "log-likelihood ratio, learned from this library" if found.adapted else "similarity of the model's card"
    strangers = found.cut.strangers
    return (
        f"groups are joined at a mean score of {found.cut.score:.3f} or more ({learned}): strangers here score "
        f"{strangers.mean:.3f} on average with a deviation of {strangers.deviation:.3f}, and for {people} people "
        f" their tail may reach it at a rate of {found.cut.far:.1e}"
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
