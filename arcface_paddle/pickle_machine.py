"""A machine for pickles that builds containers, numbers and strings and calls nothing but stand-ins.

Python's own unpickler runs in C, where a small file can hang it beyond the reach of Ctrl-C (a tuple of tuples as a
key is hashed once per path through it, 2^100 times) or make it fill the memory. Here every opcode is a few lines of
Python under two rules: what may be a key is known before it is hashed, and whatever multiplies what the file holds is
paid for from a budget.

Source: the opcode comments of Python's ``pickletools``.
"""

from __future__ import annotations

import codecs
import pickletools
import reprlib
import struct
from typing import Any, Callable, Optional

from arcface_paddle.errors import DataError

MAX_NUMBER_KEYS = 4096
"""Most numbers that may be keys of dicts, all dicts together.

Python's hash of a number is no secret, so that numbers can be chosen which collide; n of them take n^2 steps. Keys
that are text are safe, their hash differs from one process to the next, and files of users have no others.
"""

_BYTES_ALLOWED_PER_BYTE = 4
_BYTES_ALLOWED_IN_ANY_CASE = 64 << 20
_BYTES_PER_CONTAINER = 64
_MOST_ARGUMENTS = 16
_MOST_INTEGER_BYTES = 16
_MOST_INTEGER_DIGITS = 40
_SKIPPED_NUMBERS = 1 << 16
"""Picklers may leave out numbers that nothing refers to (``pickletools.optimize``); so many do no harm."""


class Budget:
    """How many bytes may be made of a file: four times its size, and 64 MB.

    Honest files stay below twice their size (text of protocol 0 to 2, encoded, then an array). What goes beyond refers
    to the same bytes again and again.
    """

    def __init__(self, file_bytes: int) -> None:
        self.allowed = _BYTES_ALLOWED_PER_BYTE * file_bytes + _BYTES_ALLOWED_IN_ANY_CASE
        self.spent = 0

    def spend(self, count: int) -> None:
        """Take ``count`` bytes before they are made. Raises ``DataError`` when they are not there."""
        self.spent += count
        if self.spent > self.allowed:
            raise DataError(
                f"its content expands to more than {self.allowed:,} bytes, several times what the file holds; refused"
            )


class StandIn:
    """What a pickle gets instead of a global; it can be called, if anything, but not changed."""

    __slots__ = ("_function",)

    def __init__(self, function: Optional[Callable[..., Any]] = None) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        if self._function is None:
            raise DataError("the pickle calls a type that may only be named")
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise DataError("the pickle tries to change a function")


PLAIN_CONTENT = "numpy arrays, numbers, strings, bytes, lists, tuples and dicts"


