"""The engine for who has PostgreSQL: exact search by pgvector, transactions and backups of the database.

``postgresql://USER:PASSWORD@HOST/DATABASE?gallery=NAME``: everything before ``gallery`` is what libpq understands. A
gallery is a schema ``arcface_NAME`` of the database (``arcface_people`` where no name is given).

What is removed is gone from the tables at once (``VACUUM FULL``, and the columns that say who somebody is have no
statistics, in which PostgreSQL keeps samples). The server's write-ahead log, its archives, replicas and backups keep
what they were given for as long as its operator has told them to.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from typing import Any, Iterator, Optional, Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError, MissingDependencyError
from arcface_paddle.pipeline.gallery import documents
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.index import check_search
from arcface_paddle.pipeline.gallery.stores.base import (
    BLOCK_FACES,
    FaceBlock,
    GalleryContract,
    GalleryStore,
    best_persons,
)
from arcface_paddle.pipeline.gallery.stores.opening import shown_uri
from arcface_paddle.types import Candidate

_DEFAULT_GALLERY = "people"
_GALLERY = re.compile(r"[a-z0-9_]{1,40}")
_FORMAT = "1"
_MOST_EXTRA = 32  # persons beyond k that are asked for, so that equally similar ones can be told apart by name
_COLUMNS = "people.name, path, sha256, box, score, created, embedding::text"
_SCHEMA = """
CREATE TABLE meta(key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE people(id bigserial PRIMARY KEY, name text COLLATE "C" UNIQUE NOT NULL, template vector({size}));
CREATE TABLE faces(id bigserial PRIMARY KEY, person bigint NOT NULL REFERENCES people(id), path text NOT NULL,
                   sha256 text NOT NULL, box text NOT NULL, score float8, created text NOT NULL,
                   embedding vector({size}) NOT NULL);
CREATE INDEX faces_of_person ON faces(person);
ALTER TABLE people ALTER name SET STATISTICS 0, ALTER template SET STATISTICS 0;
ALTER TABLE faces ALTER path SET STATISTICS 0, ALTER sha256 SET STATISTICS 0, ALTER box SET STATISTICS 0,
                  ALTER embedding SET STATISTICS 0;
"""


class PostgresStore(GalleryStore):
    """People in a schema of a PostgreSQL database. ``open`` and ``create`` make one."""

    def __init__(self, uri: str) -> None:
        self._guard = threading.RLock()
        self._inside = False
        self._address, self._schema = _parsed(uri)
        self._shown = shown_uri(uri)
        self._connection: Any = None
        try:
            with self._reported():
                contract = self._read_contract()
        except BaseException:
            self.close()
            raise
        super().__init__(self._shown, contract)

    @classmethod
    def open(cls, uri: files.PathLike) -> PostgresStore:
        """Open a gallery of a database.

        Raises:
            GalleryError: not reachable, or no such gallery.
            MissingDependencyError: psycopg is not installed.
        """
        return cls(os.fsdecode(uri))

    @classmethod
    def create(cls, uri: files.PathLike, contract: GalleryContract) -> PostgresStore:
        """Make a gallery of nobody in a database.

        Raises:
            GalleryError: not reachable, there is one already, or the server has no pgvector.
            MissingDependencyError: psycopg is not installed.
        """
        psycopg = _load_psycopg()
        text = os.fsdecode(uri)
        address, schema = _parsed(text)
        try:
            with psycopg.connect(address) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                connection.execute(f'CREATE SCHEMA "{schema}"')
                connection.execute(f'SET LOCAL search_path TO "{schema}", public')
                connection.execute(_SCHEMA.format(size=contract.embedding_size))
                for key, value in (("format", _FORMAT), ("contract", contract.to_text())):
                    connection.execute("INSERT INTO meta VALUES (%s, %s)", (key, value))
        except psycopg.errors.DuplicateSchema:
            raise GalleryError(f"{shown_uri(text)}: exists already; open it, or remove it first") from None
        except psycopg.Error as error:
            raise _refusal(shown_uri(text), error) from None
        return cls(text)

    def count(self) -> int:
        return int(self._ask("SELECT count(*) FROM faces")[0][0])

    @property
    def comparisons(self) -> int:
        return self.count() if self.decision == "best" else int(self._ask("SELECT count(*) FROM people")[0][0])

    def people(self) -> dict[str, int]:
        found = self._ask("SELECT name, count(*) FROM faces JOIN people ON people.id = person GROUP BY name")
        return dict(sorted(found))

    def blocks(self, *, name: Optional[str] = None) -> Iterator[FaceBlock]:
        last = 0
        while True:
            found = self._ask(
                f"SELECT faces.id, {_COLUMNS} FROM faces JOIN people ON people.id = person "
                "WHERE faces.id > %s AND (%s::text IS NULL OR people.name = %s) ORDER BY faces.id LIMIT %s",
                (last, name, name, BLOCK_FACES),
            )
            if not found:
                return
            last = found[-1][0]
            rows = [np.array(json.loads(line[7]), dtype=np.float32) for line in found]
            yield FaceBlock([_entry(line[1:7]) for line in found], np.stack(rows))

    def search(self, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        check_search(probes, k, embedding_size=self.embedding_size)
        if self.decision == "best":
            question = (
                "SELECT people.name, best FROM (SELECT person, max(-(embedding <#> %s::vector)) AS best FROM faces "
                "GROUP BY person) AS scored JOIN people ON people.id = person ORDER BY best DESC, name LIMIT %s"
            )
        else:
            question = (
                "SELECT name, 1 - (template <=> %s::vector) AS best FROM people WHERE template IS NOT NULL "
                "ORDER BY best DESC, name LIMIT %s"
            )
        found = []
        for probe in np.asarray(probes, dtype=np.float32):
            lines = self._ask(question, (_text_of(probe), k + _MOST_EXTRA))
            found.append(best_persons([name for name, _ in lines], np.array([cosine for _, cosine in lines]), k))
        return found

    def remove(self, name: str) -> int:
        with self.transaction():
            self._require_person(name)
            removed = self._do("DELETE FROM faces USING people WHERE people.id = person AND name = %s", (name,))
            self._do("DELETE FROM people WHERE name = %s", (name,))
            self._do("INSERT INTO meta VALUES ('to_vacuum', '') ON CONFLICT DO NOTHING")
            return removed

    def remove_picture(self, path: str) -> int:
        with self.transaction():
            shown = files.printable(path)
            persons = self._ask("SELECT DISTINCT person FROM faces WHERE path = %s", (shown,))
            if not persons:
                raise self._no_picture(path)
            removed = self._do("DELETE FROM faces WHERE path = %s", (shown,))
            self._make_templates([person for (person,) in persons])
            self._do("DELETE FROM people WHERE id NOT IN (SELECT person FROM faces)")
            self._do("INSERT INTO meta VALUES ('to_vacuum', '') ON CONFLICT DO NOTHING")
            return removed

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._guard:
            if self._inside:
                yield
                return
            with contextlib.ExitStack() as stack:
                with self._reported():
                    connection = self._connected()
                    self._vacuum(connection)  # what a process that was killed has removed and not overwritten
                    stack.enter_context(connection.transaction())
                    connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._schema,))
                self._inside = True
                try:
                    yield
                finally:
                    self._inside = False
                with self._reported():
                    stack.close()  # commits
            with self._reported():
                self._vacuum(connection)

    def drop(self) -> None:
        self._do(f'DROP SCHEMA "{self._schema}" CASCADE')

    def close(self) -> None:
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
            self._address = ""

    def _add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int:
        with self.transaction():
            names = sorted({entry.name for entry in entries})
            self._do("INSERT INTO people(name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", (names,))
            persons = dict(self._ask("SELECT name, id FROM people WHERE name = ANY(%s)", (names,)))
            columns = _COLUMNS.rpartition(",")[0]
            there = self._ask(
                f"SELECT {columns} FROM faces JOIN people ON people.id = person WHERE name = ANY(%s)", (names,)
            )
            known = {_entry(line).face_key for line in there}
            lines = []
            for entry, row in zip(entries, embeddings):
                if entry.face_key not in known:
                    known.add(entry.face_key)
                    lines.append((persons[entry.name], *_columns_of(entry), _text_of(row)))
            self._copy(lines)
            self._make_templates(list(persons.values()))
            return len(lines)

    def has(self, name: str) -> bool:
        return bool(self._ask("SELECT 1 FROM people WHERE name = %s", (name,)))

    def _rename(self, name: str, new_name: str) -> int:
        count = int(
            self._ask("SELECT count(*) FROM faces JOIN people ON people.id = person WHERE name = %s", (name,))[0][0]
        )
        target = self._ask("SELECT id FROM people WHERE name = %s", (new_name,))
        if target:
            self._do(
                "UPDATE faces SET person = %s FROM people WHERE people.id = person AND name = %s",
                (target[0][0], name),
            )
            self._do("DELETE FROM people WHERE name = %s", (name,))
            self._make_templates([target[0][0]])
        else:
            self._do("UPDATE people SET name = %s WHERE name = %s", (new_name, name))
        self._do("INSERT INTO meta VALUES ('to_vacuum', '') ON CONFLICT DO NOTHING")
        return count

    def _make_templates(self, persons: Sequence[int]) -> None:
        """Make the means of some persons anew, where they decide; pgvector compares them by direction."""
        if self.decision == "mean":
            self._do(
                "UPDATE people SET template = (SELECT avg(embedding) FROM faces WHERE person = people.id) "
                "WHERE id = ANY(%s)",
                (list(persons),),
            )

    def _copy(self, lines: Sequence[tuple[Any, ...]]) -> None:
        with self._guard, self._reported(), self._connected().cursor() as cursor:
            columns = "person, path, sha256, box, score, created, embedding"
            with cursor.copy(f"COPY faces({columns}) FROM STDIN") as copy:
                for line in lines:
                    copy.write_row(line)

    def _vacuum(self, connection: Any) -> None:
        """Write the tables anew where something was removed, so that its bytes are gone."""
        if connection.execute("SELECT 1 FROM meta WHERE key = 'to_vacuum'").fetchone():
            connection.execute("VACUUM FULL faces")
            connection.execute("VACUUM FULL people")
            connection.execute("DELETE FROM meta WHERE key = 'to_vacuum'")

    def _ask(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._guard, self._reported():
            found: list[Any] = self._connected().execute(question, tuple(values)).fetchall()
            return found

    def _do(self, command: str, values: Sequence[Any] = ()) -> int:
        with self._guard, self._reported():
            return int(self._connected().execute(command, tuple(values)).rowcount)

    def _connected(self) -> Any:
        """Return a connection that works; a server that was restarted is connected to again."""
        if not self._address:
            raise GalleryError(f"{self._shown}: the gallery was closed; open it again")
        if self._connection is not None and self._connection.closed and self._inside:
            raise GalleryError(f"{self._shown}: the connection was lost; nothing of the change was made")
        if self._connection is None or self._connection.closed:
            self._connection = _load_psycopg().connect(self._address, autocommit=True)
            self._connection.execute(f'SET search_path TO "{self._schema}", public')
            self._connection.execute(f"SET lock_timeout = '{int(files.LOCK_TIMEOUT_S)}s'")
            self._connection.execute("SET client_min_messages = warning")
        return self._connection

    def _read_contract(self) -> GalleryContract:
        there = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = 'meta'"
        if not self._connected().execute(there, (self._schema,)).fetchone():
            raise GalleryError(f"{self._shown}: cannot read the gallery: no schema {self._schema} is there")
        kept = dict(self._connected().execute("SELECT key, value FROM meta").fetchall())
        if kept.get("format") != _FORMAT:
            raise GalleryError(f"{self._shown}: of format {kept.get('format')!r}; this program reads {_FORMAT!r}")
        return GalleryContract.from_text(kept.get("contract", ""), name=self._shown)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Turn errors of the server and its client into ``GalleryError``."""
        psycopg = _load_psycopg()
        try:
            yield
        except psycopg.Error as error:
            raise _refusal(self._shown, error) from None


def _load_psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        purpose = "a gallery at 'postgresql://HOST/DATABASE'"
        raise MissingDependencyError("psycopg", extra="postgres", purpose=purpose) from None
    return psycopg


def _refusal(shown: str, error: BaseException) -> GalleryError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return GalleryError(f"{shown}: the database refuses: {lines[0]}")


def _parsed(uri: str) -> tuple[str, str]:
    """Return the address that libpq understands and the schema of ``postgresql://...?gallery=NAME``."""
    parts = urlsplit(uri)
    options = parse_qsl(parts.query, keep_blank_values=True)
    name = dict(options).get("gallery", _DEFAULT_GALLERY)
    if not _GALLERY.fullmatch(name):
        raise GalleryError(f"gallery={name!r}; allowed: 1 to 40 of a-z, 0-9 and _")
    others = urlencode([(key, value) for key, value in options if key != "gallery"])
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?' if others else ''}{others}", f"arcface_{name}"


def _text_of(row: np.ndarray) -> str:
    """Return a vector as pgvector reads it; nine digits give every float32 back as it was."""
    return "[" + ",".join(f"{value:.9g}" for value in row.tolist()) + "]"


def _columns_of(entry: GalleryEntry) -> tuple[Any, ...]:
    box = json.dumps(entry.box_xyxy)
    return files.printable(entry.path), entry.sha256, box, entry.detection_score, entry.created


def _entry(line: Sequence[Any]) -> GalleryEntry:
    name, path, sha256, box, score, created = line
    try:
        corners = documents.box_of_text(box)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise GalleryError(f"the table holds a row that is no face of this program ({error!s:.200})") from None
    return GalleryEntry(name, path, sha256, corners, score, created)
