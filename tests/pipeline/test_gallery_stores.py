"""The contract of a gallery store, kept by every engine: the answers of the exact gallery, and changes that last.

FAISS runs where ``faiss`` is installed. Milvus and PostgreSQL run as real servers, which the test starts, where the
packages that carry them are installed (``milvus``, ``pgserver``); that takes a while, so those tests are ``long``, and
so are those of an encrypted file, which has tests of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.stores import GalleryContract, GalleryStore, create_gallery, open_gallery

SIZE = 16
MODEL = ModelIdentity("testnet", SIZE, "a" * 64, "b" * 64, mirrored=True, similarity=SimilaritySpec(0.1, 0.8))
CONTEXT = multiprocessing.get_context("spawn")
LOCAL_ENGINES = ["file", "faiss"]
LONG_ONES = [pytest.param(name, marks=pytest.mark.long) for name in ("encrypted", "milvus", "postgres")]


@pytest.fixture(params=[*LOCAL_ENGINES, *LONG_ONES])
def uri(request, tmp_path, monkeypatch) -> str:
    """A place for a gallery in each engine."""
    if request.param == "encrypted":
        pytest.importorskip("cryptography")
        monkeypatch.setenv("ARCFACE_PADDLE_GALLERY_KEY", "ab" * 32)
    if request.param in ("file", "encrypted"):
        return str(tmp_path / "people.index")
    if request.param == "faiss":
        pytest.importorskip("faiss")
        return f"faiss:{tmp_path / 'people'}"
    server = request.getfixturevalue(f"{request.param}_server")
    return server(request.node.name)


def random_unit(count: int, *, seed: int = 0, size: int = SIZE) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def entries_of(names, *, start: int = 0) -> list[GalleryEntry]:
    return [
        GalleryEntry(name, f"{name}/{i}.jpg", f"{i:064x}", (1.0, 2.0, 30.5, 40.0), 0.9, "2026-01-31T12:00:00Z")
        for i, name in enumerate(names, start)
    ]


def filled(uri: str, names, *, seed: int = 0, decision: str = "best") -> GalleryStore:
    store = create_gallery(uri, GalleryContract.of(MODEL, decision=decision, parameters={"detector": "testdet"}))
    assert store.add(entries_of(names), random_unit(len(names), seed=seed)) == len(names)
    return store


def facts_of(store: GalleryStore) -> set:
    """Everything a store says about its faces, in any order."""
    return {(entry, row.tobytes()) for block in store.blocks() for entry, row in zip(block.entries, block.embeddings)}


def assert_answers_as(store: GalleryStore, gallery: Gallery, *, seed: int = 5, k: int = 3) -> None:
    probes = random_unit(9, seed=seed)
    for ours, theirs in zip(store.search(probes, k), gallery.search(probes, k)):
        assert [one.name for one in ours] == [one.name for one in theirs]
        assert [one.similarity for one in ours] == pytest.approx([one.similarity for one in theirs], abs=1e-5)


@pytest.mark.parametrize("decision", ["best", "mean"])
def test_it_answers_as_the_exact_gallery_through_every_change(uri, decision):
    names = list("abcdefghij") * 4 + ["solo"]
    gallery = Gallery(entries_of(names), random_unit(len(names)), model=MODEL, decision=decision)
    with filled(uri, names, decision=decision) as store:
        assert store.count() == len(store) == 41 and store.people() == gallery.faces_by_person()
        assert store.names == gallery.names and store.comparisons == gallery.comparisons
        assert_answers_as(store, gallery)
        assert_answers_as(store, gallery, k=100)
        assert store.remove("c") == 4
        gallery = gallery.without_person("c")
        assert_answers_as(store, gallery)
        assert store.rename("d", "zoe") == 4 and store.merge("e", "a") == 4
        gallery = gallery.renamed("d", "zoe").renamed("e", "a", join=True)
        assert_answers_as(store, gallery, k=100)
        more = entries_of(["a", "new", "new"], start=500)
        assert store.add(more, random_unit(3, seed=8)) == 3
        gallery = gallery.with_faces(more, random_unit(3, seed=8))
        assert_answers_as(store, gallery)
        assert store.remove_picture("solo/40.jpg") == 1
        gallery = gallery.without_picture("solo/40.jpg")
        assert_answers_as(store, gallery, k=100)
        facts = facts_of(store)
    with open_gallery(uri, MODEL) as again:
        assert facts_of(again) == facts and again.people() == gallery.faces_by_person()
        assert_answers_as(again, gallery, k=100)
        assert facts == {(entry, row.tobytes()) for entry, row in zip(gallery.entries, gallery.embeddings)}


def test_what_made_it_travels_with_it_and_a_foreign_model_is_refused(uri):
    filled(uri, ["a"], decision="mean").close()
    with open_gallery(uri) as store:
        assert store.contract == GalleryContract(MODEL, SIZE, "mean", {"detector": "testdet"})
        assert store.contract.similarity == SimilaritySpec(0.1, 0.8)
        [found] = store.identify(random_unit(1), top_k=1, threshold=0.5)
        assert (found.name, found.similarity) == ("a", pytest.approx(1.0))
        with pytest.raises(GalleryError, match="size 8"):
            store.add(entries_of(["b"]), random_unit(1, size=8))
        with pytest.raises(GalleryError, match="length"):
            store.add(entries_of(["b"]), 2 * random_unit(1))
        with pytest.raises(GalleryError, match="decision"):
            store.with_decision("best")
    for change in ({"weights_sha256": "c" * 64}, {"mirrored": False}, {"preprocessing_sha256": "d" * 64}):
        with pytest.raises(GalleryError, match=r"made with the model testnet, not with other"):
            open_gallery(uri, ModelIdentity(**{**vars(MODEL), "name": "other", **change}))
    with pytest.raises(GalleryError, match="exists"):
        create_gallery(uri, MODEL)


def test_faces_are_not_doubled_and_nobody_is_refused(uri):
    with filled(uri, ["a", "b", "a"]) as store:
        assert store.add(entries_of(["a", "b", "a"]), random_unit(3)) == 0
        assert store.add(entries_of(["z", "z"], start=9) + entries_of(["z"], start=9), random_unit(3, seed=2)) == 2
        assert store.add([], np.zeros((0, SIZE), np.float32)) == 0
        for refused in (
            lambda: store.remove("nobody"),
            lambda: store.rename("nobody", "x"),
            lambda: store.merge("a", "nobody"),
            lambda: store.remove_picture("none.jpg"),
        ):
            with pytest.raises(GalleryError, match=r"nobody|none\.jpg"):
                refused()
        with pytest.raises(GalleryError, match="--join"):
            store.rename("a", "b")
        with pytest.raises(GalleryError, match="control characters"):
            store.rename("a", "x\ny")
        with pytest.raises(GalleryError, match="reserved"):
            store.add([GalleryEntry("unknown", "u.jpg")], random_unit(1))
        assert store.people() == {"a": 2, "b": 1, "z": 2}
        assert store.search(np.zeros((0, SIZE), np.float32), 3) == []
        with pytest.raises(GalleryError, match="1 or more"):
            store.search(random_unit(1), 0)
        with pytest.raises(GalleryError, match="size 16"):
            store.search(random_unit(1, size=8), 1)


def test_the_faces_of_a_picture_are_found(uri):
    rows, names = random_unit(4), ["a", "b", "a", "c"]
    entries = [GalleryEntry(name, path) for name, path in zip(names, ["1.jpg", "2.jpg", "2.jpg", "3.jpg"])]
    with create_gallery(uri, MODEL) as store:
        store.add(entries[:2], rows[:2])
    with open_gallery(uri) as store:
        store.add(entries[2:], rows[2:])
        found = store.faces_of_picture("2.jpg")
        by_name = dict(zip([entry.name for entry in found.entries], found.embeddings))
        assert sorted(by_name) == ["a", "b"] and {entry.path for entry in found.entries} == {"2.jpg"}
        np.testing.assert_allclose(np.stack([by_name["b"], by_name["a"]]), rows[1:3], atol=1e-6)
        none = store.faces_of_picture("none.jpg")
        assert list(none.entries) == [] and none.embeddings.shape == (0, SIZE)


def test_names_of_every_kind_survive(uri):
    names = ["李雷", 'O\'Brien "Bob" \\', "a%b_c", "<script>", "\u200d é", "x" * 200, "--drop table--;"]
    with filled(uri, names) as store:
        assert sorted(store.people()) == sorted(names)
        for name in names:
            [block] = store.blocks(name=name)
            assert [entry.name for entry in block.entries] == [name]
        assert store.rename(names[1], "plain") == 1 and store.remove(names[0]) == 1 and store.remove(names[2]) == 1
    with open_gallery(uri) as store:
        assert sorted(store.people()) == sorted(["plain", *names[3:]])


def test_equally_similar_persons_come_in_the_order_of_names(uri):
    row = np.eye(SIZE, dtype=np.float32)[0]
    with create_gallery(uri, MODEL) as store:
        store.add(entries_of("hgfedcba"), np.tile(row, (8, 1)))
        for k in (1, 2, 5):
            assert [one.name for one in store.search(row[None], k)[0]] == list("abcdefgh")[:k]
        assert store.search(row[None], 1)[0][0].similarity <= 1.0


def test_a_gallery_of_nobody(uri):
    with create_gallery(uri, MODEL) as store:
        assert (store.count(), store.people(), store.names) == (0, {}, ())
        assert [tuple(found) for found in store.search(random_unit(2), 3)] == [(), ()]
        assert facts_of(store) == set()
        store.add(entries_of(["a"]), random_unit(1))
        store.remove("a")
        assert [tuple(found) for found in store.search(random_unit(2), 3)] == [(), ()]


def test_a_transaction_is_whole_or_nothing(uri):
    with filled(uri, ["a", "b"]) as store:
        with store.transaction():
            store.add(entries_of(["c"], start=7), random_unit(1, seed=3))
            store.rename("a", "z")
        assert set(store.people()) == {"b", "c", "z"}
        before = facts_of(store)
        with pytest.raises(KeyError), store.transaction():
            store.add(entries_of(["d"], start=8), random_unit(1, seed=4))
            store.rename("b", "y")
            store.remove("c")
            raise KeyError("the caller's own")
        assert facts_of(store) == before
    with open_gallery(uri) as again:
        assert facts_of(again) == before and set(again.people()) == {"b", "c", "z"}


def test_another_store_sees_what_changes_at_once(uri):
    with filled(uri, ["a", "b"]) as writer, open_gallery(uri) as reader:
        assert reader.count() == 2
        for i in range(3):
            writer.add(entries_of([f"new{i}"], start=50 + i), random_unit(1, seed=20 + i))
            [[best]] = reader.search(random_unit(1, seed=20 + i), 1)
            assert (best.name, best.similarity) == (f"new{i}", pytest.approx(1.0, abs=1e-5))
        writer.rename("new0", "renamed")
        assert reader.search(random_unit(1, seed=20), 1)[0][0].name == "renamed"
        writer.remove("renamed")
        assert reader.search(random_unit(1, seed=20), 1)[0][0].name != "renamed" and reader.count() == 4
        reader.add(entries_of(["theirs"], start=90), random_unit(1, seed=30))
        assert writer.search(random_unit(1, seed=30), 1)[0][0].name == "theirs"


def bytes_below(place: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file())


@pytest.mark.parametrize("engine", LOCAL_ENGINES)
def test_a_removed_person_leaves_no_trace_on_the_disk(engine, tmp_path):
    if engine == "faiss":
        pytest.importorskip("faiss")
    place = tmp_path / "room"
    place.mkdir()
    uri = str(place / "people.index") if engine == "file" else f"faiss:{place / 'people'}"
    names = [*(["keep"] * 30), "Forgotten Person", "Forgotten Person", *(["other"] * 30)]
    rows = random_unit(len(names), seed=11)
    with create_gallery(uri, MODEL) as store:
        store.add(entries_of(names), rows)
    with open_gallery(uri) as store:
        store.add(entries_of(["Forgotten Person"], start=99), random_unit(1, seed=12))
        store.rename("other", "somebody")
        gone = [*rows[30:32], random_unit(1, seed=12)[0]]
        before = bytes_below(place)
        assert b"Forgotten Person" in before or engine == "file"  # the file's text is compressed
        assert all(row.tobytes() in before for row in gone)
        if engine == "file":  # what a process that was killed while it wrote the file leaves behind
            (place / ".people.index.ab12_xyz.tmp").write_bytes((place / "people.index").read_bytes())
        assert store.remove("Forgotten Person") == 3
        after = bytes_below(place)
        assert b"Forgotten" not in after and not any(row.tobytes() in after for row in gone)
        assert all(name not in after for name in (f"{30:064x}".encode(), b"99.jpg"))
        assert rows[0].tobytes() in after and store.count() == 60
    assert not any(row.tobytes() in bytes_below(place) for row in gone)
    if engine == "file":
        assert sorted(path.name for path in place.iterdir()) == ["people.index"]
        assert Gallery.load(uri).names == ("keep", "somebody")


def add_some(uri: str, who: str, count: int, barrier) -> None:
    with open_gallery(uri, MODEL) as store:
        barrier.wait(60)
        for i in range(count):
            store.add(entries_of([f"{who}{i}"], start=i), random_unit(1, seed=zlib.crc32(f"{who}{i}".encode())))


def test_concurrent_writers_lose_nothing(uri):
    filled(uri, ["first"]).close()
    barrier = CONTEXT.Barrier(2)
    workers = [CONTEXT.Process(target=add_some, args=(uri, who, 12, barrier)) for who in ("ada", "grace")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    with open_gallery(uri) as store:
        assert set(store.people()) == {"first", *(f"{who}{i}" for who in ("ada", "grace") for i in range(12))}


WRITE_UNTIL_KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_gallery_stores import *
with open_gallery({uri!r}) as store:
    start = store.count()
    if start % 7 == 0 and f"p{{start - 1}}" in store.people():  # the kill came between the two steps
        store.rename(f"p{{start - 1}}", f"q{{start - 1}}")
    for i in range(start, start + 100000):
        store.add(entries_of([f"p{{i}}"], start=i), random_unit(1, seed=i))
        if i % 7 == 6:
            store.rename(f"p{{i}}", f"q{{i}}")
        print(i, flush=True)
"""


def kill_while_it_writes(uri: str, *, after: int) -> int:
    """Run a process that adds one face after the other and kill it; returns the number of the last acknowledged one."""
    program = WRITE_UNTIL_KILLED.format(tests=str(Path(__file__).parent), uri=uri)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment) as child:
        for _ in range(after):
            last = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split("\n")
    return max([last, *(int(line) for line in rest[:-1])])


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(uri, rounds):
    create_gallery(uri, MODEL).close()
    for number in range(rounds):
        last = kill_while_it_writes(uri, after=3 + number % 5)
        with open_gallery(uri) as store:
            assert last + 1 <= store.count() <= last + 2  # the one that was being written may or may not be there
            people = store.people()
            assert all((f"q{i}" if i % 7 == 6 else f"p{i}") in people for i in range(last + 1))
            [[best]] = store.search(random_unit(1, seed=last), 1)
            assert best.similarity == pytest.approx(1.0, abs=1e-5)