class PickleMachine:
    """Runs one pickle; see ``run``.

    Args:
        data: holds the pickle; what stands behind its end is not looked at.
        stand_ins: all that the pickle may name, by module and name.
        budget: what may be made of it.
        refer: gives the object that a reference to something outside of the pickle stands for; None refuses them all.
        allowed: what such pickles may hold, for messages.
        start: where the pickle begins in ``data``.
    """

    def __init__(
        self,
        data: bytes,
        *,
        stand_ins: dict[tuple[str, str], StandIn],
        budget: Budget,
        refer: Optional[Callable[[Any], Any]] = None,
        allowed: str = PLAIN_CONTENT,
        start: int = 0,
    ) -> None:
        self._data = data
        self._stand_ins = stand_ins
        self._budget = budget
        self._refer = refer or _refuse_reference
        self._allowed = allowed
        self._position = start
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}
        self._remembered = 0
        self._number_keys = 0

    @property
    def end(self) -> int:
        """Where, after ``run``, the bytes behind the pickle begin."""
        return self._position + 1

    def run(self) -> Any:
        """Return the object that the pickle describes; Python 2's ``str`` becomes ``bytes``.

        Raises:
            DataError: an opcode, global or key that is not allowed, more bytes than the budget has, or damage.
            IndexError, KeyError, TypeError, ValueError, struct.error: other damage, such as an empty stack.
        """
        data = self._data
        while self._position < len(data):
            opcode = _OPCODES.get(data[self._position])
            if opcode is None:
                raise DataError(f"damaged pickle, or not a pickle at all (no opcode at offset {self._position})")
            begin = self._position + 1
            end = _end_of_argument(data, begin, opcode)
            if not begin <= end <= len(data):
                raise DataError(
                    f"damaged pickle, or not a pickle at all ({opcode.name} at offset {self._position} is cut off)"
                )
            if opcode.name == "STOP":
                return self._stack.pop()
            handler = _HANDLERS.get(opcode.name)
            if handler is None:
                raise DataError(
                    f"pickle opcode {opcode.name} at offset {self._position}; refused, because it is needed for "
                    "neither arrays, numbers, strings, bytes, lists, tuples nor dicts"
                )
            handler(self, begin, end)
            self._position = end
        raise DataError("damaged pickle, or not a pickle at all (no end)")

    # Helpers of the opcodes

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_container(self, value: Any) -> None:
        self._budget.spend(_BYTES_PER_CONTAINER)
        self._stack.append(value)

    def pop(self) -> Any:
        return self._stack.pop()

    def pop_to_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._outer.pop()
        return items

    def line(self, begin: int, end: int) -> bytes:
        """Return an argument that ends in a line feed, without it."""
        return self._data[begin : end - 1]

    def integer(self, begin: int, end: int) -> int:
        return int.from_bytes(self._data[begin:end], "little")

    def extend(self, target: Any, items: list[Any]) -> None:
        if type(target) is not list:
            raise DataError(f"the pickle appends to a {type(target).__name__}")
        target.extend(items)

    def store(self, target: Any, pairs: list[Any]) -> None:
        if not isinstance(target, dict) or len(pairs) % 2:
            raise DataError(f"the pickle stores a pair in a {type(target).__name__}, or half of a pair")
        for index in range(0, len(pairs), 2):
            self._check_key(pairs[index])
            target[pairs[index]] = pairs[index + 1]

    def _check_key(self, key: Any) -> None:
        """Refuse a key before it is hashed and compared, both of which take time in its size."""
        kind = type(key)
        if kind in (str, bytes):
            self._budget.spend(len(key))
        elif kind in (int, float):
            self._number_keys += 1
            if self._number_keys > MAX_NUMBER_KEYS:
                raise DataError(f"the pickle holds dicts with more than {MAX_NUMBER_KEYS} numbers as keys; refused")
        elif kind is not bool and key is not None:
            raise DataError(f"the pickle holds a dict with a key of type {kind.__name__}")

    def remember(self, number: int) -> None:
        """Remember the top of the stack. No pickler numbers objects higher than it has remembered."""
        if number > self._remembered + _SKIPPED_NUMBERS:
            raise DataError(
                f"the pickle numbers its object {self._remembered} as {number} at offset {self._position}; refused"
            )
        self._remembered += 1
        self._memo[number] = self._stack[-1]

    def recall(self, number: int) -> None:
        self._stack.append(self._memo[number])

    # Opcodes of some length

    def memoize(self, begin: int, end: int) -> None:
        self.remember(len(self._memo))

    def mark(self, begin: int, end: int) -> None:
        self._budget.spend(_BYTES_PER_CONTAINER)
        self._outer.append(self._stack)
        self._stack = []

    def pop_one(self, begin: int, end: int) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self.pop_to_mark()

    def drop_to_mark(self, begin: int, end: int) -> None:
        self.pop_to_mark()

    def int_line(self, begin: int, end: int) -> None:
        """Protocol 0: an integer, or a truth value as 00 and 01."""
        line = self.line(begin, end)
        truth = {b"00": False, b"01": True}.get(line)
        self.push(_int_of_text(line) if truth is None else truth)

    def long_bytes(self, begin: int, end: int) -> None:
        if end - begin > _MOST_INTEGER_BYTES:
            raise DataError(f"the pickle holds an integer of {end - begin} bytes; allowed: {_MOST_INTEGER_BYTES}")
        self.push(int.from_bytes(self._data[begin:end], "little", signed=True))

    def string_line(self, begin: int, end: int) -> None:
        """Protocol 0: what Python 2 gives as ``repr`` of a ``str``."""
        line = self.line(begin, end)
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
            raise DataError(f"string without quotes in the pickle at offset {begin}")
        self.push(codecs.escape_decode(line[1:-1])[0])

    def global_lines(self, begin: int, end: int) -> None:
        module, name = self.line(begin, end).decode("utf-8").split("\n")
        self.push(self._stand_in(module, name))

    def stack_global(self, begin: int, end: int) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise DataError("the pickle asks for something that has no name")
        self.push(self._stand_in(module, name))

    def _stand_in(self, module: str, name: str) -> StandIn:
        try:
            return self._stand_ins[module, name]
        except KeyError:
            raise DataError(
                f"the pickle asks for {module[:80]}.{name[:80]}, which was refused and not run; "
                f"allowed are {self._allowed}"
            ) from None

    def reduce(self, begin: int, end: int) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) is not StandIn or type(arguments) is not tuple:
            raise DataError(f"the pickle calls something that is no function, at offset {self._position}")
        if len(arguments) > _MOST_ARGUMENTS:  # they are copied at every call
            raise DataError(f"the pickle calls something with {len(arguments)} arguments; allowed: {_MOST_ARGUMENTS}")
        self.push(function(*arguments))

    def build(self, begin: int, end: int) -> None:
        state = self.pop()
        set_state = getattr(type(self._stack[-1]), "__setstate__", None)
        if set_state is None:
            raise DataError(f"the pickle tries to change a {type(self._stack[-1]).__name__}")
        set_state(self._stack[-1], state)

    def persistent_line(self, begin: int, end: int) -> None:
        self.push(self._refer(self.line(begin, end)))

    def persistent_object(self, begin: int, end: int) -> None:
        self.push(self._refer(self.pop()))

    def append_one(self, begin: int, end: int) -> None:
        value = self.pop()
        self.extend(self._stack[-1], [value])

    def append_to_mark(self, begin: int, end: int) -> None:
        items = self.pop_to_mark()
        self.extend(self._stack[-1], items)

    def set_one(self, begin: int, end: int) -> None:
        value, key = self.pop(), self.pop()
        self.store(self._stack[-1], [key, value])

    def set_to_mark(self, begin: int, end: int) -> None:
        pairs = self.pop_to_mark()
        self.store(self._stack[-1], pairs)

    def dict_of_mark(self, begin: int, end: int) -> None:
        made: dict[Any, Any] = {}
        self.store(made, self.pop_to_mark())
        self.push_container(made)

    def tuple_of(self, count: int) -> None:
        items = self._stack[-count:]
        if len(items) != count:
            raise DataError(f"damaged pickle (a tuple of {count} at offset {self._position} from less)")
        del self._stack[-count:]
        self.push_container(tuple(items))

    def content(self, begin: int, end: int) -> bytes:
        return self._data[begin:end]


