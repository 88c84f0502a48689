"""What trackers are judged by: identities over time, names, and when people came and went."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.detection.boxes import iou
from arcface_paddle.video.assignment import best_pairs

LEAST_IOU = 0.3  # the detector's boxes and those of the generator do not end at the same hair
COUNTED_VISIBLE, COUNTED_YAW_DEG = 0.5, 70.0
"""Faces that are hidden or turned further are neither demanded nor held against a tracker."""


@dataclass(frozen=True, eq=False)
class Told:
    """A face that a tracker told of: where, which track, which name (None for nobody)."""

    box_xyxy: np.ndarray
    track: int
    name: Optional[str]


@dataclass(frozen=True, eq=False)
class Truth:
    """A face that is there; ``name`` is None for a stranger."""

    box_xyxy: np.ndarray
    person: int
    name: Optional[str]
    counted: bool


@dataclass
class Scores:
    """Collects frames and sums them up."""

    together: Counter = field(default_factory=Counter)
    of_person: Counter = field(default_factory=Counter)
    of_track: Counter = field(default_factory=Counter)
    found: int = 0
    right: int = 0
    known: int = 0
    wrong: int = 0
    told: int = 0
    switches: int = 0
    last_track: Dict[int, int] = field(default_factory=dict)
    true_times: Dict[str, List[float]] = field(default_factory=lambda: defaultdict(list))
    told_times: Dict[str, List[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, time_s: float, told: Sequence[Told], truth: Sequence[Truth]) -> List[Optional[int]]:
        """Take in a frame; returns the person behind each face that was told of, None for nobody."""
        table = np.array([[iou(one.box_xyxy, other.box_xyxy) for other in truth] for one in told])
        table = table.reshape(len(told), len(truth))
        pairs = dict(best_pairs(np.where(table >= LEAST_IOU, table, -1.0)))
        for row, one in enumerate(told):
            self._add_told(time_s, one, None if row not in pairs else truth[pairs[row]])
        for one in truth:
            if one.counted:
                self.of_person[one.person] += 1
                self.known += one.name is not None
                if one.name is not None:
                    self.true_times[one.name].append(time_s)
        return [truth[pairs[row]].person if row in pairs else None for row in range(len(told))]

    def _add_told(self, time_s: float, one: Told, face: Optional[Truth]) -> None:
        self.told += 1
        self.wrong += one.name is not None and (face is None or one.name != face.name)
        if one.name is not None:
            self.told_times[one.name].append(time_s)
        if face is not None and not face.counted:
            return
        self.of_track[one.track] += 1
        if face is None:
            return
        self.found += 1
        self.right += one.name is not None and one.name == face.name
        self.together[face.person, one.track] += 1
        self.switches += self.last_track.get(face.person, one.track) != one.track
        self.last_track[face.person] = one.track

    @property
    def idf1(self) -> float:
        """Ristani et al. 2016: F1 of the frames in which each person has the one track that fits best."""
        persons, tracks = sorted(self.of_person), sorted(self.of_track)
        table = np.array([[self.together[person, track] for track in tracks] for person in persons], float)
        right = sum(table[row, column] for row, column in best_pairs(table.reshape(len(persons), len(tracks))))
        return float(2 * right / max(1, sum(self.of_person.values()) + sum(self.of_track.values())))

    def boundary_error_s(self) -> float:
        """Mean distance of first and last times of the people, named and true; those never named are left out."""
        errors = [
            abs(end(self.told_times[name]) - end(times))
            for name, times in self.true_times.items()
            if name in self.told_times
            for end in (min, max)
        ]
        return float(np.mean(errors)) if errors else float("nan")

    def row(self) -> Dict[str, object]:
        """Return the figures."""
        return {
            "IDF1": round(self.idf1, 4),
            "switches": self.switches,
            "faces found": round(self.found / max(1, sum(self.of_person.values())), 4),
            "known named right": round(self.right / max(1, self.known), 4),
            "false names": round(self.wrong / max(1, self.told), 4),
            "boundary error s": round(self.boundary_error_s(), 3),
        }


def name_changes(history: Dict[int, List[Optional[str]]], seconds: Dict[int, float]) -> float:
    """Return how often a name that was told changed or was taken back, per track of 30 s."""
    changes = sum(
        one is not None and one != other for names in history.values() for one, other in zip(names, names[1:])
    )
    return 30 * changes / max(1e-9, sum(seconds.values()))
