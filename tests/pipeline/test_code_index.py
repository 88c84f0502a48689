"""Vectors as bytes: what a search may rely on, when an index is made anew, and what is written of it."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("faiss")

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery.stores import code_index
from arcface_paddle.pipeline.gallery.stores.code_index import CodeIndex, Vectors

SIZE = 8


def random_unit(count: int, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Rows(Vectors):
    """Rows by numbers from 100 on, in blocks of 70."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.size, self.count = rows, rows.shape[1], len(rows)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, self.count, 70):
            part = self.rows[first : first + 70]
            yield np.arange(100 + first, 100 + first + len(part)), part


@pytest.fixture(autouse=True)
def small_ones_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_index, "LEAST_TO_TRAIN", 200)


def index_of(form: str, count: int = 300) -> CodeIndex:
    return CodeIndex.of(Rows(random_unit(count)), form=form)


@functools.cache
def written(form: str) -> tuple[bytes, str]:
    """Return what is written of an index, and the notes beside it."""
    stream = io.BytesIO()
    kept = index_of(form).write(stream)
    return stream.getvalue(), kept


@pytest.mark.parametrize("form", ["int8", "ivf", "hnsw"])
def test_cosines_are_off_by_no_more_than_is_said_and_nothing_better_is_left_out(form: str) -> None:
    rows, probes = random_unit(300), random_unit(20, seed=1)
    found = CodeIndex.of(Rows(rows), form=form).search(probes, 7, everywhere=True)
    exact = probes.astype(np.float64) @ rows.T.astype(np.float64)
    assert found.numbers.shape == found.cosines.shape == (20, 7)
    for probe in range(20):
        own = exact[probe, found.numbers[probe] - 100]
        assert np.abs(own - found.cosines[probe]).max() <= found.errors[probe] < 0.05
        assert (np.diff(found.cosines[probe]) <= 0).all()
        others = np.delete(exact[probe], found.numbers[probe] - 100)
        assert others.max() <= found.margins[probe]
        assert found.margins[probe] == pytest.approx(found.cosines[probe, -1] + found.errors[probe])


@pytest.mark.parametrize("form", ["int8", "ivf", "hnsw"])
def test_fewer_than_are_asked_for_leave_nothing_out(form: str) -> None:
    index = index_of(form)
    index.remove(np.arange(105, 400))
    index.remove(np.arange(1000, 1002))
    found = index.search(random_unit(2, seed=1), 7, everywhere=True)
    assert sorted(found.numbers[0].tolist()) == [-1, -1, 100, 101, 102, 103, 104]
    assert (found.margins == -np.inf).all()
    assert index.count == 5 and sorted(n for n in index.numbers().tolist() if n >= 0) == [100, 101, 102, 103, 104]


def test_the_error_is_that_of_the_worst_row() -> None:
    rows = np.zeros((2, SIZE), np.float32)
    rows[0, 0], rows[1, :2] = 0.4, [0.21, 0.1007]
    index = CodeIndex.of(Rows(rows), form="int8")
    assert index.limit == pytest.approx(0.42)
    steps = rows.astype(np.float64) / (index.limit / 127)
    rounding = np.linalg.norm(steps - np.rint(steps), axis=1) * index.limit / 127
    assert index.error == pytest.approx(rounding.max(), rel=1e-3)
    index.add(np.array([7]), np.full((1, SIZE), 0.5, np.float32))  # larger than a byte can stand for
    assert index.error == pytest.approx(0.08 * np.sqrt(SIZE), rel=1e-3) and index.is_outgrown
    index.add(np.array([], np.int64), rows[:0])
    assert index.count == 3
    assert CodeIndex.of(Rows(np.eye(SIZE, dtype=np.float32)), form="int8").limit == 1.0
    assert CodeIndex.of(Rows(np.zeros((3, SIZE), np.float32)), form="int8").limit == 1.0
    empty = CodeIndex.of(Rows(rows[:0]), form="int8")
    assert (empty.count, empty.error, empty.trained_with) == (0, 0.0, 0)


@pytest.mark.parametrize("form", ["int8", "ivf", "hnsw"])
def test_it_is_exact_below_the_number_that_is_worth_training(form: str) -> None:
    assert index_of(form, 199).is_exact and index_of(form, 200).is_exact == (form == "int8")


