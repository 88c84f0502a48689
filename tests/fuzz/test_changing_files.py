"""A file that changes between two looks at it: removed, emptied, cut, replaced by a folder, at every opening.

What is checked at one moment may be another file at the next: a disk that is taken away, a second program, an attack.
Each target reads a sound input once, to count how often it opens a file of it; then again, once for every opening and
every change, which happens just before that opening.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import pytest
from fuzz_targets import TARGETS, Target

from arcface_paddle.errors import ArcfaceError

pytestmark = pytest.mark.filterwarnings("ignore")

OUTSIDE = frozenset({"http_request"})
"""Targets that keep files open from one input to the next."""


def _remove(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"\xff" * 4096)


CHANGES: tuple[Callable[[Path], None], ...] = (_remove, _empty, _cut, _make_folder, _grow)


class _Openings:
    """Counts the files of a folder that are opened, and changes one before it is."""

    def __init__(self) -> None:
        self.folder = ""
        self.count = 0
        self.which = -1
        self.change: Optional[Callable[[Path], None]] = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self.folder or isinstance(arguments[0], int):
            return
        folder, path = self.folder, Path(os.fsdecode(arguments[0]))
        if not str(path).startswith(folder) or not path.is_file():
            return
        self.count += 1
        if self.change is not None and self.count - 1 == self.which:
            self.folder = ""  # what the change opens is its own affair
            self.change(path)
            self.folder = folder

    @contextlib.contextmanager
    def watching(self, folder: Path, *, which: int, change: Optional[Callable[[Path], None]]) -> Iterator[None]:
        self.folder, self.count, self.which, self.change = f"{folder}{os.sep}", 0, which, change
        try:
            yield
        finally:
            self.folder = ""


_openings: list[_Openings] = []


def _read(target: Target, *, which: int = -1, change: Optional[Callable[[Path], None]] = None) -> int:
    """Read the first sound input; returns how many files were opened."""
    if not _openings:
        _openings.append(_Openings())  # an audit hook cannot be taken away again
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name) / "input"
        folder.mkdir()
        parse = target.prepare(target.seeds()[0], folder)
        with _openings[0].watching(folder, which=which, change=change):
            try:
                parse()
            except ArcfaceError as error:
                assert str(error).strip()
            except OSError as error:  # of which commands say file and reason
                assert error.filename is not None and error.strerror, repr(error)
        shutil.rmtree(folder)
        return _openings[0].count


@pytest.mark.parametrize("name", ["doctor_cache", "gallery", "label_set", "model_json", "store_log", "teacher_cache"])
def test_a_file_changes_before_it_is_opened(name: str) -> None:
    _change_each(name)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(TARGETS) - OUTSIDE))
def test_any_file_changes_before_it_is_opened(name: str) -> None:
    _change_each(name)


def _change_each(name: str) -> None:
    failed = []
    for which in range(min(_read(TARGETS[name]), 12)):
        for change in CHANGES:
            try:
                _read(TARGETS[name], which=which, change=change)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                failed.append(f"{change.__name__} before opening {which + 1}: {type(error).__name__}: {error!s:.80}")
    assert not failed, "\n".join(failed)
