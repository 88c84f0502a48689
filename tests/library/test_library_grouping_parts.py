"""The parts of the grouping against slow twins, and constraints under random faces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from benchmarks import drawn_faces

from arcface_paddle.library.grouping import graph, map_equation, search
from arcface_paddle.library.grouping.cut import Strangers, blend, deviations_at, far_of, measure_strangers
from arcface_paddle.library.grouping.evidence import (
    Evidence,
    adapted_evidence,
    fit_spread,
    plain_evidence,
    within_scatter,
)
from arcface_paddle.library.grouping.linkage import FORBIDDEN, average_linkage
from arcface_paddle.library.grouping.scores import score_groups
from arcface_paddle.pipeline.cards import Calibration, SimilaritySpec

TAIL = ((1e-2, 0.349), (1e-3, 0.463), (1e-4, 0.55), (1e-5, 0.623))
CARD = Calibration(None, None, None, 0.6, "", tail=TAIL)


def people(count: int, faces: int, *, seed: int, size: int = 16, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors (N, D) float32 and who they are."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count, faces)
    centres = rng.normal(size=(count, size))
    vectors = centres[labels] + noise * rng.normal(size=(faces, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def slow_linkage(similarities: np.ndarray, sizes: np.ndarray, cut: float, apart: set[tuple[int, int]]) -> list[set]:
    """Join the most similar pair of all, by its mean over all pairs, until none reaches the cut."""
    groups = [{row} for row in range(len(similarities))]

    def mean(one: set, other: set) -> float:
        if any((min(i, j), max(i, j)) in apart for i in one for j in other):
            return -np.inf
        weights = [sizes[i] * sizes[j] for i in one for j in other]
        return float(np.average([similarities[i, j] for i in one for j in other], weights=weights))

    while len(groups) > 1:
        best = max(itertools.combinations(range(len(groups)), 2), key=lambda pair: mean(*(groups[at] for at in pair)))
        if mean(groups[best[0]], groups[best[1]]) < cut:
            break
        groups[best[0]] |= groups.pop(best[1])
    return groups


def as_sets(groups: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cut", [-0.05, 0.2, 0.5])
def test_linkage_joins_the_most_similar_pair_each_time(seed, cut):
    vectors, _ = people(5, 24, seed=seed)
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, len(vectors))
    apart = {tuple(sorted(pair)) for pair in rng.integers(0, len(vectors), (6, 2)).tolist() if pair[0] != pair[1]}
    similarities = (vectors @ vectors.T).astype(np.float32)
    given = similarities.copy()
    for one, other in apart:
        given[one, other] = given[other, one] = FORBIDDEN
    found = as_sets(average_linkage(given, sizes, cut=cut))
    assert found == {frozenset(group) for group in slow_linkage(similarities, sizes, cut, apart)}


def test_a_chain_of_in_betweens_does_not_join_two_look_alikes():
    """Neighbours on an arc are .97 similar and its ends 0: single linkage joins all, average linkage parts it."""
    angles = np.linspace(0, np.pi / 2, 8)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    groups = average_linkage(vectors @ vectors.T, np.ones(8), cut=0.8)
    assert groups[0] != groups[-1]
    assert min((vectors[groups == g] @ vectors[groups == g].T).mean() for g in np.unique(groups)) >= 0.8


def test_means_of_groups_give_means_over_pairs():
    rng = np.random.default_rng(0)
    evidence = Evidence(rng.normal(size=12).astype(np.float32), rng.normal(size=(12, 5)).astype(np.float32))
    groups = np.array([0, 1, 2, 0, 1, 2, 2, 0, 0, 1, 1, 2])
    scores = evidence.between(np.arange(12), np.arange(12))
    means = evidence.averaged(groups, 3)
    between = means.between(np.arange(3), np.arange(3))
    for one, other in itertools.combinations(range(3), 2):
        assert between[one, other] == pytest.approx(scores[np.ix_(groups == one, groups == other)].mean(), abs=1e-5)
    assert evidence.of_pairs(np.array([1]), np.array([7]))[0] == pytest.approx(scores[1, 7], abs=1e-5)


def test_plain_evidence_is_the_cards_similarity():
    vectors, _ = people(3, 10, seed=1)
    spec = SimilaritySpec(0.69, 0.29)
    scores = plain_evidence(vectors, spec).between(np.arange(10), np.arange(10))
    np.testing.assert_allclose(scores, (vectors @ vectors.T - 0.69) / 0.29, atol=1e-5)


def test_adapted_evidence_is_the_likelihood_ratio_of_two_gaussians():
    """Against the densities themselves, with the covariance of two faces of one person written out."""
    vectors, labels = people(30, 300, seed=2, size=6)
    model = fit_spread(vectors, labels)
    scores = adapted_evidence(vectors, model).between(np.arange(5), np.arange(5))
    placed = (vectors[:5] - model.mean) @ model.transform
    placed *= np.sqrt((1 + model.between).sum()) / np.linalg.norm(placed, axis=1, keepdims=True)

    def log_density(x: np.ndarray, covariance: np.ndarray) -> float:
        return -0.5 * (x @ np.linalg.solve(covariance, x) + np.linalg.slogdet(covariance)[1])

    between, within = np.diag(model.between), np.eye(6)
    both = np.block([[between + within, between], [between, between + within]])
    for one, other in itertools.combinations(range(5), 2):
        together = log_density(np.r_[placed[one], placed[other]], both)
        alone = log_density(placed[one], between + within) + log_density(placed[other], between + within)
        assert scores[one, other] == pytest.approx(together - alone, abs=1e-3)


def test_scatter_is_that_of_a_loop():
    vectors, labels = people(6, 40, seed=3)
    scatter, freedom = within_scatter(vectors, labels * 7)
    expected = np.zeros((16, 16))
    for label in np.unique(labels):
        rest = vectors[labels == label].astype(float) - vectors[labels == label].mean(axis=0)
        expected += rest.T @ rest
    np.testing.assert_allclose(scatter, expected, atol=1e-4)
    assert freedom == 40 - len(np.unique(labels))


@pytest.mark.parametrize("engine", ["numpy", "faiss"])
def test_neighbours_are_those_of_a_sorted_table(engine, monkeypatch):
    if engine == "faiss":
        pytest.importorskip("faiss")
        monkeypatch.setattr(graph, "_FAISS_FROM", 1)
    monkeypatch.setattr(graph, "_BLOCK_SCORES", 700)
    rng = np.random.default_rng(4)
    evidence = Evidence(rng.normal(size=50).astype(np.float32), rng.normal(size=(50, 8)).astype(np.float32))
    rows, scores = graph.nearest(evidence, 7)
    table = evidence.between(np.arange(50), np.arange(50))
    np.fill_diagonal(table, -np.inf)
    np.testing.assert_array_equal(rows, np.argsort(-table, axis=1)[:, :7])
    np.testing.assert_allclose(scores, np.take_along_axis(table, rows, axis=1), atol=1e-4)


def random_graph(seed: int, count: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    pairs = np.unique(np.sort(rng.integers(0, count, (30, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return pairs[:, 0], pairs[:, 1], rng.random(len(pairs)) + 0.1


def test_description_length_is_that_of_the_map_equation():
    """Against the entropies of the paper: of moves between modules, and within each of its nodes and its exit."""
    edges = random_graph(0)
    modules = np.arange(12) // 4
    shares = edges[2] / edges[2].sum() / 2
    flow = np.zeros((12, 12))
    flow[edges[0], edges[1]] = flow[edges[1], edges[0]] = shares
    visits = flow.sum(axis=0)
    leaving = np.array([flow[modules == m][:, modules != m].sum() for m in range(3)])

    def entropy(parts: np.ndarray) -> float:
        parts = parts[parts > 0] / parts.sum()
        return float(-(parts * np.log2(parts)).sum())

    expected = leaving.sum() * entropy(leaving)
    for m in range(3):
        inside = np.r_[leaving[m], visits[modules == m]]
        expected += inside.sum() * entropy(inside)
    assert map_equation.description_length(12, edges, modules) == pytest.approx(expected)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_search_finds_the_shortest_description_of_small_graphs(compiled, monkeypatch):
    if compiled:
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(map_equation, "_compiled_sweep", lambda: map_equation._sweep)
    best_found = 0
    for seed in range(4):
        edges = random_graph(seed, count=6)
        found = map_equation.communities(6, edges, rng=np.random.default_rng(seed))
        partitions = {
            tuple(np.unique(p, return_inverse=True)[1].tolist()) for p in itertools.product(range(3), repeat=6)
        }
        shortest = min(map_equation.description_length(6, edges, np.array(p)) for p in partitions)
        length = map_equation.description_length(6, edges, found)
        assert length <= map_equation.description_length(6, edges, np.arange(6)) + 1e-9
        best_found += length <= shortest + 1e-9
    assert best_found >= 3  # it is a local search


def test_cliques_are_communities():
    ones, others = zip(*[(c * 5 + i, c * 5 + j) for c in range(8) for i, j in itertools.combinations(range(5), 2)])
    ones, others = [*ones, *(c * 5 for c in range(7))], [*others, *(c * 5 + 6 for c in range(7))]
    edges = np.array(ones), np.array(others), np.ones(len(ones))
    found = map_equation.communities(41, edges, rng=np.random.default_rng(0))
    assert as_sets(found) == {*(frozenset(range(c * 5, c * 5 + 5)) for c in range(8)), frozenset({40})}


def test_the_cut_rises_with_the_library_and_its_peoples_likeness():
    heights = [deviations_at(far_of(count), CARD) for count in (2, 10, 100, 1000, 10_000, 100_000)]
    assert heights == sorted(heights)
    assert heights[0] == heights[1] < heights[2]
    assert deviations_at(1e-3, CARD) * 0.149 + 0.002 == pytest.approx(0.463, abs=2e-3)
    usual, alike = Strangers(0.0, 0.15), Strangers(0.2, 0.15)
    assert blend(alike, usual, people=100).mean == pytest.approx(0.2, abs=0.01)
    assert blend(alike, usual, people=1).mean < 0.1
    assert blend(None, usual, people=5) == usual
    assert blend(Strangers(2.0, 0.1), usual, people=1000).mean < 0.4


def test_strangers_are_measured_in_spite_of_friends():
    """Half of all groups are parts of people who have not been put together: the lower half does not see them."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(400, 64)) / 8
    vectors[300:] = vectors[:100] + rng.normal(size=(100, 64)) / 40
    evidence = Evidence(np.zeros(400, np.float32), vectors.astype(np.float32))
    found = measure_strangers(evidence, rng=rng)
    assert found is not None
    assert found.mean == pytest.approx(0.0, abs=0.01)
    assert found.deviation == pytest.approx(0.125, abs=0.01)


