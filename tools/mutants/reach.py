"""Which lines a test reaches."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Callable, Optional

_EVENTS_OF_CODE = 20_000
"""Lines watched of one function in one test. One that runs longer counts as reached as a whole, at a cost of time."""


class Reach:
    """Watches the lines of some files while a test runs."""

    def __init__(self, files: dict[str, str]) -> None:
        """``files``: the name to record, by absolute path."""
        self._files = files
        self._lines: dict[CodeType, set[int]] = {}
        self._events: dict[CodeType, int] = {}

    @contextmanager
    def watched(self) -> Iterator[dict[str, list[int]]]:
        """Fill the mapping with the lines of each file when the block ends."""
        reached: dict[str, list[int]] = {}
        self._lines, self._events = {}, {}
        before = sys.gettrace()
        threading.settrace(self._entered)
        sys.settrace(self._entered)
        try:
            yield reached
        finally:
            sys.settrace(before)
            threading.settrace(None)  # type: ignore[arg-type]
        self._tell(reached)

    @contextmanager
    def apart(self) -> Iterator[dict[str, list[int]]]:
        """Fill the mapping with what a part of the watched block reaches; it counts to the whole, too."""
        reached: dict[str, list[int]] = {}
        whole, self._lines = self._lines, {}
        try:
            yield reached
        finally:
            self._tell(reached)
            for code, lines in self._lines.items():
                whole.setdefault(code, set()).update(lines)
            self._lines = whole

    def _tell(self, reached: dict[str, list[int]]) -> None:
        for code, lines in self._lines.items():
            reached.setdefault(self._files[code.co_filename], []).extend(lines)

    def _entered(self, frame: FrameType, event: str, argument: Any) -> Optional[Callable[..., Any]]:
        code = frame.f_code
        if code.co_filename not in self._files or self._events.get(code, 0) > _EVENTS_OF_CODE:
            return None
        self._lines.setdefault(code, set()).add(code.co_firstlineno)
        return self._passed

    def _passed(self, frame: FrameType, event: str, argument: Any) -> Optional[Callable[..., Any]]:
        code = frame.f_code
        self._lines.setdefault(code, set()).add(frame.f_lineno)
        count = self._events[code] = self._events.get(code, 0) + 1
        if count > _EVENTS_OF_CODE:
            self._lines[code].update(line for _, _, line in _lines_of(code) if line)
            frame.f_trace = None
        return self._passed if count <= _EVENTS_OF_CODE else None


def _lines_of(code: CodeType) -> Iterator[tuple[int, int, int]]:
    if sys.version_info >= (3, 10):
        yield from code.co_lines()
    else:
        import dis

        yield from ((0, 0, line) for _, line in dis.findlinestarts(code))
