"""Faces outside of all groups that somebody should look at, with the groups that they may belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

import numpy as np

from arcface_paddle.library.grouping.constraints import Units
from arcface_paddle.library.grouping.cut import deviations_at
from arcface_paddle.library.grouping.evidence import Evidence
from arcface_paddle.library.grouping.search import Found, Recognition
from arcface_paddle.library.records import GroupCandidate, LibraryFace, UncertainFace

UNCERTAIN_FAR = 0.02
"""A face in no group is uncertain when strangers are as similar to a group in at most this share of comparisons."""

_CANDIDATES = 3
_BLOCK = 2_000  # units that are compared with all groups at once


@dataclass(frozen=True, eq=False)
class Placement:
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


def uncertain_faces(
    placement: Placement,
    faces: Sequence[LibraryFace],
    embeddings: np.ndarray,
    *,
    counts: np.ndarray,
    recognition: Recognition,
) -> tuple[UncertainFace, ...]:
    """Return the faces outside of groups that may belong to one, the most similar first.

    Args:
        placement: of all units.
        faces: N of them.
        embeddings: (N, D) float32, L2-normalised.
        counts: (N,) bool, false for faces of near duplicates.
        recognition: what is known of the recogniser.
    """
    group_numbers = np.flatnonzero(placement.is_group)
    outside = np.flatnonzero(~placement.is_group[placement.groups])
    if not len(group_numbers) or not len(outside):
        return ()
    of_unit = _faces_by_unit(placement.units, len(faces))
    face_means = _face_means(placement, embeddings, counts, group_numbers)
    similarity_of = recognition.similarity.similarity_of
    uncertain = []
    for unit, near in _groups_near(placement, outside, group_numbers, least=_least_score(placement.found, recognition)):
        for face in of_unit[unit]:
            candidates = tuple(
                GroupCandidate(
                    placement.ids[int(group_numbers[at])], similarity_of(float(embeddings[face] @ face_means[at]))
                )
                for at in near
            )
            uncertain.append(UncertainFace(faces[face].face_id, candidates))
    uncertain.sort(key=lambda face: (-face.candidates[0].similarity, face.face_id))
    return tuple(uncertain)


def _least_score(found: Found, recognition: Recognition) -> float:
    """Return the score with a group that strangers reach at the rate ``UNCERTAIN_FAR``."""
    strangers = found.cut.strangers
    return strangers.mean + deviations_at(UNCERTAIN_FAR, recognition.calibration) * strangers.deviation


def _groups_near(
    placement: Placement, outside: np.ndarray, group_numbers: np.ndarray, *, least: float
) -> Iterator[tuple[int, list[int]]]:
    """Give each unit outside of groups that is near some, with their positions in ``group_numbers``, nearest first."""
    means = _means_of_groups(placement, group_numbers)
    forbidden = _forbidden_groups(placement)
    for start in range(0, len(outside), _BLOCK):
        block = outside[start : start + _BLOCK]
        part = placement.found.evidence.part(block)
        scores = part.vectors @ means.vectors.T + part.offsets[:, None] + means.offsets[None]
        for unit, row in zip(block.tolist(), scores):
            refused = forbidden.get(unit, set())
            best = np.argsort(-row, kind="stable")[: _CANDIDATES + len(refused)].tolist()
            near = [at for at in best if row[at] >= least and group_numbers[at] not in refused]
            if near:
                yield unit, near[:_CANDIDATES]


def _means_of_groups(placement: Placement, group_numbers: np.ndarray) -> Evidence:
    """Return the evidence of the groups that count, each unit weighted by its faces."""
    weights = placement.found.sizes * placement.is_group[placement.groups]
    of_faces = np.repeat(np.arange(len(weights)), weights)
    numbers = np.searchsorted(group_numbers, placement.groups[of_faces])
    return placement.found.evidence.part(of_faces).averaged(numbers, len(group_numbers))


def _face_means(
    placement: Placement, embeddings: np.ndarray, counts: np.ndarray, group_numbers: np.ndarray
) -> np.ndarray:
    """Return the mean embedding (G, D) of each group that counts; its cosine with a face is the mean of cosines."""
    of_faces = placement.groups[placement.units.unit_of]
    inside = np.flatnonzero(counts & placement.is_group[of_faces])
    numbers = np.searchsorted(group_numbers, of_faces[inside])
    offsets = np.zeros(len(inside), np.float32)
    return Evidence(offsets, embeddings[inside]).averaged(numbers, len(group_numbers)).vectors


def _forbidden_groups(placement: Placement) -> dict[int, set[int]]:
    """Return by unit the groups that it must not join."""
    forbidden: dict[int, set[int]] = {}
    for one, other in placement.units.apart.tolist():
        forbidden.setdefault(one, set()).add(int(placement.groups[other]))
        forbidden.setdefault(other, set()).add(int(placement.groups[one]))
    return forbidden


def _faces_by_unit(units: Units, count: int) -> list[list[int]]:
    of_unit: list[list[int]] = [[] for _ in range(units.count)]
    for row in range(count):
        of_unit[int(units.unit_of[row])].append(row)
    return of_unit
