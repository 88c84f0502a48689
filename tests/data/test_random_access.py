"""Reading on where the system gives less than was asked for, as network file systems and huge files do."""

import os

import pytest

from arcface_paddle.data.random_access import RandomAccessFile, read_small_file
from arcface_paddle.errors import DataError

CONTENT = bytes(range(256)) * 3


@pytest.fixture
def short_reads(monkeypatch):
    """Let every read of the system give at most 100 bytes."""
    read, pread = os.read, os.pread
    monkeypatch.setattr(os, "read", lambda descriptor, length: read(descriptor, min(length, 100)))
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: pread(descriptor, min(length, 100), offset))


def test_small_file_is_read_to_its_end(tmp_path, short_reads):
    (tmp_path / "picture").write_bytes(CONTENT)
    assert read_small_file(str(tmp_path / "picture")) == CONTENT


def test_file_longer_than_a_block(tmp_path):
    (tmp_path / "large").write_bytes(CONTENT * 300)
    assert read_small_file(str(tmp_path / "large")) == CONTENT * 300


@pytest.mark.parametrize("positioned", [True, False])
def test_piece_is_read_whole_and_a_truncated_file_is_told(tmp_path, short_reads, monkeypatch, positioned):
    if not positioned:
        monkeypatch.delattr(os, "pread")  # as on Windows
    (tmp_path / "shard").write_bytes(CONTENT)
    file = RandomAccessFile(tmp_path / "shard")
    assert file.read(10, 700) == CONTENT[10:710]
    with pytest.raises(DataError, match="truncated: 700 bytes wanted at offset 200, 568 are there"):
        file.read(200, 700)
