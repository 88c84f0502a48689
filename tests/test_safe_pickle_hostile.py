"""Pickles made to hang a reader or to fill its memory: each is refused within seconds and little memory."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.data.verification_set import read_verification_set
from arcface_paddle.errors import DataError, GalleryError
from arcface_paddle.pickle_machine import MAX_NUMBER_KEYS, Budget
from arcface_paddle.pipeline.gallery.published_index import read_published
from arcface_paddle.safe_pickle import load_arrays
from arcface_paddle.weight_files import parse_state_dict

PRIME = (1 << 61) - 1  # Python's hash of a number is its remainder by this
_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85C\x01b\x87R"


def pickled_dtype(spec: bytes) -> bytes:
    return b"cnumpy\ndtype\nX" + struct.pack("<I", len(spec)) + spec + b"\x89\x88\x87R"


def get(number: int) -> bytes:
    return b"j" + struct.pack("<I", number)


def tuples_of_tuples(levels: int) -> bytes:
    """Opcodes of a tuple of which 2^levels paths lead to the innermost one; its hash walks all of them."""
    return b")r\x00\x00\x00\x00" + b"".join(
        b"0" + get(level) * 2 + b"\x86r" + struct.pack("<I", level + 1) for level in range(levels)
    )


def deep_key() -> bytes:
    return b"\x80\x02" + tuples_of_tuples(60) + b"0}" + get(60) + b"Ns."


def self_containing_key() -> bytes:
    """A tuple that holds a list that holds the tuple, as a key of a dict."""
    return b"\x80\x02]r\x00\x00\x00\x00\x85r\x01\x00\x00\x000" + get(0) + get(1) + b"a0}" + get(1) + b"Ns."


def colliding_integers(count: int = 40_000) -> bytes:
    keys = (b"\x8a\x0a" + (number * PRIME).to_bytes(10, "little") + b"N" for number in range(1, count))
    return b"\x80\x02}(" + b"".join(keys) + b"u."


def colliding_floats(count: int = 60_000) -> bytes:
    keys = (b"G" + struct.pack(">d", float(2**61) * number) + b"N" for number in range(1, count))
    return b"\x80\x02}(" + b"".join(keys) + b"u."


def one_object_a_thousand_times() -> bytes:
    """4 MB of bytes that a thousand arrays are made of."""
    content = bytes(4 << 20)
    one = (
        b"h\x01h\x02K\x00\x85C\x01b\x87R(K\x01J" + struct.pack("<i", len(content)) + b"\x85"
        + pickled_dtype(b"u1") + b"\x89h\x03tb"
    )  # fmt: skip
    setup = b"B" + struct.pack("<I", len(content)) + content + b"q\x030" + _ARRAY + b"0"
    return b"\x80\x03" + setup + b"(" + one * 1000 + b"l."


def empty_strings_a_million_each() -> bytes:
    one = (
        b"h\x01h\x02K\x00\x85C\x01b\x87R(K\x01J" + struct.pack("<i", 1 << 20) + b"\x85"
        + pickled_dtype(b"U0") + b"\x89C\x00tb"
    )  # fmt: skip
    return b"\x80\x03" + _ARRAY + b"0(" + one * 2000 + b"l."


def tuples_of_one_list() -> bytes:
    return b"\x80\x02(" + b"N" * 500_000 + b"lq\x000cbuiltins\ntuple\nq\x010(" + b"h\x01h\x00\x85R" * 2000 + b"l."


def encoded_text_again_and_again() -> bytes:
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x000"
    function = b"c_codecs\nencode\nq\x010X\x06\x00\x00\x00latin1q\x020"
    return b"\x80\x02" + text + function + b"(" + b"h\x01h\x00h\x02\x86R" * 4000 + b"l."


def long_equal_keys() -> bytes:
    """Two equal keys of 1 MB that are no one object, compared at every store."""
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    return b"\x80\x02" + text + b"q\x000" + text + b"q\x010}h\x00Ns" + b"h\x01Ns" * 200_000 + b"."


def many_arguments() -> bytes:
    call = b"h\x00h\x01R0"
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x000(" + b"N" * 400_000 + b"tq\x010" + call * 400_000 + b"N."
    )


def huge_integer() -> bytes:
    return b"\x80\x02}\x8b" + struct.pack("<i", 4 << 20) + b"\x01" * (4 << 20) + b"Ns."


def many_containers() -> bytes:
    return b"\x80\x02(" + b"}" * (20 << 20) + b"l."


def a_set() -> bytes:
    return b"\x80\x04\x8f(" + tuples_of_tuples(60)[:-6] + b"\x90."


ATTACKS = {
    deep_key: "a dict with a key of type tuple",
    self_containing_key: "a dict with a key of type tuple",
    colliding_integers: "more than 4096 numbers as keys",
    colliding_floats: "more than 4096 numbers as keys",
    one_object_a_thousand_times: "expands to more than",
    empty_strings_a_million_each: "expands to more than",
    tuples_of_one_list: "expands to more than",
    encoded_text_again_and_again: "expands to more than",
    long_equal_keys: "expands to more than",
    many_containers: "expands to more than",
    many_arguments: "calls something with 400000 arguments",
    huge_integer: "an integer of 4194304 bytes",
    a_set: "opcode EMPTY_SET",
}

READ = """
import sys
from arcface_paddle.data.verification_set import read_verification_set
from arcface_paddle.errors import ArcfaceError
from arcface_paddle.pipeline.gallery.published_index import read_published
from arcface_paddle.safe_pickle import load_arrays
from arcface_paddle.weight_files import read_state_dict
reader, path = sys.argv[1:]
content = open(path, "rb").read()
import resource
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 30),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
read = {
    "load_arrays": lambda: load_arrays(content, name=path),
    "gallery": lambda: read_published(content, name=path),
    "verification": lambda: read_verification_set(path),
    "weights": lambda: read_state_dict(path),
}
try:
    read[reader]()
