"""The safe readers: every protocol in, nothing executed, hostile input refused by name."""

import contextlib
import os
import pickle
import pickletools
import struct
from collections import OrderedDict

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.safe_pickle import dump_array, load_arrays, load_single_bytes

CONTENTS = [
    b"",
    b"abc",
    bytes(range(256)),
    b"\xff\xd8\xff\r\n\\ '\"\x1a\x00" * 40,
    bytes(70_000),
    bytes(range(256)) * 300,
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_single_bytes_of_every_protocol(content, protocol):
    assert load_single_bytes(pickle.dumps(content, protocol), name="x") == content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_single_bytes_of_the_pure_python_pickler(protocol):
    import io

    buffer = io.BytesIO()
    pickle._Pickler(buffer, protocol).dump(b"\x00jpeg\xff")
    assert load_single_bytes(buffer.getvalue(), name="x") == b"\x00jpeg\xff"


@pytest.mark.parametrize(
    "python2_pickle",
    [b"S'\\x00a\\'\\n\\xff'\np0\n.", b"U\x05\x00a'\n\xffq\x00.", b"\x80\x02T\x05\x00\x00\x00\x00a'\n\xffq\x01."],
    ids=["protocol0", "protocol1", "protocol2"],
)
def test_single_bytes_of_python_2_str(python2_pickle):
    assert load_single_bytes(python2_pickle, name="x") == b"\x00a'\n\xff"


class Payload:
    """Creates a file when somebody runs its pickle."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: [p, b"image"], lambda p: {"a": (1, p)}])
def test_malicious_pickles_are_refused_and_not_run(tmp_path, protocol, wrap):
    bait = tmp_path / "executed"
    content = pickle.dumps(wrap(Payload(bait)), protocol)
    with pytest.raises(DataError, match=r"x\.bin"):
        load_single_bytes(content, name="x.bin")
    with pytest.raises(DataError, match=r"x\.bin: the pickle asks for (posix|nt)\.mkdir"):
        load_arrays(content, name="x.bin")
    assert not bait.exists()
    pickle.loads(content)
    assert bait.exists(), "the payload must be able to do harm, or the test shows nothing"


@pytest.mark.parametrize("value", ["text", 7, None, True, [b"a"], (b"a",), {}, bytearray(b"a"), np.zeros(3, np.uint8)])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_single_bytes_refuses_other_objects(value, protocol):
    with pytest.raises(DataError, match="x:"):
        load_single_bytes(pickle.dumps(value, protocol), name="x")


def test_single_bytes_refuses_harmless_extra_opcodes():
    with pytest.raises(DataError, match=r"opcode b'\]' at offset 2"):
        load_single_bytes(b"\x80\x04]0C\x01a.", name="x")
    with pytest.raises(DataError, match="behind the end"):
        load_single_bytes(pickle.dumps(b"a") + b"tail", name="x")
    with pytest.raises(DataError, match=r"os\.system"):
        load_single_bytes(b"cos\nsystem\n(Vls\ntR.", name="x")
    with pytest.raises(DataError, match="negative length"):
        load_single_bytes(b"T\xff\xff\xff\xff.", name="x")
    with pytest.raises(DataError, match="latin-1"):
        load_single_bytes(b"c_codecs\nencode\n(Va\nVrot13\ntR.", name="x")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_truncation_of_a_single_bytes_pickle_is_an_error(protocol):
    whole = pickle.dumps(b"\x00some image\xff", protocol)
    for length in range(len(whole)):
        with pytest.raises(DataError, match="x:"):
            load_single_bytes(whole[:length], name="x")


ARRAYS = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.asfortranarray(np.arange(12, dtype=np.int64).reshape(3, 4)),
    np.arange(24, dtype=">u2").reshape(2, 3, 4).transpose(2, 0, 1),
    np.zeros((0, 5), np.float64),
    np.array(3.5),
    np.array([True, False]),
    np.array(["a", "bc"]),
    np.array([b"a", b"bc"], dtype=object),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_of_every_protocol(array, protocol):
    loaded = load_arrays(pickle.dumps(array, protocol), name="x")
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype.newbyteorder("=") and loaded.flags.writeable


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_scalars_and_module_spellings(protocol):
    value = ([b"a", np.arange(3, dtype=np.uint8)], [np.bool_(True), np.float32(2.5), False, 1.5, None, "é"])
    content = pickle.dumps(value, protocol)
    for spelling in {content, content.replace(b"numpy._core", b"numpy.core")} if protocol < 4 else {content}:
        (images, flags) = load_arrays(spelling, name="x")
        assert images[0] == b"a" and images[1].tolist() == [0, 1, 2]
        assert flags == [True, 2.5, False, 1.5, None, "é"]
        assert flags[1].dtype == np.float32


def test_python_2_verification_pickle():
    # pickle.dumps((['\xff\xd8', numpy.array([1, 2], 'uint8')], [True, False]), 2) of Python 2.7 with numpy 1.x
    content = (
        b"\x80\x02]q\x01(U\x02\xff\xd8q\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85"
        b"U\x01b\x87Rq\x05(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tbe]q\x08(\x88\x89e\x86q\x09."
    )
    (images, flags) = load_arrays(content, name="x")
    assert images[0] == b"\xff\xd8" and images[1].tolist() == [1, 2] and images[1].dtype == np.uint8
    assert flags == [True, False]


def test_state_dict_as_paddle_saves_it():
    value = OrderedDict(weight=np.ones((2, 2), np.float32), names={"weight": "linear_0.w_0"})
    loaded = load_arrays(pickle.dumps(value, 2), name="x")
    assert list(loaded) == ["weight", "names"] and loaded["weight"].sum() == 4


@pytest.mark.parametrize("name", ["builtins eval", "numpy load", "numpy.core.multiarray fromfile", "os system"])
def test_refused_global_is_named(name):
    module, function = name.split()
    with pytest.raises(DataError, match=rf"x: the pickle asks for {module}\.{function}"):
        load_arrays(f"c{module}\n{function}\n(Va\ntR.".encode(), name="x")


def _array_pickle(shape=b"K\x02\x85", spec=b"u1", fields=b"N", content=b"C\x02ab"):
    return (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\nX" + struct.pack("<I", len(spec)) + spec + b"\x89\x88\x87R(K\x03X\x01\x00\x00\x00|NN"
        + fields + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + content + b"tb."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"shape": b"K\x03\x85"}, "2 bytes for an array of shape"),
        ({"shape": b"J\xff\xff\xff\xff\x85"}, "shape"),
        ({"spec": b"V2"}, "type"),
        ({"spec": b"M8[s]"}, "only plain numbers"),
        ({"fields": b"}"}, "structured"),
        ({"spec": b"O8"}, "object array"),
        ({"content": b"]K\x01a"}, "bytes for an array"),
        ({"spec": b"nonsense"}, "damaged"),
        ({"spec": b"(1,,2)f4"}, "only plain numbers"),
    ],
)
def test_damaged_arrays_are_errors(parts, message):
    assert load_arrays(_array_pickle(), name="x").tolist() == [97, 98]
    with pytest.raises(DataError, match=message):
        load_arrays(_array_pickle(**parts), name="x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\x80\x04]\x94h\x00a.",  # a list in itself
        b"\x80\x02P1\n.",
        b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.",  # BUILD on a function
        b"\x80\x02cnumpy\nndarray\n.",
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x02cbuiltins\nbytes\nJ\x00\x00\x00\x7f\x85R.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.",  # an array without content
        b"\x80\x04\x8f.",  # a set
        b"]" * 1000 + b"a" * 999 + b".",
    ],
)
def test_hostile_pickles_are_data_errors(content):
    with pytest.raises(DataError, match="x:"):
        load_arrays(content, name="x")


def test_random_damage_never_escapes_as_another_error():
    whole = pickle.dumps(([b"a", np.arange(4.0)], [np.bool_(True)] * 3), 4)
    generator = np.random.default_rng(0)
    for _ in range(3000):
        damaged = bytearray(whole)
        for position in generator.integers(0, len(whole), 2):
            damaged[position] = generator.integers(256)
        for reader in (load_arrays, load_single_bytes):
            with contextlib.suppress(DataError):
                reader(bytes(damaged), name="x")


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "bool", ">f4", "float16"])
@pytest.mark.parametrize("shape", [(3, 4), (7,), (), (0, 512)])
def test_dump_array_is_read_by_pickle_and_by_us(dtype, shape):
    array = (np.arange(int(np.prod(shape))).reshape(shape) % 5).astype(dtype)
    content = dump_array(array)
    for loaded in (pickle.loads(content), load_arrays(content, name="x")):
        np.testing.assert_array_equal(loaded, array)
        assert loaded.dtype == array.dtype.newbyteorder("=") and loaded.shape == shape


def test_dump_array_refuses_objects():
    with pytest.raises(DataError, match="object"):
        dump_array(np.array([b"a"], dtype=object))


def _nest(references: int) -> bytes:
    """Return opcodes that leave a list of lists on the stack, each with so many references to the one before."""
    levels = [b"](" + b"h" + bytes([level]) for level in range(20)]
    return b"]q\x00" + b"".join(
        level + level[-2:] * (references - 1) + b"eq" + bytes([number]) for number, level in enumerate(levels, 1)
    )


def test_nested_references_are_not_multiplied():
    """20 levels of 9 references are 10^19 items when each reference is followed."""
    loaded = load_arrays(b"\x80\x02" + _nest(9) + b".", name="x")
    assert len(loaded) == 9 and all(item is loaded[0] for item in loaded)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\x80\x02]r\xff\xff\xff\x7f.", "numbers its object 0 as 2147483647"),  # a table of 32 GB
        (b"]p99999999999\n.", "numbers its object 0 as 99999999999"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b".", "BYTEARRAY8 at offset 2 is cut off"),
        (b"\x80\x02T\xff\xff\xff\xff.", "BINSTRING at offset 2 is cut off"),
        (_array_pickle(b"\x8a\x06" + bytes(5) + b"\x01\x85", b"S0", content=b"C\x00"), "empty strings; allowed"),
        (b"\x80\x02" + _nest(9) + b"Q.", "refers to an object outside of it"),
        (b"\x80\x02" + _nest(9) + b"c_codecs\nencode\nX\x01\x00\x00\x00ah\x14\x86R.", "asks for text in"),
    ],
)
def test_small_pickles_cannot_ask_for_much_memory(content, message):
    with pytest.raises(DataError, match=message):
        load_arrays(content, name="x")


def test_numbers_that_an_optimised_pickle_leaves_out_are_allowed():
    value = [[b"a", b"b"], b"c"]
    assert load_arrays(pickletools.optimize(pickle.dumps([value, value], 2)), name="x") == [value, value]


def test_arrays_of_objects_that_share_their_items():
    inner = np.arange(3.0)
    array = np.empty((2, 2), dtype=object)
    array[:] = [[inner, b"x"], [inner, None]]
    loaded = load_arrays(pickle.dumps([array, array], 4), name="x")
    assert loaded[0] is loaded[1] and loaded[0].shape == (2, 2) and loaded[0][0, 0] is loaded[0][1, 0]
    assert np.array_equal(loaded[0][0, 0], inner) and loaded[0][1, 1] is None
