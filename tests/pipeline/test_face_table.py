"""Faces in memory against slow loops: who is there, who is most similar, whatever was added and renamed before."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.gallery.stores import table
from arcface_paddle.pipeline.gallery.stores.base import best_persons
from arcface_paddle.pipeline.gallery.stores.table import FaceTable


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def entries(names: list[str], *, start: int = 0) -> list[GalleryEntry]:
    return [GalleryEntry(name, f"{number}.jpg") for number, name in enumerate(names, start)]


def slow_search(
    names: list[str], rows: np.ndarray, probe: np.ndarray, *, k: int, mean: bool
) -> list[tuple[str, float]]:
    scores = {}
    for name in set(names):
        own = rows[[number for number, other in enumerate(names) if other == name]].astype(np.float64)
        if mean:
            own = own.sum(axis=0, keepdims=True)
            own /= np.linalg.norm(own)
        scores[name] = float((own @ probe).max())
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]


@pytest.mark.parametrize("decision", ["max", "mean"])
@pytest.mark.parametrize("block_rows", [1 << 15, 3])
def test_searched_added_and_renamed(monkeypatch: pytest.MonkeyPatch, decision: str, block_rows: int) -> None:
    monkeypatch.setattr(table, "_BLOCK_ROWS", block_rows)
    random = np.random.default_rng(0)
    centres = unit(random.normal(size=(6, 8)))
    names = [f"P{number % 4}" for number in range(12)]
    rows = unit(centres[[number % 4 for number in range(12)]] + 0.1 * random.normal(size=(12, 8)))
    faces = FaceTable(entries(names), rows, decision=decision)
    more = ["P5", "P0", "P5", "P4", "P0"]
    added = unit(centres[[5, 0, 5, 4, 0]] + 0.1 * random.normal(size=(5, 8)))
    for step in range(3):
        probes = unit(np.concatenate([centres, random.normal(size=(3, 8))]))
        for k in (1, 2, 9):
            for probe, found in zip(probes, faces.search(probes, k)):
                expected = slow_search(names, rows, probe, k=k, mean=decision == "mean")
                assert [one.name for one in found] == [name for name, _ in expected]
                assert [one.similarity for one in found] == pytest.approx([score for _, score in expected], abs=1e-6)
        assert faces.people() == {name: names.count(name) for name in sorted(set(names))}
        assert len(faces) == len(names)
        np.testing.assert_array_equal(faces.take(np.arange(len(names))[::-1]), rows[::-1])
        assert faces.rows_of(["P0", "P5"]).tolist() == [n for n, name in enumerate(names) if name in ("P0", "P5")]
        if step == 0:
            faces.add(entries(more, start=12), added)
            names, rows = names + more, np.concatenate([rows, added])
        elif step == 1:
            assert faces.rename("P1", "P5") == 3
            names = ["P5" if name == "P1" else name for name in names]
    assert faces.entry(1) == GalleryEntry("P5", "1.jpg") and not faces.has("P1")


def test_the_best_of_many_pictures_of_one_person_do_not_hide_the_next_person() -> None:
    rows = unit(np.array([[1, 0.01, 0], [1, 0.02, 0], [1, 0.03, 0], [0.5, 1, 0], [0, 0, 1]]))
    faces = FaceTable(entries(["Ada"] * 3 + ["Grace", "Mary"]), rows, decision="max")
    [found] = faces.search(np.array([[1, 0, 0]], np.float32), 2)
    assert [one.name for one in found] == ["Ada", "Grace"]


def test_faces_that_were_added_out_of_order_stand_in_order() -> None:
    faces = FaceTable([GalleryEntry("Ada", "2.jpg"), GalleryEntry("Grace", "1.jpg")], unit(np.eye(2)), decision="max")
    more = [GalleryEntry("Grace", "0.jpg"), GalleryEntry("Ada", "1.jpg"), GalleryEntry("Ada", "3.jpg")]
    faces.add(more, unit(np.ones((3, 2))))
    assert [(faces.entry(n).name, faces.entry(n).path) for n in faces.in_order().tolist()] == [
        ("Ada", "1.jpg"), ("Ada", "2.jpg"), ("Ada", "3.jpg"), ("Grace", "0.jpg"), ("Grace", "1.jpg")]  # fmt: skip


def test_persons_of_several_faces_are_ranked_by_their_best() -> None:
    cosines = np.array([0.5, 1.0000001, 0.7, -1.0000001, 0.7])
    found = best_persons(["b", "c", "b", "a", "d"], cosines, 9)
    assert [(one.name, one.similarity) for one in found] == [("c", 1.0), ("b", 0.7), ("d", 0.7), ("a", -1.0)]
    assert best_persons(["b", "c"], cosines[:2], 1) == found[:1]


def test_a_name_that_is_free_again_begins_anew() -> None:
    rows = unit(np.array([[1, 0.2, 0.1], [0.3, 1, 0.1], [0.1, 0.2, 1]]))
    faces = FaceTable(entries(["Ada", "Grace"]), rows[:2], decision="mean")
    assert faces.rename("Ada", "Mary") == 1
    faces.add(entries(["Ada"], start=2), rows[2:])
    [found] = faces.search(rows[2:], 3)
    expected = slow_search(["Mary", "Grace", "Ada"], rows, rows[2], k=3, mean=True)
    assert [(one.name, pytest.approx(one.similarity, abs=1e-6)) for one in found] == expected
