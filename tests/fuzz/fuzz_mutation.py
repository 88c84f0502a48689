"""Changes that a hostile or broken writer makes to bytes; a pure function of seed and number."""

from __future__ import annotations

import random
import re
from typing import Callable, Sequence

MOST_BYTES = 1 << 16
"""Longer inputs are cut: a parser's faults show on short ones, and more of them are tried."""

INTERESTING = (
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\n", b"\r\n", b"\t", b" ", b"-", b"-1", b"0", b"00", b"1e400", b"-1e400",
    b"NaN", b"nan", b"Infinity", b"inf", b"null", b"true", b"[]", b"{}", b'""',
    b"\\ud800", b"\\u0000", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"9" * 25, b"9" * 4400, b"../", b"/", b"a" * 300, b"!!bool x", b"2001-13-45",
    b"0x_", b"&a [*a,*a]", b"<!ENTITY x 'y'>", b"\x1b[2J",
    b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80",
    b"\x00" * 16, b"\xff" * 8, b"(" * 40, b"[" * 2000, b'{"a":' * 2000, b"'", b"#", b"%", b"*", b":", b"|", b"1_0",
)  # fmt: skip
"""What parsers stumble over: ends of ranges, half characters, markers, nests, numbers that are none."""


def mutated(seeds: Sequence[bytes], *, seed: int, number: int) -> bytes:
    """Return the input of this number: one of ``seeds`` with one to eight changes, or, rarely, as it is."""
    random_source = random.Random(f"{seed}:{number}")
    content = random_source.choice(seeds)
    for _ in range(random_source.choice((0, 1, 1, 1, 2, 2, 3, 5, 8))):
        change = random_source.choice(_CHANGES)
        content = change(random_source, content, random_source.choice(seeds))[:MOST_BYTES]
    return content


def _position(source: random.Random, content: bytes) -> int:
    """Return a place; heads of formats stand at the front and are tried more often."""
    limit = len(content) if source.random() < 0.6 else min(len(content), 64)
    return source.randint(0, max(limit - 1, 0))


def _flip_bit(source: random.Random, content: bytes, _: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    changed[_position(source, changed)] ^= 1 << source.randrange(8)
    return bytes(changed)


def _set_byte(source: random.Random, content: bytes, _: bytes) -> bytes:
    changed = bytearray(content or b"\0")
    changed[_position(source, changed)] = source.randrange(256)
    return bytes(changed)


def _set_integer(source: random.Random, content: bytes, _: bytes) -> bytes:
    """Write the ends of a range, or something near the length, as an integer of 2, 4 or 8 bytes in either order."""
    size, order = source.choice((2, 4, 8)), source.choice(("little", "big"))
    values = (0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), (1 << (8 * size - 1)) - 1, len(content), len(content) + 1)
    begin = _position(source, content)
    encoded = (source.choice(values) % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
    return content[:begin] + encoded + content[begin + size :]


def _cut_end(source: random.Random, content: bytes, _: bytes) -> bytes:
    return content[: source.randint(0, len(content))]


def _remove(source: random.Random, content: bytes, _: bytes) -> bytes:
    begin = _position(source, content)
    return content[:begin] + content[begin + source.choice((1, 2, 4, 16, 64, 256)) :]


def _repeat(source: random.Random, content: bytes, _: bytes) -> bytes:
    begin = _position(source, content)
    piece = content[begin : begin + source.choice((1, 4, 16, 64, 256))]
    return content[:begin] + piece * source.choice((2, 3, 50)) + content[begin:]


def _insert(source: random.Random, content: bytes, _: bytes) -> bytes:
    begin = _position(source, content)
    return content[:begin] + source.choice(INTERESTING) + content[begin:]


def _overwrite(source: random.Random, content: bytes, _: bytes) -> bytes:
    begin, piece = _position(source, content), source.choice(INTERESTING)
    return content[:begin] + piece + content[begin + len(piece) :]


def _replace_token(source: random.Random, content: bytes, _: bytes) -> bytes:
    """Replace what stands between two separators of text formats."""
    separators = [found.start() for found in _SEPARATOR.finditer(content, 0, MOST_BYTES)]
    if len(separators) < 2:
        return _insert(source, content, b"")
    which = source.randrange(len(separators) - 1)
    return content[: separators[which] + 1] + source.choice(INTERESTING) + content[separators[which + 1] :]


_SEPARATOR = re.compile(rb"[\n\t ,:\"'\[\]{}<>=]")


def _splice(source: random.Random, content: bytes, other: bytes) -> bytes:
    return content[: _position(source, content)] + other[_position(source, other) :]


def _noise(source: random.Random, content: bytes, _: bytes) -> bytes:
    begin = _position(source, content)
    length = source.choice((1, 3, 8, 32))
    return content[:begin] + source.randbytes(length) + content[begin + length :]


_CHANGES: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _flip_bit, _set_byte, _set_integer, _cut_end, _remove, _repeat, _insert, _overwrite, _replace_token, _splice,
    _noise,
)  # fmt: skip
