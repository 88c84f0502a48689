"""Atomic writing: the old content stays until the new one is whole, and nothing temporary is left."""

import json
import os
from pathlib import Path

import pytest

from arcface_paddle import files


def test_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    files.write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), files.atomic_writer(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
def test_a_full_disk_names_the_file(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        with pytest.raises(OSError, match=r"too large: .*file\.txt"):
            files.write_text(tmp_path / "file.txt", "more than there is room for")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_full_device_is_named():
    with pytest.raises(OSError, match=r"No space left on device: .*/dev/full"):
        files.write_text("/dev/full", "text")


def test_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "deep" / "file.json"
    files.write_json(path, {"name": "张伟"})
    files.write_json(path, {"name": "new"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "new"}
    assert path.stat().st_mode & 0o444 == 0o444


def test_nan_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    with files.atomic_folder(target) as folder:
        (folder / "a").write_text("1")
    with files.atomic_folder(target) as folder:
        (folder / "b").write_text("2")
    assert [entry.name for entry in target.iterdir()] == ["b"]
    with pytest.raises(RuntimeError), files.atomic_folder(target) as folder:
        (folder / "c").write_text("3")
        raise RuntimeError
    assert [entry.name for entry in target.iterdir()] == ["b"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert files.sha256_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_files_get_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "file", "x")
        with files.atomic_writer(tmp_path / "private", mode=0o600), files.atomic_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()}
    assert modes == {"file": 0o640, "private": 0o600, "folder": 0o750}


def test_writing_leaves_the_umask_alone(tmp_path, monkeypatch):
    """Threads share it: while one writer had it at 0, a file that another thread made was open to everybody."""

    def set_by_nobody(mask: int) -> int:
        raise AssertionError("the umask was set")

    monkeypatch.setattr(os, "umask", set_by_nobody)
    files.write_text(tmp_path / "file", "x")
    with files.atomic_folder(tmp_path / "folder"):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_leftovers_of_killed_writers_are_known_by_their_names(tmp_path):
    path = tmp_path / "people.index"
    with files.atomic_writer(path):
        [half] = tmp_path.iterdir()
        kept = half.name
    (tmp_path / kept).write_bytes(b"half")
    files.remove_leftovers(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["people.index"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no devices and pipes")
def test_devices_and_pipes_are_written_into_and_not_replaced(tmp_path):
    """Run by root, ``--json /dev/null`` made a file of the device for all programs."""
    link = tmp_path / "device"
    link.symlink_to("/dev/null")
    files.write_bytes(link, b"nothing")
    assert link.is_symlink() and link.is_char_device()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):  # and not waiting for a reader
        files.write_bytes(tmp_path / "pipe", b"1")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    files.write_bytes(tmp_path / "pipe", b"told")
    assert os.read(reader, 9) == b"told" and (tmp_path / "pipe").is_fifo()
    os.close(reader)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no name for an open file")
def test_the_name_of_an_open_file_is_not_replaced(tmp_path):
    with (tmp_path / "all").open("wb") as stream:
        name = Path(f"/proc/{os.getpid()}/fd/{stream.fileno()}")
        files.write_bytes(name if name.exists() else f"/dev/fd/{stream.fileno()}", b"told")
    assert (tmp_path / "all").read_bytes() == b"told"


def test_a_link_to_itself_is_an_error_of_the_system(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(OSError, match="symbolic links"):
        files.write_bytes(files.resolved(tmp_path / "circle" / "file"), b"")
    assert files.resolved(tmp_path / "a" / ".." / "b") == tmp_path.resolve() / "b"
