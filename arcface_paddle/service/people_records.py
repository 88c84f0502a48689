"""What is known of people beside their faces: id, consent, expiry, where wished crops. One small SQLite file.

A gallery calls people by their names, which change and are given again; over HTTP a person has an id that does not
change. Every change is on disk when its call returns, and what is deleted is overwritten in the file.

Where gallery files are encrypted (see ``pipeline.gallery.keys``), names, notes and crops are, too: what was written in
plain text or with an older key before is encrypted with the present one when the file is opened.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import sqlite3
import threading
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Iterable, Iterator, Optional, Sequence, Union

from arcface_paddle.errors import GalleryError
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline.gallery.keys import known_keys
from arcface_paddle.pipeline.gallery.sealing import TextCipher, opened_text
from arcface_paddle.service.errors import NameTakenError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, consent TEXT, expires TEXT, created TEXT NOT NULL, renaming TEXT
);
CREATE TABLE IF NOT EXISTS faces (id TEXT NOT NULL, person TEXT NOT NULL, quality REAL, PRIMARY KEY (person, id));
CREATE TABLE IF NOT EXISTS crops (
    id TEXT NOT NULL, person TEXT NOT NULL, base64 TEXT NOT NULL, PRIMARY KEY (person, id)
);
"""
_COLUMNS = "id, name, consent, expires, created"
_SEALED = {"people": ("name", "consent", "renaming"), "crops": ("base64",)}
"""What is encrypted where gallery files are."""
_Kept = Union[str, bytes]
"""A text as the file has it: encrypted ones are bytes, so that no text can be taken for one."""
_READ = "id, opened(name), opened(consent), expires, created"


@dataclass(frozen=True)
class PersonRecord:
    """A person.

    Attributes:
        id: 32 hexadecimal digits.
        name: as in the gallery.
        consent: a note on who agreed to what; None for none.
        expires: when the person is to be removed, UTC, ``2027-01-31T00:00:00Z``; None for never.
        created: likewise, when the record was made.
    """

    id: str
    name: str
    consent: Optional[str]
    expires: Optional[str]
    created: str


