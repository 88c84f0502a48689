"""What is read of an ONNX file before anybody loads it: ports, operators, and whether it leads to other files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.onnx_facts import OnnxFacts, Port, read_onnx_facts


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return varint(number << 3 | 2) + varint(len(content)) + content


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def port(name: str, *sides: object) -> bytes:
    dimensions = [field(1, field(2, side.encode()) if isinstance(side, str) else whole(1, side)) for side in sides]
    return field(1, name.encode()) + field(2, field(1, whole(1, 1), field(2, *dimensions)))


def node(kind: str, *attributes: bytes) -> bytes:
    return field(1, b"in") + field(4, kind.encode()) + b"".join(field(5, one) for one in attributes)


def tensor(name: str, *, elsewhere: bool = False) -> bytes:
    return whole(1, 3) + field(9, bytes(4)) + field(8, name.encode()) + whole(14, int(elsewhere))


def facts_of(path: Path, *graphs: bytes, more: bytes = b"") -> OnnxFacts:
    path.write_bytes(whole(1, 8) + b"".join(field(7, graph) for graph in graphs) + more)
    return read_onnx_facts(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.onnx"


def test_ports_operators_and_weights(path: Path) -> None:
    nodes = [field(1, node(f"Op{number}")) for number in range(9)]
    weights = [field(5, tensor("w")), field(5, tensor("b"))]
    inputs = [port("x", "batch", 3, 0, (1 << 31) - 1, 1 << 31, (1 << 64) - 1), port("w", 3), port("y"), port("b", 1)]
    outputs = [port("second", 1, 4), field(1, b"first")]
    graph = b"".join([*nodes, *weights, *(field(11, one) for one in inputs), *(field(12, one) for one in outputs)])
    others = varint(30 << 3 | 1) + struct.pack("<d", 1.5) + varint(31 << 3 | 5) + struct.pack("<f", 1.5)
    assert facts_of(path, others + graph, more=others) == OnnxFacts(
        (Port("x", (None, 3, None, (1 << 31) - 1, None, None)), Port("y", ())),
        (Port("second", (1, 4)), Port("first", ())),
        tuple(f"Op{number}" for number in range(8)),
    )


def nested(depth: int, innermost: bytes, *, attribute: int = 6) -> bytes:
    """Return a graph with an operator that holds a graph, and so on."""
    graph = innermost
    for _ in range(depth):
        graph = field(1, node("If", field(attribute, graph)))
    return graph


@pytest.mark.parametrize(
    "graph",
    [
        field(5, tensor("w", elsewhere=True)),
        field(1, node("Constant", field(5, tensor("w", elsewhere=True)))),
        field(1, node("Constant", field(10, tensor("v")), field(10, tensor("w", elsewhere=True)))),
        nested(1, field(5, tensor("w", elsewhere=True))),
        nested(8, field(5, tensor("w", elsewhere=True)), attribute=11),
        nested(8, field(1, node("Constant", field(5, tensor("w", elsewhere=True))))),
    ],
)
def test_weights_in_other_files_are_refused_wherever_they_hide(graph: bytes, path: Path) -> None:
    with pytest.raises(ModelFileError, match="keeps its weights in another file"):
        facts_of(path, graph)


def test_graphs_may_lie_in_each_other_but_not_without_end(path: Path) -> None:
    assert facts_of(path, nested(8, field(5, tensor("w")))).first_operators == ("If",)
    with pytest.raises(ModelFileError, match="graphs nested deeper than 8"):
        facts_of(path, nested(9, field(5, tensor("w"))))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (whole(1, 8), "it holds no graph"),
        (field(7) + field(7), "it holds several graphs"),
        (b"\x3a\x05ab", "cut off in the field at byte 2"),
        (b"\x3b", "unknown kind of field at byte 1"),
        (b"\x08", "cut off at byte 1"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "a number of more than 64 bits"),
        (b"\x39" + bytes(7), "cut off at byte 8"),
        (b"\x3d" + bytes(3), "cut off at byte 4"),
        (field(7, field(11, field(1, b"\xff"))), "not an ONNX model, or damaged"),
    ],
)
def test_damage_is_one_clear_line(content: bytes, message: str, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_onnx_facts(path)
    with pytest.raises(ModelFileError, match="cannot read"):
        read_onnx_facts(path.with_name("none.onnx"))


def test_numbers_have_up_to_ten_bytes(path: Path) -> None:
    assert facts_of(path, b"", more=b"\x08" + b"\xff" * 9 + b"\x01") == OnnxFacts((), (), ())