def test_cells_are_trained_anew_when_there_are_twice_as_many() -> None:
    small, large = index_of("ivf", 199), index_of("ivf", 200)
    assert (small.trained_with, large.trained_with) == (0, 200)
    small.add(np.array([1]), random_unit(1))
    assert small.is_outgrown  # large enough now
    large.add(np.arange(1000, 1199), random_unit(199, seed=2))
    assert not large.is_outgrown and large.is_clean
    large.add(np.array([1]), random_unit(1, seed=3))
    assert large.is_outgrown
    flat = index_of("int8", 200)
    flat.add(np.arange(1000, 1999), random_unit(999, seed=2))
    assert not flat.is_outgrown


def test_a_graph_is_made_anew_when_more_than_a_share_of_it_is_gone() -> None:
    graph = index_of("hnsw", 220)
    assert graph.is_clean and graph.trained_with == 220
    graph.remove(np.arange(100, 120))  # a tenth of the 200 that are left
    assert not graph.is_clean and not graph.is_outgrown and graph.count == 200
    assert set(graph.search(random_unit(1), 200).numbers[0]) == set(range(120, 320))
    graph.remove(np.array([120]))
    assert graph.is_outgrown


@pytest.mark.parametrize("form", ["int8", "ivf", "hnsw"])
def test_what_is_written_answers_as_before(form: str) -> None:
    index, stream, probes = index_of(form), io.BytesIO(), random_unit(5, seed=1)
    kept = index.write(stream)
    stream.seek(0)
    read = CodeIndex.read(stream, kept, size=SIZE, form=form)
    for everywhere in (False, True):
        before, after = (one.search(probes, 9, everywhere=everywhere) for one in (index, read))
        for field in dataclasses.fields(before):
            np.testing.assert_array_equal(getattr(before, field.name), getattr(after, field.name))
    assert (read.limit, read.error, read.trained_with) == (index.limit, index.error, index.trained_with)
    assert sorted(read.numbers()) == list(range(100, 400)) and read.count == 300
    read.add(np.array([5000]), probes[:1])
    assert read.search(probes[:1], 1, everywhere=True).numbers.tolist() == [[5000]]


@pytest.mark.parametrize(
    ("form", "change"),
    [
        ("int8", {"limit": -1.0}),
        ("int8", {"error": float("inf")}),
        ("int8", {"cells": 1}),
        ("int8", {"trained_with": 5}),
        ("ivf", {"cells": 0}),
        ("ivf", {"cells": 10**6}),
        ("ivf", {"trained_with": 0}),
        ("ivf", {"effort": 64}),
        ("hnsw", {"effort": 0}),
        ("hnsw", {"effort": 513}),
    ],
)
def test_notes_that_do_not_fit_the_index_are_refused(form: str, change: dict[str, Any]) -> None:
    content, kept = written(form)
    changed = json.dumps({**json.loads(kept), **change})
    with pytest.raises(GalleryError, match="the index cannot be used"):
        CodeIndex.read(io.BytesIO(content), changed, size=SIZE, form=form)


@pytest.mark.parametrize("form", ["int8", "ivf", "hnsw"])
def test_an_older_faiss_reads_lists_of_one_vector_of_eight_bytes(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are as long as a count."""
    monkeypatch.setattr(code_index, "_looks_itself", lambda faiss: False)
    content, kept = written(form)
    assert CodeIndex.read(io.BytesIO(content), kept, size=SIZE, form=form).count == 300


@pytest.mark.parametrize("form", ["int8", "ivf", "hnsw"])
def test_an_index_of_other_vectors_is_refused(form: str) -> None:
    content, kept = written(form)
    with pytest.raises(GalleryError, match="300 vectors of 8 numbers"):
        CodeIndex.read(io.BytesIO(content), kept, size=SIZE + 1, form=form)


def test_samples_are_spread_over_all_rows() -> None:
    rows = np.arange(300, dtype=np.float32)[:, None] * np.ones((1, SIZE), np.float32)
    assert len(code_index._sampled(Rows(rows), most=300)) == len(code_index._sampled(Rows(rows), most=999)) == 300
    some = code_index._sampled(Rows(rows), most=100)[:, 0]
    assert 100 <= len(some) <= 106 and some[0] == 0 and np.diff(some).max() <= 3
