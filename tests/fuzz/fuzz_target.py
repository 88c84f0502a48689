"""What a target is: a parser, sound inputs to begin with, and the call that reads one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

Parse = Callable[[], object]
Prepare = Callable[[bytes, Path], Parse]


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        name: as ``tools/fuzz.py --target`` takes it.
        seeds: sound inputs.
        prepare: writes an input into an empty folder, or wraps it, and returns the call that parses it. What it does
            is not watched.
        may_write: part of the name of the cache that the parser makes by design.
        may_do: audit events of what it does by design; what it asks there is answered by the target.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    prepare: Prepare
    may_write: str = ""
    may_do: tuple[str, ...] = ()


def of_file(name: str, parse: Callable[[Path], object]) -> Prepare:
    """Return a ``prepare`` that writes the input under ``name``."""

    def prepare(content: bytes, folder: Path) -> Parse:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return lambda: parse(path)

    return prepare


def of_content(parse: Callable[[bytes], object]) -> Prepare:
    """Return a ``prepare`` for a parser that takes bytes."""
    return lambda content, folder: lambda: parse(content)
