"""The engine for a Milvus server or cluster.

``milvus://HOST:19530/COLLECTION``, with ``USER:PASSWORD@`` or ``?token=``, ``?db=``, ``?tls=1``, ``?index=HNSW`` (for a
new collection; FLAT, which is exact, without it) and ``?consistency=``. A collection holds one entity a face; where the
mean of a person's pictures decides, a second one, ``COLLECTION_templates``, holds one a person.

Milvus has no transactions; how a change of several steps is whole or nothing all the same, see ``milvus_undo``. What
the others see meanwhile is not that: searches of other processes find what is half done, and only those of one machine
and user keep each other from changing the gallery. Faces have numbers made of what they are (person, picture, box), so
that two who add the same one do not double it, and a person who is renamed is there under the new name before the old
one goes. What is removed is found by no search from then on; its bytes leave the server's storage with the compaction
that is asked for, when Milvus collects its garbage (``dataCoord.gc.dropTolerance``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError, MissingDependencyError
from arcface_paddle.pipeline.gallery import documents
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.index import check_search, normalize_rows
from arcface_paddle.pipeline.gallery.stores import milvus_undo
from arcface_paddle.pipeline.gallery.stores.base import FaceBlock, GalleryContract, GalleryStore, best_persons
from arcface_paddle.pipeline.gallery.stores.milvus_undo import Note, UndoLog
from arcface_paddle.types import Candidate

TIMEOUT_S = 60.0
"""How long a call waits for the server."""

_FORMAT = "arcface-paddle gallery 1"
_TEXT_BYTES = 65_535  # most that a field of text can hold
_LEAST_FOUND = 64  # faces that are asked for first, or 8 for each person
_MOST_FOUND = 16_384  # most that Milvus gives for a search
_INSERTED = 1000  # faces a call: 1.3 MB of 320 numbers, of the 64 MB that a call may have
_READ = 1000
_INDEXES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "FLAT": ({}, {}),
    "HNSW": ({"M": 32, "efConstruction": 200}, {"ef": 256}),
    "IVF_SQ8": ({"nlist": 4096}, {"nprobe": 64}),
    "IVF_FLAT": ({"nlist": 4096}, {"nprobe": 64}),
}
"""Parameters of the making and of the search of an index; that of HNSW is raised to what is asked for."""
_CONSISTENCIES = ("Strong", "Session", "Bounded", "Eventually")


class MilvusStore(GalleryStore):
    """People in a collection of a Milvus server. ``open`` and ``create`` make one."""

    def __init__(self, uri: str) -> None:
        self._guard = threading.RLock()
        self._undo: Optional[UndoLog] = None
        self._address = _Address.of(uri)
        self._faces, self._templates = self._address.collection, f"{self._address.collection}_templates"
        self._client: Any = None
        with self._reported():
            self._client = self._address.connect()
            if not self._client.has_collection(self._faces):
                self._client.close()
                raise GalleryError(f"{self._address.shown}: cannot read the gallery: no such collection")
            described = _described(self._client.describe_collection(self._faces)["description"])
            if described.get("format") != _FORMAT:
                self._client.close()
                raise GalleryError(f"{self._address.shown}: the collection is no gallery of this program")
        super().__init__(
            self._address.shown, GalleryContract.from_text(described["contract"], name=self._address.shown)
        )
        self._index = str(described["index"])
        self._notes = _NoteRows(self, f"{self._faces}_undo")
        if self._notes.are_there() and self._notes.read("", consistency="Strong"):
            # Who holds the lock is at work, and does not need help.
            with contextlib.suppress(OSError), files.locked(self._lock(), timeout_s=0.5):
                self._take_back(consistency="Strong")

    @classmethod
    def open(cls, uri: files.PathLike) -> MilvusStore:
        """Open a collection.

        Raises:
            GalleryError: not reachable, no such collection, or one of something else.
            MissingDependencyError: pymilvus is not installed.
        """
        return cls(os.fsdecode(uri))

    @classmethod
    def create(cls, uri: files.PathLike, contract: GalleryContract) -> MilvusStore:
        """Make a collection of nobody.

        Raises:
            GalleryError: not reachable, or there is one already.
            MissingDependencyError: pymilvus is not installed.
        """
        address = _Address.of(os.fsdecode(uri))
        index = address.options.get("index", "FLAT").upper()
        if index not in _INDEXES:
            raise GalleryError(f"index={index!r}; allowed: {', '.join(_INDEXES)}")
        described = json.dumps({"format": _FORMAT, "contract": contract.to_text(), "index": index})
        with _reported(address.shown), contextlib.closing(address.connect()) as client:
            if client.has_collection(address.collection):
                raise GalleryError(f"{address.shown}: exists already; open it, or remove it first")
            if contract.decision == "mean":
                name = f"{address.collection}_templates"
                _make_collection(client, name, "templates", size=contract.embedding_size, index=index)
            _make_collection(client, address.collection, described, size=contract.embedding_size, index=index)
        return cls(os.fsdecode(uri))

    def count(self) -> int:
        with self._reported():
            found = self._client.query(
                self._faces, filter="", output_fields=["count(*)"], consistency_level=self._address.consistency
            )
            return int(found[0]["count(*)"])

    def people(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for batch in self._read("", ["person"]):
            for one in batch:
                counts[one["person"]] = counts.get(one["person"], 0) + 1
        return {name: counts[name] for name in sorted(counts)}

    def blocks(self, *, name: Optional[str] = None) -> Iterator[FaceBlock]:
        wanted = "" if name is None else _of_person(name)
        for batch in self._read(wanted, ["entry", "embedding"]):
            rows = np.array([one["embedding"] for one in batch], dtype=np.float32)
            yield FaceBlock([_entry(one["entry"]) for one in batch], rows)

    def search(self, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        check_search(probes, k, embedding_size=self.embedding_size)
        found: list[tuple[Candidate, ...]] = [()] * len(probes)
        rows = np.asarray(probes, dtype=np.float32)
        open_ones = list(range(len(rows)))
        limit = min(max(_LEAST_FOUND, 8 * k), _MOST_FOUND)
        while open_ones:
            answers = self._nearest(rows[open_ones], limit)
            still = []
            for which, (names, cosines) in zip(open_ones, answers):
                found[which] = best_persons(names, cosines, k)
                # One more person than asked for: then all that are as similar as the last one were seen.
                if len(names) == limit < _MOST_FOUND and len(set(names)) <= k:
                    still.append(which)
            open_ones, limit = still, min(4 * limit, _MOST_FOUND)
        return found

    def remove(self, name: str) -> int:
        with self.transaction():
            self._require_person(name)
            removed = self._delete(_of_person(name))
            self._make_template(name)
            return removed

    def remove_picture(self, path: str) -> int:
        with self.transaction():
            wanted = f'path_key == "{_digest(path)}"'
            names = {one["person"] for batch in self._read(wanted, ["person"]) for one in batch}
            if not names:
                raise self._no_picture(path)
            removed = self._delete(wanted)
            for name in names:
                self._make_template(name)
            return removed

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._guard:
            if self._undo is not None:
                yield
                return
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(files.locked(self._lock()))
                    log = UndoLog(self._notes, size=self.embedding_size, host=milvus_undo.host_id())
                except OSError as error:
                    raise GalleryError(
                        f"{self._address.shown}: cannot change the gallery: {error.strerror or error}"
                    ) from None
                self._notes.make()
                self._take_back(consistency="Eventually")  # at once; "Strong" waits for the server's clock
                self._undo = log
                try:
                    yield
                    log.end()
                except BaseException:
                    self._roll_back(log)
                    raise
                finally:
                    self._undo = None
                if any(note.put for note in log.notes):
                    with contextlib.suppress(GalleryError):  # it is made; the note that says so is not deleted yet
                        self._purge()
                log.forget()

    def _roll_back(self, log: UndoLog) -> None:
        try:
            for note in reversed(log.notes):
                self._apply(note)
            log.end()
        except BaseException:
            log.abandon()
            raise
        log.forget()

    def _lock(self) -> Path:
        return milvus_undo.lock_of(self._address.server, self._faces)

    def _take_back(self, *, consistency: str) -> None:
        host = milvus_undo.host_id()
        if milvus_undo.take_back(self._notes, self._apply, host=host, consistency=consistency):
            self._purge()

    def _apply(self, note: Note) -> None:
        """Take one step back."""
        with self._reported():
            for first in range(0, len(note.drop), _INSERTED):
                self._client.delete(self._faces, ids=list(note.drop[first : first + _INSERTED]))
            entities = [_entity(_entry(text), row) for text, row in note.put]
            for first in range(0, len(entities), _INSERTED):
                self._client.upsert(self._faces, entities[first : first + _INSERTED])
        for name in note.names:
            self._make_template(name)

    def drop(self) -> None:
        with self._guard, self._reported():
            for name in (self._templates, f"{self._faces}_undo", self._faces):  # the last one is what makes a gallery
                if self._client.has_collection(name):
                    self._client.drop_collection(name)

    def close(self) -> None:
        with self._guard:
            client, self._client = self._client, None
            if client is not None:
                client.close()

    def _add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int:
        is_alone = self._undo is None
        with self.transaction():
            entities: dict[str, dict[str, Any]] = {}
            for entry, row in zip(entries, embeddings):
                entity = _entity(entry, row)
                entities.setdefault(entity["id"], entity)
            numbers = list(entities)
            for first in range(0, len(numbers), _INSERTED):
                block = numbers[first : first + _INSERTED]
                for one in self._get(block):
                    del entities[one["id"]]
            is_one_request = is_alone and self.decision == "best" and len(entities) <= _INSERTED
            self._insert(list(entities.values()), lasting=not is_one_request)
            for name in sorted({entity["person"] for entity in entities.values()}):
                self._make_template(name)
            return len(entities)

    def has(self, name: str) -> bool:
        with self._reported():
            return bool(
                self._client.query(
                    self._faces,
                    filter=_of_person(name),
                    output_fields=["id"],
                    limit=1,
                    consistency_level=self._address.consistency,
                )
            )

    def _rename(self, name: str, new_name: str) -> int:
        faces = [one for batch in self._read(_of_person(name), ["id", "entry", "embedding"]) for one in batch]
        entities = [
            _entity(replace(_entry(one["entry"]), name=new_name), np.array(one["embedding"], np.float32))
            for one in faces
        ]
        self._insert(entities)
        self._delete(_of_person(name))
        for who in (new_name, name):
            self._make_template(who)
        return len(faces)

    def _insert(self, entities: Sequence[dict[str, Any]], *, lasting: bool = True) -> None:
        """Insert faces that are not there; ``lasting``: note on the server how it is taken back."""
        if not entities:
            return
        names = sorted({entity["person"] for entity in entities})
        self._before(Note(names, drop=[entity["id"] for entity in entities]), lasting=lasting)
        with self._reported():
            for first in range(0, len(entities), _INSERTED):
                self._client.upsert(self._faces, list(entities[first : first + _INSERTED]))

    def _delete(self, wanted: str) -> int:
        """Delete faces; in a transaction they are kept until it has ended."""
        gone = [one for batch in self._read(wanted, ["id", "person", "entry", "embedding"]) for one in batch]
        if not gone:
            return 0
        put = [(one["entry"], np.array(one["embedding"], np.float32)) for one in gone]
        self._before(Note(sorted({one["person"] for one in gone}), put=put))
        with self._reported():
            for first in range(0, len(gone), _INSERTED):
                self._client.delete(self._faces, ids=[one["id"] for one in gone[first : first + _INSERTED]])
        return len(gone)

    def _make_template(self, name: str) -> None:
        """Make the mean of a person anew, where it decides; it goes with the last face."""
        if self.decision != "mean":
            return
        blocks = list(self.blocks(name=name))
        with self._reported():
            if not blocks:
                self._client.delete(self._templates, ids=[_digest(name)])
                return
            row = normalize_rows(np.concatenate([block.embeddings for block in blocks]).sum(axis=0, keepdims=True))[0]
            self._client.upsert(self._templates, [{**_entity(GalleryEntry(name, ""), row), "id": _digest(name)}])

    def _before(self, note: Note, *, lasting: bool = True) -> None:
        """Note how what is about to be done is taken back."""
        assert self._undo is not None, "changes are made in transactions"
        self._undo.note(note, lasting=lasting)

    def _purge(self) -> None:
        """Ask the server to write its segments anew without what was deleted; it takes its time."""
        with self._reported():
            for name in (self._faces, self._templates) if self.decision == "mean" else (self._faces,):
                self._client.flush(name)
                self._client.compact(name)

    def _nearest(self, probes: np.ndarray, limit: int) -> list[tuple[list[str], np.ndarray]]:
        """Return, for each probe, the persons of the most similar entities and their cosines."""
        parameters = dict(_INDEXES[self._index][1])
        if "ef" in parameters:
            parameters["ef"] = max(parameters["ef"], limit)
        with self._reported():
            answers = self._client.search(
                self._faces if self.decision == "best" else self._templates,
                data=list(probes),
                limit=limit,
                output_fields=["person"],
                search_params={"metric_type": "IP", "params": parameters},
                consistency_level=self._address.consistency,
            )
        return [
            ([one["entity"]["person"] for one in answer], np.array([one["distance"] for one in answer]))
            for answer in answers
        ]

    def _get(self, numbers: Sequence[str]) -> list[dict[str, Any]]:
        listed = ", ".join(f'"{number}"' for number in numbers)
        with self._reported():
            found: list[dict[str, Any]] = self._client.query(
                self._faces,
                filter=f"id in [{listed}]",
                output_fields=["id"],
                consistency_level=self._address.consistency,
            )
            return found

    def _read(
        self, wanted: str, fields: Sequence[str], *, collection: str = "", consistency: str = ""
    ) -> Iterator[list[Any]]:
        """Give entities a batch at a time, in the order of their ids; of the faces unless a collection is named.

        pymilvus has an iterator for that. It looks at the past by the client's clock, and saw what had just been
        removed.
        """
        last = ""
        while True:
            beyond = f'id > "{last}"'
            with self._reported():
                batch = self._client.query(
                    collection or self._faces,
                    filter=f"({wanted}) and {beyond}" if wanted else beyond,
                    output_fields=sorted({*fields, "id"}),
                    limit=_READ,
                    consistency_level=consistency or self._address.consistency,
                )
            if not batch:
                return
            last = max(one["id"] for one in batch)
            yield list(batch)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        with _reported(self._address.shown):
            if self._client is None and hasattr(self, "contract"):
                raise GalleryError(f"{self._address.shown}: the gallery was closed; open it again")
            yield


class _NoteRows:
    """The collection of notes that take steps back; made by the first change of the gallery."""

    def __init__(self, store: MilvusStore, name: str) -> None:
        self._store = store
        self._name = name
        self._is_there = False

    def are_there(self) -> bool:
        with self._store._reported():
            self._is_there = self._is_there or bool(self._store._client.has_collection(self._name))
        return self._is_there

    def make(self) -> None:
        """Make the collection if there is none."""
        if not self.are_there():
            size = self._store.embedding_size
            with self._store._reported():
                _make_collection(self._store._client, self._name, "undo", size=size, index="FLAT")
            self._is_there = True

    def write(self, entities: Sequence[dict[str, Any]]) -> None:
        with self._store._reported():
            for first in range(0, len(entities), _INSERTED):
                self._store._client.upsert(self._name, list(entities[first : first + _INSERTED]))

    def read(self, wanted: str, *, consistency: str) -> list[dict[str, Any]]:
        fields = ["person", "person_key", "path_key", "entry", "embedding"] if wanted else ["person_key"]
        batches = self._store._read(wanted, fields, collection=self._name, consistency=consistency)
        return [dict(one) for batch in batches for one in batch]

    def delete(self, ids: Sequence[str]) -> None:
        with self._store._reported():
            for first in range(0, len(ids), _INSERTED):
                self._store._client.delete(self._name, ids=list(ids[first : first + _INSERTED]))

    def purge(self) -> None:
        with self._store._reported():
            self._store._client.flush(self._name)
            self._store._client.compact(self._name)


class _Address:
    """Where a collection is, and how it is asked.

    Attributes:
        shown: the URI without what is secret.
        server: host and port.
        collection: its name.
        options: of the URI.
        consistency: what a search must have seen.
    """

    def __init__(self, *, server: str, credentials: str, collection: str, options: dict[str, str]) -> None:
        self.shown = f"milvus://{server}/{collection}"
        self.collection = collection
        self.options = options
        self.consistency = options.get("consistency", "strong").capitalize()
        if self.consistency not in _CONSISTENCIES:
            raise GalleryError(f"consistency={self.consistency!r}; allowed: {', '.join(_CONSISTENCIES)}")
        self.server = server
        self._token = options.get("token") or credentials

    @classmethod
    def of(cls, uri: str) -> _Address:
        """Read a URI. Raises ``GalleryError`` when it is none."""
        parts = urlsplit(uri)
        credentials, _, server = parts.netloc.rpartition("@")
        collection = parts.path.strip("/")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = set(options) - {"token", "db", "tls", "index", "consistency"}
        if not server or not collection.isidentifier() or unknown:
            raise GalleryError(
                f"milvus://{server}/{collection}: allowed: milvus://HOST:PORT/COLLECTION, a collection of letters, "
                "digits and _, and the options token, db, tls, index, consistency"
            )
        return cls(server=server, credentials=unquote(credentials), collection=collection, options=options)

    def connect(self) -> Any:
        """Return a client of the server."""
        pymilvus = _load_pymilvus()
        scheme = "https" if self.options.get("tls") == "1" else "http"
        return pymilvus.MilvusClient(
            uri=f"{scheme}://{self.server}",
            token=self._token,
            db_name=self.options.get("db", ""),
            timeout=TIMEOUT_S,
        )


def _described(text: str) -> dict[str, Any]:
    """Return what the description of a collection says; nothing when it is not ours."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _load_pymilvus() -> Any:
    try:
        import pymilvus
    except ImportError:
        purpose = "a gallery at 'milvus://HOST:PORT/COLLECTION'"
        raise MissingDependencyError("pymilvus", extra="milvus", purpose=purpose) from None
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs what it raises, which is told in one line here
    return pymilvus


