"""RecordIO against an independent writer, and every way in which a file can be damaged."""

import io
import struct

import numpy as np
import pytest
from published_layouts import rec_record

from arcface_paddle.data.random_access import RandomAccessFile
from arcface_paddle.data.recordio import (
    MAGIC,
    ImageRecord,
    decode_image_record,
    encode_image_record,
    read_record,
    scan_offsets,
    write_record,
)
from arcface_paddle.errors import DataError

MAGIC_BYTES = struct.pack("<I", MAGIC)
PAYLOADS = {
    "empty": b"",
    "short": b"abc",
    "aligned": b"abcd" * 5,
    "magic": MAGIC_BYTES,
    "two magics": MAGIC_BYTES * 2,
    "magic inside": b"abcd" + MAGIC_BYTES + b"efg",
    "magic at the end": b"abcd" + MAGIC_BYTES,
    "magic not aligned": b"ab" + MAGIC_BYTES + b"cd",
    "magic after one that is not aligned": b"a" + MAGIC_BYTES + b"bcd" + MAGIC_BYTES + b"x",
}


def part(flag, content):
    return MAGIC_BYTES + struct.pack("<I", flag << 29 | len(content)) + content + b"\0" * (-len(content) % 4)


def file_of(tmp_path, content):
    (tmp_path / "train.rec").write_bytes(content)
    return RandomAccessFile(tmp_path / "train.rec")


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_records_are_those_of_an_independent_writer_and_come_back(tmp_path, payload):
    stream = io.BytesIO()
    assert write_record(stream, payload) == len(stream.getvalue())
    assert stream.getvalue() == rec_record(payload)
    file = file_of(tmp_path, stream.getvalue())
    assert read_record(file, 0) == payload == read_record(file, 0, span=file.size)


def test_offsets_are_found_without_an_index(tmp_path):
    content, expected = b"", []
    for payload in PAYLOADS.values():
        expected.append(len(content))
        content += rec_record(payload)
    file = file_of(tmp_path, content)
    np.testing.assert_array_equal(scan_offsets(file), expected)
    assert [read_record(file, offset) for offset in expected] == list(PAYLOADS.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (part(2, b"abcd"), "continuation flag 2 at offset 0 is out of order"),
        (part(3, b"abcd"), "continuation flag 3 at offset 0 is out of order"),
        (part(1, b"abcd") + part(0, b"abcd"), "continuation flag 0 at offset 12 is out of order"),
        (part(1, b"abcd") + part(1, b"abcd"), "continuation flag 1 at offset 12 is out of order"),
        (b"abcd" * 3, "magic 0x64636261 at offset 0, expected 0xced7230a"),
        (part(1, b"abcd") + b"abcd" * 3, "magic 0x64636261 at offset 12"),
        (part(0, b"abcd" * 9)[:-8], "train.rec"),
        (part(1, b"abcd"), "train.rec"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_record(file_of(tmp_path, content), 0)


def test_a_file_that_ends_inside_of_a_record_cannot_be_scanned(tmp_path):
    with pytest.raises(DataError, match="truncated: the record at offset 12 reaches beyond the end"):
        scan_offsets(file_of(tmp_path, part(0, b"abcd") + part(0, b"abcd" * 9)[:-4]))


@pytest.mark.parametrize("labels", [(3.0,), (3.0, 7.0), (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("content", [b"", b"picture"])
def test_headers(labels, content):
    record = ImageRecord(labels, 12, content)
    payload = encode_image_record(record)
    flag, label, identifier, second = struct.unpack_from("<IfQQ", payload)
    assert (flag, label) == ((0, labels[0]) if len(labels) == 1 else (len(labels), 0)) and (identifier, second) == (
        12,
        0,
    )
    assert decode_image_record(payload, name="x") == record


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "x: truncated record: 0 bytes, the header alone needs 24"),
        (b"x" * 23, "x: truncated record: 23 bytes"),
        (struct.pack("<IfQQ", 5, 0, 0, 0) + b"x" * 19, "x: truncated record: 5 labels do not fit into 43 bytes"),
        (struct.pack("<IfQQ", 2**32 - 1, 0, 0, 0), "4294967295 labels do not fit"),
    ],
)
def test_headers_that_promise_too_much(payload, message):
    with pytest.raises(DataError, match=message):
        decode_image_record(payload, name="x")
