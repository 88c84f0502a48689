"""bcolz verification sets: folders that bcolz wrote (see fixtures/bcolz), and what is refused."""

import importlib.util
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.data import carray_set, open_dataset, read_verification_set
from arcface_paddle.data.carray_set import is_carray_set, read_carray_set
from arcface_paddle.data.verification_sources import (
    convert_verification_sets,
    open_verification_set,
    path_of_set,
    sets_in,
)
from arcface_paddle.errors import DataError, MissingDependencyError
from arcface_paddle.evaluation.sets import find_sets
from arcface_paddle.training.validation import open_verification_sets

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures/bcolz"
HAS_DECODER = importlib.util.find_spec("numcodecs") is not None
READABLE = ["plain", *(["lfw", "blosclz"] if HAS_DECODER else [])]
"""``plain`` is stored without compression, which needs no package; the others need the extra ``bcolz``."""


def expected(number):
    rows, columns = np.mgrid[0:16, 0:16]
    return np.stack([columns * 16, rows * 15 + number, np.full((16, 16), 40 * number)], -1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(FIXTURES, tmp_path / "sets")
    return tmp_path / "sets"


@pytest.mark.parametrize("name", READABLE)
def test_what_bcolz_wrote_is_read_as_rgb(name):
    found = read_carray_set(FIXTURES / name)
    assert found.name == name and found.issame.tolist() == [True, False, True] and len(found.images) == 6
    for number in range(6):
        np.testing.assert_array_equal(images.decode_crop(found.images[number]), expected(number))
        assert found.decode(number).shape == (112, 112, 3)
    np.testing.assert_array_equal(found.decode(5), images.resize(expected(5), (112, 112)))


@pytest.mark.skipif(HAS_DECODER, reason="the package is there")
def test_a_missing_package_is_named():
    with pytest.raises(MissingDependencyError, match=r"numcodecs.*arcface-paddle\[bcolz\]"):
        read_carray_set(FIXTURES / "lfw").decode(0)


def test_sets_are_found_by_name_by_path_and_all(folder, tmp_path):
    shutil.rmtree(folder / "lfw")
    assert [path.name for path in sets_in(folder)] == ["blosclz", "plain"]
    assert path_of_set(folder, "plain") == folder / "plain" and path_of_set(folder, "lfw") == folder / "lfw.bin"
    found = find_sets(folder, "plain,lfw")
    assert list(found.sets) == ["plain"] and found.missing == (folder / "lfw.bin",)
    assert list(find_sets(tmp_path, str(folder / "plain")).sets) == ["plain"]
    assert list(find_sets(folder, "all").sets) == ["blosclz", "plain"]
    said = []
    assert [one.name for one in open_verification_sets(folder, ["lfw", "plain"], say=said.append)] == ["plain"]
    assert "lfw.bin is missing" in said[0]


def test_converted_set_is_the_same_and_goes_first(folder, tmp_path):
    source = folder / "plain"
    report = convert_verification_sets(source, folder)
    assert (report.written, report.unchanged) == (1, 0)
    found = read_verification_set(folder / "plain.bin")
    assert found.issame.tolist() == [True, False, True]
    for number in range(6):
        np.testing.assert_array_equal(images.decode_crop(found.images[number]), expected(number))
    assert convert_verification_sets(source, folder).unchanged == 1
    assert path_of_set(folder, "plain") == folder / "plain.bin"
    with pytest.raises(DataError, match="no bcolz set in this folder"):
        convert_verification_sets(tmp_path, tmp_path / "out")


def rewrite(path, change):
    loaded = json.loads(path.read_text())
    change(loaded)
    path.write_text(json.dumps(loaded))


def chunk(folder, at, value):
    path = folder / "plain/data/__0.blp"
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(bytes(content))


DAMAGE = {
    "70000 bytes; allowed: 65536": lambda root: (root / "plain/meta/sizes").write_text(" " * 70000),
    "20000 bytes; allowed: 16384": lambda root: (root / "plain/data/__0.blp").write_bytes(bytes(20000)),
    "not an array of truth values ": lambda root: (root / "plain_list.npy").write_bytes(
        (root / "plain_list.npy").read_bytes().replace(b"(3,), ", b"(9999999999999,), ")
    ),
    "the shape": lambda root: rewrite(root / "plain/meta/sizes", lambda it: it.update(shape=[6, 4, 16, 16])),
    "the shape ": lambda root: rewrite(root / "plain/meta/sizes", lambda it: it.update(shape=[6, 3, 10**6, 10**6])),
    "values of the type": lambda root: rewrite(root / "plain/meta/storage", lambda it: it.update(dtype="O")),
    "chunks of": lambda root: rewrite(root / "plain/meta/storage", lambda it: it.update(chunklen=10**12)),
    "chunks of 0": lambda root: rewrite(root / "plain/meta/storage", lambda it: it.update(chunklen=0)),
    "not the description": lambda root: (root / "plain/meta/sizes").write_text("[" * 5000),
    "8 pictures for 3 pairs": lambda root: rewrite(
        root / "plain/meta/sizes", lambda it: it.update(shape=[8, 3, 16, 16])
    ),
    "it says which pairs": lambda root: (root / "plain_list.npy").unlink(),
    "not an array of truth values": lambda root: (root / "plain_list.npy").write_bytes(b"\x80\x04."),
    "expected \\(pairs,\\)": lambda root: np.save(root / "plain_list.npy", np.array([0, 1, 2])),
    "no such file": lambda root: (root / "plain/data/__0.blp").unlink(),
    "not a chunk": lambda root: chunk(root, 0, b"nope"),
    "Blosc version 9": lambda root: chunk(root, 16, b"\x09"),
    "Blosc version 2, 4294967295 bytes": lambda root: chunk(root, 20, struct.pack("<I", 2**32 - 1)),
    "truncated: 12000 bytes wanted": lambda root: chunk(root, 20, struct.pack("<I", 12000)),
    "values beyond -1 to 1": lambda root: chunk(root, 32, struct.pack("<f", float("nan"))),
    "values beyond -1 to 1 ": lambda root: chunk(root, 32, struct.pack("<f", 77)),
    "in 12304 of 12300": lambda root: (root / "plain/data/__0.blp").write_bytes(
        (root / "plain/data/__0.blp").read_bytes()[:-4]
    ),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damage_is_refused_in_one_line(folder, message):
    DAMAGE[message](folder)
    with pytest.raises(DataError, match=message.strip()) as caught:
        read_carray_set(folder / "plain").decode(0)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.skipif(not HAS_DECODER, reason="needs numcodecs")
def test_a_damaged_compressed_chunk_is_refused_or_read(folder):
    path = folder / "lfw/data/__0.blp"
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(good)
        content[generator.integers(32, len(good))] ^= int(generator.integers(1, 256))
        path.write_bytes(bytes(content))
        try:
            read_carray_set(folder / "lfw").decode(0)
        except DataError as error:
            assert "\n" not in str(error)


def test_only_such_folders_count(tmp_path):
    assert not is_carray_set(tmp_path) and not is_carray_set(tmp_path / "none")
    with pytest.raises(DataError, match=r"plain: a verification set of bcolz, no training data"):
        open_dataset(FIXTURES / "plain")
    with pytest.raises(DataError, match=r"cannot be read|no such"):
        open_verification_set(tmp_path)
    assert carray_set.is_carray_set(FIXTURES / "lfw")
