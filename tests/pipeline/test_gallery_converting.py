"""Galleries go from engine to engine and back without losing a bit, and a copy that is none is noticed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.pipeline.gallery import (
    Gallery,
    GalleryEntry,
    ModelIdentity,
    combine_galleries,
    remove_person,
    remove_picture,
    rename_person,
)
from arcface_paddle.pipeline.gallery.editing import write_gallery
from arcface_paddle.pipeline.gallery.stores import (
    convert_gallery,
    converting,
    load_gallery,
    open_gallery,
    postgres_store,
    shown_uri,
)
from arcface_paddle.pipeline.gallery.stores.file_store import FileStore
from arcface_paddle.types import Candidate

SIZE = 16
MODEL = ModelIdentity("testnet", SIZE, "a" * 64, "b" * 64, mirrored=True, similarity=SimilaritySpec(0.1, 0.8))


def make_gallery(count: int = 60, *, decision: str = "best", model=MODEL, seed: int = 0) -> Gallery:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    entries = [
        GalleryEntry(f"person {i // 3}", f"{seed}-{i}.jpg", f"{seed:04x}{i:060x}", (0.5, 1.25, 2.0, 3.1), 0.987, "2026")
        for i in range(count)
    ]
    return Gallery(entries, rows.astype(np.float32), decision=decision, model=model, parameters={"detector": "x"})


@pytest.fixture(params=["file", "faiss", pytest.param("milvus", marks=pytest.mark.long),
                        pytest.param("postgres", marks=pytest.mark.long)])  # fmt: skip
def uri(request, tmp_path) -> str:
    if request.param == "file":
        return str(tmp_path / "copy.index")
    if request.param == "faiss":
        pytest.importorskip("faiss")
        return f"faiss:{tmp_path / 'copy'}?form=int8"
    return request.getfixturevalue(f"{request.param}_server")("converted")


@pytest.mark.parametrize("decision", ["best", "mean"])
def test_there_and_back_gives_the_same_file(uri, tmp_path, decision):
    gallery = make_gallery(decision=decision)
    gallery.save(tmp_path / "original.index")
    there = convert_gallery(tmp_path / "original.index", uri)
    assert (there.faces, there.people, there.asked, there.agreed) == (60, 20, 60, 60)
    back = convert_gallery(uri, tmp_path / "back.index")
    assert (back.faces, back.asked) == (60, 60)
    assert (tmp_path / "back.index").read_bytes() == (tmp_path / "original.index").read_bytes()
    with pytest.raises(GalleryError, match="exists"):
        convert_gallery(tmp_path / "original.index", uri)


def test_a_published_index_and_a_gallery_of_nobody_are_converted(uri, tmp_path):
    rows = [3 * np.eye(SIZE, dtype=np.float32)[i : i + 1] for i in range(2)]
    (tmp_path / "index.bin").write_bytes(pickle.dumps({"label": ["Joey", "Monica"], "feature": rows}, protocol=3))
    assert convert_gallery(tmp_path / "index.bin", uri).people == 2
    with open_gallery(uri) as store:
        assert store.model is None and store.names == ("Joey", "Monica")
        assert "does not say which model" in store.require_model(MODEL)
    Gallery.empty(MODEL).save(tmp_path / "empty.index")
    assert convert_gallery(tmp_path / "empty.index", tmp_path / "again.index") == converting.Conversion(0, 0, 0, 0)


def test_a_copy_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    make_gallery().save(tmp_path / "original.index")
    right = FileStore.search
    monkeypatch.setattr(FileStore, "search", lambda self, probes, k: right(self, -probes, k))
    with pytest.raises(GalleryError, match="gives other answers"):
        convert_gallery(tmp_path / "original.index", tmp_path / "copy.index")
    monkeypatch.undo()
    people = FileStore.people
    monkeypatch.setattr(FileStore, "people", lambda self: {**people(self), "person 0": 2})
    with pytest.raises(GalleryError, match="is not what"):
        convert_gallery(tmp_path / "original.index", tmp_path / "second.index")


@pytest.mark.parametrize(
    ("ours", "theirs", "agree"),
    [
        ([], [], True),
        ([("a", 0.5)], [], False),
        ([], [("a", 0.5)], False),
        ([("a", 0.5)], [("a", 0.5)], True),
        ([("a", 0.5)], [("b", 0.5)], False),
        ([("a", 0.5)], [("a", 0.4)], False),
        ([("a", 0.5), ("b", 0.3)], [("a", 0.5), ("c", 0.3)], True),
        ([("a", 0.5), ("b", 0.3)], [("b", 0.5), ("a", 0.3)], False),
        ([("a", 0.5), ("b", 0.5)], [("b", 0.5), ("a", 0.5)], True),
        ([("a", 0.5), ("b", 0.4)], [("a", 0.5), ("b", 0.2)], False),
    ],
)
def test_answers_agree_in_the_best_person_and_all_similarities(ours, theirs, agree):
    assert converting._agree([Candidate(*one) for one in ours], [Candidate(*one) for one in theirs]) == agree


@pytest.mark.parametrize("kind", ["file", "faiss"])
def test_a_copy_that_cannot_be_finished_is_not_there(kind, tmp_path):
    """The limit on the size of files stands for a full disk; the copy of nobody fits."""
    resource = pytest.importorskip("resource")
    if kind == "faiss":
        pytest.importorskip("faiss")
    make_gallery(1500).save(tmp_path / "original.index")
    target = str(tmp_path / "copy.index") if kind == "file" else f"faiss:{tmp_path / 'copy'}?form=int8"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for convert in (convert_gallery, lambda path, place: write_gallery(place, load_gallery(path))):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, limits[1]))
            with pytest.raises(
                GalleryError, match=r"/copy(\.index)?: cannot (change|read or write|write) the gallery: "
            ):
                convert(tmp_path / "original.index", target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in tmp_path.iterdir()] == ["original.index"]
    assert convert_gallery(tmp_path / "original.index", target).faces == 1500


def test_editing_is_the_same_whatever_keeps_the_gallery(uri):
    gallery = make_gallery()
    write_gallery(uri, gallery)
    change = remove_person(uri, "person 3")
    assert (change.changed, change.faces, change.people) == (3, 57, 19)
    change = remove_picture(uri, "0-0.jpg")
    assert (change.changed, change.faces, change.people) == (1, 56, 19)
    change = rename_person(uri, "person 4", "Zoe")
    assert (change.changed, change.faces, change.people) == (3, 56, 19)
    change = rename_person(uri, "person 5", "Zoe", join=True)
    assert (change.changed, change.faces, change.people) == (3, 56, 18)
    with pytest.raises(GalleryError, match="nobody"):
        remove_person(uri, "nobody")
    expected = gallery.without_person("person 3").without_picture("0-0.jpg").renamed("person 4", "Zoe")
    expected = expected.renamed("person 5", "Zoe", join=True)
    assert load_gallery(uri).entries == expected.entries


def test_galleries_of_every_engine_are_united(uri, tmp_path):
    one, two = make_gallery(30), make_gallery(30, seed=1)
    write_gallery(uri, one)
    two.save(tmp_path / "two.index")

    def union(galleries):
        return galleries[0].merged(galleries[1])

    assert len(combine_galleries(tmp_path / "all.index", [tmp_path / "two.index", uri], union)) == 60
    assert len(combine_galleries(uri, [uri, tmp_path / "two.index"], union)) == 60
    assert load_gallery(uri).entries == Gallery.load(tmp_path / "all.index").entries
    make_gallery(3, model=None).save(tmp_path / "unknown.index")
    with pytest.raises(GalleryError, match="can only join one of its kind"):
        combine_galleries(uri, [uri, tmp_path / "unknown.index"], union)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("people.index", "people.index"),
        ("faiss:people?form=int8", "faiss:people?form=int8"),
        ("postgresql://ada:secret@db:5432/faces?gallery=x", "postgresql://ada@db:5432/faces?gallery=x"),
        ("postgresql:///faces?password=secret&user=ada", "postgresql:///faces?user=ada"),
        ("milvus://root:secret@host:19530/people?token=secret", "milvus://root@host:19530/people"),
    ],
)
def test_passwords_are_not_shown(uri, shown):
    assert shown_uri(uri) == shown


@pytest.mark.parametrize(
    ("uri", "address", "schema"),
    [
        (
            "postgresql://u:p@h:5/db?gallery=my_1&sslmode=require",
            "postgresql://u:p@h:5/db?sslmode=require",
            "arcface_my_1",
        ),
        ("postgresql://h/db?sslmode=require&gallery=a", "postgresql://h/db?sslmode=require", "arcface_a"),
        ("postgresql://h/db?gallery=a", "postgresql://h/db", "arcface_a"),
        ("postgresql://h/db", "postgresql://h/db", f"arcface_{postgres_store._DEFAULT_GALLERY}"),
        ("postgresql:///db?host=/run/x&application_name=", "postgresql:///db?host=%2Frun%2Fx&application_name=", None),
    ],
)
def test_the_name_of_a_gallery_is_taken_out_of_the_address(uri, address, schema):
    expected = schema or f"arcface_{postgres_store._DEFAULT_GALLERY}"
    assert postgres_store._parsed(uri) == (address, expected)


@pytest.mark.parametrize("name", ["", "A", "a-b", "a" * 41, "a;b"])
def test_names_that_are_no_schema_are_refused(name):
    with pytest.raises(GalleryError, match="allowed: 1 to 40 of a-z, 0-9 and _"):
        postgres_store._parsed(f"postgresql://h/db?gallery={name}")
