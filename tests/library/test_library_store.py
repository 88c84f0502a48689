"""The store keeps what was found whatever ends its writer, and says so when it is damaged."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.library.record_log import MAGIC, RecordWriter, read_records, write_records
from arcface_paddle.library.scanning import scan
from arcface_paddle.library.store import (
    IDENTITY_NAME,
    LOG_NAME,
    FileState,
    ScanIdentity,
    StoredPicture,
    open_store,
    read_embeddings,
    unreadable,
)
from arcface_paddle.pipeline.inputs import FoundPicture

IDENTITY = ScanIdentity("M", "ab" * 32, "cd" * 32, True, 4, "D sha256:00", "det_thresh=None")


def picture(name: str, faces: int = 2) -> StoredPicture:
    rng = np.random.default_rng(faces)
    values = rng.random((faces, 20)).astype(np.float32)
    return StoredPicture(
        name * 64, (640, 480), None, 2**63 + 5, rng.integers(0, 255, (48, 48)).astype(np.uint8), values[:, :4],
        values[:, 4:14].reshape(-1, 5, 2), values[:, 14], values[:, 15], values[:, 16:],
    )  # fmt: skip


def same(one: StoredPicture | None, other: StoredPicture) -> bool:
    assert one is not None
    arrays = ("boxes_xyxy", "landmarks", "scores", "qualities", "embeddings", "gray")
    plain = ("sha256", "size_wh", "captured", "perceptual", "problem", "max_pixels")
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in arrays) and all(
        getattr(one, key) == getattr(other, key) for key in plain
    )


def log_of(folder: Path) -> Path:
    return folder / IDENTITY.key / LOG_NAME


def filled(folder: Path) -> list[StoredPicture]:
    pictures = [picture("a"), picture("b", 0), unreadable("c" * 64, "not a picture", max_pixels=None)]
    with open_store(folder, IDENTITY) as store:
        for number, one in enumerate(pictures):
            store.add_picture(one)
            store.add_path(f"/photos/{number}\udce9.jpg", FileState(number, 10), one.sha256)
    return pictures


def test_what_was_added_is_there_again(tmp_path):
    pictures = filled(tmp_path)
    with open_store(tmp_path, IDENTITY) as store:
        assert all(same(store.picture(one.sha256), one) for one in pictures)
        assert store.content_of("/photos/1\udce9.jpg", FileState(1, 10)) == "b" * 64
        assert store.content_of("/photos/1\udce9.jpg", FileState(1, 11)) is None
    found = read_embeddings(tmp_path, model=IDENTITY.model)
    assert same(found["a" * 64], pictures[0])


def test_another_model_starts_anew(tmp_path):
    filled(tmp_path)
    other = ScanIdentity("M", "ee" * 32, "cd" * 32, True, 4, "D sha256:00", "det_thresh=None")
    with open_store(tmp_path, other) as store:
        assert len(store) == 0
    with pytest.raises(DataError, match="holds no faces"):
        read_embeddings(tmp_path, model=other.model)
    with open_store(tmp_path, IDENTITY) as store:
        assert len(store) == 3


def test_an_identity_that_is_not_given_is_no_missing_one(tmp_path):
    filled(tmp_path)
    path = log_of(tmp_path).with_name(IDENTITY_NAME)
    path.unlink()
    path.mkdir()  # which root may not read either
    with pytest.raises(DataError, match=r"identity\.json: cannot be read: "):
        read_embeddings(tmp_path, model=IDENTITY.model)


def test_a_damaged_identity_is_mended_by_the_next_run(tmp_path):
    pictures = filled(tmp_path)
    log_of(tmp_path).with_name(IDENTITY_NAME).write_bytes(b"{")
    with pytest.raises(DataError, match=r"holds no faces of .*; run 'arcface-paddle people' again"):
        read_embeddings(tmp_path, model=IDENTITY.model)
    with open_store(tmp_path, IDENTITY) as store:
        assert len(store) == len(pictures)
    assert same(read_embeddings(tmp_path, model=IDENTITY.model)["a" * 64], pictures[0])


def test_embeddings_of_another_recogniser_are_refused(tmp_path):
    foreign = dataclasses.replace(picture("a"), embeddings=np.ones((2, 6), np.float32))
    with open_store(tmp_path, IDENTITY) as store:
        with pytest.raises(ConfigError, match=r"6 numbers.*gives 4.*rec_model='M'"):
            store.add_picture(foreign)
        assert len(store) == 0


def test_killed_at_any_byte_loses_the_last_record_at_most(tmp_path):
    """A store that ends anywhere can be opened, holds the whole records in front, and takes new ones."""
    pictures = filled(tmp_path)
    log = log_of(tmp_path)
    content = log.read_bytes()
    ends = [len(MAGIC), *(end for end, _ in read_records(log))]
    cuts = {0, 5, *ends, *(end + step for end in ends[:-1] for step in (1, 7, 9)), len(content) - 1}
    for cut in sorted(cuts):
        log.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends[1:])
        with open_store(tmp_path, IDENTITY) as store:
            assert len(store) + len(store.paths()) == whole, cut
            store.add_picture(pictures[0])
        assert len(list(read_records(log))) == whole + 1


def test_lost_bytes_at_the_end_are_no_damage(tmp_path):
    """After a power cut a file can be longer than what was written into it."""
    filled(tmp_path)
    log = log_of(tmp_path)
    log.write_bytes(log.read_bytes() + bytes(4096))
    with open_store(tmp_path, IDENTITY) as store:
        assert len(store) == 3


def test_damage_in_the_middle_is_told_in_a_line(tmp_path):
    filled(tmp_path)
    log = log_of(tmp_path)
    content = bytearray(log.read_bytes())
    content[len(MAGIC) + 60] ^= 1
    log.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged at byte 16 of .*delete this file"), open_store(tmp_path, IDENTITY):
        pass
    log.write_bytes(b"GIF89a something else altogether")
    with pytest.raises(DataError, match="is no store of faces"), open_store(tmp_path, IDENTITY):
        pass
    write_records(log, [b"\x02\0\0\0{}"])
    with pytest.raises(DataError, match="a record is not valid"), open_store(tmp_path, IDENTITY):
        pass


def test_a_full_disk_leaves_whole_records(tmp_path):
    """The limit on the size of files stands for the disk: writing fails in the same way, in the middle of a record."""
    resource = pytest.importorskip("resource")
    log = tmp_path / "log"
    writer = RecordWriter(log)
    writer.append(b"first")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="File too large"):
            writer.append(b"second" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [payload for _, payload in read_records(log)] == [b"first"]
    writer.append(b"third")
    writer.close()
    assert [payload for _, payload in read_records(log)] == [b"first", b"third"]


def test_pictures_that_are_gone_leave_the_disk(tmp_path):
    with open_store(tmp_path, IDENTITY) as store:
        for name in "abcdef":
            store.add_picture(picture(name))
            store.add_path(f"/photos/{name}.jpg", FileState(1, 1), name * 64)
        store.add_path("/elsewhere/a.jpg", FileState(1, 1), "a" * 64)
        before = log_of(tmp_path).stat().st_size
        assert store.forget_paths([f"/photos/{name}.jpg" for name in "abcd"]) == 3  # a.jpg lies elsewhere, too
        store.add_picture(picture("g"))
    assert log_of(tmp_path).stat().st_size < before
    with open_store(tmp_path, IDENTITY) as store:
        assert sorted(one for one in "abcdefg" if store.picture(one * 64)) == ["a", "e", "f", "g"]
    assert (b"b" * 64) not in log_of(tmp_path).read_bytes()


def test_pictures_in_a_folder_that_is_closed_now_are_not_forgotten(tmp_path, monkeypatch):
    there, gone, closed = (tmp_path / name for name in ("there.jpg", "gone.jpg", "closed.jpg"))
    there.write_bytes(b"unchanged")
    stat = Path.stat

    def refuse(path, **options):
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    with open_store(tmp_path / "store", IDENTITY) as store:
        for name, path in zip("abc", (there, gone, closed)):
            store.add_picture(picture(name))
            store.add_path(str(path), FileState(there.stat().st_size, there.stat().st_mtime_ns), name * 64)
        monkeypatch.setattr(Path, "stat", refuse)
        report = scan([FoundPicture(there, tmp_path)], store, open_workers=lambda: pytest.fail("nothing is new"))
        monkeypatch.undo()
        assert (report.unchanged, report.forgotten) == (1, 1)
        assert sorted(Path(path).name for path in store.paths()) == ["closed.jpg", "there.jpg"]


def test_two_processes_do_not_write_one_store(tmp_path, monkeypatch):
    from arcface_paddle import files

    monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0.0)
    monkeypatch.setattr(files.locked.__wrapped__, "__kwdefaults__", {"timeout_s": 0.05})
    with open_store(tmp_path, IDENTITY), pytest.raises(DataError, match="is in use"), open_store(tmp_path, IDENTITY):
        pass
