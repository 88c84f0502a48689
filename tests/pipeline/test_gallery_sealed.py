"""Encrypted galleries: nothing in plain text on the disk, order and length authenticated, keys exchanged."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography")

from arcface_paddle.errors import GalleryError, MissingDependencyError
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, ModelIdentity, edit_gallery, journal, keys, sealing
from arcface_paddle.pipeline.gallery.stores import convert_gallery, create_gallery, open_gallery

SIZE = 16
MODEL = ModelIdentity("testnet", SIZE, "a", "b", mirrored=False)
SECRETS = ["k" * 32, "l" * 32]
KEYS = [base64.b64encode(secret.encode()).decode() for secret in SECRETS]
PIECE = 300


def unit(count: int, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def faces(count: int, *, start: int = 0) -> list[GalleryEntry]:
    return [GalleryEntry(f"Secret Person {i}", f"secret/{i}.jpg") for i in range(start, start + count)]


@pytest.fixture(autouse=True)
def with_a_key(monkeypatch):
    monkeypatch.setenv(keys.VARIABLE, KEYS[0])
    monkeypatch.delenv(keys.FILE_VARIABLE, raising=False)


@pytest.fixture
def path(tmp_path) -> Path:
    """An encrypted gallery of several pieces with a journal of two records."""
    place = tmp_path / "room" / "people.index"
    create_gallery(place, MODEL).close()
    edit_gallery(place, lambda gallery: gallery.with_faces(faces(20), unit(20)))
    store = open_gallery(place)
    store.add(faces(1, start=50), unit(1, seed=50))
    store.rename("Secret Person 3", "Renamed Secret")
    assert journal.journal_of(place).exists()
    return place


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(sealing, "_PIECE_BYTES", PIECE)


def bytes_below(folder: Path) -> bytes:
    return b"".join(entry.read_bytes() for entry in sorted(folder.rglob("*")) if entry.is_file())


WORK = """
import os, sys
sys.path.insert(0, {tests!r})
from test_gallery_sealed import *
path, place = Path({path!r}), Path({path!r}).parent
def look(*_):
    content = bytes_below(place)
    rows = np.concatenate([unit(20), *(unit(1, seed=i) for i in range(50, 60))])
    assert not any(row.tobytes()[4:20] in content for row in rows)
    assert not any(word in content for word in (b"Secret", b"secret", b"gallery.json", b"testnet", b"PK\\x03\\x04"))
