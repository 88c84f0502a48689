"""Who is in a FAISS gallery: a SQLite database of people and faces, and a file of exact rows beside it.

The database is the truth. A face has a slot, the place of its row in the file of rows, which is written and on the disk
before the database says that the face exists; what stands in the file beyond is of no account. Every change of a face
is noted by number (never by name), so that an index in memory learns what to take in and what to drop.

What is removed is overwritten: the row with zeros, the database by writing it anew (``VACUUM``; SQLite's own
``secure_delete`` leaves copies in pages that it has split). When a process is killed between the removal and that, the
next one that opens the gallery to change it does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import zlib
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import documents, storage
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.stores.base import BLOCK_FACES, FaceBlock

DATABASE = "gallery.sqlite"
ROWS = "rows.f32"

LOCK_TIMEOUT_S = 600.0
"""How long a writer waits: who searches first makes the index, which takes minutes for millions of faces."""

_FORMAT = "arcface-paddle faiss gallery 1"
_NUMBERS_AT_A_TIME = 10_000
_LOOKED_AT = 64  # rows, from the first to the last
_KEPT_CHANGES = 100_000  # noted ones; who is further behind makes its index anew
_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE people(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL);
CREATE TABLE faces(slot INTEGER PRIMARY KEY, person INTEGER NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
                   box TEXT NOT NULL, score REAL, created TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE INDEX faces_of_person ON faces(person);
CREATE TABLE changes(number INTEGER PRIMARY KEY AUTOINCREMENT, slot INTEGER NOT NULL, person INTEGER NOT NULL);
CREATE TABLE to_wipe(slot INTEGER PRIMARY KEY);
"""


