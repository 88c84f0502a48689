"""A gallery that other programs replace, cut off, remove or restore while a store has it open."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import GalleryEntry, ModelIdentity, storage
from arcface_paddle.pipeline.gallery.stores import (
    FaceBlock,
    GalleryContract,
    GalleryStore,
    create_gallery,
    file_store,
    open_gallery,
)

SIZE = 32
MODEL = ModelIdentity("testnet", SIZE, "a" * 64, "b" * 64, mirrored=False)
OTHER = ModelIdentity("othernet", SIZE, "c" * 64, "b" * 64, mirrored=False)
ROWS = np.eye(SIZE, dtype=np.float32)


@pytest.fixture(params=["file", "faiss", pytest.param("encrypted", marks=pytest.mark.long)])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where galleries of one engine are; ``uri_of`` says how they are opened."""
    if request.param == "faiss":
        pytest.importorskip("faiss")
    if request.param == "encrypted":
        pytest.importorskip("cryptography")
        monkeypatch.setenv("ARCFACE_PADDLE_GALLERY_KEY", "ab" * 32)
    place = tmp_path / request.param
    place.mkdir()
    return place


def uri_of(place: Path) -> str:
    return f"faiss:{place}" if place.parent.name == "faiss" else str(place)


def made(place: Path, names: str, *, model: ModelIdentity = MODEL) -> Path:
    """Make a gallery of people called by one letter each, whose rows are those of ``ROWS`` in order."""
    with create_gallery(uri_of(place), GalleryContract.of(model)) as store:
        add(store, names)
    return place


def add(store: GalleryStore, names: str, *, first: int = 0) -> int:
    return store.add([GalleryEntry(name, f"{name}.jpg") for name in names], ROWS[first : first + len(names)])


def best(store: GalleryStore, row: int = 0) -> str:
    return store.search(ROWS[row : row + 1], 1)[0][0].name


def put(source: Path, target: Path) -> None:
    """Move a gallery into the place of another, as a backup is put back."""
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(source, target)


def test_another_gallery_in_its_place_is_taken_up_and_not_written_over(folder):
    place, other = made(folder / "people", "abc"), made(folder / "other", "xyz")
    with open_gallery(uri_of(place)) as store:
        assert best(store) == "a"
        put(other, place)
        assert best(store) == "x" and store.names == ("x", "y", "z")
        assert add(store, "n", first=3) == 1
    with open_gallery(uri_of(place)) as store:
        assert store.names == ("n", "x", "y", "z")


def test_a_change_meets_the_gallery_that_is_there_now(folder):
    place, other = made(folder / "people", "abc"), made(folder / "other", "xyz")
    with open_gallery(uri_of(place)) as store:
        assert best(store) == "a"
        put(other, place)
        assert add(store, "n", first=3) == 1  # nobody has searched in between
    with open_gallery(uri_of(place)) as store:
        assert store.names == ("n", "x", "y", "z")


def test_a_backup_takes_back_what_was_enrolled_since(folder):
    place = made(folder / "people", "abc")
    backup = folder / "backup"
    shutil.copytree(place, backup) if place.is_dir() else shutil.copyfile(place, backup)
    with open_gallery(uri_of(place)) as store:
        add(store, "n", first=3)
        store.remove("c")  # which writes a file anew
        assert best(store, 3) == "n"
        put(backup, place)
        assert store.names == ("a", "b", "c") and best(store, 2) == "c"
        add(store, "m", first=3)
        assert best(store, 3) == "m"


def test_a_gallery_that_is_gone_is_an_error_until_it_is_back(folder):
    place = made(folder / "people", "abc")
    with open_gallery(uri_of(place)) as store:
        assert best(store) == "a"
        place.rename(folder / "away")
        for _ in range(2):
            with pytest.raises(GalleryError, match="people: cannot read the gallery"):
                best(store)
            with pytest.raises(GalleryError, match="people: cannot read the gallery"):
                add(store, "n", first=3)
        assert not place.exists()
        (folder / "away").rename(place)
        assert best(store) == "a" and add(store, "n", first=3) == 1


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_one_that_is_cut_off_is_an_error_each_time_and_takes_nobody(folder, left):
    place = made(folder / "people", "abcdef")
    cut = place / "rows.f32" if place.is_dir() else place
    content = cut.read_bytes()
    with open_gallery(uri_of(place)) as store:
        assert best(store, 5) == "f"
        os.truncate(cut, int(left * len(content)))
        for _ in range(2):
            with pytest.raises(GalleryError, match=r"cut off|damaged|is no gallery"):
                best(store, 5)
            with pytest.raises(GalleryError, match=r"cut off|damaged|is no gallery"):
                add(store, "n", first=6)
        assert cut.stat().st_size == int(left * len(content))
        cut.write_bytes(content)
        assert best(store, 5) == "f" and add(store, "n", first=6) == 1


def test_answers_of_another_model_s_gallery_are_refused(folder):
    place, other = made(folder / "people", "abc"), made(folder / "other", "xyz", model=OTHER)
    with open_gallery(uri_of(place)) as store:
        judged = store.judged_by(MODEL)
        assert judged.identify(ROWS[:1], top_k=1, threshold=0.5)[0].name == "a"
        put(other, place)
        with pytest.raises(GalleryError, match="made with the model othernet, not with testnet"):
            judged.identify(ROWS[:1], top_k=1, threshold=0.5)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_store, "BLOCK_FACES", 1)


def cut_off_after_a_block(place: Path) -> list[FaceBlock]:
    with open_gallery(place) as store:
        blocks = store.blocks()
        first = next(blocks)
        os.truncate(place, 0)
        return [first, *blocks]


def test_a_small_file_stays_as_it_was_read(tmp_path, small_blocks):
    blocks = cut_off_after_a_block(made(tmp_path / "people.index", "abc"))
    np.testing.assert_array_equal(np.concatenate([block.embeddings for block in blocks]), ROWS[:3])


def test_a_large_file_that_is_cut_off_is_not_looked_at(tmp_path, small_blocks, monkeypatch):
    monkeypatch.setattr(storage, "_LEAST_MAPPED_BYTES", 0)
    with pytest.raises(GalleryError, match="was cut off while it was in use"):
        cut_off_after_a_block(made(tmp_path / "people.index", "abc"))


def test_a_file_that_is_moved_into_place_during_a_change_stays(tmp_path):
    place, other = made(tmp_path / "people.index", "abc"), made(tmp_path / "other.index", "xyz")
    content = other.read_bytes()
    replaced = pytest.raises(GalleryError, match="was replaced by another program")
    with open_gallery(place) as store, replaced, store.transaction():
        store.remove("a")
        os.replace(other, place)
    assert place.read_bytes() == content and sorted(tmp_path.iterdir()) == [place]


def test_files_of_two_faiss_galleries_are_not_read_as_one(tmp_path):
    """Who puts a backup in place moves one file after the other."""
    pytest.importorskip("faiss")
    (tmp_path / "faiss").mkdir()
    place, other = made(tmp_path / "faiss" / "people", "abc"), made(tmp_path / "faiss" / "other", "xyz")
    (other / "rows.f32").write_bytes(ROWS[::-1][:3].tobytes())  # of other faces
    with open_gallery(uri_of(place)) as store:
        assert best(store) == "a"
        os.replace(other / "rows.f32", place / "rows.f32")
        with pytest.raises(GalleryError, match="damaged gallery"):
            best(store)
        (place / "rows.f32").write_bytes(ROWS[:3].tobytes())
        assert best(store) == "a"
