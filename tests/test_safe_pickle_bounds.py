"""Arrays in pickles right at each bound, what every part costs, and what each refusal says."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.pickle_machine import Budget
from arcface_paddle.safe_pickle import MAX_DEPTH, load_arrays, load_part, load_single_bytes

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def dtype(spec: bytes, state: bytes = b"") -> bytes:
    return b"cnumpy\ndtype\n(X" + struct.pack("<I", len(spec)) + spec + b"\x89\x88tR" + state


def content(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def array(shape: tuple[int, ...], spec: bytes, value: bytes, *, fortran: bytes = b"\x89") -> bytes:
    sides = b"(" + b"".join(map(number, shape)) + b"t"
    return ARRAY + b"(K\x01" + sides + dtype(spec) + fortran + value + b"tb."


def load(data: bytes) -> Any:
    return load_arrays(data, name="a.pkl")


def cost(data: bytes) -> int:
    budget = Budget(len(data))
    load_part(data, name="a.pkl", budget=budget)
    return budget.spent


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"U\x01a", "a.bin: truncated pickle: 1 bytes wanted at offset 3, 0 there"),
        (b"U\x05ab", "a.bin: truncated pickle: 5 bytes wanted at offset 2, 2 there"),
        (b"S'a'", "a.bin: truncated pickle: no end of line after offset 1"),
        (b"T\xff\xff\xff\xff", "a.bin: pickle with negative length -1 at offset 0"),
        (b"U\x01a.xy", "a.bin: 2 bytes behind the end of the pickle"),
        (b"\x80\x02N.", "a.bin: pickle opcode b'N' at offset 2 is not part"),
        (b"S'\n.", "a.bin: string without quotes in the pickle at offset 0"),
        (b"Sa'\n.", "a.bin: string without quotes"),
        (b"S'a\"\n.", "a.bin: string without quotes"),
        (b"S'\\x'\n.", "a.bin: damaged string in the pickle at offset 0"),
        (
            b"c_codecs\nencode\n(X\x01\x00\x00\x00\xffX\x06\x00\x00\x00latin1tR.",
            "damaged text in the pickle at offset 17",
        ),
        (b"cos\nsystem\n.", r"asks for os\.system, which was not run"),
        (b"cbuiltins\nbytes\nN.", "opcode b'N' at offset 16"),
        (b"cbuiltins\nbytes\nX\x00\x00\x00\x00.", "opcode b'X' at offset 16"),
        (b"c_codecs\nencode\n(U\x01aX\x06\x00\x00\x00latin1tR.", "opcode b'U' at offset 17"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aU\x06latin1tR.", "opcode b'U' at offset 23"),
        (
            b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8tR.",
            "text in 'utf-8'; only bytes written as latin",
        ),
    ],
)
def test_what_is_not_one_bytes_object(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_single_bytes(data, name="a.bin")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"S''\n.", b""),
        (b'S"a"\n.', b"a"),
        (b"cbuiltins\nbytes\n)R.", b""),
        (b"c__builtin__\nbytes\n(tR.", b""),
        (b"c_codecs\nencode\n(X\x02\x00\x00\x00\xc3\xa9X\x06\x00\x00\x00latin1tR.", b"\xe9"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x07\x00\x00\x00latin-1\x86R.", b"a"),
        (b"c_codecs\nencode\nVa\\u00e9\np0\nVlatin1\n\x86R.", b"a\xe9"),
        (b"\x80\x04\x95\x04" + bytes(7) + b"C\x01a\x94.", b"a"),
        (b"U\x01aq\x00r\x00\x00\x00\x00.", b"a"),
    ],
)
def test_one_bytes_object(data: bytes, expected: bytes) -> None:
    assert load_single_bytes(data, name="a.bin") == expected


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize("kind", ["list", "tuple", "dict", "array"])
def test_the_deepest_nesting(kind: str, depth: int) -> None:
    value: Any = "innermost"
    for _ in range(depth):
        if kind == "array":
            outer = np.empty(1, dtype=object)
            outer[0] = value
            value = outer
        else:
            value = {"list": [value], "tuple": (value,), "dict": {"key": value}}[kind]
    if depth > MAX_DEPTH:
        with pytest.raises(DataError, match="nested deeper than 32 containers"):
            load(pickle.dumps(value, protocol=4))
        return
    found = load(pickle.dumps(value, protocol=4))
    for _ in range(depth):
        assert len(found) == 1
        found = found["key"] if kind == "dict" else found[0]
    assert found == "innermost"


@pytest.mark.parametrize(
    ("shape", "spec", "value", "words"),
    [
        ((2,), b"f4", content(bytes(7)), r"7 bytes for an array of shape \(2,\) and type float32; 8 are needed"),
        ((2,), b"f4", content(bytes(9)), "9 bytes for an array"),
        ((2,), b"f4", b"X\x02\x00\x00\x00ab", "no bytes for an array"),
        ((-1,), b"f4", content(b""), r"array of shape \(-1,\)"),
        ((1,) * 33, b"u1", content(b"a"), r"array of shape \(1, 1"),
        ((2,), b"O", b"]", "items do not fit its shape"),
        ((2,), b"O", b"](NNNe", "items do not fit its shape"),
        ((2,), b"O", b"(NNt", "items do not fit its shape"),
        ((1,), b"M8[s]", content(bytes(8)), "only plain numbers"),
        ((1,), b"m8[s]", content(bytes(8)), "only plain numbers"),
        ((1,), b"V4", content(bytes(4)), "only plain numbers"),
        ((1,), b"f4,f4", content(bytes(8)), "only plain numbers"),
        ((1,), b"(2,)f4", content(bytes(8)), "only plain numbers"),
        ((1,), b"S" + b"0" * 15 + b"1", content(b"a"), "unknown type"),
        (((1 << 20) + 1,), b"S0", content(b""), "1048577 empty strings; allowed: 1048576"),
    ],
)
def test_arrays_that_are_refused(shape: tuple[int, ...], spec: bytes, value: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(array(shape, spec, value))


def test_arrays_right_at_the_bounds() -> None:
    assert load(array((1,) * 32, b"u1", content(b"a"))).shape == (1,) * 32
    assert load(array((1,), b"S" + b"0" * 14 + b"1", content(b"a"))).tolist() == [b"a"]
    assert load(array((0,), b"f4", content(b""))).shape == (0,)
    assert load(array((3,), b"S0", content(b""))).tolist() == [b""] * 3
    assert len(load(array((1 << 20,), b"S0", content(b"")))) == 1 << 20
    assert load(array((2,), b"O", b"](NI5\ne")).tolist() == [None, 5]
    twice = array((2, 3), b"i2", content(struct.pack("<6h", *range(6))), fortran=b"\x88")
    np.testing.assert_array_equal(load(twice), [[0, 2, 4], [1, 3, 5]])
    ordered = array((2, 2), b"O", b"](K\x01K\x02K\x03K\x04e", fortran=b"\x88")
    assert load(ordered).tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", 1),
        (b"(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", 256),
        (b"(K\x03X\x01\x00\x00\x00>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", 256),
        (b"(K\x03U\x01=NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", 1),
        (b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", 1),
        (b"(K\x03U\x01?NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", None),
        (b"(K\x03U\x01<K\x01NNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", None),
        (b"(K\x03U\x01<NK\x01NJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", None),
        (b"(K\x03U\x01<NNK\x01J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", None),
    ],
)
def test_the_byte_order_of_a_type(state: bytes, expected: Any) -> None:
    data = ARRAY + b"(K\x01K\x01\x85" + dtype(b"i2", state) + b"\x89C\x02\x01\x00tb."
    if expected is None:
        with pytest.raises(DataError, match="structured array"):
            load(data)
        return
    found = load(data)
    assert found.tolist() == [expected] and found.dtype == np.dtype("=i2") and found.flags.writeable


@pytest.mark.parametrize("fields", [b"", b"K\x01", b"K\x01K\x01"])
def test_an_array_takes_a_state_of_four_or_five_parts_once(fields: bytes) -> None:
    state = b"(" + fields + b"K\x01\x85" + dtype(b"u1") + b"\x89C\x01atb"
    data = ARRAY + state + b"."
    if len(fields) == 4:
        with pytest.raises(DataError, match="unknown state"):
            load(data)
    else:
        assert load(data).tolist() == [97]
        with pytest.raises(DataError, match="unknown state"):
            load(ARRAY + state + state + b".")


def test_what_an_array_costs_beside_its_containers() -> None:
    """Five marks and tuples go into an array's arguments, state, shape and type; the rest is its content."""
    containers = cost(array((0,), b"u1", content(b""))) - 64 - 1  # an empty array has the memory of one item
    assert containers % 64 == 0
    assert cost(array((9,), b"u1", content(bytes(9)))) == containers + 64 + 9
    assert cost(array((3,), b"f8", content(bytes(24)))) == containers + 64 + 24
    assert cost(array((5,), b"S0", content(b""))) == containers + 64 + 4 * 5
    assert cost(array((2,), b"O", b"](NNe")) == containers + 64 + 2 * 8 + 2 * 64  # and a list and a mark
    assert cost(b"cbuiltins\ntuple\n](NNe\x85R.") == 3 * 64 + 2 * 8
    assert cost(b"c_codecs\nencode\nX\x03\x00\x00\x00abcX\x06\x00\x00\x00latin1\x86R.") == 64 + 3


def test_an_array_of_protocol_5_in_every_order() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for stored in (values, np.asfortranarray(values), values.transpose(1, 0, 2), values.transpose(2, 0, 1)):
        np.testing.assert_array_equal(load(pickle.dumps(stored, protocol=5)), stored)


def test_a_shared_array_stays_one() -> None:
    shared = np.arange(3)
    first, second = load(pickle.dumps([shared, shared]))
    assert first is second


def test_other_things_than_arrays_are_refused() -> None:
    for data, words in (
        (ARRAY + b".", "an array without content"),
        (dtype(b"f4") + b".", "something other than arrays"),
        (b"cnumpy\nndarray\n.", "something other than arrays"),
        (b"cbuiltins\ntuple\nK\x01\x85R.", "a tuple of something that is not one"),
        (ARRAY + b"(K\x01K\x01" + dtype(b"u1") + b"\x89C\x01atb.", "without type or shape"),
        (ARRAY + b"(K\x01K\x01\x85N\x89C\x01atb.", "without type or shape"),
        (b"a", r"damaged pickle, or not a pickle at all \(pop from empty list\)"),
    ):
        with pytest.raises(DataError, match=words):
            load(data)
