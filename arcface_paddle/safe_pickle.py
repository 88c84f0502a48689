"""Reading the pickles that users own without running a pickle.

The published formats keep images, verification sets, classifier shards and galleries in pickles, and a pickle is a
program: ``pickle.load`` on a file from elsewhere runs whatever its author put in. Two readers stand here instead:

- ``load_single_bytes`` parses the one-object pickles inside per-image ``.bin`` files by their opcodes, nothing is
  executed at all;
- ``load_arrays`` runs the pickle in a machine of our own (``pickle_machine``) over a closed table of stand-ins. A name
  outside of the table is an error that quotes the name; the names inside never reach numpy's own unpickling code, the
  arrays are rebuilt here from (dtype, shape, bytes) after checking them.

Sources: the opcode comments of Python's ``pickletools``; numpy's ``ndarray.__reduce__`` (state = version, shape,
dtype, is_fortran, raw bytes) and ``dtype.__reduce__``.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Union

import numpy as np

from arcface_paddle.errors import DataError
from arcface_paddle.pickle_machine import PLAIN_CONTENT, Budget, PickleMachine, StandIn, shown

_LATIN1 = frozenset({"latin1", "latin-1", "iso-8859-1", "iso8859-1"})

# ---------------------------------------------------------------------------------------------------------------
# One bytes object


def load_single_bytes(data: bytes, *, name: str) -> bytes:
    """Return the one ``bytes`` object that a pickle of protocol 0 to 5 holds, without executing the pickle.

    Accepted are the spellings that Python 2 (``str``) and Python 3 (``bytes``) give such an object and nothing else.

    Args:
        data: the whole pickle.
        name: what to call it in errors, usually the path of the file.

    Raises:
        DataError: another object, another opcode, a truncated pickle or bytes behind its end.
    """
    tokens = _Tokens(data, name)
    opcode, argument = tokens.next()
    if opcode == b"c":
        value = _parse_reduced_bytes(tokens, argument)
    elif isinstance(argument, bytes):
        value = argument
    else:
        raise tokens.refusal(opcode)
    tokens.expect(b".")
    if tokens.position != len(data):
        raise DataError(f"{name}: {len(data) - tokens.position} bytes behind the end of the pickle")
    return value


def _parse_reduced_bytes(tokens: _Tokens, module_and_name: Any) -> bytes:
    """Parse what Python 3 writes for ``bytes`` in protocols 0 to 2: a call of ``_codecs.encode`` or ``bytes()``."""
    if module_and_name in (("__builtin__", "bytes"), ("builtins", "bytes")):
        opcode, _ = tokens.next()
        if opcode == b"(":
            tokens.expect(b"t")
        elif opcode != b")":
            raise tokens.refusal(opcode)
        tokens.expect(b"R")
        return b""
    if module_and_name != ("_codecs", "encode"):
        raise DataError(
            f"{tokens.name}: the pickle asks for {'.'.join(module_and_name)}, which was not run; "
            "only one bytes object is allowed"
        )
    opcode, text = tokens.next()
    marked = opcode == b"("
    if marked:
        opcode, text = tokens.next()
    if not isinstance(text, str):
        raise tokens.refusal(opcode)
    encoding_opcode, encoding = tokens.next()
    if not isinstance(encoding, str):
        raise tokens.refusal(encoding_opcode)
    tokens.expect(b"t" if marked else b"\x86")
    tokens.expect(b"R")
    return _encode_latin1(text, encoding)


class _Tokens:
    """The opcodes of a pickle, one after the other; frames and memo stores are stepped over."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.position = 0
        self._start = 0

    def next(self) -> tuple[bytes, Any]:
        """Return the next opcode and its argument: ``bytes``, ``str``, a (module, name) pair or None."""
        while True:
            self._start = self.position
            opcode = self._take(1)
            if opcode in _SKIPPED:
                self._take(_SKIPPED[opcode])
            elif opcode == b"p":
                self._line()
            elif opcode in _LENGTH_FORMATS:
                return opcode, self._sized(opcode)
            elif opcode in _BARE:
                return opcode, None
            else:
                return opcode, self._argument_in_lines(opcode)

    def expect(self, opcode: bytes) -> None:
        found, _ = self.next()
        if found != opcode:
            raise self.refusal(found)

    def refusal(self, opcode: bytes) -> DataError:
        return DataError(
            f"{self.name}: pickle opcode {opcode!r} at offset {self._start} is not part of one bytes object; refused"
        )

    def _take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) != count:
            raise DataError(
                f"{self.name}: truncated pickle: {count} bytes wanted at offset {self.position}, {len(taken)} there"
            )
        self.position += count
        return taken

    def _line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise DataError(f"{self.name}: truncated pickle: no end of line after offset {self.position}")
        line = self.data[self.position : end]
        self.position = end + 1
        return line

    def _sized(self, opcode: bytes) -> Union[bytes, str]:
        length_format = _LENGTH_FORMATS[opcode]
        (length,) = struct.unpack(length_format, self._take(struct.calcsize(length_format)))
        if length < 0:
            raise DataError(f"{self.name}: pickle with negative length {length} at offset {self._start}")
        content = self._take(length)
        return self._decoded(content, "utf-8") if opcode == b"X" else content

    def _argument_in_lines(self, opcode: bytes) -> Any:
        if opcode == b"c":
            return self._decoded(self._line(), "utf-8"), self._decoded(self._line(), "utf-8")
        if opcode == b"V":
            return self._decoded(self._line(), "raw-unicode-escape")
        if opcode == b"S":
            return self._unquoted(self._line())
        raise self.refusal(opcode)

    def _decoded(self, content: bytes, encoding: str) -> str:
        try:
            # Protocol 1 and 2 hold lone surrogates in no case here: the text is latin-1 by construction.
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            raise DataError(f"{self.name}: damaged text in the pickle at offset {self._start}: {error}") from None

    def _unquoted(self, line: bytes) -> bytes:
        """Undo Python 2's ``repr`` of a ``str``."""
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
            raise DataError(f"{self.name}: string without quotes in the pickle at offset {self._start}")
        try:
            return codecs.escape_decode(line[1:-1])[0]
        except ValueError as error:
            raise DataError(f"{self.name}: damaged string in the pickle at offset {self._start}: {error}") from None


