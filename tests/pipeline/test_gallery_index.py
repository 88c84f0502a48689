"""The contract of a gallery index, kept by the exact one and by a slow stand-in that shows what an engine must do."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.index import DECISIONS, ExactIndex, GalleryIndex, check_search
from arcface_paddle.pipeline.gallery.matching import identify
from arcface_paddle.types import UNKNOWN, Candidate

SIZE = 16


class SlowIndex:
    """Keeps a list per person and compares one by one, straight from the definition."""

    def __init__(self, names, embeddings, *, decision="best"):
        if decision not in DECISIONS:
            raise GalleryError(f"decision is {decision!r}; allowed: {', '.join(DECISIONS)}")
        self._faces: dict[str, list[np.ndarray]] = {}
        for name, row in zip(names, embeddings):
            self._faces.setdefault(name, []).append(row.astype(np.float64))
        self._decision = decision
        self._size = embeddings.shape[1]

    @property
    def names(self):
        return tuple(self._faces)

    @property
    def embedding_size(self):
        return self._size

    def search(self, probes, k):
        check_search(probes, k, embedding_size=self._size)
        return [tuple(self._candidates(probe)[:k]) for probe in probes]

    def _candidates(self, probe):
        found = [Candidate(name, self._similarity(rows, probe)) for name, rows in self._faces.items()]
        return sorted(found, key=lambda candidate: (-candidate.similarity, candidate.name))

    def _similarity(self, rows, probe):
        if self._decision == "best":
            value = max(float(np.dot(row, probe)) for row in rows)
        else:
            template = sum(rows)
            value = float(np.dot(template / np.linalg.norm(template), probe))
        return max(-1.0, min(1.0, value))


@pytest.fixture(params=[ExactIndex, SlowIndex])
def make_index(request):
    return request.param


def random_unit(count: int, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("names", [list("aabccc"), ["z"], sorted("abcdefgh" * 5)])
@pytest.mark.parametrize("k", [1, 3, 100])
def test_the_most_similar_persons_come_first(make_index, decision, names, k):
    rows, probes = random_unit(len(names)), random_unit(9, seed=5)
    index: GalleryIndex = make_index(names, rows, decision=decision)
    assert index.names == tuple(sorted(set(names))) and index.embedding_size == SIZE
    found, expected = index.search(probes, k), SlowIndex(names, rows, decision=decision).search(probes, 100)
    assert len(found) == len(probes)
    for candidates, everybody in zip(found, expected):
        assert [c.name for c in candidates] == [c.name for c in everybody[:k]]
        assert [c.similarity for c in candidates] == pytest.approx([c.similarity for c in everybody[:k]], abs=1e-6)


def test_similarities_are_signed_cosines_within_their_range(make_index):
    rows = random_unit(50)
    for [found], row in zip(make_index(list(map(str, range(10, 60))), rows).search(rows, 1), rows):
        assert found.similarity == pytest.approx(1.0, abs=1e-6) and found.similarity <= 1.0
        [[opposite]] = make_index(["a"], row[None]).search(-row[None], 5)
        assert opposite.similarity == pytest.approx(-1.0, abs=1e-6) and opposite.similarity >= -1.0


@pytest.mark.parametrize("k", [1, 2, 5])
def test_equally_similar_persons_come_in_the_order_of_names(make_index, k):
    row = np.eye(SIZE, dtype=np.float32)[0]
    index = make_index(list("abcdefgh"), np.tile(row, (8, 1)))
    assert [c.name for c in index.search(row[None], k)[0]] == list("abcdefgh")[:k]


def test_nobody_and_nothing(make_index):
    empty = make_index([], np.zeros((0, SIZE), np.float32))
    assert empty.names == () and [tuple(found) for found in empty.search(random_unit(2), 3)] == [(), ()]
    assert list(make_index(["a"], random_unit(1)).search(np.zeros((0, SIZE), np.float32), 3)) == []


@pytest.mark.parametrize(
    ("probes", "k", "message"),
    [(np.zeros((1, 8), np.float32), 5, "size 16"), (random_unit(1), 0, "1 or more"), (np.zeros(16), 5, "size 16")],
)
def test_questions_without_an_answer_are_refused(make_index, probes, k, message):
    with pytest.raises(GalleryError, match=message):
        make_index(["a"], random_unit(1)).search(probes, k)
    with pytest.raises(GalleryError, match=message):
        make_index([], np.zeros((0, SIZE), np.float32)).search(probes, k)


def test_an_unknown_decision_is_refused(make_index):
    with pytest.raises(GalleryError, match="best, mean"):
        make_index(["a"], random_unit(1), decision="vote")


def test_names_are_decided_over_any_index(make_index):
    rows = np.eye(2, SIZE, dtype=np.float32)
    index = make_index(["Ada", "Grace"], rows)
    probes = np.stack([0.8 * rows[0] + 0.6 * rows[1], np.eye(SIZE, dtype=np.float32)[7]])
    ada, stranger = identify(index, probes, top_k=1, threshold=0.5)
    assert (ada.name, ada.similarity, len(ada.candidates)) == ("Ada", pytest.approx(0.8), 1)
    assert (stranger.name, stranger.similarity) == (UNKNOWN, pytest.approx(0.0))
    assert identify(index, probes, top_k=1, threshold=0.8 + 1e-4)[0].name == UNKNOWN


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_gallery_asks_the_engine_it_was_given_and_keeps_it_through_edits(decision):
    asked = []

    class Recorded(SlowIndex):
        def search(self, probes, k):
            asked.append((self.names, k))
            return super().search(probes, k)

    names, rows = list("aabbc"), random_unit(5)
    exact = Gallery([GalleryEntry(name, f"{i}.jpg") for i, name in enumerate(names)], rows, decision=decision)
    engine = exact.with_index(Recorded)
    probes = random_unit(6, seed=9)
    for one, other in zip(
        exact.identify(probes, top_k=2, threshold=0.2), engine.identify(probes, top_k=2, threshold=0.2)
    ):
        assert (one.name, [c.name for c in one.candidates]) == (other.name, [c.name for c in other.candidates])
        assert one.similarity == pytest.approx(other.similarity, abs=1e-6)
    model = ModelIdentity("net", SIZE, "", "", mirrored=False)
    engine.renamed("a", "z").without_person("b").with_model(model).identify(probes, top_k=1, threshold=0)
    assert asked == [(("a", "b", "c"), 2), (("c", "z"), 1)]
