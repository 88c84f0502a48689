"""From embeddings to people: evidence, cut and linkage, repeated while the library teaches how its people differ.

Up to ``EXACT_UNITS`` the linkage is exact. Above, the nearest neighbours of every face make a graph, the map equation
parts it into communities, and inside each of them the exact linkage decides: a community is a proposal, and whoever is
in it by in-betweens only does not reach the mean similarity that a group demands. Groups that a community's border has
cut are joined at last by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from arcface_paddle.library.grouping.cut import (
    Cut,
    Strangers,
    blend,
    choose_cut,
    measure_strangers,
    strangers_of_card,
)
from arcface_paddle.library.grouping.evidence import (
    Evidence,
    adapted_evidence,
    fit_spread,
    plain_evidence,
    sums_by_group,
)
from arcface_paddle.library.grouping.graph import mutual_edges, nearest
from arcface_paddle.library.grouping.linkage import FORBIDDEN, average_linkage
from arcface_paddle.library.grouping.map_equation import communities
from arcface_paddle.pipeline.cards import PLAIN_COSINE, Calibration, SimilaritySpec

EXACT_UNITS = 10_000
"""Up to so many faces the linkage is exact, over a table of 400 MB."""

NEIGHBORS = 50
"""Of each face in the graph of a large library."""

ROUNDS = 3
"""How often evidence is learned from the groups, and groups are made by it; a further round changes hardly any."""

LEAST_SCORE = -70.0
"""Logarithm of a likelihood ratio below which faces are never joined. That it is below 0 makes up for a model that is
learned from few faces, and is more certain of what it says than it should be: of ten rendered people, -50 finds 79 % of
the pairs and -70 finds 87 %, at the same precision (eight parts of seed 515)."""

_STRICTER = 0.5  # deviations: first groups are to be small and pure, as evidence is learned from them
_FACES_PER_PERSON = 6.0  # a first guess, of which the cut depends by its logarithm
_GRAPH_SLACK = 1.0  # deviations below the cut from which neighbours are edges
_SAMPLE_SEEDS = 1_000  # faces whose neighbourhoods a large library's evidence is learned from
_SAMPLE_UNITS = 6_000  # at most in these neighbourhoods
_VERY_FEW = 20.0  # people, for whom the card's cut is taken where there is nobody to measure strangers by
_LEAST_UNITS = 8  # fewer teach nothing
_NEAREST_GROUPS = 10  # looked at for one that may be joined
_MOST_JOINS = 50
_FEW_PEOPLE_SHIFT = 2.5  # deviations of the card, above which "strangers" are parts of very few people


EXACT = "average linkage, exact"
BY_GRAPH = "map equation on the graph of 50 nearest neighbours, average linkage inside each community"


@dataclass(frozen=True, eq=False)
class Recognition:
    """What the grouping has to know of the recogniser.

    Attributes:
        similarity: what its cosine is worth.
        calibration: its card's tail; None when it was never calibrated.
        spread: (D, D) covariance within a person, see ``spread``; None when that was not measured.
    """

    similarity: SimilaritySpec = PLAIN_COSINE
    calibration: Optional[Calibration] = None
    spread: Optional[np.ndarray] = None


@dataclass(frozen=True, eq=False)
class Found:
    """The people of a library.

    Attributes:
        groups: (U,) int64, the group of each unit, 0 to G - 1.
        evidence: of the units, by which they were judged.
        sizes: (U,) how many faces each unit is.
        cut: from which score on groups were joined.
        adapted: whether the evidence was learned from the library.
        algorithm: what was done, in words.
    """

    groups: np.ndarray
    evidence: Evidence
    sizes: np.ndarray
    cut: Cut
    adapted: bool
    algorithm: str


def find_people(
    embeddings: np.ndarray,
    unit_of: np.ndarray,
    apart: np.ndarray,
    *,
    recognition: Recognition,
    rng: np.random.Generator,
    exact_units: int = EXACT_UNITS,
) -> Found:
    """Group faces by person.

    Args:
        embeddings: (N, D) float32 unit vectors, one or more.
        unit_of: (N,) int64, faces of one unit are one person for sure; 0 to U - 1, each used.
        apart: (P, 2) int64 pairs of units that are two people for sure.
        recognition: what is known of the recogniser.
        rng: draws the samples of large libraries.
        exact_units: up to so many the linkage is exact.
    """
    job = _Job(embeddings, unit_of, apart, recognition, rng, exact_units)
    part = job if job.count <= exact_units else job.part(_sample(job))
    taught, is_few = _first_groups(part)
    if not is_few and job.count >= _LEAST_UNITS:
        taught = _adapted(part, taught.groups, rounds=ROUNDS)
    return taught if part is job else _large(job, part, taught)


@dataclass(frozen=True, eq=False)
class _Job:
    """What ``find_people`` was asked for."""

    embeddings: np.ndarray
    unit_of: np.ndarray
    apart: np.ndarray
    recognition: Recognition
    rng: np.random.Generator
    exact_units: int

    @property
    def count(self) -> int:
        return int(self.unit_of.max()) + 1

    @property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.unit_of, minlength=self.count)

    def part(self, units: np.ndarray) -> _Job:
        """Return the same question about some units, ascending."""
        number = np.full(self.count, -1, np.int64)
        number[units] = np.arange(len(units))
        faces = number[self.unit_of] >= 0
        pairs = number[self.apart]
        pairs = pairs[(pairs >= 0).all(axis=1)]
        return _Job(
            self.embeddings[faces], number[self.unit_of[faces]], pairs, self.recognition, self.rng, self.exact_units
        )


def _first_groups(job: _Job) -> tuple[Found, bool]:
    """Group by the card's similarity, strictly; also tell whether there are too few people to learn from."""
    plain = plain_evidence(job.embeddings, job.recognition.similarity)
    units = plain.averaged(job.unit_of, job.count)
    expected = strangers_of_card(job.recognition.calibration)
    measured = measure_strangers(units, rng=job.rng)
    guess = max(2.0, job.count / _FACES_PER_PERSON)
    is_few = measured is not None and measured.mean > expected.mean + _FEW_PEOPLE_SHIFT * expected.deviation
    # Whoever resembles each other in a folder of one or two people is one of them, or their kin.
    kin = Strangers(expected.mean + expected.deviation, expected.deviation)
    strangers = kin if is_few else blend(measured, expected, people=int(guess))
    cut = choose_cut(strangers, job.recognition.calibration, people=_VERY_FEW if is_few else guess)
    if not is_few:
        cut = replace(cut, score=cut.score + _STRICTER * strangers.deviation)
    groups = link(units, job.sizes, job.apart, cut=cut.score)
    return Found(groups, units, job.sizes, cut, False, EXACT), is_few