class PeopleRecords:
    """The records of a gallery's people; may be used from several threads.

    Raises:
        GalleryError: the file cannot be opened, or is none of ours.
    """

    def __init__(self, path: PathLike) -> None:
        self._path = path
        self._guard = threading.RLock()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA secure_delete = ON")
            self._database.create_function("folded", 1, str.casefold, deterministic=True)
            self._database.create_function("opened", 1, self._opened)
            self._database.executescript(_SCHEMA)
            known = known_keys()
            self._cipher = TextCipher(known[0]) if known else None
            self._seal_all()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise GalleryError(f"{path}: cannot be used for the records of people: {error}") from None
        except GalleryError:
            self._database.close()
            raise

    def close(self) -> None:
        with self._guard:
            self._database.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several changes one, which is on disk when the block ends; a block inside of another is part of it."""
        with self._asked():
            if self._database.in_transaction:
                yield
                return
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                yield

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """Keep other threads out, and turn what SQLite says of a damaged file into ``GalleryError``."""
        with self._guard:
            try:
                yield
            except sqlite3.IntegrityError:  # a name that is taken, which the caller explains
                raise
            except (sqlite3.Error, UnicodeDecodeError, binascii.Error) as error:
                raise GalleryError(f"{self._path}: damaged records of people ({error}); restore the file") from None

    def by_id(self, person_id: str) -> Optional[PersonRecord]:
        return self._one("WHERE id = ?", person_id)

    def by_name(self, name: str) -> Optional[PersonRecord]:
        return self._one("WHERE name = ?", self._sealed(name))

    def page(self, *, search: str, offset: int, limit: int) -> tuple[int, list[PersonRecord]]:
        """Return how many people's names contain ``search``, in any case, and some of them in the order of names."""
        where, values = "WHERE instr(folded(opened(name)), ?)", (search.casefold(),)
        with self._asked():
            total = self._database.execute(f"SELECT count(*) FROM people {where}", values).fetchone()[0]
            rows = self._database.execute(
                f"SELECT {_READ} FROM people {where} ORDER BY opened(name) LIMIT ? OFFSET ?", (*values, limit, offset)
            ).fetchall()
        return total, [PersonRecord(*row) for row in rows]

    def expired(self, now: str) -> list[PersonRecord]:
        """Return the people whose time is over."""
        return self._many("WHERE expires IS NOT NULL AND expires <= ?", now)

    def create(self, name: str, *, consent: Optional[str] = None, expires: Optional[str] = None) -> PersonRecord:
        """Make a record. Raises ``NameTakenError``."""
        record = PersonRecord(uuid.uuid4().hex, name, consent, expires, utc_now())
        try:
            self._change(
                f"INSERT INTO people ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
                (record.id, self._sealed(name), self._sealed_or_none(consent), expires, record.created),
            )
        except sqlite3.IntegrityError:
            raise NameTakenError(f"there is a person {name!r} already") from None
        return record

    def adopt(self, names: Iterable[str]) -> None:
        """Make records for people of the gallery who have none, such as those of a gallery made elsewhere."""
        now = utc_now()
        rows = [(uuid.uuid4().hex, self._sealed(name), now) for name in names]
        with self.transaction():
            self._database.executemany("INSERT OR IGNORE INTO people (id, name, created) VALUES (?, ?, ?)", rows)

    def names_without_record(self, names: Sequence[str]) -> list[str]:
        """Return those of some names that nobody has."""
        with self._asked():
            known = {row[0] for row in self._database.execute("SELECT opened(name) FROM people")}
        return [name for name in names if name not in known]

    def annotate(self, person_id: str, *, consent: Optional[str], expires: Optional[str]) -> None:
        """Replace consent and expiry."""
        self._change(
            "UPDATE people SET consent = ?, expires = ? WHERE id = ?",
            (self._sealed_or_none(consent), expires, person_id),
        )

    def begin_renaming(self, person_id: str, new_name: str) -> None:
        """Note that the gallery is about to be changed, so that a crash in between can be made good."""
        self._change("UPDATE people SET renaming = ? WHERE id = ?", (self._sealed(new_name), person_id))

    def end_renaming(self, person_id: str, name: str) -> None:
        """Give the person the name that the gallery has now. Raises ``NameTakenError``."""
        try:
            self._change("UPDATE people SET name = ?, renaming = NULL WHERE id = ?", (self._sealed(name), person_id))
        except sqlite3.IntegrityError:
            raise NameTakenError(f"there is a person {name!r} already") from None

    def unfinished_renamings(self) -> list[tuple[PersonRecord, str]]:
        """Return the people whose renaming was begun and not ended, with the new names."""
        with self._asked():
            rows = self._database.execute(
                f"SELECT {_READ}, opened(renaming) FROM people WHERE renaming IS NOT NULL"
            ).fetchall()
        return [(PersonRecord(*row[:-1]), row[-1]) for row in rows]

    def remove(self, person_id: str) -> None:
        """Remove a person, the notes on their faces, and the crops."""
        with self.transaction():
            self._database.execute("DELETE FROM faces WHERE person = ?", (person_id,))
            self._database.execute("DELETE FROM crops WHERE person = ?", (person_id,))
            self._database.execute("DELETE FROM people WHERE id = ?", (person_id,))

    def note_qualities(self, person_id: str, qualities: Sequence[tuple[str, Optional[float]]]) -> None:
        """Record how good pictures are: (id of the face, quality 0 to 1) each."""
        rows = [(face_id, person_id, quality) for face_id, quality in qualities]
        with self.transaction():
            self._database.executemany("INSERT OR REPLACE INTO faces (id, person, quality) VALUES (?, ?, ?)", rows)

    def qualities(self, person_id: str) -> dict[str, Optional[float]]:
        """Return what ``note_qualities`` recorded of a person's faces."""
        with self._asked():
            rows = self._database.execute("SELECT id, quality FROM faces WHERE person = ?", (person_id,))
            return dict(rows.fetchall())

    def keep_crops(self, person_id: str, crops: Sequence[tuple[str, bytes]]) -> None:
        """Keep small pictures: (id of the face, JPEG) each."""
        rows = [(face_id, person_id, self._sealed(base64.b64encode(jpeg).decode())) for face_id, jpeg in crops]
        with self.transaction():
            self._database.executemany("INSERT OR REPLACE INTO crops (id, person, base64) VALUES (?, ?, ?)", rows)

    def crops(self, person_id: str) -> dict[str, bytes]:
        """Return the small pictures of a person's faces."""
        with self._asked():
            rows = self._database.execute(
                "SELECT id, opened(base64) FROM crops WHERE person = ?", (person_id,)
            ).fetchall()
            return {face_id: base64.b64decode(text or "") for face_id, text in rows}

    def best_crops(self, person_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the small picture of the best face of each of some people who have one."""
        question = (
            "SELECT opened(base64) FROM crops LEFT JOIN faces USING (person, id) WHERE person = ? "
            "ORDER BY quality DESC LIMIT 1"
        )
        with self._asked():
            found = {one: self._database.execute(question, (one,)).fetchone() for one in person_ids}
            return {one: base64.b64decode(row[0] or "") for one, row in found.items() if row is not None}

    def forget_crops(self) -> None:
        """Remove all small pictures."""
        self._change("DELETE FROM crops", ())

    def move_faces(self, person_id: str, into: str) -> None:
        """Make what is known of a person's faces that of another."""
        with self.transaction():
            for table in ("faces", "crops"):
                statement = f"UPDATE OR REPLACE {table} SET person = ? WHERE person = ?"
                self._database.execute(statement, (into, person_id))

    def forget_face(self, person_id: str, face_id: str) -> None:
        with self.transaction():
            for table in ("faces", "crops"):
                self._database.execute(f"DELETE FROM {table} WHERE person = ? AND id = ?", (person_id, face_id))

    def _sealed(self, text: str) -> _Kept:
        return text if self._cipher is None else self._cipher.seal(text)

    def _sealed_or_none(self, text: Optional[str]) -> Optional[_Kept]:
        return None if text is None else self._sealed(text)

    def _opened(self, kept: Optional[_Kept]) -> Optional[str]:
        if not isinstance(kept, bytes) or self._cipher is None:
            return None if kept is None else str(kept)
        return self._cipher.open(kept, name=str(self._path))

    def _seal_all(self) -> None:
        """Encrypt what is not, or with another key than the present one.

        Raises:
            GalleryError: the key of what is encrypted is not known.
        """
        with self.transaction():
            changed = [self._seal_columns(table, columns) for table, columns in _SEALED.items()]
        if any(changed):
            self._database.execute("VACUUM")  # SQLite leaves copies in pages that it has split

    def _seal_columns(self, table: str, columns: tuple[str, ...]) -> int:
        """Encrypt columns of a table; returns how many rows were not as they should be."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        last, changed = 0, 0
        while True:
            rows = self._database.execute(
                f"SELECT rowid, {', '.join(columns)} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT 1000", (last,)
            ).fetchall()
            if not rows:
                return changed
            if rows[-1][0] <= last:  # a damaged tree of SQLite leads round and round
                raise sqlite3.DatabaseError("rows out of order")
            last = rows[-1][0]
            for row_id, *texts in rows:
                wanted = [None if text is None else self._sealed(self._text_of(text)) for text in texts]
                if wanted != texts:
                    self._database.execute(f"UPDATE {table} SET {assignments} WHERE rowid = ?", (*wanted, row_id))
                    changed += 1

    def _text_of(self, kept: _Kept) -> str:
        """Return a text that may be encrypted with any of the known keys."""
        return opened_text(kept, name=str(self._path)) if isinstance(kept, bytes) else kept

    def _change(self, statement: str, values: tuple[Optional[_Kept], ...]) -> None:
        with self._asked():
            self._database.execute(statement, values)

    def _one(self, where: str, value: _Kept) -> Optional[PersonRecord]:
        found = self._many(where, value)
        return found[0] if found else None

    def _many(self, where: str, value: _Kept) -> list[PersonRecord]:
        with self._asked():
            rows = self._database.execute(f"SELECT {_READ} FROM people {where}", (value,)).fetchall()
        return [PersonRecord(*row) for row in rows]


def utc_now() -> str:
    """Return the time as it is recorded."""
    return as_utc(datetime.now(timezone.utc))


def as_utc(moment: datetime) -> str:
    """Return a moment as it is recorded; one that names no zone is in UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    return aware.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
