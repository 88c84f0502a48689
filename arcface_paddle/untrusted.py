"""JSON, NumPy arrays and numbers that somebody else wrote: read within limits, refused in one line.

The parsers of the standard library and of NumPy raise a dozen kinds of exceptions on damaged or hostile input, some of
them undocumented. Here they are turned into one error of ours, by one rule, whatever was read.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import math
import tarfile
import tokenize
import warnings
import zlib
from pathlib import Path
from typing import IO, Any, Optional, Union

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ArcfaceError, DataError

_MOST_DIGITS = 19
"""Of a number that fits 64 bits; Python takes a time that grows with the square of their count, and stops at 4,300."""

DOCUMENT_ERRORS = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What looking into a document raises that has other values than ours: a list for an object, a number of 400 digits."""

TAR_ERRORS = (
    tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError, TypeError, OverflowError,
)  # fmt: skip
"""What reading a damaged tar raises; the last three are tarfile's own stumbling."""

_HEAD_ERRORS = (ValueError, TypeError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError, EOFError)
"""What reading the head of a .npy raises: it is a Python literal, parsed by three parsers in turn."""


def parse_json(content: Union[str, bytes], *, name: str, error: type[ArcfaceError] = DataError) -> Any:
    """Return the value of a JSON text.

    Args:
        content: the text; bytes are UTF-8.
        name: of the file, for messages.
        error: what is raised.

    Raises:
        ArcfaceError: of kind ``error``: it is no JSON, not text, nests too deep, or has a number that is too long.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise error(f"{name}: cannot be read, not valid JSON: it nests too deep") from None
    except ValueError as problem:  # JSONDecodeError, UnicodeDecodeError, and numbers of more than 4,300 digits
        raise error(f"{name}: cannot be read, not valid JSON: {problem!s:.200}") from None


def read_json(path: Union[str, Path], *, error: type[ArcfaceError] = DataError) -> Any:
    """Return the value of a JSON file.

    Raises:
        FileNotFoundError: there is none, which the caller explains.
        ArcfaceError: of kind ``error``: it cannot be read, or as ``parse_json``.
    """
    try:
        content = files.read_bytes(path)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or problem}") from None
    return parse_json(content, name=str(path), error=error)


def read_npy_head(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the head of a .npy; the stream stands at the first number then.

    Returns:
        Shape, whether it is in columns, and type.

    Raises:
        ValueError: no head of format 1.0, or a damaged one.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"format {version}; allowed: (1, 0)")
        with warnings.catch_warnings():  # of heads that Python 2 wrote
            warnings.simplefilter("ignore")
            shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    except _HEAD_ERRORS as error:
        raise ValueError(f"no head of a .npy, or damaged: {' '.join(str(error).split()):.200}") from None
    if any(side < 0 for side in shape):
        raise ValueError(f"shape {shape}")
    return tuple(int(side) for side in shape), bool(in_columns), dtype


def parse_npy(content: bytes) -> np.ndarray:
    """Return the array of a .npy of numbers; nothing is allocated that the content does not fill.

    Raises:
        ValueError: damaged, cut off, followed by something, or an array of Python objects.
    """
    stream = io.BytesIO(content)
    shape, in_columns, dtype = read_npy_head(stream)
    numbers = content[stream.tell() :]
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"values of {dtype}; allowed: numbers")
    expected = math.prod(shape) * dtype.itemsize
    if expected != len(numbers):
        raise ValueError(f"the shape {shape} of {dtype} needs {expected:,} bytes, {len(numbers):,} are there")
    return np.frombuffer(numbers, dtype=dtype).reshape(shape, order="F" if in_columns else "C")


def integer(text: str) -> Optional[int]:
    """Return a whole number that fits 64 bits, or None for a text that is none; signs and blanks around it may be."""
    digits = text.strip()
    unsigned = digits[1:] if digits[:1] in ("-", "+") else digits
    if not (unsigned.isascii() and unsigned.isdigit() and len(unsigned) <= _MOST_DIGITS):
        return None
    value = int(digits)
    return value if -(2**63) <= value < 2**63 else None