def _adapted(job: _Job, groups: np.ndarray, *, rounds: int) -> Found:
    """Learn evidence from groups, make groups by it, and so on."""
    found, evidence = None, None
    for _ in range(rounds):
        evidence, cut = _learned(job, groups)
        units = evidence.averaged(job.unit_of, job.count)
        groups = link(units, job.sizes, job.apart, cut=cut.score)
        found = Found(groups, units, job.sizes, cut, True, EXACT)
    assert found is not None and evidence is not None, "there is at least one round"
    strict = _stricter(job, found, evidence.with_own(groups[job.unit_of]))
    if strict.score > found.cut.score:
        groups = link(found.evidence, job.sizes, job.apart, cut=strict.score)
        found = replace(found, groups=groups, cut=strict)
    return found


def _stricter(job: _Job, found: Found, together: np.ndarray) -> Cut:
    """Return the cut that loses hardly any face, by groups of the most lenient one."""
    people = int(found.groups.max()) + 1
    cut = choose_cut(found.cut.strangers, job.recognition.calibration, people=people, together=together)
    return _not_below(cut)


def _learned(job: _Job, groups: np.ndarray) -> tuple[Evidence, Cut]:
    """Return the evidence of faces that groups teach, and the cut by it."""
    of_faces = groups[job.unit_of]
    model = fit_spread(job.embeddings, of_faces, prior=job.recognition.spread)
    evidence = adapted_evidence(job.embeddings, model)
    return evidence, _cut_for(evidence, of_faces, job)


