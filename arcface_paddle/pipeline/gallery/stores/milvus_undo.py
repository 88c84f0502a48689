"""How several steps on a Milvus server become one change: what undoes them is on the server before they are made.

Milvus has no transactions. Beside a collection stands ``COLLECTION_undo``. Before a step, a transaction notes there
what takes it back: faces to put back, or numbers of faces to drop. It is over when one last note says so; then all of
them are deleted. Notes of a process that was killed are found by the next one that opens or changes the gallery, which
takes the steps back; to do so twice does no harm.

Whether somebody is still at work: on one machine a lock tells, which the system frees with its holder. On another one a
transaction has a pulse; when that has stopped for ``DEAD_AFTER_S``, nobody is.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import secrets
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Protocol, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError

DEAD_AFTER_S = 10.0
_PULSE_S = 2.0
_AT_A_TIME = 900  # numbers of 64 digits and their quotes fit into a text of 65,535 bytes

_PUT, _DROP, _NAMES, _PULSE, _OVER = "put", "drop", "names", "pulse", "over"


@dataclass(frozen=True, eq=False)
class Note:
    """What takes a step back.

    Attributes:
        names: persons whom the step is about.
        put: (JSON of the entry, embedding) of faces that are to be there again.
        drop: ids of faces that are not to be there.
    """

    names: Sequence[str]
    put: Sequence[tuple[str, np.ndarray]] = ()
    drop: Sequence[str] = ()


class NoteRows(Protocol):
    """The collection of notes; the store knows how it is asked."""

    def write(self, entities: Sequence[dict[str, Any]]) -> None: ...
    def read(self, wanted: str, *, consistency: str) -> list[dict[str, Any]]: ...
    def delete(self, ids: Sequence[str]) -> None: ...
    def purge(self) -> None: ...


class UndoLog:
    """The notes of one transaction. It writes nothing before the first step.

    Args:
        rows: the collection of notes.
        size: D.
        host: who writes them.
    """

    def __init__(self, rows: NoteRows, *, size: int, host: str) -> None:
        self._rows = rows
        self._size = size
        self._host = host
        self._change = secrets.token_hex(16)
        self._ids: list[str] = []
        self._over = threading.Event()
        self._pulse: Optional[threading.Thread] = None
        self._last: dict[str, Any] = {}
        self.notes: list[Note] = []

    def note(self, note: Note, *, lasting: bool = True) -> None:
        """Note how the next step is taken back.

        Args:
            note: what to do then.
            lasting: on the server, too: not needed when the step is one request and the only one.
        """
        self.notes.append(note)
        if not lasting:
            return
        if self._pulse is None:
            self._beat(0)
            self._pulse = threading.Thread(target=self._go_on_beating, daemon=True)
            self._pulse.start()
        dropped = [list(note.drop[first : first + _AT_A_TIME]) for first in range(0, len(note.drop), _AT_A_TIME)]
        written = [
            *(self._row(_NAMES, {"name": name}) for name in note.names),
            *(self._row(_DROP, {"ids": ids}) for ids in dropped),
            *(self._row(_PUT, {"entry": text}, row) for text, row in note.put),
        ]
        self._ids.extend(one["id"] for one in written)
        self._rows.write(written)

    def end(self) -> None:
        """Say that it is over, changed or taken back as a whole. ``forget`` follows."""
        self._over.set()
        if self._pulse is not None:
            self._pulse.join()
            self._last = self._row(_OVER, {})
            self._rows.write([self._last])

    def forget(self) -> None:
        """Delete the notes; if that fails, the next one to change the gallery does it."""
        if self._pulse is None:
            return
        with contextlib.suppress(GalleryError):
            self._rows.delete([*self._ids, f"{self._change}-{_PULSE}"])
            self._rows.delete([self._last["id"]])
            if any(note.put for note in self.notes):
                self._rows.purge()

    def abandon(self) -> None:
        """Leave the notes to the next one who opens the gallery: the server could not be asked to take steps back."""
        self._over.set()

    def _go_on_beating(self) -> None:
        number = 1
        while not self._over.wait(_PULSE_S):
            with contextlib.suppress(GalleryError):  # the transaction itself will tell
                self._beat(number)
            number += 1

    def _beat(self, number: int) -> None:
        self._rows.write([{**self._row(_PULSE, {"number": number}), "id": f"{self._change}-{_PULSE}"}])

    def _row(self, kind: str, content: dict[str, Any], row: Optional[np.ndarray] = None) -> dict[str, Any]:
        return {
            "id": f"{self._change}-{len(self.notes):08d}-{secrets.token_hex(4)}",
            "person": kind,
            "person_key": self._change,
            "path_key": self._host,
            "entry": json.dumps(content),
            "embedding": np.zeros(self._size, np.float32) if row is None else row,
        }


def take_back(rows: NoteRows, apply: Callable[[Note], None], *, host: str, consistency: str) -> int:
    """Take back what processes that were killed have begun. The caller holds this machine's lock.

    Args:
        rows: the collection of notes.
        apply: takes one step back.
        host: this machine, whose own unfinished transactions are those of the dead.
        consistency: how fresh the look for notes must be.

    Returns:
        How many transactions were taken back, or were over without their notes being forgotten.
    """
    ended = 0
    for change in sorted({one["person_key"] for one in rows.read("", consistency=consistency)}):
        found = _of_change(rows, change)
        if not found or (found[0]["path_key"] != host and _is_alive(rows, change)):
            continue
        if not any(one["person"] == _OVER for one in found):
            for number in sorted({one["id"].split("-")[1] for one in found if one["person"] != _PULSE}, reverse=True):
                apply(_note_of([one for one in found if one["id"].split("-")[1] == number]))
        over = [one["id"] for one in found if one["person"] == _OVER]
        rows.delete([one["id"] for one in found if one["person"] != _OVER])
        rows.delete(over)
        rows.purge()
        ended += 1
    return ended


def _of_change(rows: NoteRows, change: str) -> list[dict[str, Any]]:
    return rows.read(f'person_key == "{change}"', consistency="Strong")


def _is_alive(rows: NoteRows, change: str) -> bool:
    """Tell whether somebody on another machine is at work on a transaction."""

    def state() -> list[tuple[str, str]]:
        return sorted((one["id"], one["entry"]) for one in _of_change(rows, change))

    before = state()
    deadline = time.monotonic() + DEAD_AFTER_S
    while time.monotonic() < deadline:
        time.sleep(min(0.5, DEAD_AFTER_S))
        if state() != before:
            return True
    return False


def _note_of(found: Sequence[dict[str, Any]]) -> Note:
    contents = [(one["person"], json.loads(one["entry"]), one["embedding"]) for one in found]
    return Note(
        names=[content["name"] for kind, content, _ in contents if kind == _NAMES],
        put=[(content["entry"], np.array(row, np.float32)) for kind, content, row in contents if kind == _PUT],
        drop=[number for kind, content, _ in contents if kind == _DROP for number in content["ids"]],
    )


def lock_of(server: str, collection: str) -> Path:
    """Return what processes of this machine and user lock while they change a collection."""
    folder = _folder()
    return folder / hashlib.sha256(f"{server}/{collection}".encode()).hexdigest()[:32]


def host_id() -> str:
    """Return what tells this machine (or container) from others: it is where the locks are."""
    path = _folder() / "host"
    with files.locked(path):
        if not path.exists():
            files.write_text(path, secrets.token_hex(16))
        return path.read_text()


def _folder() -> Path:
    # A container's user need not have a name, and Windows has no numbers.
    user = str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"arcface-paddle-{user}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
