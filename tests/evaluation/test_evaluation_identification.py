from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation import identification
from arcface_paddle.evaluation.identification import (
    SplitSettings,
    identification_result,
    person_templates,
    rank_probes,
    split_gallery_probes,
)
from arcface_paddle.evaluation.metrics import wilson_interval


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def people_set(people=30, pictures=5, *, noise=1.5, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people) * 7 + 3, pictures)  # labels need not be contiguous
    centres = np.repeat(generator.normal(size=(people, 24)), pictures, axis=0)
    return unit(centres + noise * generator.normal(size=centres.shape)), labels


def slow_search(probe, label, gallery, gallery_labels, pooling):
    """Similarity to each person one at a time; returns rank (0 = not in the gallery), true and top similarity."""
    similarity = {}
    for person in set(gallery_labels.tolist()):
        rows = gallery[gallery_labels == person]
        if pooling == "mean":
            mean = rows.sum(axis=0)
            similarity[person] = float(probe @ mean / np.linalg.norm(mean))
        else:
            similarity[person] = max(float(probe @ row) for row in rows)
    top = max(similarity.values())
    if label not in similarity:
        return 0, -np.inf, top
    better = sum(value > similarity[label] for person, value in similarity.items() if person != label)
    return better + 1, similarity[label], top


@pytest.mark.parametrize("pooling", ["mean", "best"])
@pytest.mark.parametrize("block", [1, 100, 1 << 24])
def test_ranking_equals_one_probe_at_a_time(pooling, block, monkeypatch):
    monkeypatch.setattr(identification, "_BLOCK_VALUES", block)
    embeddings, labels = people_set()
    split = split_gallery_probes(labels, settings=SplitSettings(gallery_images=2))
    gallery, gallery_labels = embeddings[split.gallery], labels[split.gallery]
    ranking = rank_probes(embeddings[split.probes], labels[split.probes], gallery, gallery_labels, pooling=pooling)
    for row, index in enumerate(split.probes):
        rank, true, top = slow_search(embeddings[index], labels[index], gallery, gallery_labels, pooling)
        assert ranking.rank[row] == rank
        assert ranking.mated[row] == (rank > 0)
        assert ranking.true_similarity[row] == pytest.approx(true)
        assert ranking.top_similarity[row] == pytest.approx(top)
    assert 0 < np.count_nonzero(~ranking.mated) < len(ranking.mated)


def test_result_counts_what_the_ranking_says():
    embeddings, labels = people_set(people=60, pictures=6)
    split = split_gallery_probes(labels)
    ranking = rank_probes(
        embeddings[split.probes], labels[split.probes], embeddings[split.gallery], labels[split.gallery]
    )
    people = len(set(labels[split.gallery].tolist()))
    result = identification_result(ranking, name="set", people=people, fpir_targets=(0.1, 0.02, 1e-3))
    ranks = ranking.rank[ranking.mated]
    for k in (1, 2, 5, people):
        assert result.rank(k) == pytest.approx(np.mean(ranks <= k))
    assert result.rank(10_000) == 1 and len(result.cmc) == people
    assert result.rank_1_interval == wilson_interval(np.count_nonzero(ranks == 1), len(ranks))
    assert result.mated + result.unmated == len(split.probes)
    for point in result.open_set[:2]:
        strangers = ranking.top_similarity[~ranking.mated]
        assert np.mean(strangers >= point.threshold) <= point.far_target
        right = (ranking.rank == 1) & (ranking.true_similarity >= point.threshold)
        assert point.tar == pytest.approx(np.count_nonzero(right) / result.mated)
    assert result.open_set[2].tar is None
    assert "at least 1,000 needed" in result.open_set[2].remark


def test_ties_count_against_the_right_person():
    gallery = unit(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    ranking = rank_probes(gallery[:1], np.array([1]), gallery, np.array([1, 2, 3]))
    assert ranking.rank[0] == 2


def test_person_templates_are_normalised_means():
    templates, people = person_templates(np.array([[1.0, 0], [0, 1.0], [0.6, 0.8]]), np.array([5, 5, 2]))
    np.testing.assert_array_equal(people, [2, 5])
    np.testing.assert_allclose(templates, [[0.6, 0.8], [0.5**0.5, 0.5**0.5]])
    short, _ = person_templates(np.array([[1.0, 0], [-0.6, 0.8]]), np.array([1, 1]))
    np.testing.assert_allclose(short, [[0.2**0.5, 0.8**0.5]])
    nowhere, _ = person_templates(np.array([[1.0, 0], [-1.0, 0]]), np.array([1, 1]))
    np.testing.assert_array_equal(nowhere, [[0, 0]])


def test_split_is_seeded_disjoint_and_complete():
    _, labels = people_set(people=40, pictures=4)
    labels = np.concatenate([labels, [9001, 9002]])  # two people with one picture each
    settings = SplitSettings(gallery_images=2, stranger_share=0.25, seed=3)
    split = split_gallery_probes(labels, settings=settings)
    again = split_gallery_probes(labels, settings=settings)
    np.testing.assert_array_equal(split.gallery, again.gallery)
    other = split_gallery_probes(labels, settings=SplitSettings(2, 0.25, seed=4))
    assert not np.array_equal(split.gallery, other.gallery)
    assert sorted([*split.gallery, *split.probes]) == list(range(len(labels)))
    people, counts = np.unique(labels[split.gallery], return_counts=True)
    assert len(people) == 30
    assert set(counts) == {2}
    assert {9001, 9002}.isdisjoint(people)


def test_split_needs_a_second_picture():
    with pytest.raises(DataError, match="none of 3 people has more than 1 pictures"):
        split_gallery_probes(np.array([1, 2, 3]))
    with pytest.raises(ConfigError, match="stranger_share 1"):
        split_gallery_probes(np.array([1, 1]), settings=SplitSettings(stranger_share=1))
    for wrong in (SplitSettings(gallery_images=0), SplitSettings(stranger_share=-0.01)):
        with pytest.raises(ConfigError, match="allowed: 1 or more"):
            split_gallery_probes(np.array([1, 1]), settings=wrong)
    everybody = split_gallery_probes(np.array([1, 1, 2, 2]), settings=SplitSettings(stranger_share=0))
    assert (len(everybody.gallery), len(everybody.probes)) == (2, 2)
    assert SplitSettings() == SplitSettings(gallery_images=1, stranger_share=0.3, seed=0)
    assert identification.FPIR_TARGETS == (1e-1, 1e-2, 1e-3)


def test_wrong_use_is_named():
    embeddings, labels = people_set(people=2)
    with pytest.raises(ConfigError, match="'median'; allowed: mean, best"):
        rank_probes(embeddings, labels, embeddings, labels, pooling="median")
    with pytest.raises(DataError, match="0 gallery"):
        rank_probes(embeddings, labels, embeddings[:0], labels[:0])
    ranking = rank_probes(embeddings[:2], labels[:2] + 1, embeddings, labels)
    with pytest.raises(DataError, match="set: no probe shows a person of the gallery"):
        identification_result(ranking, name="set", people=2)


@pytest.mark.parametrize("stranger", [0, 15, 99])
def test_a_stranger_may_have_any_label(stranger):
    gallery, labels = unit(np.array([[1.0, 0.2], [0.1, 1.0]])), np.array([10, 20])
    ranking = rank_probes(gallery, np.array([stranger, 20]), gallery, labels, pooling="best")
    assert ranking.mated.tolist() == [False, True] and ranking.rank.tolist() == [0, 1]
    assert ranking.top_similarity == pytest.approx([1.0, 1.0])