def shown(value: object) -> str:
    """Return the beginning of a value's spelling; that of nested references may be larger than the memory."""
    return reprlib.repr(value)[:80]


def _refuse_reference(value: object) -> Any:
    raise DataError(f"the pickle refers to an object outside of it ({shown(value)}); refused")


def _int_of_text(line: bytes) -> int:
    if len(line) > _MOST_INTEGER_DIGITS:
        raise DataError(f"the pickle holds an integer of {len(line)} digits; allowed: {_MOST_INTEGER_DIGITS}")
    return int(line.rstrip(b"L"))


def _sized(width: int, decode: Callable[[bytes], Any]) -> Callable[[PickleMachine, int, int], None]:
    """Return the handler of content behind a length of ``width`` bytes."""

    def push_content(machine: PickleMachine, begin: int, end: int) -> None:
        machine.push(decode(machine.content(begin + width, end)))

    return push_content


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


def _end_of_argument(data: bytes, begin: int, opcode: pickletools.OpcodeInfo) -> int:
    """Return where the argument of an opcode ends, 0 if it does not."""
    if opcode.arg is None:
        return begin
    if opcode.arg.n >= 0:
        return begin + opcode.arg.n
    if opcode.arg.n != pickletools.UP_TO_NEWLINE:
        width, is_signed = _LENGTH_FIELDS[opcode.arg.n]
        length = int.from_bytes(data[begin : begin + width], "little", signed=is_signed)
        return begin + width + length if length >= 0 else 0
    end = data.find(b"\n", begin) + 1
    if opcode.arg is pickletools.stringnl_noescape_pair and end:
        end = data.find(b"\n", end) + 1
    return end