# PROTO, FRAME, BINPUT, LONG_BINPUT, MEMOIZE and the number of bytes of their argument.
_SKIPPED = {b"\x80": 1, b"\x95": 8, b"q": 1, b"r": 4, b"\x94": 0}
# SHORT_BINBYTES, BINBYTES, BINBYTES8, SHORT_BINSTRING, BINSTRING, BINUNICODE
_LENGTH_FORMATS = {b"C": "<B", b"B": "<I", b"\x8e": "<Q", b"U": "<B", b"T": "<i", b"X": "<I"}
# MARK, TUPLE, TUPLE2, EMPTY_TUPLE, REDUCE, STOP
_BARE = frozenset({b"(", b"t", b"\x86", b")", b"R", b"."})


def _encode_latin1(text: Any, encoding: Any) -> bytes:
    if isinstance(encoding, bytes):
        encoding = encoding.decode("latin-1")
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding not in _LATIN1:
        raise DataError(f"the pickle asks for text in {shown(encoding)}; only bytes written as latin-1 are allowed")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise DataError(f"the pickle holds text that is not bytes: {error}") from None


# ---------------------------------------------------------------------------------------------------------------
# Containers with numpy arrays

MAX_DEPTH = 32
"""Deepest nesting of lists, tuples and dicts that ``load_arrays`` follows; a container in itself ends here too."""

_MAX_EMPTY_STRINGS = 1 << 20
_BYTES_PER_ARRAY = 64  # beside its content
_BYTES_PER_REFERENCE = 8

# What damage leads to in the machine and in numpy.
_UNPICKLING_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)


