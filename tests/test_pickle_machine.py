"""The pickle machine opcode by opcode: against Python's own unpickler, and right at each of its bounds."""

from __future__ import annotations

import pickle
import struct
from typing import Any, Callable, Optional

import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.pickle_machine import MAX_NUMBER_KEYS, Budget, PickleMachine, StandIn, shown

FREE = 64 << 20
CONTAINER = 64


def joined(*arguments: Any) -> tuple[Any, ...]:
    return arguments


STAND_INS = {("shop", "joined"): StandIn(joined), ("shop", "named"): StandIn()}
JOINED = b"cshop\njoined\n"


def machine(data: bytes, *, start: int = 0, refer: Optional[Callable[[Any], Any]] = None) -> PickleMachine:
    return PickleMachine(data, stand_ins=STAND_INS, budget=Budget(len(data)), start=start, refer=refer)


def run(data: bytes) -> Any:
    return machine(data).run()


def spent(data: bytes) -> int:
    made = machine(data)
    made.run()
    return made._budget.spent


@pytest.mark.parametrize(
    "data",
    [
        b"N.", b"\x88.", b"\x89.", b"I00\n.", b"I01\n.", b"I-7\n.", b"I1\n.", b"I0\n.",
        b"J\xff\xff\xff\xff.", b"J\x00\x00\x00\x80.", b"K\xff.", b"M\x01\xff.", b"L-12L\n.", b"L12\n.",
        b"\x8a\x02\x00\xff.", b"\x8a\x00.", b"\x8b\x02\x00\x00\x00\x34\x12.", b"F-1.5\n.",
        b"G\xbf\xf8" + bytes(6) + b".",
        b"S'a\\x00b'\n.", b"S\"it's\"\n.", b"S''\n.", b"T\x02\x00\x00\x00ab.", b"U\x02ab.", b"C\x02ab.",
        b"B\x02\x00\x00\x00ab.", b"\x8e\x02" + bytes(7) + b"ab.", b"\x96\x02" + bytes(7) + b"ab.",
        b"Va\\u00e9b\n.", b"\x8c\x02\xc3\xa9.", b"X\x02\x00\x00\x00\xc3\xa9.", b"\x8d\x02" + bytes(7) + b"\xc3\xa9.",
        b"X\x03\x00\x00\x00\xed\xa0\x80.", b"].", b"}.", b").", b"(K\x01K\x02l.", b"(K\x01K\x02t.", b"(t.", b"(l.",
        b"K\x01K\x02K\x03\x85.", b"K\x01K\x02K\x03\x86.", b"K\x01K\x02K\x03\x87.", b"(K\x01K\x02K\x03K\x04d.", b"(d.",
        b"]K\x01a.", b"](K\x01K\x02e.", b"](e.", b"}K\x01K\x02s.", b"}(K\x01K\x02K\x03K\x04u.", b"}(NNC\x00I01\nu.",
        b"K\x01K\x020.", b"K\x01(K\x02K\x031.", b"K\x05(0.", b"K\x012\x86.", b"K\x07p3\n0K\x08g3\n.",
        b"K\x07q\x030K\x08h\x03.", b"K\x07r\x03\x00\x00\x000K\x08j\x03\x00\x00\x00.",
        b"K\x07\x940K\x08\x940h\x00h\x01\x86.",
        b"\x80\x04\x95\x02" + bytes(7) + b"N.", b"((K\x01tK\x02t.", b"(K\x01(K\x02lt.",
    ],
)  # fmt: skip
def test_opcodes_against_pythons_own(data: bytes) -> None:
    ours, theirs = run(data), pickle.loads(data, encoding="bytes")  # written above: harmless
    assert ours == theirs and type(ours) is type(theirs)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no end"),
        (b"N", "no end"),
        (b"N\xff.", "no opcode at offset 1"),
        (b"NK", "BININT1 at offset 1 is cut off"),
        (b"M\x01", "BININT2 at offset 0 is cut off"),
        (b"U\x03ab", "SHORT_BINSTRING at offset 0 is cut off"),
        (b"T\xff\xff\xff\xff" + b"a" * 9, "BINSTRING at offset 0 is cut off"),
        (b"I5", "INT at offset 0 is cut off"),
        (b"cshop\njoined", "GLOBAL at offset 0 is cut off"),
        (b"cshop", "GLOBAL at offset 0 is cut off"),
        (b"N\x8f.", "opcode EMPTY_SET at offset 1; refused"),
        (b"S'a\n.", "without quotes in the pickle at offset 1"),
        (b"S'\n.", "without quotes"),
        (b"Sa'\n.", "without quotes"),
        (b"Saba\n.", "without quotes"),
        (b"cos\nsystem\n.", r"asks for os\.system, which was refused and not run; allowed are numpy arrays"),
        (b"K\x01\x8c\x04name\x93.", "no name"),
        (b"\x8c\x04nameK\x01\x93.", "no name"),
        (b"cshop\nnamed\n)R.", "a type that may only be named"),
        (b"K\x01)R.", "calls something that is no function, at offset 3"),
        (JOINED + b"]R.", "calls something that is no function"),
        (JOINED + b"Nb.", "tries to change a function"),
        (b"]Nb.", "tries to change a list"),
        (b")K\x01a.", "appends to a tuple"),
        (b"}(K\x01e.", "appends to a dict"),
        (b"]K\x01K\x02s.", "stores a pair in a list"),
        (b"(K\x01K\x02K\x03d.", "half of a pair"),
        (b"}]Ns.", "a key of type list"),
        (b"})Ns.", "a key of type tuple"),
        (b"K\x01\x86.", "a tuple of 2 at offset 2 from less"),
        (b"Pname\n.", "refers to an object outside of it .b'name'.; refused"),
        (b"K\x07Q.", "refers to an object outside of it .7.; refused"),
    ],
)
def test_what_is_refused_and_what_it_says(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        run(data)


def long1(length: int) -> bytes:
    return b"\x8a" + bytes([length]) + b"\x01" * length + b"."


@pytest.mark.parametrize(
    ("allowed", "refused", "words"),
    [
        (long1(16), long1(17), "an integer of 17 bytes; allowed: 16"),
        (b"I" + b"1" * 40 + b"\n.", b"I" + b"1" * 41 + b"\n.", "an integer of 41 digits; allowed: 40"),
        (b"L" + b"1" * 40 + b"\n.", b"L" + b"1" * 41 + b"\n.", "an integer of 41 digits; allowed: 40"),
        (
            JOINED + b"(" + b"N" * 16 + b"tR.",
            JOINED + b"(" + b"N" * 17 + b"tR.",
            "calls something with 17 arguments; allowed: 16",
        ),
        (
            b"Nr" + struct.pack("<I", 65_536) + b".",
            b"Nr" + struct.pack("<I", 65_537) + b".",
            "numbers its object 0 as 65537 at offset 1",
        ),
        (
            b"N\x94\x94r" + struct.pack("<I", 65_538) + b".",
            b"N\x94\x94r" + struct.pack("<I", 65_539) + b".",
            "numbers its object 2 as 65539 at offset 3",
        ),
        (
            b"}(" + b"".join(b"M" + struct.pack("<H", n) + b"N" for n in range(MAX_NUMBER_KEYS)) + b"u.",
            b"}(" + b"".join(b"M" + struct.pack("<H", n) + b"N" for n in range(MAX_NUMBER_KEYS + 1)) + b"u.",
            "more than 4096 numbers as keys",
        ),
    ],
)
def test_right_at_the_bounds(allowed: bytes, refused: bytes, words: str) -> None:
    run(allowed)
    with pytest.raises(DataError, match=words):
        run(refused)


@pytest.mark.parametrize(
    ("data", "containers", "more"),
    [
        (b"N.", 0, 0),
        (b").", 0, 0),
        (b"].", 1, 0),
        (b"}.", 1, 0),
        (b"(l.", 2, 0),  # a mark costs as much
        (b"(t.", 2, 0),
        (b"N\x85.", 1, 0),
        (b"(NNd.", 2, 0),
        (b"}C\x05abcdeNs.", 1, 5),
        (b"}(\x8c\x03abcN\x8c\x02abNu.", 2, 5),
        (b"}K\x07Ns.", 1, 0),
    ],
)
def test_what_is_paid_for(data: bytes, containers: int, more: int) -> None:
    assert spent(data) == CONTAINER * containers + more


def test_the_budget_ends_where_it_says() -> None:
    budget = Budget(10)
    assert budget.allowed == FREE + 40
    budget.spend(FREE)
    budget.spend(40)
    with pytest.raises(DataError, match=f"more than {FREE + 40:,} bytes"):
        budget.spend(1)


def test_a_pickle_between_other_bytes() -> None:
    made = machine(b"before" + b"K\x07." + b"behind", start=6)
    assert made.run() == 7 and made.end == 9


def test_references_go_where_the_caller_says() -> None:
    assert machine(b"Pname\n.", refer=lambda value: (value, 1)).run() == (b"name", 1)
    assert machine(b"K\x07Q.", refer=lambda value: value + 1).run() == 8


def test_what_may_be_called_is_called() -> None:
    assert run(JOINED + b"(K\x01K\x02tR.") == (1, 2)
    assert run(b"\x8c\x04shop\x8c\x06joined\x93)R.") == ()
    assert run(b"cshop\nnamed\n.") is STAND_INS["shop", "named"]


def test_a_long_value_is_shown_in_part() -> None:
    assert shown("a" * 1000) == repr("aaaaaaaaaaaa...aaaaaaaaaaaaa")
    assert len(shown([["a" * 30] * 6] * 6)) == 80