except ArcfaceError as error:
    sys.exit(f"refused: {str(error)[-150:]}")
"""


def read_in_child(content: bytes, path: Path, reader: str) -> subprocess.CompletedProcess[str]:
    """Read in a process of its own, which may use 1 GB more than it has and 20 s of a processor (it needs a fraction).

    The time is a processor's, so that a machine with other work does not fail it; what sleeps for ever ends as well.
    """
    path.write_bytes(content)
    command = [sys.executable, "-c", READ, reader, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_attacks_are_refused(tmp_path: Path, attack: Callable[[], bytes]) -> None:
    done = read_in_child(attack(), tmp_path / "x.bin", "load_arrays")
    assert "refused: " in done.stderr and ATTACKS[attack] in done.stderr, done.stderr


def shared_lists(levels: int = 20) -> list:
    value: list = [0.5]
    for _ in range(levels):
        value = [value] * 9
    return value


def test_shared_lists_in_a_gallery(tmp_path: Path) -> None:
    for broken in (
        {"label": ["a"], "feature": [shared_lists()]},
        {"label": [shared_lists()], "feature": [np.ones((1, 4), np.float32)]},
        {"label": ["a"], "feature": shared_lists()},
    ):
        done = read_in_child(pickle.dumps(broken, 3), tmp_path / "index.bin", "gallery")
        assert "refused: " in done.stderr, done.stderr


def test_one_feature_for_a_thousand_people(tmp_path: Path) -> None:
    row = np.ones((1, 1 << 20), np.float32)
    done = read_in_child(pickle.dumps({"label": ["a"] * 1000, "feature": [row] * 1000}, 3), tmp_path / "x", "gallery")
    assert "expands to more than" in done.stderr, done.stderr
    name = "a" * (1 << 20)
    done = read_in_child(
        pickle.dumps({"label": [name] * 1000, "feature": [np.ones((1, 4), np.float32)] * 1000}, 3),
        tmp_path / "x",
        "gallery",
    )
    assert "expands to more than" in done.stderr, done.stderr


def test_one_picture_a_thousand_times_costs_one_picture(tmp_path: Path) -> None:
    picture = np.zeros(4 << 20, np.uint8)
    content = pickle.dumps(([picture] * 2000, [True] * 1000), 4)
    done = read_in_child(content, tmp_path / "lfw.bin", "verification")
    assert done.returncode == 0, done.stderr
    loaded = read_verification_set(tmp_path / "lfw.bin")
    assert len(loaded) == 1000 and loaded.images[0] is loaded.images[1999]


def test_one_weight_under_a_thousand_names_is_widened_once(tmp_path: Path) -> None:
    weight = np.full(1 << 20, 0x3F80, np.uint16)
    content = pickle.dumps({f"layer{number}": weight for number in range(1000)}, 4)
    assert read_in_child(content, tmp_path / "x.pdparams", "weights").returncode == 0
    state = parse_state_dict(content, name="x")
    assert state["layer0"] is state["layer999"] and state["layer0"][0] == 1.0


def test_lists_as_features_are_still_read() -> None:
    features = [[[1.0, 2.0]], [3.0, 4.0], np.array([[5.0, 6.0]], np.float32)]
    entries, matrix = read_published(pickle.dumps({"label": ["a", b"b", 7], "feature": features}, 3), name="x")
    assert [entry.name for entry in entries] == ["a", "b", "7"]
    np.testing.assert_allclose(matrix[1], [0.6, 0.8], atol=1e-6)
    with pytest.raises(GalleryError, match="no arrays of numbers"):
        read_published(pickle.dumps({"label": ["a"], "feature": [[1, 2]]}, 3), name="x")


def test_numbers_as_keys_are_allowed_in_small_number() -> None:
    value = {**dict.fromkeys(range(MAX_NUMBER_KEYS - 2)), 0.5: 1, True: 2, None: 3, b"a": 4}
    assert load_arrays(pickle.dumps(value), name="x") == value
    with pytest.raises(DataError, match="numbers as keys"):
        load_arrays(pickle.dumps(dict.fromkeys(range(MAX_NUMBER_KEYS + 1))), name="x")


def test_budget() -> None:
    budget = Budget(1000)
    budget.spend(budget.allowed)
    with pytest.raises(DataError, match="expands to more than"):
        budget.spend(1)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("as_arrays", [False, True])
def test_a_large_honest_set_is_read(protocol: int, as_arrays: bool) -> None:
    """Twelve thousand pictures in every protocol, as published; the time is that of a machine under load."""
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, 300, dtype=np.uint8) for _ in range(12_000)]
    flags = [np.bool_(True), False] * 3000
    value = (pictures if as_arrays else [picture.tobytes() for picture in pictures], flags)
    buffer = io.BytesIO()
    pickle.Pickler(buffer, protocol).dump(value)
    began = time.perf_counter()
    loaded = load_arrays(buffer.getvalue(), name="x")
    assert time.perf_counter() - began < 20
    assert len(loaded[0]) == 12_000 and bytes(loaded[0][-1]) == pictures[-1].tobytes() and loaded[1] == flags
