"""What we have written is read again as it was, or writing refuses it: every format, with values that nobody chose."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from arcface_paddle import files, safe_pickle, weight_files
from arcface_paddle.data import bin_record, recordio, tfrecord, verification_set
from arcface_paddle.data.label_file import read_label_file, write_label_file
from arcface_paddle.data.random_access import RandomAccessFile
from arcface_paddle.errors import ArcfaceError
from arcface_paddle.library import xmp
from arcface_paddle.pipeline.embedding_files import EmbeddingTable, write_embeddings
from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.stores.base import GalleryContract

few = settings(derandomize=True, database=None, deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
texts = st.text(st.characters(exclude_characters="\0"), max_size=20)  # no name of a file has a zero, all else may be
_ODD = (
    "a\tb", " a", "#a", "a\nb", "a\r", "\ufeffa", "a\x85b", "a\u2028b", "\udcff", "..", "\x1b[2J", "甲", "e\u0301",
    "\u00e9", "NaN", "1e5", "null", "- a", "a: b", "'", '"', "\\", "%", "~",
)  # fmt: skip
names = st.one_of(st.sampled_from(_ODD), texts)
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
shapes = arrays.array_shapes(max_dims=3, max_side=4, min_side=0)
kinds = st.sampled_from((np.float32, np.float64, np.int64, np.uint8, np.bool_, np.int8, np.float16))
numbers = kinds.flatmap(lambda kind: arrays.arrays(kind, shapes))


def refused(write: Any) -> bool:
    """Write, and tell whether it was refused in words."""
    try:
        write()
    except ArcfaceError as error:
        assert str(error).strip()
        return True
    return False


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@few
@given(names, st.binary(max_size=60))
def test_a_record_of_one_picture(key: str, content: bytes) -> None:
    made: list[bytes] = []
    if not refused(lambda: made.append(bin_record.encode_record(key, content))):
        assert list(bin_record.decode_records(made[0] * 2, name="1.bin")) == [(key, content)] * 2


_MAGIC = recordio.MAGIC.to_bytes(4, "little")


@few
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from((_MAGIC, _MAGIC * 3, b"abc" + _MAGIC, b"")))))
def test_records_of_recordio(payloads: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.rec"
        with path.open("wb") as stream:
            for payload in payloads:
                recordio.write_record(stream, payload)
        file = RandomAccessFile(path)
        offsets = recordio.scan_offsets(file)
        assert [recordio.read_record(file, int(offset)) for offset in offsets] == payloads
        file.close()


@few
@given(st.lists(finite, min_size=1, max_size=4), st.integers(0, 2**64 - 1), st.binary(max_size=20))
def test_a_picture_of_recordio(labels: list[float], identifier: int, content: bytes) -> None:
    record = recordio.ImageRecord(tuple(labels), identifier, content)
    assert recordio.decode_image_record(recordio.encode_image_record(record), name="r") == record


@few
@given(st.dictionaries(keys, st.one_of(st.binary(max_size=40), st.integers(0, 2**63 - 1)), max_size=4))
def test_an_example_of_tfrecord(features: dict[str, Any]) -> None:
    payload = tfrecord.encode_example(features)
    found = tfrecord.parse_example(payload, name="t")
    assert set(found) == set(features)
    for key, value in features.items():
        if isinstance(value, bytes):
            assert payload[slice(*tfrecord.bytes_of(payload, found[key], name="t"))] == value
        else:
            assert tfrecord.integer_of(payload, found[key], name="t") == value


@few
@given(st.lists(st.tuples(names, st.integers(0, 2**31 - 1)), min_size=1, max_size=5))
def test_a_label_file(samples: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.txt"
        if not refused(lambda: write_label_file(path, samples)):
            read = read_label_file(path)
            assert [(read.paths[index], int(label)) for index, label in enumerate(read.labels)] == samples


@few
@given(st.lists(st.binary(min_size=1, max_size=20), min_size=2, max_size=2), st.booleans())
def test_a_verification_set(pictures: list[bytes], is_same: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lfw.bin"
        verification_set.write_verification_set(path, pictures, [is_same])
        read = verification_set.read_verification_set(path)
    assert (list(read.images), list(read.issame)) == (pictures, [is_same])


@few
@given(numbers)
def test_a_pickled_array(array: np.ndarray) -> None:
    made: list[bytes] = []
    if not refused(lambda: made.append(safe_pickle.dump_array(array))):
        read = safe_pickle.load_arrays(made[0], name="p")
        assert isinstance(read, np.ndarray) and same(read, array)


@few
@given(st.dictionaries(keys, numbers, max_size=3))
def test_a_state_dict(state: dict[str, np.ndarray]) -> None:
    made: list[bytes] = []
    if not refused(lambda: made.append(weight_files.dump_state_dict(state))):
        read = weight_files.parse_state_dict(made[0], name="p")
        assert set(read) == set(state)
        assert all(same(read[key], state[key]) for key in state)


boxes = st.one_of(st.none(), st.tuples(finite, finite, finite, finite))
entries = st.builds(
    GalleryEntry, names, names, st.sampled_from(("", "f" * 64)), boxes, st.one_of(st.none(), st.floats(0, 1)),
    st.sampled_from(("", "2026-01-31T12:00:00Z")),
)  # fmt: skip


@few
@given(st.lists(entries, max_size=4))
def test_a_gallery(faces: list[GalleryEntry]) -> None:
    rows = np.eye(8, dtype=np.float32)[: len(faces)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.index"
        made: list[Gallery] = []

        def write() -> None:
            made.append(Gallery(faces, rows))
            made[0].save(path)

        if refused(write):
            return
        read = Gallery.load(path)
    shown = [[replace(one, path=files.printable(one.path)) for one in every.entries] for every in (made[0], read)]
    assert shown[0] == shown[1]
    assert same(read.embeddings, made[0].embeddings)


@pytest.mark.parametrize("suffix", [".parquet", ".h5"])
@few
@given(people=st.lists(names, min_size=1, max_size=3, unique=True))
def test_embeddings_that_become_a_gallery(suffix: str, people: list[str]) -> None:
    count = len(people)
    table = EmbeddingTable(np.eye(8, dtype=np.float32)[:count], people, people, np.zeros((count, 4), np.float32), "m")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"e{suffix}"
        if refused(lambda: write_embeddings(path, table)):
            return
        made: list[Gallery] = []
        if not refused(lambda: made.append(Gallery.load(path))):
            assert len(made[0]) == count


@few
@given(st.dictionaries(texts, st.one_of(st.none(), st.booleans(), finite, texts), max_size=3))
def test_a_contract(parameters: dict[str, Any]) -> None:
    contract = GalleryContract(None, 8, "best", parameters)
    made: list[str] = []
    if not refused(lambda: made.append(contract.to_text())):
        assert GalleryContract.from_text(made[0], name="g") == contract


@few
@given(st.lists(names, min_size=1, max_size=3))
def test_names_in_xmp(people: list[str]) -> None:
    faces = [xmp.NamedFace(f"a{n}-0", name, [1.0, 2.0, 5.0, 7.0]) for n, name in enumerate(people)]
    merged = xmp.merge_regions(None, faces, stored_size_wh=(12, 9), orientation=1, name="x")
    assert merged.content is not None
    read = xmp.read_regions(merged.content, name="x").faces
    assert [region.name for region in read] == [xmp._as_text(name) for name in people]


@few
@given(output=names, decay=finite, rates=st.lists(finite, max_size=3))
def test_settings_of_a_run(output: str, decay: float, rates: list[float]) -> None:
    from arcface_paddle.training.config import config_from, config_text, load_config

    made: list[Any] = []
    if refused(lambda: made.append(config_from({"output": output, "weight_decay": decay}))):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        files.write_text(path, config_text(made[0]))
        assert load_config(path) == made[0]


@few
@given(numbers)
def test_a_npy(array: np.ndarray) -> None:
    from arcface_paddle.untrusted import parse_npy

    stream = io.BytesIO()
    np.save(stream, array)
    assert same(parse_npy(stream.getvalue()), array)
