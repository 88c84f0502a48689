"""The FAISS engine beyond the contract of all: cells, the kept index, damage, and what a removal leaves."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import resource
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss")

import faiss

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.stores import (
    GalleryContract,
    code_index,
    create_gallery,
    face_database,
    faiss_store,
    older_faiss,
    open_gallery,
)

SIZE = 32
MODEL = ModelIdentity("testnet", SIZE, "a", "b", mirrored=False)


def random_unit(count: int, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def entries_of(count: int, *, start: int = 0) -> list[GalleryEntry]:
    return [GalleryEntry(f"p{i // 3:05d}", f"{i}.jpg") for i in range(start, start + count)]


def like(rows: np.ndarray, *, cosine: float, seed: int = 1) -> np.ndarray:
    """Return rows that resemble these."""
    noise = np.random.default_rng(seed).normal(size=rows.shape)
    noise -= (noise * rows).sum(axis=1, keepdims=True) * rows
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return (cosine * rows + np.sqrt(1 - cosine**2) * noise).astype(np.float32)


@pytest.fixture(autouse=True)
def small_ones_are_large(monkeypatch):
    monkeypatch.setattr(code_index, "LEAST_TO_TRAIN", 1000)
    monkeypatch.setattr(faiss_store, "_WORTH_KEEPING", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "people"


def made(folder: Path, count: int, *, form: str, decision: str = "best") -> np.ndarray:
    rows = random_unit(count)
    with create_gallery(f"faiss:{folder}?form={form}", GalleryContract.of(MODEL, decision=decision)) as store:
        store.add(entries_of(count), rows)
        store.search(rows[:1], 1)
    return rows


@pytest.mark.parametrize("decision", ["best", "mean"])
def test_bytes_give_the_exact_answer(folder, decision):
    """Rows that differ by less than a byte can tell are ranked as their exact numbers say."""
    rows = random_unit(1500)
    rows[::2] = like(np.repeat(rows[:1], 750, axis=0), cosine=0.9999)
    entries = [GalleryEntry(f"p{i:05d}", f"{i}.jpg") for i in range(1500)]
    gallery = Gallery(entries, rows, decision=decision)
    with create_gallery(f"faiss:{folder}?form=int8", GalleryContract.of(MODEL, decision=decision)) as store:
        store.add(entries, rows)
        probes = np.concatenate([rows[:20], random_unit(20, seed=3)])
        for ours, theirs in zip(store.search(probes, 5), gallery.search(probes, 5)):
            assert [one.similarity for one in ours] == pytest.approx([one.similarity for one in theirs], abs=1e-6)
            assert ours[0].name == theirs[0].name or theirs[0].similarity - theirs[1].similarity < 2e-6


@pytest.mark.parametrize("form", ["ivf", "hnsw"])
@pytest.mark.parametrize("decision", ["best", "mean"])
def test_cells_and_graphs_find_who_is_alike(folder, decision, form):
    people = random_unit(1200, seed=4)
    rows = like(np.repeat(people, 3, axis=0), cosine=0.8)
    with create_gallery(f"faiss:{folder}?form={form}", GalleryContract.of(MODEL, decision=decision)) as store:
        store.add(entries_of(3600), rows)
        index = store._synced()
        assert not index.is_exact  # it did not look everywhere
        assert index._cells < index._index.nlist if form == "ivf" else index._index.effort < 512
        gallery = Gallery(entries_of(3600), rows, decision=decision)
        probes = like(people[::3], cosine=0.8, seed=2)
        ours, theirs = store.search(probes, 1), gallery.search(probes, 1)
        same = np.mean([one[0].name == other[0].name for one, other in zip(ours, theirs)])
        assert same >= 0.98
        assert all(one[0].similarity <= other[0].similarity + 1e-6 for one, other in zip(ours, theirs))
        [everybody] = store.search(probes[:1], 5000)  # more than the cells looked at hold
        assert len(everybody) == 1200 and {one.name for one in everybody} == set(gallery.names)


@pytest.mark.parametrize("decision", ["best", "mean"])
def test_more_numbers_than_one_question_to_the_database_takes(folder, decision, monkeypatch):
    monkeypatch.setattr(face_database, "_NUMBERS_AT_A_TIME", 7)
    rows = made(folder, 90, form="int8", decision=decision)
    gallery = Gallery(entries_of(90), rows, decision=decision)
    with open_gallery(f"faiss:{folder}") as store, open_gallery(f"faiss:{folder}") as other:
        for k in (1, 25):
            for ours, theirs in zip(store.search(rows[::5], k), gallery.search(rows[::5], k)):
                assert [one.name for one in ours] == [one.name for one in theirs]
        more = random_unit(40, seed=3)
        other.add(entries_of(40, start=300), more)
        found = store.search(more, 1)
        if decision == "best":
            assert [one[0].name for one in found] == [entry.name for entry in entries_of(40, start=300)]
        assert store.people() == other.people() and store._synced().count == other._synced().count


def test_the_index_follows_changes_and_is_made_anew_when_it_is_outgrown(folder):
    rows = made(folder, 1200, form="ivf")
    with open_gallery(f"faiss:{folder}") as store:
        assert store._synced().trained_with == 1200
        store.remove("p00000")
        assert store._synced().trained_with == 1200 and store._synced().count == 1197
        assert store.search(rows[:1], 1)[0][0].name != "p00000"
        more = random_unit(1300, seed=7)
        store.add(entries_of(1300, start=3000), more)
        assert store._synced().count == 2497
        store.add([GalleryEntry("late", "late.jpg")], random_unit(1, seed=8))
        assert store.search(random_unit(1, seed=8), 1)[0][0].name == "late"
        assert store._synced().trained_with == 2498
        assert store.search(more[700:701], 1)[0][0].name == entries_of(1300, start=3000)[700].name


def test_who_is_removed_is_passed_over_by_a_graph_and_never_written(folder):
    rows = made(folder, 1200, form="hnsw")
    [kept] = folder.glob("index.hnsw.*.faiss")
    with open_gallery(f"faiss:{folder}") as store:
        graph = store._synced()
        codes = (graph._codes(rows[30:33]) + 128).astype(np.uint8)
        assert all(row.tobytes() in kept.read_bytes() for row in codes)
        assert store.search(rows[30:31], 1)[0][0].name == "p00010"
        store.remove("p00010")
        assert store._synced() is graph and not graph.is_clean and graph.count == 1197
        assert not list(folder.glob("*index*"))
        [found] = store.search(rows[30:31], 2000)
        assert len(found) == 399 and "p00010" not in {one.name for one in found}
        late = random_unit(1, seed=8)
        store.add([GalleryEntry("late", "late.jpg")], late)
        assert store.search(late, 1)[0][0].name == "late"
    assert not list(folder.glob("*index*"))  # the codes of the person are in the graph still
    with open_gallery(f"faiss:{folder}") as store:
        for number in range(20, 70):  # more than a tenth: it is made anew
            store.remove(f"p{number:05d}")
        assert store._synced().is_clean and store._synced().count == 1048
    [kept] = folder.glob("index.hnsw.*.faiss")
    assert not any(row.tobytes() in kept.read_bytes() for row in codes)
    with open_gallery(f"faiss:{folder}") as store:
        assert store.search(late, 1)[0][0].name == "late"


@pytest.mark.parametrize("form", ["ivf", "hnsw"])
def test_a_kept_index_is_read_and_a_changed_one_is_not_believed(folder, monkeypatch, form):
    rows = made(folder, 1200, form=form)
    [kept] = folder.glob(f"index.{form}.*.faiss")
    content = kept.read_bytes()
    with open_gallery(f"faiss:{folder}") as store:
        monkeypatch.setattr(faiss_store.CodeIndex, "of", None)  # whoever makes it anew fails
        assert store.search(rows[30:31], 1)[0][0].name == "p00010"
        store.add([GalleryEntry("late", "late.jpg")], random_unit(1, seed=8))
    monkeypatch.undo()
    monkeypatch.setattr(faiss_store, "_WORTH_KEEPING", 10**9)
    for hostile in (content[:-1], content[:100], b"", content[:200] + b"\xff" * 64 + content[264:]):
        for path in folder.glob("index.*"):
            path.write_bytes(hostile)
        with open_gallery(f"faiss:{folder}") as store:
            assert store.search(random_unit(1, seed=8), 1)[0][0].name == "late"


@pytest.mark.parametrize("form", ["ivf", "hnsw"])
def test_an_index_of_another_faiss_is_made_anew(folder, form):
    rows = made(folder, 1200, form=form)
    [kept] = folder.glob(f"index.{form}.*.faiss")
    content = kept.read_bytes()
    database = sqlite3.connect(folder / "gallery.sqlite", isolation_level=None)
    key, text = database.execute("SELECT key, value FROM meta WHERE key LIKE 'index.%'").fetchone()
    for changed in (content[:-1], b"IxXX" + content[4:], b""):
        kept.write_bytes(changed)
        value = {**json.loads(text), "sha256": hashlib.sha256(changed).hexdigest()}
        database.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps(value), key))
        with open_gallery(f"faiss:{folder}") as store:
            assert store.search(rows[30:31], 1)[0][0].name == "p00010"
    database.close()


def test_a_removal_leaves_no_codes_of_the_person_in_a_kept_index(folder):
    rows = made(folder, 1200, form="int8")
    [kept] = folder.glob("index.int8.*.faiss")
    with open_gallery(f"faiss:{folder}") as store:
        index = store._synced()
        codes = (index._codes(rows[30:33]) + 128).astype(np.uint8)
        assert all(row.tobytes() in kept.read_bytes() for row in codes)
        store.remove("p00010")
        assert not list(folder.glob("*index*"))
        store.add(entries_of(30, start=5000), random_unit(30, seed=5))
        store.search(rows[:1], 1)
    [kept] = folder.glob("index.int8.*.faiss")
    assert not any(row.tobytes() in kept.read_bytes() for row in codes)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["gallery.sqlite", "rows.f32", kept.name])


def test_a_removal_that_was_cut_short_is_finished_by_the_next_writer(folder, monkeypatch):
    rows = made(folder, 60, form="int8")
    store = open_gallery(f"faiss:{folder}")
    monkeypatch.setattr(faiss_store.FaceDatabase, "wipe", lambda self: None)  # as if killed before it
    store.remove("p00010")
    assert rows[31].tobytes() in (folder / "rows.f32").read_bytes()
    monkeypatch.undo()
    with open_gallery(f"faiss:{folder}") as other:
        other.add([GalleryEntry("late", "late.jpg")], random_unit(1, seed=8))
        assert other.count() == 58
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"p00010" not in everything and not any(row.tobytes() in everything for row in rows[30:33])


def test_rows_that_a_killed_writer_left_are_gone_with_the_next_change(folder):
    made(folder, 5, form="int8")
    rows = folder / face_database.ROWS
    whole = rows.read_bytes()
    rows.write_bytes(whole + b"left" * SIZE * 7)
    with open_gallery(f"faiss:{folder}") as store:
        late = random_unit(1, seed=8)
        store.add([GalleryEntry("late", "late.jpg")], late)
    assert rows.read_bytes() == whole + late.astype("<f4").tobytes()


@pytest.mark.parametrize(("name", "gone"), [("p00000", [0, 1, 2]), ("p00001", [3, 4, 5]), ("p00002", [6])])
def test_the_rows_of_a_removed_person_are_overwritten_and_no_others(folder, name, gone):
    rows = made(folder, 7, form="int8")
    with open_gallery(f"faiss:{folder}") as store:
        store.remove(name)
    kept = np.fromfile(folder / face_database.ROWS, "<f4").reshape(-1, SIZE)
    rows[gone] = 0
    np.testing.assert_array_equal(kept, rows[: len(kept)])
    assert len(kept) >= max(set(range(7)) - set(gone)) + 1


def test_damage_is_one_clear_line(folder, tmp_path):
    rows = made(folder, 60, form="int8")
    numbers, database = (folder / "rows.f32").read_bytes(), (folder / "gallery.sqlite").read_bytes()
    (folder / "rows.f32").write_bytes(numbers[:-1])
    with open_gallery(f"faiss:{folder}") as store, pytest.raises(GalleryError, match="59 rows of 60; it is cut off"):
        store.search(rows[:1], 1)
    (folder / "rows.f32").write_bytes(numbers[:8] + b"\x01" + numbers[9:])
    with open_gallery(f"faiss:{folder}") as store, pytest.raises(GalleryError, match=r"damaged gallery \(row 0\)"):
        list(store.blocks())
    (folder / "rows.f32").write_bytes(numbers)
    for hostile in (b"", b"SQLite format 3\x00", database[:4096], b"\xff" * 8192, database[: len(database) // 2]):
        (folder / "gallery.sqlite").write_bytes(hostile)
        with pytest.raises(GalleryError, match=r"people: [^\n]*$"), open_gallery(f"faiss:{folder}") as store:
            list(store.blocks())
    for uri, message in [
        (f"faiss:{tmp_path / 'none'}", "no gallery.sqlite"),
        (f"faiss:{folder}?form=lsh", "ivf, int8, hnsw"),
        (f"faiss:{folder}?from=ivf", "form=ivf"),
        ("faiss:", "faiss:FOLDER"),
    ]:
        with pytest.raises(GalleryError, match=message):
            open_gallery(uri)


def test_what_fails_in_a_transaction_is_forgotten_by_the_index(folder):
    rows = made(folder, 60, form="int8")
    with open_gallery(f"faiss:{folder}") as store:
        new = random_unit(1, seed=8)
        with pytest.raises(KeyError), store.transaction():
            store.add([GalleryEntry("late", "late.jpg")], new)
            store.remove("p00010")
            assert store.search(new, 1)[0][0].name == "late"
            assert store.search(rows[30:31], 1)[0][0].name != "p00010"
            raise KeyError
        assert store.search(new, 1)[0][0].name != "late"
        assert store.search(rows[30:31], 1)[0][0].name == "p00010"
        assert new.tobytes() not in (folder / "rows.f32").read_bytes()


def written(form: str, *, count: int = 300) -> tuple[bytes, str]:
    """Return what an index of some vectors writes, and what is kept beside it."""
    index = code_index.CodeIndex(SIZE, form=form, limit=1.0)
    rows = random_unit(count)
    if form == code_index.HNSW:
        index._index, index.trained_with = code_index._Graph.of(SIZE), count
    elif form == code_index.IVF:
        index._train(_Rows(rows))
    index.add(np.arange(count), rows)
    stream = io.BytesIO()
    kept = index.write(stream)
    return stream.getvalue(), kept


class _Rows(code_index.Vectors):
    def __init__(self, rows: np.ndarray) -> None:
        self.size, self.count, self._rows = SIZE, len(rows), rows

    def blocks(self):
        yield np.arange(self.count), self._rows


@pytest.fixture
def believes_files(monkeypatch) -> None:
    """As with an older FAISS, which believes what it reads."""
    monkeypatch.setattr(code_index, "_looks_itself", lambda faiss: False)
    if hasattr(faiss, "set_deserialization_vector_byte_limit"):  # those of the read before still hold
        faiss.set_deserialization_vector_byte_limit(1 << 40)
        faiss.set_deserialization_loop_limit(1 << 40)


@pytest.mark.parametrize("form", code_index.FORMS)
def test_an_older_faiss_reads_what_was_written(believes_files, monkeypatch, form):
    content, kept = written(form)
    for piece in (1 << 20, 112):  # larger and smaller than the vectors in it
        monkeypatch.setattr(older_faiss, "_PIECE", piece)
        index = code_index.CodeIndex.read(io.BytesIO(content), kept, size=SIZE, form=form)
        assert index.search(random_unit(300), 1, everywhere=True).numbers[:, 0].tolist() == list(range(300))


@pytest.mark.parametrize("form", code_index.FORMS)
def test_no_count_makes_an_older_faiss_take_memory(believes_files, form):
    """Every number of 8 bytes in turn becomes a large one; what is refused is refused before room is made."""
    content, kept = written(form, count=20)
    begin = content.find(b"I")  # behind the numbers of a graph
    with contextlib.suppress(OSError):  # or what this process had once hides what is taken
        Path("/proc/self/clear_refs").write_text("5")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for place in range(begin + 4, min(begin + 400, len(content) - 8)):
        large = content[:place] + struct.pack("<Q", 3 << 28) + content[place + 8 :]
        try:
            code_index.CodeIndex.read(io.BytesIO(large), kept, size=SIZE, form=form)
        except GalleryError:
            refused += 1
    assert refused > 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_an_older_faiss_does_not_walk_out_of_a_graph(believes_files):
    content, kept = written(code_index.HNSW, count=20)
    graph = code_index.CodeIndex.read(io.BytesIO(content), kept, size=SIZE, form=code_index.HNSW)._index.index
    neighbours = faiss.vector_to_array(graph.hnsw.neighbors).tobytes()
    place = content.index(neighbours)
    for wrong in (20, 1 << 20, -2):
        changed = content[:place] + struct.pack("<i", wrong) + content[place + 4 :]
        with pytest.raises(GalleryError, match="the index cannot be used"):
            code_index.CodeIndex.read(io.BytesIO(changed), kept, size=SIZE, form=code_index.HNSW)
    levels = faiss.vector_to_array(graph.hnsw.levels).tobytes()
    for changed in (content.replace(levels, struct.pack("<i", 9) + levels[4:]), content.replace(levels, bytes(80))):
        with pytest.raises(GalleryError, match="the index cannot be used"):
            code_index.CodeIndex.read(io.BytesIO(changed), kept, size=SIZE, form=code_index.HNSW)


@pytest.mark.parametrize("kind", ["QT_fp16", "QT_8bit_direct"])
@pytest.mark.parametrize("form", code_index.FORMS)
def test_codes_of_another_form_are_refused(believes_files, monkeypatch, form, kind):
    """FAISS reads them, takes two bytes for a number or other numbers for a byte, and answers with somebody."""
    with monkeypatch.context() as patched:
        patched.setattr(faiss.ScalarQuantizer, "QT_8bit_direct_signed", getattr(faiss.ScalarQuantizer, kind))
        content, kept = written(form)
    with pytest.raises(GalleryError, match="codes of form"):
        code_index.CodeIndex.read(io.BytesIO(content), kept, size=SIZE, form=form)


@pytest.mark.parametrize(("part", "field"), [("sq", "d"), ("sq", "code_size"), ("", "code_size")])
def test_codes_of_another_length_are_refused(part, field):
    """An older FAISS reads such an index, and ends the process at the first search."""
    index = faiss.IndexScalarQuantizer(SIZE, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT)
    code_index._require_bytes(index)
    setattr(getattr(index, part) if part else index, field, 2 * SIZE)
    with pytest.raises(ValueError, match="codes of form"):
        code_index._require_bytes(index)