class FaceDatabase:
    """The faces of a gallery on the disk. Not locked: the store that owns it sees to that.

    Args:
        folder: of the gallery.
        size: D; 0 until it is known.
    """

    def __init__(self, folder: Path, *, size: int = 0) -> None:
        self.folder = folder
        self.size = size
        self._staged: dict[int, np.ndarray] = {}
        self._mapped = np.zeros((0, max(size, 1)), np.float32)
        self._files = self._files_now()
        with self.reported():
            self.sql = sqlite3.connect(
                str(folder / DATABASE), timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self.sql.execute("PRAGMA secure_delete = ON")
            self.sql.execute("PRAGMA synchronous = FULL")

    @classmethod
    def create(cls, folder: Path, *, contract: str, size: int) -> None:
        """Write the database of a gallery of nobody into an empty folder."""
        made = cls(folder, size=size)
        with contextlib.closing(made), made.reported():
            made.sql.executescript(_SCHEMA)
            values = [("format", _FORMAT), ("contract", contract)]
            made.sql.executemany("INSERT INTO meta VALUES (?, ?)", values)
            (folder / ROWS).touch()

    def is_in_place(self) -> bool:
        """Tell whether the folder has the files still that were opened, and not others by now, or none."""
        return self._files == self._files_now()

    def _files_now(self) -> list[tuple[int, int]]:
        found = []
        for name in (DATABASE, ROWS):
            with self.reported(), contextlib.suppress(FileNotFoundError):
                status = (self.folder / name).stat()
                found.append((status.st_dev, status.st_ino))
        return found

    def close(self) -> None:
        """Let go of the files."""
        self.sql.close()

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """Turn errors of SQLite and the disk into ``GalleryError``."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                waited = f"another process has been changing it for {LOCK_TIMEOUT_S:g} s"
                raise GalleryError(f"{self.folder}: cannot change the gallery: {waited}; wait, or end it") from None
            raise GalleryError(f"{self.folder}: cannot read or write the gallery: {error}") from None
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of messages that quote what is damaged
            raise GalleryError(f"{self.folder}: damaged gallery ({error}); restore it from a backup") from None
        except OSError as error:
            raise GalleryError(f"{self.folder}: cannot read or write the gallery: {error.strerror or error}") from None

    def meta(self, key: str) -> Optional[str]:
        """Return what the gallery records under a key; None when it does not."""
        found = self.sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def set_meta(self, key: str, value: str) -> None:
        self.sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def require_format(self) -> None:
        """Raise ``GalleryError`` when the database is that of something else."""
        found = self.meta("format")
        if found != _FORMAT:
            raise GalleryError(f"{self.folder}: of format {found!r}; this program reads {_FORMAT!r}")

    def begin_change(self) -> None:
        """Keep other writers out until ``commit`` or ``roll_back``."""
        self.sql.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Put the rows on the disk, then everything else in one step."""
        if self._staged:
            with (self.folder / ROWS).open("r+b") as stream:
                self._require_rows(stream.seek(0, os.SEEK_END) // (4 * self.size), self._slots_before())
                stream.truncate(4 * self.size * self._slots_before())  # rows of a process that was killed
                for slot, row in sorted(self._staged.items()):
                    stream.seek(4 * self.size * slot)
                    stream.write(row.astype("<f4").tobytes())
                stream.flush()
                os.fsync(stream.fileno())
        oldest = self.last_change() - _KEPT_CHANGES
        self.sql.execute("DELETE FROM changes WHERE number <= ?", (oldest,))
        self.sql.execute("COMMIT")
        self._staged.clear()

    def roll_back(self) -> None:
        """Undo what was done since ``begin_change``."""
        self._staged.clear()
        if self.sql.in_transaction:
            self.sql.execute("ROLLBACK")

    def wipe(self) -> None:
        """Overwrite what was removed, so that its bytes are gone."""
        slots = [slot for (slot,) in self.sql.execute("SELECT slot FROM to_wipe")]
        if not slots:
            return
        with (self.folder / ROWS).open("r+b") as stream:
            last = stream.seek(0, os.SEEK_END) // (4 * self.size)
            for slot in slots:
                if 0 <= slot < last:
                    stream.seek(4 * self.size * slot)
                    stream.write(bytes(4 * self.size))
            stream.flush()
            os.fsync(stream.fileno())
        self.sql.execute("DELETE FROM to_wipe")
        self.sql.execute("VACUUM")

    def count(self) -> int:
        return int(self.sql.execute("SELECT count(*) FROM faces").fetchone()[0])

    def count_people(self) -> int:
        return int(self.sql.execute("SELECT count(*) FROM people").fetchone()[0])

    def people(self) -> dict[str, int]:
        """Return how many faces each person has, in the order of names."""
        found = self.sql.execute(
            "SELECT name, count(*) FROM faces JOIN people ON people.id = faces.person GROUP BY person"
        ).fetchall()
        return dict(sorted(found))

    def person(self, name: str) -> Optional[int]:
        """Return a person's number; None when there is nobody of that name."""
        found = self.sql.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
        return None if found is None else int(found[0])

    def names(self, persons: Sequence[int]) -> dict[int, str]:
        """Return the names of some persons by their numbers."""
        return dict(self._of_numbers("SELECT id, name FROM people WHERE id IN ({})", persons))

    def add(self, entries: Sequence[GalleryEntry], rows: np.ndarray) -> int:
        """Add the faces that are not there yet; returns how many that were."""
        known = {name: self._faces_of(name) for name in {entry.name for entry in entries}}
        slot = first = self._next_slot()
        for entry, row in zip(entries, rows):
            if entry.face_key in known[entry.name]:
                continue
            known[entry.name].add(entry.face_key)
            person = self._person_for(entry.name)
            box = json.dumps(entry.box_xyxy)
            checksum = zlib.crc32(row.astype("<f4").tobytes())
            texts = (files.printable(entry.path), entry.sha256, box, entry.detection_score, entry.created, checksum)
            self.sql.execute("INSERT INTO faces VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (slot, person, *texts))
            self._staged[slot] = np.array(row)
            slot += 1
        self.sql.execute("INSERT INTO changes(slot, person) SELECT slot, person FROM faces WHERE slot >= ?", (first,))
        return slot - first

    def remove(self, condition: str, value: object) -> int:
        """Remove faces (``condition`` over the table ``faces``, with one ``?``) and people who have none then."""
        chosen = f"FROM faces WHERE {condition}"
        self.sql.execute(f"INSERT INTO changes(slot, person) SELECT slot, person {chosen}", (value,))
        self.sql.execute(f"INSERT OR IGNORE INTO to_wipe SELECT slot {chosen}", (value,))
        removed = self.sql.execute(f"DELETE {chosen}", (value,)).rowcount
        self.sql.execute("DELETE FROM people WHERE id NOT IN (SELECT person FROM faces)")
        return removed

    def rename(self, name: str, new_name: str) -> int:
        """Call a person something else; returns how many faces they have."""
        person, target = self.person(name), self.person(new_name)
        count = int(self.sql.execute("SELECT count(*) FROM faces WHERE person = ?", (person,)).fetchone()[0])
        if target is None:
            self.sql.execute("UPDATE people SET name = ? WHERE id = ?", (new_name, person))
            return count
        for who in (person, target):  # so that both of their templates are made anew
            self.sql.execute(
                "INSERT INTO changes(slot, person) SELECT slot, ? FROM faces WHERE person = ?", (who, person)
            )
        self.sql.execute("UPDATE faces SET person = ? WHERE person = ?", (target, person))
        self.sql.execute("DELETE FROM people WHERE id = ?", (person,))
        return count

    def last_change(self) -> int:
        """Return the number of the last noted change."""
        found = self.sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
        return 0 if found is None else int(found[0])

    def changes_since(self, number: int) -> Optional[tuple[np.ndarray, np.ndarray]]:
        """Return the slots and persons that changed after change ``number``; None when that is not known any more."""
        oldest = self.sql.execute("SELECT min(number) FROM changes").fetchone()[0]
        if oldest is None or oldest > number + 1:
            return None
        found = self.sql.execute("SELECT slot, person FROM changes WHERE number > ?", (number,)).fetchall()
        table = np.array(found, dtype=np.int64).reshape(-1, 2)
        return np.unique(table[:, 0]), np.unique(table[:, 1])

    def persons_of(self, slots: np.ndarray) -> dict[int, int]:
        """Return whose the faces in some slots are; empty slots are left out."""
        return dict(self._of_numbers("SELECT slot, person FROM faces WHERE slot IN ({})", slots.tolist()))

    def slots_by_person(self, *, first: int = 0, most: int = -1) -> np.ndarray:
        """Return (N, 2) int64 persons and slots, ordered, of persons from ``first`` on; ``most`` faces (-1: all)."""
        found = self.sql.execute(
            "SELECT person, slot FROM faces WHERE person >= ? ORDER BY person, slot LIMIT ?", (first, most)
        ).fetchall()
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def slots_of(self, persons: np.ndarray) -> np.ndarray:
        """Return (N, 2) int64 persons and slots, ordered, of some persons, whose numbers ascend."""
        question = "SELECT person, slot FROM faces WHERE person IN ({}) ORDER BY person, slot"
        return np.array(list(self._of_numbers(question, persons.tolist())), dtype=np.int64).reshape(-1, 2)

    def rows(self, slots: np.ndarray) -> np.ndarray:
        """Return (N, D) float32, the exact embeddings in some slots.

        Raises:
            GalleryError: the file of rows is shorter than it must be.
        """
        wanted = int(slots.max()) + 1 if len(slots) else 0
        if self._staged:
            return np.stack([self._row(int(slot)) for slot in slots]) if len(slots) else self._mapped[:0]
        self._map(wanted)
        return np.asarray(self._mapped[slots])

    def blocks(self, *, person: Optional[int] = None, path: Optional[str] = None) -> Iterator[FaceBlock]:
        """Give the faces in the order of their slots, each row checked; only those of a person, or of a picture.

        Raises:
            GalleryError: a row is not what was written.
        """
        last, who = -1, "" if person is None else f"AND person = {person}"
        while True:
            with self.reported():
                found = self.sql.execute(
                    "SELECT slot, name, path, sha256, box, score, created, checksum FROM faces JOIN people "
                    "ON people.id = faces.person "
                    f"WHERE slot > ? AND (? IS NULL OR path = ?) {who} ORDER BY slot LIMIT ?",
                    (last, path, path, BLOCK_FACES),
                ).fetchall()
            if not found:
                return
            if found[-1][0] <= last:  # a damaged tree of SQLite leads round and round
                raise GalleryError(f"{self.folder}: damaged gallery (rows out of order); restore it from a backup")
            last = found[-1][0]
            rows = self.rows(np.array([line[0] for line in found], dtype=np.int64))
            for line, row in zip(found, rows):
                if zlib.crc32(row.astype("<f4").tobytes()) != line[7]:
                    raise GalleryError(f"{self.folder}: damaged gallery (row {line[0]}); restore it from a backup")
            yield FaceBlock([_entry(line[1:7]) for line in found], rows)

    def require_matching_rows(self) -> None:
        """Raise ``GalleryError`` when some rows are not those that the database means.

        Who puts another gallery in place moves one file after the other.
        """
        slots = self.slots_by_person()[:, 1]
        chosen = np.unique(slots[np.linspace(0, len(slots) - 1, _LOOKED_AT, dtype=np.int64)]) if len(slots) else slots
        checksums = dict(self._of_numbers("SELECT slot, checksum FROM faces WHERE slot IN ({})", chosen.tolist()))
        for slot, row in zip(chosen.tolist(), self.rows(chosen)):
            if zlib.crc32(row.astype("<f4").tobytes()) != checksums[slot]:
                raise GalleryError(f"{self.folder}: damaged gallery (row {slot}); restore it from a backup")

    def _of_numbers(self, question: str, numbers: Sequence[int]) -> Iterator[tuple[Any, Any]]:
        """Ask about any number of numbers; a question may have a million characters."""
        for first in range(0, len(numbers), _NUMBERS_AT_A_TIME):
            listed = ",".join(str(int(number)) for number in numbers[first : first + _NUMBERS_AT_A_TIME])
            yield from self.sql.execute(question.format(listed)).fetchall()

    def _row(self, slot: int) -> np.ndarray:
        if slot in self._staged:
            return self._staged[slot]
        self._map(slot + 1)
        return np.asarray(self._mapped[slot])

    def _map(self, slots: int) -> None:
        """Map the file of rows so far that it has ``slots`` of them."""
        if len(self._mapped) >= slots and storage.is_whole(self._mapped):
            return
        path = self.folder / ROWS
        with self.reported():
            there = path.stat().st_size // (4 * self.size)
            self._require_rows(there, slots)
            self._mapped = np.memmap(path, dtype="<f4", mode="r", shape=(there, self.size))

    def _require_rows(self, there: int, slots: int) -> None:
        if there < slots:
            place = self.folder / ROWS
            raise GalleryError(
                f"{place}: has {there:,} rows of {slots:,}; it is cut off: restore the gallery from a backup"
            )

    def _slots_before(self) -> int:
        """Return how many slots were in use before the staged faces."""
        return min(self._staged)

    def _next_slot(self) -> int:
        last = self.sql.execute("SELECT max(slot) FROM faces").fetchone()[0]
        waiting = self.sql.execute("SELECT max(slot) FROM to_wipe").fetchone()[0]
        return max(-1 if last is None else last, -1 if waiting is None else waiting) + 1

    def _person_for(self, name: str) -> int:
        person = self.person(name)
        if person is None:
            person = self.sql.execute("INSERT INTO people(name) VALUES (?)", (name,)).lastrowid
        assert person is not None, "an insertion has a number"
        return person

    def _faces_of(self, name: str) -> set[tuple[object, ...]]:
        """Return the keys of a person's faces."""
        found = self.sql.execute(
            "SELECT name, path, sha256, box, score, created FROM faces JOIN people ON people.id = faces.person "
            "WHERE name = ?",
            (name,),
        )
        return {_entry(line).face_key for line in found}


def _entry(line: Sequence[object]) -> GalleryEntry:
    name, path, sha256, box, score, created = line
    try:
        return GalleryEntry(
            name=str(name),
            path=str(path),
            sha256=str(sha256),
            box_xyxy=documents.box_of_text(str(box)),
            detection_score=None if score is None else float(str(score)),
            created=str(created),
        )
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise GalleryError(f"damaged gallery: a row is no face of this program ({error!s:.200})") from None