_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
_LENGTH_FIELDS = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
"""Width in bytes of the length that stands before an argument, and whether it has a sign."""

_Handler = Callable[[PickleMachine, int, int], None]

# Missing, and so refused: sets, instances (INST, OBJ, NEWOBJ), extension codes and buffers outside of the file.
_HANDLERS: dict[str, _Handler] = {
    "PROTO": lambda m, b, e: None,
    "FRAME": lambda m, b, e: None,
    "NONE": lambda m, b, e: m.push(None),
    "NEWTRUE": lambda m, b, e: m.push(True),
    "NEWFALSE": lambda m, b, e: m.push(False),
    "INT": PickleMachine.int_line,
    "BININT": lambda m, b, e: m.push(int.from_bytes(m.content(b, e), "little", signed=True)),
    "BININT1": lambda m, b, e: m.push(m.integer(b, e)),
    "BININT2": lambda m, b, e: m.push(m.integer(b, e)),
    "LONG": lambda m, b, e: m.push(_int_of_text(m.line(b, e))),
    "LONG1": lambda m, b, e: m.long_bytes(b + 1, e),
    "LONG4": lambda m, b, e: m.long_bytes(b + 4, e),
    "FLOAT": lambda m, b, e: m.push(float(m.line(b, e))),
    "BINFLOAT": lambda m, b, e: m.push(struct.unpack(">d", m.content(b, e))[0]),
    "STRING": PickleMachine.string_line,
    "BINSTRING": _sized(4, bytes),
    "SHORT_BINSTRING": _sized(1, bytes),
    "SHORT_BINBYTES": _sized(1, bytes),
    "BINBYTES": _sized(4, bytes),
    "BINBYTES8": _sized(8, bytes),
    "BYTEARRAY8": _sized(8, bytearray),
    "UNICODE": lambda m, b, e: m.push(m.line(b, e).decode("raw-unicode-escape")),
    "SHORT_BINUNICODE": _sized(1, _text),
    "BINUNICODE": _sized(4, _text),
    "BINUNICODE8": _sized(8, _text),
    "EMPTY_LIST": lambda m, b, e: m.push_container([]),
    "EMPTY_DICT": lambda m, b, e: m.push_container({}),
    "EMPTY_TUPLE": lambda m, b, e: m.push(()),
    "LIST": lambda m, b, e: m.push_container(m.pop_to_mark()),
    "TUPLE": lambda m, b, e: m.push_container(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, b, e: m.tuple_of(1),
    "TUPLE2": lambda m, b, e: m.tuple_of(2),
    "TUPLE3": lambda m, b, e: m.tuple_of(3),
    "DICT": PickleMachine.dict_of_mark,
    "APPEND": PickleMachine.append_one,
    "APPENDS": PickleMachine.append_to_mark,
    "SETITEM": PickleMachine.set_one,
    "SETITEMS": PickleMachine.set_to_mark,
    "MARK": PickleMachine.mark,
    "POP": PickleMachine.pop_one,
    "POP_MARK": PickleMachine.drop_to_mark,
    "DUP": lambda m, b, e: m.push(m._stack[-1]),
    "PUT": lambda m, b, e: m.remember(_int_of_text(m.line(b, e))),
    "BINPUT": lambda m, b, e: m.remember(m.integer(b, e)),
    "LONG_BINPUT": lambda m, b, e: m.remember(m.integer(b, e)),
    "MEMOIZE": PickleMachine.memoize,
    "GET": lambda m, b, e: m.recall(_int_of_text(m.line(b, e))),
    "BINGET": lambda m, b, e: m.recall(m.integer(b, e)),
    "LONG_BINGET": lambda m, b, e: m.recall(m.integer(b, e)),
    "GLOBAL": PickleMachine.global_lines,
    "STACK_GLOBAL": PickleMachine.stack_global,
    "REDUCE": PickleMachine.reduce,
    "BUILD": PickleMachine.build,
    "PERSID": PickleMachine.persistent_line,
    "BINPERSID": PickleMachine.persistent_object,
}
