"""Which track is which person: thresholds that follow from the recogniser's card, hysteresis, one person once.

A track gets a name as a picture does, from the threshold of a search on. Once it has one, the question is another: not
"who of all people?" but "is it still this one?", a comparison with one person, whose threshold is lower. The distance
of both is the hysteresis. Another person takes the name away only by leading by more than that distance, which is
what the assignment below does by itself: it maximises the sum of similarities over the threshold that counts for each
pair of track and person, and each person is given once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Mapping, Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.cards import Calibration, ModelCard
from arcface_paddle.pipeline.settings import DEFAULT_FPIR
from arcface_paddle.pipeline.thresholds import similarity_at
from arcface_paddle.types import Candidate
from arcface_paddle.video.assignment import best_pairs

FEW_LOOKS = 3
"""Below so many looks a name needs more: each further look is another chance for a false one."""

_SAME_FAR = 1e-4  # one new face in a hundred, of strangers, is taken for one of a hundred that were lost
_DIFFERENT = 0.01  # probability of one person below which a look contradicts its track
_DECADE = 0.1  # similarity that a factor of ten in the false acceptance rate is worth, for cards without a tail
_MOST_EXACT = 8  # tracks that are named together by trying everything


@dataclass(frozen=True)
class NameRules:
    """Similarities that decide, -1 to 1.

    Attributes:
        give: from which a track gets a name: the threshold of a search.
        sure: likewise while it was looked at fewer than ``FEW_LOOKS`` times: at a tenth of the rate of false names.
        keep: from which it keeps its name: the threshold of one comparison at the same rate.
        same: from which two tracks are one face.
        different: below which a look contradicts the track that it was taken of.
    """

    give: float
    sure: float
    keep: float
    same: float
    different: float

    @property
    def lead(self) -> float:
        """By how much one of several has to be more similar: ten times as many strangers are without it."""
        return self.sure - self.give

    @classmethod
    def of(cls, card: ModelCard, *, threshold: Optional[float]) -> NameRules:
        """Derive the rules from a recogniser's card.

        Args:
            card: of the recogniser.
            threshold: of the search, as ``Analyzer.threshold``; None where nobody is named.
        """
        calibration = None if card.recognizer is None else card.recognizer.calibration
        if calibration is None:
            give = 0.5 if threshold is None else threshold
            return cls(give, give + _DECADE, give - _DECADE, give, give - 3 * _DECADE)
        give = calibration.identification if threshold is None else threshold
        decade = _decade(calibration)
        keep = min(_loose(calibration), give - decade)
        return cls(give, give + decade, keep, _same(calibration), min(_different(calibration), keep))


def _decade(calibration: Calibration) -> float:
    """Return by how much the similarity of strangers rises as their rate falls to a tenth, mean over the tail."""
    if not calibration.tail:
        return _DECADE
    (first, low), (last, high) = calibration.tail[0], calibration.tail[-1]
    return max(0.01, (high - low) / math.log10(first / last))


def _loose(calibration: Calibration) -> float:
    """Return the threshold of one comparison at the rate that a search has, too."""
    if calibration.tail:
        return similarity_at(calibration.tail, DEFAULT_FPIR)
    return calibration.identification if calibration.far_1e2 is None else calibration.far_1e2


def _same(calibration: Calibration) -> float:
    if calibration.tail:
        return similarity_at(calibration.tail, _SAME_FAR)
    return calibration.identification if calibration.far_1e3 is None else calibration.far_1e3


def _different(calibration: Calibration) -> float:
    """Return the similarity at which one person is as improbable as ``_DIFFERENT`` says."""
    if calibration.logistic is None:
        return _loose(calibration) / 2
    slope, intercept = calibration.logistic
    return (math.log(_DIFFERENT / (1 - _DIFFERENT)) - intercept) / slope


@dataclass(frozen=True)
class Claim:
    """What a track may be called.

    Attributes:
        candidates: persons, most similar first, with the fused similarity.
        name: the present name; None for none.
        looks: how often it was looked at.
    """

    candidates: tuple[Candidate, ...]
    name: Optional[str]
    looks: int

    def gains(self, rules: NameRules) -> dict[str, float]:
        """Return by how much each person is above the threshold that counts for them; only those who are."""
        give = rules.give if self.looks >= FEW_LOOKS else rules.sure
        floors = ((one, rules.keep if one.name == self.name else give) for one in self.candidates)
        return {one.name: one.similarity - floor + 1e-9 for one, floor in floors if one.similarity >= floor}


def assign_names(claims: Sequence[Claim], rules: NameRules, *, unique: bool) -> list[Optional[str]]:
    """Decide who the faces of one moment are.

    Args:
        claims: one per face.
        rules: the thresholds.
        unique: give each person once at most.

    Returns:
        A name per face; None for nobody in the gallery.
    """
    gains = [claim.gains(rules) for claim in claims]
    if not unique:
        return [max(gain, key=lambda name: gain[name]) if gain else None for gain in gains]
    persons = sorted({name for gain in gains for name in gain})
    table = np.array([[gain.get(name, -1.0) for name in persons] for gain in gains]).reshape(len(claims), len(persons))
    names: list[Optional[str]] = [None] * len(claims)
    for row, column in best_pairs(table):
        names[row] = persons[column]
    return names


def names_in_retrospect(
    claims: Mapping[int, Claim],
    rules: NameRules,
    *,
    together: Mapping[int, set[int]],
    weights: Mapping[int, float],
) -> dict[int, Optional[str]]:
    """Decide who all tracks of a film are, once all of it was seen.

    Args:
        claims: by track.
        rules: the thresholds.
        together: the tracks that were seen in one frame with a track, which are other people; empty if a person may
            be there twice.
        weights: of the tracks: their length. Of two that claim one person, a long one is hardly a mistake.

    Returns:
        A name by track; None for nobody in the gallery.
    """
    gains = {
        track: {name: gain * weights[track] for name, gain in claim.gains(rules).items()}
        for track, claim in claims.items()
    }
    rivals = {
        track: {other for other in together.get(track, set()) if other in gains and set(gain) & set(gains[other])}
        for track, gain in gains.items()
    }
    named: dict[int, Optional[str]] = {}
    for group in _connected(rivals):
        named.update(_best_names(group, gains, rivals))
    return named


def _connected(rivals: Mapping[int, set[int]]) -> list[list[int]]:
    groups: list[list[int]] = []
    seen: set[int] = set()
    for track in rivals:
        group, waiting = [], [track]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                group.append(one)
                waiting.extend(rivals[one])
        if group:
            groups.append(group)
    return groups


def _best_names(
    group: Sequence[int], gains: Mapping[int, Mapping[str, float]], rivals: Mapping[int, set[int]]
) -> dict[int, Optional[str]]:
    """Name rivals with the greatest sum of gains: exactly for a few, the strongest claim first for many."""
    if len(group) <= _MOST_EXACT:
        return _exact(list(group), {}, gains, rivals)[1]
    named: dict[int, Optional[str]] = dict.fromkeys(group)
    claims = [(gain, track, name) for track in group for name, gain in gains[track].items()]
    for _, track, name in sorted(claims, reverse=True):
        if named[track] is None and all(named[rival] != name for rival in rivals[track]):
            named[track] = name
    return named


def _exact(
    left: list[int],
    given: dict[int, Optional[str]],
    gains: Mapping[int, Mapping[str, float]],
    rivals: Mapping[int, set[int]],
) -> tuple[float, dict[int, Optional[str]]]:
    if not left:
        return 0.0, dict(given)
    track, rest = left[0], left[1:]
    best = _exact(rest, {**given, track: None}, gains, rivals)
    for name, gain in gains[track].items():
        if all(given.get(rival) != name for rival in rivals[track]):
            total, named = _exact(rest, {**given, track: name}, gains, rivals)
            if total + gain > best[0]:
                best = total + gain, named
    return best