@pytest.mark.parametrize("exact_units", [10_000, 40])
@pytest.mark.parametrize("seed", range(3))
def test_constraints_are_obeyed_by_every_algorithm(seed, exact_units):
    vectors, labels = people(20, 260, seed=seed, size=24, noise=0.35)
    rng = np.random.default_rng(seed)
    apart = np.unique(np.sort(rng.integers(0, 200, (300, 2)), axis=1), axis=0)
    same_person = labels[apart[:, 0]] == labels[apart[:, 1]]
    assert same_person.sum() > 5  # the similarities speak for joining some of them
    apart = apart[apart[:, 0] != apart[:, 1]]
    unit_of = np.r_[np.arange(200), rng.integers(0, 200, 60)]  # strangers in one unit stay in it
    found = search.find_people(
        vectors, unit_of, apart, recognition=search.Recognition(calibration=CARD), rng=rng, exact_units=exact_units
    )
    assert not (found.groups[apart[:, 0]] == found.groups[apart[:, 1]]).any()
    assert len(found.groups) == 200
    assert set(found.groups.tolist()) == set(range(found.groups.max() + 1))


@pytest.mark.parametrize("exact_units", [10_000, 250])
def test_people_who_are_far_apart_are_found_without_a_mistake(exact_units):
    vectors, labels = people(30, 400, seed=7, size=48, noise=0.25)
    found = search.find_people(
        vectors, np.arange(400), np.empty((0, 2), np.int64), recognition=search.Recognition(calibration=CARD),
        rng=np.random.default_rng(0), exact_units=exact_units,
    )  # fmt: skip
    assert as_sets(found.groups) == as_sets(labels)
    assert ("map equation" in found.algorithm) == (exact_units == 250)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_faces(count):
    vectors, _ = people(1, count, seed=8, noise=0.05)
    found = search.find_people(
        vectors, np.arange(count), np.empty((0, 2), np.int64), recognition=search.Recognition(calibration=CARD),
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert len(set(found.groups.tolist())) == 1


def test_one_person_alone_in_the_library_is_one_group():
    vectors, _ = people(1, 60, seed=9, size=64, noise=0.45)
    found = search.find_people(
        vectors, np.arange(60), np.empty((0, 2), np.int64), recognition=search.Recognition(calibration=CARD),
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert len(set(found.groups.tolist())) == 1


@pytest.mark.parametrize("seed", range(2))
def test_a_person_on_nearly_half_of_all_pictures_leaves_the_others_to_be_found(seed):
    """Deviations from a mean that is that person's would teach that all others are alike, or that nobody is."""
    rng = np.random.default_rng(seed)
    sizes = np.r_[250, np.full(25, 6), np.ones(150, np.int64)]
    vectors, labels = drawn_faces.like_card(SimilaritySpec(0.69, 0.29), width=192, sizes=sizes, rng=rng)
    recognition = search.Recognition(SimilaritySpec(0.69, 0.29), CARD)
    found = search.find_people(
        vectors, np.arange(len(vectors)), np.empty((0, 2), np.int64), recognition=recognition,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    scores = score_groups(found.groups, labels)
    assert scores.pair_f > 0.93
    assert scores.bcubed_f > 0.96