def _cut_for(evidence: Evidence, groups: np.ndarray, job: _Job) -> Cut:
    people = int(groups.max()) + 1
    # What strangers' scores would be if all faces were independent, for libraries of very few people.
    mean = 2 * float(evidence.offsets.mean())
    squares = evidence.vectors.T @ evidence.vectors / len(evidence)
    expected = Strangers(mean, max(float(np.sqrt((squares**2).sum())), 1e-6))
    measured = measure_strangers(evidence.averaged(groups, people), rng=job.rng)
    strangers = blend(measured, expected, people=people)
    return _not_below(choose_cut(strangers, job.recognition.calibration, people=people))


def _not_below(cut: Cut) -> Cut:
    """Return the cut, or the least one: where people are far apart, strangers' tail alone would begin too low."""
    return replace(cut, score=max(cut.score, LEAST_SCORE))


def link(units: Evidence, sizes: np.ndarray, apart: np.ndarray, *, cut: float) -> np.ndarray:
    """Return the groups (U,) of exact average linkage, numbered from 0 on.

    Args:
        units: evidence of U units.
        sizes: (U,) faces of each.
        apart: (P, 2) pairs of units that never share a group.
        cut: least mean score of groups that are joined.
    """
    everything = np.arange(len(units))
    similarities = units.between(everything, everything)
    similarities[apart[:, 0], apart[:, 1]] = FORBIDDEN
    similarities[apart[:, 1], apart[:, 0]] = FORBIDDEN
    return renumbered(average_linkage(similarities, sizes, cut=cut))


