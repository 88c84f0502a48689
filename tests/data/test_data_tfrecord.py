"""TFRecord: files that TensorFlow wrote (see fixtures/tfrecord), hostile ones, round trips, the kept index."""

import random
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from published_layouts import face_jpeg, write_image_set

from arcface_paddle import images
from arcface_paddle.data import open_dataset, tfrecord, tfrecord_dataset
from arcface_paddle.data.layouts import convert_dataset
from arcface_paddle.data.tfrecord import crc32c, encode_example, parse_example, write_record
from arcface_paddle.data.tfrecord_dataset import INCOMPLETE
from arcface_paddle.errors import DataError

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures/tfrecord"


def slow_crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 8, 1023, 1024, 1025, 1027, 2048, 3001])
def test_crc32c_equals_the_bit_by_bit_one(length):
    content = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8).tobytes()
    assert crc32c(content) == slow_crc32c(content)


def test_crc32c_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43  # RFC 3720, B.4


@pytest.mark.parametrize("name", ["hrnet.record", "arcface_tf2.tfrecord", "image_raw.tfrecords"])
def test_published_layouts_as_tensorflow_writes_them(tmp_path, name):
    shutil.copy(FIXTURES / name, tmp_path)
    for path in (tmp_path / name, tmp_path):
        dataset = open_dataset(path)
        assert dataset.labels.tolist() == [300, 0, 7] and dataset.num_classes == 301
        for index in range(3):
            stored = images.decode_crop(dataset.read_encoded(index))
            assert stored.shape == (16, 16, 3)
            rows = np.mgrid[0:16, 0:16][0] * 9
            assert np.abs(stored[..., 1].astype(int) - rows).mean() < 20  # the picture that was encoded, in its order
            assert dataset.read_image(index).shape == (112, 112, 3)
        assert name in dataset.path_of(1)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".npy"] == [f"{name}.index.npy"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("gzip.tfrecord", "a compressed TFRecord file; decompress it first"), ("paths.tfrecord", "holds the path of")],
)
def test_other_contents_are_refused_in_one_line(tmp_path, name, message):
    shutil.copy(FIXTURES / name, tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_round_trip_over_many_shards_in_any_access_order(tmp_path):
    pictures = write_image_set(tmp_path / "in", [5, 0, 0, 3, 5, 1, 2])
    source = open_dataset(tmp_path / "in")
    report = convert_dataset(source, tmp_path / "out", layout="tfrecord", shard_bytes=6000)
    shards = sorted(path.name for path in (tmp_path / "out").glob("*.tfrecord"))
    assert len(shards) > 2 and shards[0] == "train-00000.tfrecord" and (report.written, report.unchanged) == (7, 0)
    dataset = open_dataset(tmp_path / "out")
    np.testing.assert_array_equal(dataset.labels, source.labels)
    for index in (6, 0, 3, 1, 5, 2, 4):
        assert dataset.read_encoded(index) == pictures[index]
    convert_dataset(dataset, tmp_path / "bins", layout="bin")
    assert open_dataset(tmp_path / "bins").read_encoded(4) == pictures[4]


def test_written_records_hold_what_the_published_readers_ask_for(tmp_path):
    write_image_set(tmp_path / "in", [2, 0, 1])
    convert_dataset(open_dataset(tmp_path / "in"), tmp_path / "out", layout="tfrecord")
    path = tmp_path / "out/train-00000.tfrecord"
    with path.open("rb") as stream:
        _, payload = next(tfrecord.scan_records(stream, path.stat().st_size, name="x"))
    features = parse_example(payload, name="x")
    numbers = {
        name: tfrecord.integer_of(payload, feature, name="x")
        for name, feature in features.items()
        if feature.kind == "int64"
    }
    assert numbers == {"image/depth": 3, "image/height": 112, "image/source_id": 2, "image/width": 112, "label": 2}
    texts = {
        name: payload[slice(*tfrecord.bytes_of(payload, feature, name="x"))]
        for name, feature in features.items()
        if feature.kind == "bytes"
    }
    assert texts == {"image/encoded": face_jpeg(0), "image/filename": b"00000000.jpg"}


def test_an_interrupted_writing_is_refused_by_readers_and_goes_on(tmp_path, monkeypatch):
    pictures = write_image_set(tmp_path / "in", [0, 1, 2, 3])
    source, out = open_dataset(tmp_path / "in"), tmp_path / "out"
    real = source.read_encoded

    def stop(index):
        if index == 3:
            raise KeyboardInterrupt
        return real(index)

    monkeypatch.setattr(source, "read_encoded", stop)
    with pytest.raises(KeyboardInterrupt):
        convert_dataset(source, out, layout="tfrecord", shard_bytes=1, workers=1)
    assert (out / INCOMPLETE).exists()
    with pytest.raises(DataError, match="its writing was interrupted"):
        open_dataset(out)
    monkeypatch.undo()
    report = convert_dataset(source, out, layout="tfrecord", shard_bytes=1)
    assert (report.written + report.unchanged, report.bad) == (4, ()) and report.unchanged >= 1
    assert [open_dataset(out).read_encoded(index) for index in range(4)] == pictures
    write_image_set(tmp_path / "other", [0, 1, 2])
    with pytest.raises(DataError, match="holds another dataset"):
        convert_dataset(open_dataset(tmp_path / "other"), out, layout="tfrecord", shard_bytes=1)


def test_broken_pictures_are_left_out_and_named(tmp_path):
    write_image_set(tmp_path / "in", [0, 1, 2])
    (tmp_path / "in/images/00000001.jpg").write_bytes(b"\xff\xd8no picture")
    report = convert_dataset(open_dataset(tmp_path / "in"), tmp_path / "out", layout="tfrecord")
    assert report.written == 2 and [path for path, _ in report.bad] == [str(tmp_path / "in/images/00000001.jpg")]
    assert open_dataset(tmp_path / "out").labels.tolist() == [0, 2]


def test_the_index_is_made_once_and_made_anew_for_another_file(tmp_path, monkeypatch):
    path = tmp_path / "hrnet.record"
    shutil.copy(FIXTURES / "hrnet.record", path)
    scans = []
    real = tfrecord_dataset.scan_records
    monkeypatch.setattr(
        tfrecord_dataset, "scan_records", lambda *args, **kwargs: scans.append(1) or real(*args, **kwargs)
    )
    pictures = [[open_dataset(path).read_encoded(index) for index in range(3)] for _ in range(3)]
    assert len(scans) == 1 and pictures[0] == pictures[1] == pictures[2]
    index = tmp_path / "hrnet.record.index.npy"
    for damage in (b"", b"no array", index.read_bytes()[:-5], b"\x93NUMPY\x01\x00" + bytes(40)):
        index.write_bytes(damage)
        assert open_dataset(path).labels.tolist() == [300, 0, 7]
    assert len(scans) == 5
    table = np.load(index)
    table["offset"][1:] = 2**63
    np.save(index, table)
    assert open_dataset(path).read_encoded(2) == pictures[0][2] and len(scans) == 6
    shutil.copy(FIXTURES / "image_raw.tfrecords", path)
    assert open_dataset(path).read_encoded(0) == pictures[0][0] and len(scans) == 7


def test_an_index_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    shutil.copy(FIXTURES / "hrnet.record", tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tfrecord_dataset.files, "atomic_writer", refuse)
    assert "the index cannot be written there" in open_dataset(tmp_path).remarks[0]


def test_damage_after_indexing_is_noticed_when_read(tmp_path):
    path = tmp_path / "hrnet.record"
    shutil.copy(FIXTURES / "hrnet.record", path)
    dataset = open_dataset(path)
    with path.open("r+b") as stream:
        stream.seek(int(dataset._offsets[1]) + 40)
        stream.write(b"\x00\x01\x02")
    assert dataset.read_encoded(0)
    with pytest.raises(DataError, match=r"hrnet\.record: picture at offset \d+: changed since it was indexed"):
        dataset.read_encoded(1)


def test_a_missing_shard_of_a_counted_set(tmp_path):
    for number in (0, 2):
        shutil.copy(FIXTURES / "hrnet.record", tmp_path / f"train.tfrecord-{number:05d}-of-00003")
    with pytest.raises(DataError, match=r"shard train\.tfrecord-00001-of-00003 is missing"):
        open_dataset(tmp_path)
    shutil.copy(FIXTURES / "hrnet.record", tmp_path / "train.tfrecord-00001-of-00003")
    assert len(open_dataset(tmp_path)) == 9


def record(payload):
    parts = []

    class Stream:
        def write(self, content):
            parts.append(content)
            return len(content)

    write_record(Stream(), payload)
    return b"".join(parts)


def example(**features):
    return encode_example({name.replace("__", "/"): value for name, value in features.items()})


GOOD = record(example(image__encoded=face_jpeg(1), label=3))


def length_head(length):
    head = struct.pack("<Q", length)
    crc = slow_crc32c(head)
    return head + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, this is no record", "wrong CRC-32C of the length at offset 0; no TFRecord file"),
        (GOOD[:7], "truncated: 7 bytes are left"),
        (GOOD[:-1], "truncated: the record at offset 0"),
        (GOOD + GOOD[:100], "truncated: the record at offset"),
        (GOOD + b"\0" * 16, "wrong CRC-32C of the length at offset"),
        (GOOD[:200] + b"\x01" + GOOD[201:], "wrong CRC-32C of the record at offset 0"),
        (length_head(2**62), "a record of 4611686018427387904 bytes at offset 0; allowed"),
        (length_head(2**25), "truncated: the record at offset 0 needs 33554432 bytes more"),
        (record(b""), "no picture; expected a feature image/encoded or image_raw, found nothing"),
        (record(example(label=3)), "no picture"),
        (record(example(image_raw=face_jpeg(1))), "no label; expected a feature label or image/source_id"),
        (record(example(image_raw=b"x", label=2**31)), "label 2147483648; allowed"),
        (record(example(image_raw=b"x", label=2**64 - 1)), "label -1; allowed"),
        (record(example(image_raw=b"x", label=b"3")), "no integer; expected one label"),
        (record(example(image_raw=3, label=3)), "0 byte strings; expected one picture"),
        (record(b"\x0a\xff\xff\xff\xff\x0f"), "a field of 4294967295 bytes where 0 are left"),
        (record(b"\x0a" + b"\x80" * 30), "an integer without end"),
        (record(b"\x0b\x0a"), "wire type 3 in a protocol buffer"),
        (record(encode_example({f"f{number}": 1 for number in range(1200)})), "more than 1000 fields"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_hostile_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "train.tfrecord"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not path.with_name("train.tfrecord.index.npy").exists()


@pytest.mark.parametrize("seed", range(60))
def test_random_payloads_end_in_a_data_error_or_a_result(seed):
    chance = random.Random(seed)
    payload = bytearray(example(image__encoded=bytes(20), label=3, image__filename=b"a"))
    for _ in range(chance.randrange(1, 6)):
        payload[chance.randrange(len(payload))] = chance.randrange(256)
    payload = bytes(payload[: chance.randrange(len(payload) + 1)])
    try:
        features = parse_example(payload, name="x")
        for feature in features.values():
            tfrecord.bytes_of(payload, feature, name="x")
    except DataError as error:
        assert str(error).startswith("x: ")


def test_label_text_beside_such_names_is_read_as_before(tmp_path):
    write_image_set(tmp_path, [0, 1])
    (tmp_path / "model.data-00000-of-00001").write_bytes(b"weights")
    (tmp_path / "notes.record").write_bytes(b"notes")
    assert open_dataset(tmp_path).labels.tolist() == [0, 1]
    assert not tfrecord_dataset.is_shard_name("model.data-00000-of-00001")


@pytest.mark.parametrize("layout", ["tfrecord", "packed", "recordio"])
def test_shuffled_records_are_the_same_samples_in_the_order_of_the_seed(tmp_path, layout):
    labels = [number // 5 for number in range(40)]
    pictures = write_image_set(tmp_path / "in", labels)
    source = open_dataset(tmp_path / "in")
    orders = {}
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        convert_dataset(source, tmp_path / name, layout=layout, shuffle_seed=seed)
        found = open_dataset(tmp_path / name)
        orders[name] = [pictures.index(found.read_encoded(index)) for index in range(len(found))]
        assert found.labels.tolist() == [labels[number] for number in orders[name]] and found.num_classes == 8
        assert sorted(orders[name]) == list(range(40))
    assert orders["one"] == orders["again"] != orders["two"]
    runs = np.flatnonzero(np.diff(np.array(labels)[orders["one"]])).size
    assert runs > 20  # people are mixed; 7 changes of person before
    report = convert_dataset(source, tmp_path / "one", layout=layout, shuffle_seed=1)
    assert (report.written, report.unchanged) == (0, 40)