def load_arrays(data: bytes, *, name: str) -> object:
    """Unpickle builtin containers, numbers, strings, bytes and numpy arrays; refuse everything else unexecuted.

    Reads the files of Python 2 and 3, of numpy 1 and 2, protocols 0 to 5. Python 2's ``str`` comes back as
    ``bytes``. Arrays are writable, own their memory and have the machine's byte order.

    Args:
        data: the whole pickle.
        name: what to call it in errors, usually the path of the file.

    Raises:
        DataError: a name outside of the table (it is quoted), a damaged pickle, an array whose bytes do not fit its
            shape, nesting deeper than ``MAX_DEPTH``, or content that expands beyond its ``Budget``.
    """
    return load_part(data, name=name, budget=Budget(len(data)))[0]


@dataclass(frozen=True)
class Extension:
    """What the pickles of another format have besides arrays.

    Attributes:
        stand_ins: what they may name; a function that makes an array gives it as ``made_array``.
        refer: gives the object that a reference to something outside of the pickle stands for.
        allowed: what such pickles may hold, for messages.
    """

    stand_ins: Mapping[tuple[str, str], StandIn]
    refer: Callable[[Any], Any]
    allowed: str


def load_part(
    data: bytes, *, name: str, budget: Budget, start: int = 0, extension: Optional[Extension] = None
) -> tuple[object, int]:
    """Unpickle as ``load_arrays`` does a pickle that begins at ``start``, with other things around it.

    Returns:
        The object, and where the bytes behind the pickle begin.

    Raises:
        DataError: see ``load_arrays``.
    """
    try:
        machine = PickleMachine(
            data,
            stand_ins={**_stand_ins(budget), **(extension.stand_ins if extension else {})},
            budget=budget,
            refer=extension.refer if extension else None,
            allowed=extension.allowed if extension else PLAIN_CONTENT,
            start=start,
        )
        return _Resolver().resolve(machine.run()), machine.end
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except _UNPICKLING_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{name}: damaged pickle, or not a pickle at all ({reason})") from None


def made_array(array: np.ndarray, budget: Budget) -> object:
    """Wrap an array that a function of an ``Extension`` has made, and paid for, so that the machine can pass it on."""
    return _Array(budget, array)


_PLAIN_TYPE = re.compile(r"[<>|=]?[?A-Za-z]+[0-9]*(\[[0-9A-Za-z]*\])?")
"""What NumPy is given to read: it parses anything else (shapes, lists of fields) as Python, and fails like Python."""


class _Dtype:
    """A dtype under construction: ``dtype('f4', False, True)``, then its state with the byte order."""

    __slots__ = ("_order", "_spec")

    def __init__(self, spec: Any, *_flags: Any) -> None:
        self._spec = spec.decode("ascii") if isinstance(spec, bytes) else spec
        self._order = "="
        self.build()

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):  # subtype, names, fields
            raise DataError("the pickle holds a structured array; only plain numbers are allowed")
        self._order = order

    def build(self) -> np.dtype:
        if not isinstance(self._spec, str) or len(self._spec) > 16:
            raise DataError(f"the pickle holds an array of unknown type {shown(self._spec)}")
        if not _PLAIN_TYPE.fullmatch(self._spec):
            raise DataError(f"the pickle holds an array of type {shown(self._spec)}; only plain numbers are allowed")
        dtype = np.dtype(self._order + self._spec if self._order in "<>" else self._spec)
        if dtype.kind not in "?biufcSUO" or dtype.fields is not None or dtype.subdtype is not None:
            raise DataError(f"the pickle holds an array of type {dtype}; only plain numbers are allowed")
        return dtype


class _Array:
    """An array under construction; ``None`` until its state has come."""

    __slots__ = ("_budget", "value")

    def __init__(self, budget: Budget, value: Any = None) -> None:
        self._budget = budget
        self.value = value

    def __setstate__(self, state: Any) -> None:
        if self.value is not None or not isinstance(state, tuple) or len(state) not in (4, 5):
            raise DataError("the pickle holds an array with an unknown state")
        shape, dtype, is_fortran, content = state[-4:]
        self.value = _array_from_parts(content, dtype, shape, "F" if is_fortran else "C", self._budget)