def renumbered(groups: np.ndarray) -> np.ndarray:
    """Return groups under numbers from 0 on."""
    return np.unique(groups, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _sample(job: _Job) -> np.ndarray:
    """Return units of a large library with their neighbourhoods, so that people are in it with most of their pictures.

    Drawn singly, of most people there would be one picture or none.
    """
    seeds = job.rng.choice(len(job.embeddings), min(_SAMPLE_SEEDS, len(job.embeddings)), replace=False)
    chosen: set[int] = set()
    most, count = min(_SAMPLE_UNITS, job.exact_units), min(NEIGHBORS, len(job.embeddings))
    for start in range(0, len(seeds), 64):
        products = job.embeddings[seeds[start : start + 64]] @ job.embeddings.T
        near = np.argpartition(products, -count, axis=1)[:, -count:]
        for unit in job.unit_of[near].ravel().tolist():
            if len(chosen) < most:
                chosen.add(unit)
    return np.array(sorted(chosen), np.int64)


def _large(job: _Job, part: _Job, taught: Found) -> Found:
    """Group a large library with the evidence that a part of it has taught."""
    if taught.adapted:
        model = fit_spread(part.embeddings, taught.groups[part.unit_of], prior=job.recognition.spread)
        evidence = adapted_evidence(job.embeddings, model)
    else:
        evidence = plain_evidence(job.embeddings, job.recognition.similarity)
    units = evidence.averaged(job.unit_of, job.count)
    neighbors = nearest(units, NEIGHBORS)
    calibration, least = job.recognition.calibration, LEAST_SCORE if taught.adapted else -np.inf
    first = choose_cut(taught.cut.strangers, calibration, people=job.count / _FACES_PER_PERSON)
    floor = max(first.score, least) - _GRAPH_SLACK * first.strangers.deviation
    modules = _communities(units, job.apart, neighbors, least=floor, rng=job.rng)
    # Those of the part are no measure: in neighbourhoods, strangers are more alike than in the whole library.
    people = int(modules.max()) + 1
    strangers = measure_strangers(units.averaged(modules, people), rng=job.rng) or taught.cut.strangers
    groups, together, cut = modules, None, first
    for _ in range(2):  # the second time with the strictest cut that loses hardly any face
        wanted = choose_cut(strangers, calibration, people=people, together=together)
        wanted = replace(wanted, score=max(wanted.score, least))
        if together is not None and wanted.score <= cut.score:
            break
        cut = wanted
        groups = _link_inside(units, job.sizes, job.apart, modules, cut=cut.score, most=job.exact_units)
        groups = _link_across(units, job.sizes, job.apart, groups, cut=cut.score)
        together = evidence.with_own(groups[job.unit_of])
    return Found(groups, units, job.sizes, cut, taught.adapted, BY_GRAPH)


def _communities(
    units: Evidence,
    apart: np.ndarray,
    neighbors: tuple[np.ndarray, np.ndarray],
    *,
    least: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the modules (U,) of the graph of neighbours that score ``least`` or more, without forbidden edges."""
    ones, others, scores = mutual_edges(*neighbors, least=least)
    keys = apart[:, 0] * np.int64(len(units)) + apart[:, 1]
    allowed = ~np.isin(ones * np.int64(len(units)) + others, keys)
    weights = (scores - least)[allowed].astype(np.float64) + 1e-6
    return communities(len(units), (ones[allowed], others[allowed], weights), rng=rng)


def _link_inside(
    units: Evidence, sizes: np.ndarray, apart: np.ndarray, modules: np.ndarray, *, cut: float, most: int
) -> np.ndarray:
    """Return the groups of the exact linkage inside each module."""
    order = np.argsort(modules, kind="stable")
    bounds = np.r_[np.flatnonzero(np.diff(modules[order], prepend=-1)), len(order)]
    groups = np.empty(len(units), np.int64)
    within = apart[modules[apart[:, 0]] == modules[apart[:, 1]]]
    within = within[np.argsort(modules[within[:, 0]], kind="stable")]
    owners = modules[within[:, 0]]
    free = 0
    for begin, end in zip(bounds[:-1], bounds[1:]):
        members = order[begin:end]
        pairs = within[slice(*np.searchsorted(owners, [modules[members[0]], modules[members[0]] + 1]))]
        for piece in (members[start : start + most] for start in range(0, len(members), most)):
            pairs_here = np.searchsorted(piece, pairs)
            inside = (pairs_here < len(piece)).all(axis=1)
            pairs_here, wanted = pairs_here[inside], pairs[inside]
            pairs_here = pairs_here[(piece[pairs_here] == wanted).all(axis=1)]
            found = link(units.part(piece), sizes[piece], pairs_here, cut=cut)
            groups[piece] = free + found
            free += int(found.max()) + 1
    return groups


def _link_across(
    units: Evidence, sizes: np.ndarray, apart: np.ndarray, groups: np.ndarray, *, cut: float
) -> np.ndarray:
    """Join groups that are each other's nearest and as similar as ``cut``, until there are none.

    Joining what is nearest to each other is a step of the exact linkage, in whatever order it is done.
    """
    for _ in range(_MOST_JOINS):
        groups = renumbered(groups)
        count = int(groups.max()) + 1
        if count < 2:
            break
        means = Evidence(*_weighted_means(units, sizes, groups, count))
        rows, scores = nearest(means, _NEAREST_GROUPS)
        parted = {tuple(sorted(pair)) for pair in groups[apart].tolist()}
        choice = _first_allowed(rows, scores, parted, cut=cut)
        mutual = [(one, other) for one, other in enumerate(choice) if other > one and choice[other] == one]
        if not mutual:
            break
        joined = np.arange(count)
        for one, other in mutual:
            joined[other] = one
        groups = joined[groups]
    return renumbered(groups)


def _first_allowed(rows: np.ndarray, scores: np.ndarray, parted: set[tuple[int, ...]], *, cut: float) -> list[int]:
    """Return for each group its most similar one that it may join, -1 for none."""
    choice = []
    for one, (near, values) in enumerate(zip(rows.tolist(), scores.tolist())):
        allowed = (o for o, s in zip(near, values) if s >= cut and o >= 0 and (min(one, o), max(one, o)) not in parted)
        choice.append(next(allowed, -1))
    return choice


def _weighted_means(
    units: Evidence, sizes: np.ndarray, groups: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean offsets (G,) and vectors (G, D) of groups, each unit weighted by its faces."""
    weights = sizes.astype(np.float32)
    totals = np.bincount(groups, weights, count).astype(np.float32)
    offsets = np.bincount(groups, weights * units.offsets, count).astype(np.float32) / totals
    return offsets, sums_by_group(units.vectors * weights[:, None], groups, count) / totals[:, None]
