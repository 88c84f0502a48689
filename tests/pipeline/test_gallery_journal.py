"""The journal of a gallery file: torn at every byte, damaged, left behind, and read by those who know the file only."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import (
    Gallery,
    GalleryEntry,
    ModelIdentity,
    edit_gallery,
    journal,
    remove_person,
    remove_picture,
    rename_person,
)
from arcface_paddle.pipeline.gallery.editing import add_faces
from arcface_paddle.pipeline.gallery.stores import create_gallery, file_store, open_gallery

SIZE = 4
MODEL = ModelIdentity("testnet", SIZE, "a", "b", mirrored=False)


def unit(seed: int) -> np.ndarray:
    row = np.random.default_rng(seed).normal(size=(1, SIZE))
    return (row / np.linalg.norm(row)).astype(np.float32)


def one(name: str) -> list[GalleryEntry]:
    return [GalleryEntry(name, f"{name}.jpg")]


@pytest.fixture
def torn_apart(tmp_path):
    """A gallery file with a journal of three records, as a process that was killed leaves them; where each ends."""
    path = tmp_path / "people.index"
    store = create_gallery(path, MODEL)
    store.add(one("Ada"), unit(0))
    store.close()
    store = open_gallery(path)
    ends = [journal.HEAD_BYTES]
    for change in (
        lambda: store.add(one("Bob"), unit(1)),
        lambda: store.rename("Ada", "Ida"),
        lambda: store.add(one("Eve"), unit(2)),
    ):
        change()
        ends.append(journal.journal_of(path).stat().st_size)
    return path, ends


NAMES = [("Ada",), ("Ada", "Bob"), ("Bob", "Ida"), ("Bob", "Eve", "Ida")]


def test_a_journal_cut_off_at_any_byte_gives_every_whole_change(torn_apart):
    path, ends = torn_apart
    beside = journal.journal_of(path)
    whole, base = beside.read_bytes(), path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(base), beside.write_bytes(whole[:length])
        expected = NAMES[sum(end <= length for end in ends[1:])]
        assert Gallery.load(path).names == expected
        with open_gallery(path) as store:
            assert store.names == expected
            if length % 11 == 0:  # what follows a torn record takes its place
                store.add(one("Zoe"), unit(9))
                assert store.names == tuple(sorted([*expected, "Zoe"]))
                assert Gallery.load(path).names == store.names


@pytest.mark.parametrize("tail", [bytes(5), bytes(200), b"\x07", b"\x07" * 11])
def test_what_a_cut_off_write_may_leave_is_dropped(torn_apart, tail):
    path, _ = torn_apart
    with journal.journal_of(path).open("ab") as stream:
        stream.write(tail)
    assert Gallery.load(path).names == NAMES[-1]


def test_a_changed_byte_of_what_was_acknowledged_is_refused(torn_apart):
    path, ends = torn_apart
    beside = journal.journal_of(path)
    whole = beside.read_bytes()
    for offset in range(ends[0], ends[2]):
        beside.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x40]) + whole[offset + 1 :])
        for read in (Gallery.load, open_gallery):
            with pytest.raises(GalleryError, match=r"people\.index: the journal is damaged at byte \d"):
                read(path)


def test_a_journal_of_another_file_does_not_count(torn_apart):
    path, _ = torn_apart
    beside = journal.journal_of(path)
    old = beside.read_bytes()
    Gallery(one("New"), unit(5), model=MODEL).save(path)
    assert not beside.exists()
    beside.write_bytes(old)  # as if the process had been killed before it removed it
    assert Gallery.load(path).names == ("New",)
    with open_gallery(path) as store:
        assert store.names == ("New",)
        store.add(one("Zoe"), unit(9))
    assert Gallery.load(path).names == ("New", "Zoe")


def test_a_removed_person_does_not_come_back_with_an_old_journal(tmp_path):
    """The file has the content that the journal continued once more, and yet that journal is not its."""
    path = tmp_path / "people.index"
    create_gallery(path, MODEL).close()
    store = open_gallery(path)
    store.add(one("Ada"), unit(0))
    old = journal.journal_of(path).read_bytes()
    store.remove("Ada")
    journal.journal_of(path).write_bytes(old)
    assert Gallery.load(path).names == () and open_gallery(path).names == ()


def test_edits_of_the_whole_file_take_the_journal_in(torn_apart):
    path, _ = torn_apart
    with open_gallery(path) as reader:
        assert edit_gallery(path, lambda gallery: gallery.without_person("Bob")).after.names == ("Eve", "Ida")
        assert reader.names == ("Eve", "Ida")
    assert [entry.name for entry in path.parent.iterdir()] == ["people.index"]


def test_a_long_journal_is_folded_and_readers_follow(tmp_path, monkeypatch):
    monkeypatch.setattr(file_store, "_LEAST_JOURNAL_BYTES", 2000)
    path = tmp_path / "people.index"
    with create_gallery(path, MODEL) as writer, open_gallery(path) as reader:
        sizes = []
        for i in range(30):
            writer.add(one(f"p{i:02d}"), unit(i))
            assert reader.count() == i + 1
            beside = journal.journal_of(path)
            sizes.append(beside.stat().st_size if beside.exists() else 0)
        assert max(sizes) <= 2000 and sizes.count(0) >= 2
        assert Gallery.load(path).names == tuple(f"p{i:02d}" for i in range(30))
    assert not journal.journal_of(path).exists()


def test_a_foreign_file_in_the_place_of_the_journal_is_left_alone(tmp_path):
    path = tmp_path / "diary"
    create_gallery(path, MODEL).close()
    (tmp_path / "diary.journal").write_text("Dear diary, this is no journal of a gallery")
    with open_gallery(path) as store, pytest.raises(GalleryError, match="move it away"):
        store.add(one("Ada"), unit(0))
    edit_gallery(path, lambda gallery: gallery.with_faces(one("Ada"), unit(0)))
    assert Gallery.load(path).names == ("Ada",)
    assert (tmp_path / "diary.journal").read_text().startswith("Dear diary")


def test_a_store_refuses_what_is_no_gallery_of_ours(tmp_path):
    path = tmp_path / "people.index"
    create_gallery(path, MODEL).close()
    content = path.read_bytes()
    for length in (0, 1, 30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(GalleryError, match=r"people\.index: [^\n]*$"):
            open_gallery(path)
    with pytest.raises(GalleryError, match="No such file"):
        open_gallery(tmp_path / "none")
    path.write_bytes(b"\x80\x03}q\x00.")
    with pytest.raises(GalleryError, match="gallery import NEW"):
        open_gallery(path)


def test_a_gallery_that_somebody_else_is_changing_is_one_clear_line(tmp_path, monkeypatch):
    path = tmp_path / "people.index"
    store = create_gallery(path, MODEL)
    monkeypatch.setattr(files.locked, "__kwdefaults__", {"timeout_s": 0.05}, raising=False)
    monkeypatch.setattr(files.locked.__wrapped__, "__kwdefaults__", {"timeout_s": 0.05})
    with files.locked(path), pytest.raises(GalleryError, match=r"cannot change the gallery: another process"):
        store.add(one("Ada"), unit(0))
    assert store.count() == 0
    store.close()
    with pytest.raises(GalleryError, match="was closed"):
        store.count()


def test_rows_of_a_file_lie_where_they_can_be_used_and_unaligned_ones_are_read(tmp_path):
    path = tmp_path / "people.index"
    Gallery(one("Ada"), unit(0), model=MODEL).save(path)
    content = path.read_bytes()
    assert content.index(unit(0).tobytes()) % 64 == 0
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["embeddings"], unit(0))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for shift in range(4):  # as earlier versions wrote it
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("gallery.json", members["gallery.json"] + b" " * shift)
            archive.writestr("embeddings.npy", members["embeddings.npy"])
        with open_gallery(path) as store:
            [block] = store.blocks()
            np.testing.assert_array_equal(block.embeddings, unit(0))
            assert store.search(unit(0), 1)[0][0].similarity == pytest.approx(1.0)


def test_a_large_file_is_changed_by_its_journal(tmp_path, monkeypatch):
    """What the commands do: the file stays as it is until somebody is removed, of whom no byte may stay."""
    monkeypatch.setattr(file_store, "_QUICK_FILE_BYTES", 0)
    monkeypatch.setattr(file_store, "_SHARE_OF_FILE", 0.1)
    path = tmp_path / "people.index"
    Gallery(one("Ada"), unit(0), model=MODEL).save(path)
    content = path.read_bytes()
    done = add_faces(path, one("Bob"), unit(1), model=MODEL)
    assert (done.changed, done.faces, done.people) == (1, 2, 2)
    assert add_faces(path, one("Bob"), unit(1), model=MODEL).changed == 0
    assert rename_person(path, "Ada", "Ida").faces == 2
    assert path.read_bytes() == content and Gallery.load(path).names == ("Bob", "Ida")
    with pytest.raises(GalleryError, match="was made with the model testnet, not with other"):
        add_faces(path, one("Eve"), unit(2), model=ModelIdentity("other", SIZE, "c", "b", mirrored=False))
    assert remove_picture(path, "Bob.jpg").changed == 1 and remove_person(path, "Ida").people == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["people.index"]


def test_a_file_that_was_replaced_by_one_of_another_model_is_seen_as_such(tmp_path):
    path = tmp_path / "people.index"
    create_gallery(path, MODEL).close()
    other = ModelIdentity("other", SIZE, "c", "b", mirrored=False)
    with open_gallery(path) as store:
        Gallery(one("Ada"), unit(0), model=other, decision="mean", parameters={"a": 1}).save(path)
        assert store.count() == 1 and store.contract.parameters == {"a": 1}
        with pytest.raises(GalleryError, match="made with the model other"):
            store.require_model(MODEL)
        store.remove("Ada")
    assert Gallery.load(path).model == other and Gallery.load(path).decision == "mean"
