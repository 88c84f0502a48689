"""The per-image .bin against records built from the description of the format alone."""

import pickle
import struct

import pytest
from published_layouts import bin_bytes, face_jpeg

from arcface_paddle.data.bin_record import MAX_KEY_BYTES, decode_record, decode_records, encode_record, read_bin
from arcface_paddle.errors import DataError


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_of_bytes_is_read(protocol):
    content = face_jpeg(0)
    assert decode_record(bin_bytes(b"a.jpg", content, protocol), name="x") == ("a.jpg", content)


def test_several_records_follow_each_other_and_the_first_counts(tmp_path):
    records = [(f"{number}.jpg", face_jpeg(number)) for number in range(3)]
    content = b"".join(encode_record(key, picture) for key, picture in records)
    assert list(decode_records(content, name="x")) == records
    (tmp_path / "a.bin").write_bytes(content)
    assert read_bin(tmp_path / "a.bin") == records[0]


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_cut_at_any_place_is_told(cut):
    content = bin_bytes(b"a.jpg", b"p" * 40, 4)
    with pytest.raises(DataError, match=r"x: (truncated record|the pickle|.*pickle)"):
        decode_record(content[:cut], name="x")


def test_keys():
    longest = "k" * MAX_KEY_BYTES
    assert decode_record(encode_record(longest, b"p"), name="x") == (longest, b"p")
    with pytest.raises(DataError, match="5001 bytes is too long"):
        encode_record(longest + "k", b"p")
    with pytest.raises(DataError, match=r"x: key length 5001 at offset 0; allowed: 5000\. This is not"):
        decode_record(struct.pack("<I", 5001) + b"k" * 6000, name="x")
    with pytest.raises(DataError, match=r"x: the key b'\\xff' is not UTF-8"):
        decode_record(bin_bytes(b"\xff", b"p", 4), name="x")
    with pytest.raises(DataError, match="the file name is not UTF-8"):
        encode_record("a\udcff.jpg", b"p")


@pytest.mark.parametrize("value", ["text", 5, [b"a"], bytearray(b"a"), None])
def test_a_value_that_is_not_bytes_is_refused(value):
    with pytest.raises(DataError, match=r"^x: "):
        decode_record(bin_bytes(b"a.jpg", value, 4), name="x")