def _array_from_parts(content: Any, dtype: Any, shape: Any, order: str, budget: Budget) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
        raise DataError("the pickle holds an array without type or shape")
    if len(shape) > 32 or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise DataError(f"the pickle holds an array of shape {shown(shape)}")
    kind = dtype.build()
    count = math.prod(shape)
    if kind.kind == "O":
        if not isinstance(content, list) or len(content) != count:
            raise DataError(f"the pickle holds an object array whose items do not fit its shape {shape}")
        budget.spend(_BYTES_PER_ARRAY + count * kind.itemsize)
        flat = np.empty(count, dtype=object)
        for index, item in enumerate(content):
            flat[index] = item
        return flat.reshape(shape, order=order)  # type: ignore[call-overload]  # order is "C" or "F"
    if not isinstance(content, (bytes, bytearray)) or len(content) != count * kind.itemsize:
        found = len(content) if isinstance(content, (bytes, bytearray)) else "no"
        raise DataError(
            f"the pickle holds {found} bytes for an array of shape {shape} and type {kind}; "
            f"{count * kind.itemsize} are needed"
        )
    if kind.itemsize == 0:
        if count > _MAX_EMPTY_STRINGS:  # numpy gives each of them the memory of one character
            raise DataError(f"the pickle holds an array of {count} empty strings; allowed: {_MAX_EMPTY_STRINGS}")
        budget.spend(_BYTES_PER_ARRAY + 4 * count)
        return np.zeros(shape, dtype=kind)  # empty would show what the memory held before
    budget.spend(_BYTES_PER_ARRAY + max(count, 1) * kind.itemsize)  # numpy gives an empty array the memory of one item
    stored = np.frombuffer(content, dtype=kind).reshape(shape, order=order)  # type: ignore[call-overload]
    return stored.astype(kind.newbyteorder("="), order="K")