@contextlib.contextmanager
def _reported(shown: str) -> Iterator[None]:
    """Turn errors of the server and its client into ``GalleryError``."""
    pymilvus = _load_pymilvus()
    try:
        yield
    except pymilvus.MilvusException as error:
        lines = str(error.message or error).strip().splitlines() or [type(error).__name__]
        raise GalleryError(f"{shown}: the Milvus server refuses: {lines[0]}") from None


def _make_collection(client: Any, name: str, description: str, *, size: int, index: str) -> None:
    pymilvus = _load_pymilvus()
    text, vector = pymilvus.DataType.VARCHAR, pymilvus.DataType.FLOAT_VECTOR
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    schema.add_field("id", text, is_primary=True, max_length=64)
    for field, length in (("person", _TEXT_BYTES), ("person_key", 64), ("path_key", 64), ("entry", _TEXT_BYTES)):
        schema.add_field(field, text, max_length=length)
    schema.add_field("embedding", vector, dim=size)
    indexes = client.prepare_index_params()
    indexes.add_index("embedding", index_type=index, metric_type="IP", params=_INDEXES[index][0])
    client.create_collection(name, schema=schema, index_params=indexes, consistency_level="Strong")


def _entity(entry: GalleryEntry, row: np.ndarray) -> dict[str, Any]:
    return {
        "id": _digest(json.dumps(entry.face_key)),
        "person": entry.name,
        "person_key": _digest(entry.name),
        "path_key": _digest(entry.path),
        "entry": json.dumps(documents.json_of_entry(replace(entry, path=files.printable(entry.path)))),
        "embedding": row,
    }


def _entry(text: str) -> GalleryEntry:
    try:
        return documents.entry_of_json(json.loads(text))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise GalleryError(f"the collection holds an entity that is no face of this program ({error})") from None


def _of_person(name: str) -> str:
    """Return the filter of a person's faces; by digest, for names hold quotes and what else filters give a meaning."""
    return f'person_key == "{_digest(name)}"'


def _digest(text: str) -> str:
    return hashlib.sha256(files.printable(text).encode()).hexdigest()
