"""Entries of large galleries in columns: the same faces, the same file order, and damage that is told."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, ModelIdentity, collection, columns
from arcface_paddle.pipeline.gallery.columns import EntryColumns, TextColumn
from arcface_paddle.pipeline.gallery.stores import create_gallery, open_gallery

SIZE = 8
MODEL = ModelIdentity("testnet", SIZE, "a", "b", mirrored=False)
TEXTS = ["", "a", "李雷/照片.jpg", "same", "caf\udce9.jpg", "same", "x" * 300, "emas"]
ODD = [
    GalleryEntry("李雷", "caf\udce9.jpg"),
    GalleryEntry("Ada", "a.jpg", "f" * 64, (1.0, 2.5, 3.0, 1e-7), 0.25, "2026-01-31T12:00:00Z"),
    GalleryEntry("Ada", "", "not a hash", None, 0.0),
    GalleryEntry("Bob", "b.jpg", box_xyxy=(0.0, 0.0, 0.0, 0.0)),
]


def unit(count: int, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_ones_are_large(monkeypatch):
    monkeypatch.setattr(collection, "LEAST_IN_COLUMNS", 4)
    monkeypatch.setattr(columns, "_TEXTS_AT_A_TIME", 3)


def test_texts_are_taken_found_and_joined_as_in_a_list():
    column = TextColumn.of(TEXTS)
    assert [column[i] for i in range(len(column))] == column.texts() == TEXTS
    rows = np.array([7, 0, 2, 2, 6, 4, 1])
    assert column.take(rows).texts() == [TEXTS[row] for row in rows]
    assert column.take(rows[:0]).texts() == TextColumn.of([]).texts() == []
    assert column.joined(TextColumn.of(["new", ""])).texts() == [*TEXTS, "new", ""]
    assert TextColumn.of([]).joined(column).texts() == TEXTS
    for text in [*TEXTS, "none", "sam", "\u674e"]:
        assert column.rows_of(text).tolist() == [i for i, other in enumerate(TEXTS) if other == text]


def test_entries_come_out_as_they_went_in():
    made = EntryColumns.of(ODD)
    assert list(made) == ODD and made[-1] == ODD[-1] and made[1:3] == ODD[1:3]
    again = EntryColumns.of_arrays(made.arrays())
    assert list(again) == ODD and list(again.take(np.array([3, 1]))) == [ODD[3], ODD[1]]
    assert list(again.take(np.array([3, 1])).names) == ["Bob", "Ada"]
    more = [GalleryEntry("Zoe", "z.jpg"), GalleryEntry("Ada", "c.jpg", detection_score=1.0)]
    assert list(again.joined(more)) == [*ODD, *more]
    with pytest.raises(IndexError):
        made[4]
    with pytest.raises(ValueError, match="not finite"):
        EntryColumns.of([replace(ODD[1], detection_score=float("nan"))])


def test_a_large_file_holds_the_same_gallery(tmp_path):
    path, rows = tmp_path / "people.index", unit(4)
    gallery = Gallery(ODD, rows, model=MODEL, decision="mean", parameters={"a": 1})
    gallery.save(path)
    content = path.read_bytes()
    loaded = Gallery.load(path)
    assert loaded.entries == gallery.entries and loaded.model == MODEL and loaded.parameters == {"a": 1}
    np.testing.assert_array_equal(loaded.embeddings, gallery.embeddings)
    loaded.save(path)
    assert path.read_bytes() == content
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["embeddings"], gallery.embeddings)
        assert archive["persons"].tolist() == [0, 0, 1, 2]


def test_changes_of_a_large_file_leave_the_file_that_the_whole_gallery_gives(tmp_path):
    names = list("ddccbbaa")
    entries = [GalleryEntry(name, f"{name}{i}.jpg", created="now") for i, name in enumerate(names)]
    gallery = Gallery(entries, unit(8), model=MODEL)
    path, expected = tmp_path / "people.index", tmp_path / "expected.index"
    gallery.save(path)
    more = [GalleryEntry("b", "b0.jpg"), GalleryEntry("0", "0.jpg"), GalleryEntry("x", "x.jpg")]
    with open_gallery(path) as store:
        store.add(more, unit(3, seed=1))
        store.rename("a", "c", join=True)
        store.rename("x", "B")
        store.remove_picture("c2.jpg")
        store.add([GalleryEntry("d", "d.jpg")], unit(1, seed=2))
        store.remove("0")
        assert store.count() == 10
    changed = gallery.with_faces(more, unit(3, seed=1)).renamed("a", "c", join=True).renamed("x", "B")
    changed = changed.without_picture("c2.jpg").with_faces([GalleryEntry("d", "d.jpg")], unit(1, seed=2))
    changed.without_person("0").save(expected)
    assert path.read_bytes() == expected.read_bytes()


def rewritten(path, **arrays: np.ndarray) -> None:
    """Write a file again with other arrays."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with np.load(path, allow_pickle=False) as kept:
        arrays = {**{name: kept[name] for name in columns.ARRAYS}, **arrays}
    for name, array in arrays.items():
        with (path.parent / "array.npy").open("wb") as stream:
            np.save(stream, array)
        members[f"{name}.npy"] = (path.parent / "array.npy").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"persons": np.array([0, 0, 1, 3], "<i4")}, "no name"),
        ({"persons": np.array([0, 0, 1, -1], "<i4")}, "no name"),
        ({"persons": np.array([0, 0, 1, 2], "<i8")}, "int64"),
        ({"persons": np.array([0, 0, 1], "<i4")}, "texts of 3"),
        ({"path_ends": np.array([2, 1, 10, 15], "<i8")}, "texts of 4"),
        ({"path_ends": np.array([0, 5, 10, 1 << 40], "<i8")}, "texts of 4"),
        ({"boxes": np.zeros((4, 3))}, r"boxes \(4, 3\)"),
        ({"boxes": np.array([[np.inf, 0, 0, 0]] * 4)}, "not finite"),
        ({"boxes": np.array([[np.nan, 0, 0, 0]] * 4)}, "not finite"),
        ({"scores": np.array([np.nan, 0.5, 1.0, 1.5])}, "from 0 to 1"),
        ({"names": np.frombuffer(b"AdaAdaB", np.uint8), "name_ends": np.array([3, 6, 7], "<i8")}, "twice"),
        ({"names": np.full(3, 255, np.uint8), "name_ends": np.array([1, 2, 3], "<i8")}, "damaged"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, arrays, message):
    path = tmp_path / "people.index"
    Gallery(ODD, unit(4), model=MODEL).save(path)
    rewritten(path)
    assert Gallery.load(path).names == ("Ada", "Bob", "李雷")
    rewritten(path, **arrays)
    for read in (Gallery.load, open_gallery):
        with pytest.raises(GalleryError, match=rf"people\.index: [^\n]*{message}[^\n]*$|{message}[^\n]*$"):
            read(path)


def test_a_damaged_text_or_number_of_a_large_file_is_told(tmp_path):
    path = tmp_path / "people.index"
    create_gallery(path, MODEL).close()
    with open_gallery(path) as store:
        store.add([GalleryEntry(f"p{i}", f"{i}.jpg") for i in range(9)], unit(9))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = [archive.read(name) for name in archive.namelist() if name.endswith(".npy")]
    assert len(members) == 1 + len(columns.ARRAYS)
    for member in members:
        start = content.index(member)
        for offset in (start, start + len(member) - 1):
            path.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
            with pytest.raises(GalleryError, match=r"people\.index: damaged gallery file \(Bad CRC-32[^\n]*$"):
                open_gallery(path)