replace, fsync = os.replace, os.fsync
os.replace = lambda *names: (look(), replace(*names), look())
os.fsync = lambda number: (look(), fsync(number))
"""


def test_nothing_is_in_plain_text_at_any_moment(path):
    """Every file of the folder is looked at whenever something is put on the disk or in its place."""
    program = WORK.format(tests=str(Path(__file__).parent), path=str(path)) + (
        "store = open_gallery(path)\n"
        "store.add(faces(2, start=51), np.concatenate([unit(1, seed=51), unit(1, seed=52)]))\n"
        "look()\n"
        "store.remove('Secret Person 7'); look()\n"
        "store.rename('Secret Person 8', 'Secret Name'); look()\n"
        "store.close(); look()\n"
        "edit_gallery(path, lambda gallery: gallery.without_person('Secret Name')); look()\n"
        "Gallery.load(path).save(place / 'copy.index'); look()\n"
        "print(len(Gallery.load(place / 'copy.index')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stderr == "" and done.stdout == "21\n"
    row = unit(20)[1]
    Gallery.load(path).save(path.parent / "other.index")
    os.environ.pop(keys.VARIABLE)
    Gallery(faces(20), unit(20), model=MODEL).save(path.parent / "plain.index")
    assert row.tobytes()[4:20] in bytes_below(path.parent)  # what was looked for is found where it is plain


def test_it_is_the_same_gallery(path, small_pieces):
    plain = Gallery(faces(20), unit(20), model=MODEL)
    place = path.parent / "small.index"
    plain.save(place)
    assert place.stat().st_size > sealing.HEAD_BYTES + 5 * PIECE
    gallery = Gallery.load(place)
    assert gallery.entries == plain.entries and gallery.model == MODEL
    np.testing.assert_array_equal(gallery.embeddings, plain.embeddings)
    with open_gallery(place, MODEL) as store:
        assert store.search(unit(1), 1)[0][0].name == "Secret Person 0"


def refused(path: Path, message: str) -> None:
    for read in (Gallery.load, open_gallery):
        with pytest.raises(GalleryError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value) and not any(secret in str(caught.value) for secret in [*SECRETS, *KEYS])


def test_another_key_or_none_is_one_clear_line(path, tmp_path, monkeypatch):
    own, other = (keys.GalleryKey.of(secret.encode()).id.hex() for secret in SECRETS)
    monkeypatch.setenv(keys.VARIABLE, KEYS[1])
    refused(path, rf"people\.index: is encrypted with the key {own}; the one given is {other}")
    monkeypatch.delenv(keys.VARIABLE)
    refused(path, rf"people\.index: is encrypted \(key {own}\) and no key is given; set ARCFACE")
    before = path.read_bytes()
    with pytest.raises(GalleryError, match="is encrypted, and no key is given to encrypt it again"):
        Gallery(faces(1), unit(1), model=MODEL).save(path)
    assert path.read_bytes() == before
    for text in ("short", "0" * 63, "!" * 44, f"{KEYS[0]} short"):
        monkeypatch.setenv(keys.VARIABLE, text)
        refused(path, "ARCFACE_PADDLE_GALLERY_KEY: holds no key; allowed: 32 random bytes as base64")
    monkeypatch.setenv(keys.VARIABLE, KEYS[0])
    monkeypatch.setenv(keys.FILE_VARIABLE, str(tmp_path / "none"))
    refused(path, "both set")
    monkeypatch.delenv(keys.VARIABLE)
    refused(path, r"none: cannot read the key of galleries: No such file")


def test_without_the_package_the_command_that_brings_it_is_named(path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'arcface-paddle\[encryption\]'"):
        Gallery.load(path)


def test_what_was_cut_off_exchanged_or_changed_is_refused(tmp_path, small_pieces):
    path = tmp_path / "people.index"
    Gallery(faces(20), unit(20), model=MODEL).save(path)
    content = path.read_bytes()
    sealed = PIECE + 16
    pieces = [content[at : at + sealed] for at in range(sealing.HEAD_BYTES, len(content), sealed)]
    head = content[: sealing.HEAD_BYTES]
    assert len(pieces) > 6
    Gallery(faces(20), unit(20), model=MODEL).save(path)
    other = path.read_bytes()  # the same gallery, another salt
    assert other != content and len(other) == len(content)
    hostile = {
        "last piece missing": head + b"".join(pieces[:-1]),
        "two exchanged": head + b"".join([pieces[1], pieces[0], *pieces[2:]]),
        "one doubled": head + b"".join([pieces[0], *pieces]),
        "one left out": head + b"".join([*pieces[:2], *pieces[3:]]),
        "one of another file": head + b"".join([pieces[0], other[64 + sealed : 64 + 2 * sealed], *pieces[2:]]),
        "another head": other[:64] + content[64:],
        "something appended": content + b"\0" * 20,
        "a byte": content + b"\0",
        "reserved": content[:60] + b"\1" + content[61:],
        "head alone": head,
        "half a head": content[:40],
    }
    for place in range(8, len(content), 97):
        hostile[f"bit at {place}"] = content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
    for length in range(8, len(content), 301):
        hostile[f"cut at {length}"] = content[:length]
    for changed in hostile.values():
        path.write_bytes(changed)
        refused(path, r"people\.index: (the encrypted gallery is damaged or cut off|is encrypted with the key)")
    path.write_bytes(content)
    assert len(Gallery.load(path)) == 20


@pytest.mark.parametrize("size", [0, 1, PIECE, 3 * PIECE - 1, 3 * PIECE])
def test_it_is_read_like_the_plain_file_from_any_place(small_pieces, size):
    plain = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    sealed = io.BytesIO()
    writer = sealing.SealedWriter(sealed, keys.known_keys()[0])
    for first in range(0, size, 7):
        assert writer.write(plain[first : first + 7]) == len(plain[first : first + 7])
    writer.finish()
    reader, twin = sealing.SealedReader(sealed, name="a"), io.BytesIO(plain)
    assert reader.readable() and reader.seekable() and not reader.writable()
    for number in range(100):
        whence = number % 3
        offset = (number * 37) % (size + 9) - (size // 2 if whence == os.SEEK_CUR else size + 3 if whence else 0)
        if whence == os.SEEK_SET or offset + (twin.tell() if whence == os.SEEK_CUR else size) >= 0:
            assert reader.seek(offset, whence) == twin.seek(offset, whence)
        assert reader.read(number % (PIECE + 5)) == twin.read(number % (PIECE + 5)) and reader.tell() == twin.tell()
    assert reader.seek(-5) == 0
    for begin, count in [(0, size), (size // 2, size - size // 2), (size, 0)]:
        assert reader.array(begin, count).tobytes() == plain[begin : begin + count]
    with pytest.raises(EOFError, match="2 bytes are missing"):
        reader.array(1, size + 1)


def test_the_writer_says_where_it_is_in_the_plain_text(small_pieces):
    """So a library that writes an archive into it knows where its parts begin."""
    writer = sealing.SealedWriter(io.BytesIO(), keys.known_keys()[0])
    assert writer.writable() and not writer.seekable() and writer.tell() == 0
    assert writer.write(b"x" * 700) == 700 and writer.tell() == 700


def test_a_journal_is_bound_to_its_place_and_its_file(path):
    beside = journal.journal_of(path)
    whole = beside.read_bytes()
    assert sorted(Gallery.load(path).names)[:1] == ["Renamed Secret"] and len(Gallery.load(path)) == 21
    for length in range(0, len(whole), 5):  # as a process that was killed leaves it: every whole change counts
        beside.write_bytes(whole[:length])
        assert len(Gallery.load(path)) in (20, 21)
    first = journal.HEAD_BYTES + 12 + int.from_bytes(whole[journal.HEAD_BYTES : journal.HEAD_BYTES + 4], "little")
    for place in range(journal.HEAD_BYTES, first, 7):
        beside.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(path, r"people\.index: the journal is damaged at byte \d")
    beside.write_bytes(whole[: journal.HEAD_BYTES] + whole[first:] + whole[journal.HEAD_BYTES : first])
    refused(path, "the journal is damaged")  # two changes in another order, with right checksums
    beside.write_bytes(whole)
    before = path.read_bytes()
    with open_gallery(path) as store:
        store.encrypt()
    beside.write_bytes(whole)  # the one of the file before
    assert len(Gallery.load(path)) == 21
    path.write_bytes(before)
    assert len(Gallery.load(path)) == 21


def test_keys_are_exchanged_while_somebody_reads(path, tmp_path, monkeypatch):
    ring = tmp_path / "keys"
    first = keys.make_key(ring)
    assert ring.stat().st_mode & 0o777 == 0o600
    ring.write_text(f"# of last year\n{KEYS[0]}\n")
    monkeypatch.delenv(keys.VARIABLE)
    monkeypatch.setenv(keys.FILE_VARIABLE, str(ring))
    reader = open_gallery(path)
    added = keys.make_key(ring)
    assert [key.id for key in keys.known_keys()] == [added.id, keys.GalleryKey.of(SECRETS[0].encode()).id]
    assert added.id != first.id and "last year" in ring.read_text()
    with open_gallery(path) as store:
        store.add(faces(1, start=60), unit(1, seed=60))
        assert store.encrypt() == added and not journal.journal_of(path).exists()
    assert reader.count() == 22
    ring.write_text(ring.read_text().splitlines()[0])
    assert reader.count() == 22 and len(Gallery.load(path)) == 22
    monkeypatch.delenv(keys.FILE_VARIABLE)
    monkeypatch.setenv(keys.VARIABLE, KEYS[0])
    refused(path, f"is encrypted with the key {added.id.hex()}")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 no keys")
    with pytest.raises(GalleryError, match="holds no key"):
        keys.make_key(tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_bytes() == b"\xff\xd8 no keys"


def test_a_gallery_that_is_not_encrypted_is_by_its_first_change(tmp_path, monkeypatch):
    path = tmp_path / "people.index"
    monkeypatch.delenv(keys.VARIABLE)
    with create_gallery(path, MODEL) as store:
        store.add(faces(3), unit(3))
        with pytest.raises(GalleryError, match="no key is given to encrypt the gallery with"):
            store.encrypt()
    monkeypatch.setenv(keys.VARIABLE, KEYS[0])
    store = open_gallery(path)
    assert store.count() == 3 and not sealing.is_sealed(path.read_bytes())
    store.add(faces(1, start=9), unit(1, seed=9))
    assert sealing.is_sealed(path.read_bytes()) and not journal.journal_of(path).exists()
    store.decrypt()
    assert not sealing.is_sealed(path.read_bytes()) and store.count() == 4
    monkeypatch.delenv(keys.VARIABLE)
    assert len(Gallery.load(path)) == 4


def test_it_goes_to_other_engines_and_back(path, tmp_path):
    pytest.importorskip("faiss")
    done = convert_gallery(path, f"faiss:{tmp_path / 'people'}")
    assert (done.faces, done.agreed) == (21, 21)
    back = convert_gallery(f"faiss:{tmp_path / 'people'}", tmp_path / "back.index")
    assert (back.faces, back.agreed) == (21, 21)
    assert sealing.is_sealed((tmp_path / "back.index").read_bytes())