class _Calls:
    """The functions behind the stand-ins of one pickle; what they make is paid for from its budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def reconstruct(self, *_: Any) -> _Array:
        return _Array(self._budget)

    def scalar(self, dtype: Any, content: Any = b"") -> _Array:
        if isinstance(content, str):
            content = self.encode(content, "latin1")
        return _Array(self._budget, _array_from_parts(content, dtype, (), "C", self._budget)[()])

    def frombuffer(self, buffer: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
        """Stand in for ``numpy._core.numeric._frombuffer``, the spelling of arrays in protocol 5."""
        if order == "K" and axes is not None:
            return _Array(self._budget, _array_from_parts(buffer, dtype, shape, "C", self._budget).transpose(axes))
        order = "F" if order == "F" else "C"
        return _Array(self._budget, _array_from_parts(buffer, dtype, shape, order, self._budget))

    def encode(self, text: Any, encoding: Any) -> bytes:
        self._budget.spend(len(text) if isinstance(text, str) else 0)
        return _encode_latin1(text, encoding)

    def tuple(self, items: Any = ()) -> tuple[Any, ...]:
        if not isinstance(items, (tuple, list)):
            raise DataError("the pickle makes a tuple of something that is not one")
        self._budget.spend(_BYTES_PER_REFERENCE * len(items))
        return tuple(items)

    def empty_bytes(self) -> bytes:
        return b""

    def empty_dict(self) -> dict[Any, Any]:
        return {}


def _stand_ins(budget: Budget) -> dict[tuple[str, str], StandIn]:
    """Return all that a pickle may name, by module and name; nothing else is ever looked up."""
    calls = _Calls(budget)
    table = {
        ("numpy", "ndarray"): StandIn(),
        ("numpy", "bool_"): StandIn(),
        ("numpy", "bool"): StandIn(),
        ("numpy", "dtype"): StandIn(_Dtype),
        ("_codecs", "encode"): StandIn(calls.encode),
        ("collections", "OrderedDict"): StandIn(calls.empty_dict),  # the same, around a state_dict
    }
    for builtins in ("__builtin__", "builtins"):  # Python 2 (and protocols 0 to 2 of Python 3), Python 3
        table[builtins, "bytes"] = StandIn(calls.empty_bytes)  # b"" in protocols 0 to 2
        table[builtins, "tuple"] = StandIn(calls.tuple)  # paddle.save writes a parameter as tuple((name, array))
    for core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
        table[f"{core}.multiarray", "_reconstruct"] = StandIn(calls.reconstruct)
        table[f"{core}.multiarray", "scalar"] = StandIn(calls.scalar)
        table[f"{core}.numeric", "_frombuffer"] = StandIn(calls.frombuffer)
    return table


class _Resolver:
    """Replaces the arrays under construction in nested containers by numpy arrays.

    What a pickle names several times is resolved once: ten lists, each with ten references to the one before, are a
    hundred bytes of pickle, but ten billion items when every reference is followed.
    """

    def __init__(self) -> None:
        self._done: dict[
            int, tuple[Any, Any]
        ] = {}  # by id: the value, so that its id is not given away, and the result

    def resolve(self, value: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise DataError(f"the pickle is nested deeper than {MAX_DEPTH} containers, or contains itself")
        if not isinstance(value, (list, tuple, dict, _Array)):
            if isinstance(value, (StandIn, _Dtype)):
                raise DataError("the pickle holds something other than arrays, numbers, strings and containers of them")
            return value
        if id(value) not in self._done:
            self._done[id(value)] = value, self._resolve(value, depth)
        return self._done[id(value)][1]

    def _resolve(self, value: Any, depth: int) -> Any:
        if isinstance(value, _Array):
            return self._array(value, depth)
        if isinstance(value, dict):
            return {key: self.resolve(item, depth + 1) for key, item in value.items()}
        items = [self.resolve(item, depth + 1) for item in value]
        return items if isinstance(value, list) else tuple(items)

    def _array(self, array: _Array, depth: int) -> Any:
        if array.value is None:
            raise DataError("the pickle holds an array without content")
        if not isinstance(array.value, np.ndarray) or array.value.dtype != object:
            return array.value
        resolved = np.empty(array.value.size, dtype=object)
        for index, item in enumerate(array.value.flat):
            resolved[index] = self.resolve(item, depth + 1)
        return resolved.reshape(array.value.shape)


# ---------------------------------------------------------------------------------------------------------------
# Writing what must be a pickle


def dump_array(array: np.ndarray) -> bytes:
    """Pickle one array of plain numbers as the published ``.pkl`` shards have it.

    The opcodes are written out here (protocol 4), so that the bytes do not depend on the versions of Python and
    numpy, and every numpy from 1.x on reads them with ``pickle.load``.

    Raises:
        DataError: the array does not hold booleans, integers or floats.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"array of type {array.dtype} cannot be written as a shard; allowed: bool, integers, floats")
    content = np.ascontiguousarray(array).tobytes()
    order = {"=": "<" if np.little_endian else ">"}.get(array.dtype.byteorder, array.dtype.byteorder)
    header = (
        b"\x80\x04"
        b"cnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R"  # _reconstruct(ndarray, (0,), b"b")
        b"(K\x01(" + b"".join(map(_dump_int, array.shape)) + b"t"  # state = (1, shape,
        b"cnumpy\ndtype\n" + _dump_text(array.dtype.str[1:]) + b"\x89\x88\x87R"  # dtype("f4", False, True)
        b"(K\x03" + _dump_text(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"  # and its state,
        b"\x89\x8e" + struct.pack("<Q", len(content))  # not Fortran, raw bytes)
    )
    return b"".join((header, content, b"tb."))


def _dump_int(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def _dump_text(text: str) -> bytes:
    encoded = text.encode("ascii")
    return b"X" + struct.pack("<I", len(encoded)) + encoded
