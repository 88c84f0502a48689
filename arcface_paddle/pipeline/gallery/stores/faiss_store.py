"""The engine for millions of faces on one machine: FAISS over bytes, exact rows in a file, SQLite for the rest.

``faiss:FOLDER`` opens one; ``?form=`` says how it is searched, see ``code_index``. The folder holds ``gallery.sqlite``
(who is in it), ``rows.f32`` (exact embeddings) and, once it is large enough, ``index.*.faiss``: only a copy of what is
in memory, made so that the next one to open the gallery need not compute it. It is believed only with the SHA-256 that
the database has of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Iterator, Optional, Sequence
from urllib.parse import parse_qsl

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.index import check_search, normalize_rows
from arcface_paddle.pipeline.gallery.stores.base import FaceBlock, GalleryContract, GalleryStore, best_persons
from arcface_paddle.pipeline.gallery.stores.code_index import IVF, CodeIndex, Found, Vectors, load_faiss, require_form
from arcface_paddle.pipeline.gallery.stores.face_database import DATABASE, FaceDatabase
from arcface_paddle.types import Candidate
from arcface_paddle.untrusted import DOCUMENT_ERRORS, parse_json

SCHEME = "faiss:"

_LEAST_LOOKED_AT = 128  # candidates whose exact rows are read first, of 8 for each person asked for
_TIE = 1e-6
_NOBODY = (np.zeros(0, np.int64), np.zeros(0, np.float32))
_PROBES_AT_A_TIME = 256
_BLOCK_ROWS = 1 << 15
_WORTH_KEEPING = 20_000  # vectors from which on an index takes longer to make than to read


class FaissStore(GalleryStore):
    """People in a folder that FAISS searches. ``open`` and ``create`` make one."""

    def __init__(self, folder: Path, *, form: Optional[str]) -> None:
        load_faiss()
        self._guard = threading.RLock()
        self._inside = False
        self._closed = False
        self._database, contract = _opened(folder)
        with self._database.reported():
            self._form = form or self._database.meta("form") or IVF
        self._index: Optional[CodeIndex] = None
        self._seen = -1  # the last change that the index knows of
        self._kept = -1  # the last change that the file of the index knows of
        self._person_of = np.zeros(0, np.int32)
        super().__init__(f"{SCHEME}{folder}", contract)

    @classmethod
    def open(cls, uri: files.PathLike) -> FaissStore:
        """Open a folder; ``?form=`` searches it otherwise than it was made for.

        Raises:
            GalleryError: no such gallery, damaged, or an unknown form.
            MissingDependencyError: FAISS is not installed.
        """
        folder, form = _parsed(uri)
        return cls(folder, form=form)

    @classmethod
    def create(cls, uri: files.PathLike, contract: GalleryContract) -> FaissStore:
        """Make a gallery of nobody in a folder that is empty or not there.

        Raises:
            GalleryError: something is there, or it cannot be written.
            MissingDependencyError: FAISS is not installed.
        """
        load_faiss()
        folder, form = _parsed(uri)
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise GalleryError(f"{folder}: exists already; open it, or remove it first")
            with files.atomic_folder(folder) as made:
                FaceDatabase.create(made, contract=contract.to_text(), size=contract.embedding_size)
        except OSError as error:
            raise GalleryError(f"{folder}: cannot write the gallery: {error.strerror or error}") from None
        store = cls(folder, form=form)
        with store._database.reported(), store.transaction():
            store._database.set_meta("form", form or IVF)
        return store

    def count(self) -> int:
        with self._reading():
            return self._database.count()

    @property
    def comparisons(self) -> int:
        with self._reading():
            return self._database.count() if self.decision == "best" else self._database.count_people()

    def people(self) -> dict[str, int]:
        with self._reading():
            return self._database.people()

    def blocks(self, *, name: Optional[str] = None) -> Iterator[FaceBlock]:
        with self._reading():
            person = None if name is None else self._database.person(name)
            if name is not None and person is None:
                return
            database = self._database
            blocks = database.blocks(person=person)
        while True:
            with self._reading():
                if self._database is not database:
                    raise GalleryError(f"{self.uri}: was replaced by another gallery while it was read; try again")
                block = next(blocks, None)
            if block is None:
                return
            yield block

    def faces_of_picture(self, path: str) -> FaceBlock:
        with self._reading():
            blocks = list(self._database.blocks(path=files.printable(path)))
        rows = [np.zeros((0, self.embedding_size), np.float32), *(block.embeddings for block in blocks)]
        return FaceBlock([entry for block in blocks for entry in block.entries], np.concatenate(rows))

    def search(self, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        check_search(probes, k, embedding_size=self.embedding_size)
        rows = np.asarray(probes, dtype=np.float32)
        found: list[tuple[Candidate, ...]] = []
        with self._reading():
            index = self._synced()
            for first in range(0, len(rows), _PROBES_AT_A_TIME):
                found.extend(self._search(index, rows[first : first + _PROBES_AT_A_TIME], k))
        return found

    def remove(self, name: str) -> int:
        with self.transaction():
            self._require_person(name)
            return self._remove("person = ?", self._database.person(name))

    def remove_picture(self, path: str) -> int:
        with self.transaction():
            removed = self._remove("path = ?", files.printable(path))
            if not removed:
                raise self._no_picture(path)
            return removed

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._guard:
            if self._inside:
                yield
                return
            self._require_open()
            self._take_up_another()
            with self._database.reported():
                self._database.wipe()  # what a process that was killed has removed and not overwritten
                self._database.begin_change()
                before = self._database.last_change()
            self._inside = True
            try:
                yield
                with self._database.reported():
                    self._database.commit()
            except BaseException:
                with self._database.reported():
                    changed = self._database.last_change() != before
                    self._database.roll_back()
                if changed and self._seen > before:
                    self._index = None  # it knows what did not come to be
                raise
            finally:
                self._inside = False
            with self._database.reported():
                self._database.wipe()

    def close(self) -> None:
        with self._guard:
            if self._closed:
                return
            with contextlib.suppress(GalleryError, OSError):  # all is on the disk; who opens it next computes it anew
                self._keep_index()
            self._closed, self._index = True, None
            self._database.close()

    def _add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int:
        with self.transaction(), self._database.reported():
            return self._database.add(entries, embeddings)

    def has(self, name: str) -> bool:
        with self._reading():
            return self._database.person(name) is not None

    def _rename(self, name: str, new_name: str) -> int:
        with self._database.reported():
            renamed = self._database.rename(name, new_name)
            self._database.sql.execute("INSERT OR IGNORE INTO to_wipe VALUES (-1)")  # no row, but the old name
            return renamed

    def _remove(self, condition: str, value: object) -> int:
        with self._database.reported():
            removed = self._database.remove(condition, value)
            if removed:
                self._forget_index()
            return removed

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Look at one state of the gallery, which nobody changes meanwhile."""
        with self._guard:
            self._require_open()
            if self._inside:
                yield
                return
            self._take_up_another()
            with self._database.reported():
                self._database.sql.execute("BEGIN")
                try:
                    yield
                except (KeyError, IndexError, ValueError, TypeError, OverflowError, RecursionError) as error:
                    raise GalleryError(
                        f"{self._database.folder}: damaged gallery ({error!r:.200}); restore it from a backup"
                    ) from None
                finally:
                    self._database.roll_back()

    def _search(self, index: CodeIndex, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        """Find the best persons of some probes: those that FAISS thinks good are looked at exactly, more if need be."""
        best = [_NOBODY] * len(probes)
        open_ones = np.arange(len(probes))
        count = min(max(_LEAST_LOOKED_AT, 8 * k), max(index.count, 1))
        everywhere = index.is_exact
        while len(open_ones) and index.count:
            found = index.search(probes[open_ones], count, everywhere=everywhere)
            still = []
            for which, own, margin, scored in zip(
                open_ones.tolist(), found.numbers, found.margins, self._scored(found, probes[open_ones], k=k)
            ):
                persons, cosines = best[which] = scored
                enough = len(persons) >= k
                seen_all = own[-1] < 0 or count >= index.count
                certain = (everywhere and seen_all) or (enough and cosines[k - 1] - _TIE > margin)
                if not certain and not (seen_all and enough):
                    still.append(which)
            open_ones = np.array(still, dtype=np.int64)
            everywhere = everywhere or count * 4 > index.count
            count = min(4 * count, index.count)
        names = self._database.names(np.unique(np.concatenate([persons for persons, _ in best])).tolist())
        return [best_persons([names[who] for who in persons.tolist()], cosines, k) for persons, cosines in best]

    def _scored(self, found: Found, probes: np.ndarray, *, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return, for each probe, the best ``k`` persons, and who is as similar as the last, and their exact cosines.

        Only vectors that can be among the best by what is known of the error of their bytes are read exactly.
        """
        there = found.numbers >= 0
        persons = found.numbers
        if self.decision == "best":
            persons = np.where(there, self._person_of[np.where(there, found.numbers, 0)], -1)
        floors = _kth_person(persons, found.cosines, k=k) - 2 * found.errors - _TIE
        which, columns = np.nonzero(there & (found.cosines >= floors[:, None]))
        chosen = persons[which, columns]
        cosines = np.einsum("nd,nd->n", self._vectors_of(found.numbers[which, columns]), probes[which])
        order = np.lexsort((-cosines, which))
        ends = np.searchsorted(which[order], np.arange(1, len(probes)))
        return [_best_of(chosen[own], cosines[own], k) for own in np.split(order, ends)]

    def _vectors_of(self, numbers: np.ndarray) -> np.ndarray:
        """Return (N, D) vectors by their numbers: slots of faces, or persons whose templates are compared."""
        if self.decision == "best":
            return self._database.rows(numbers)
        persons, templates = _templates(self._database, self._database.slots_of(np.unique(numbers)))
        return templates[np.searchsorted(persons, numbers)]

    def _synced(self) -> CodeIndex:
        """Return the index as the database is now."""
        last = self._database.last_change()
        if self._index is None:
            self._index = self._read_index()
        is_older = last < self._seen  # a backup was copied over it
        if self._index is None or is_older or (self._index.is_outgrown and last != self._seen):
            return self._make_index(last)
        if last != self._seen:
            changed = self._database.changes_since(self._seen)
            if changed is None:
                return self._make_index(last)
            self._take(self._index, *changed)
            self._seen = last
        return self._index

    def _take(self, index: CodeIndex, slots: np.ndarray, persons: np.ndarray) -> None:
        """Take in what changed."""
        owners = self._database.persons_of(slots)
        present = np.array(sorted(owners), dtype=np.int64)
        self._note_owners(present, np.array([owners[slot] for slot in present.tolist()], dtype=np.int32))
        if self.decision == "best":
            index.remove(slots)
            index.add(present, self._database.rows(present))
        else:
            index.remove(persons)
            index.add(*_templates(self._database, self._database.slots_of(persons)))

    def _make_index(self, last: int) -> CodeIndex:
        table = self._database.slots_by_person()
        self._person_of = np.zeros(0, np.int32)
        self._note_owners(table[:, 1], table[:, 0].astype(np.int32))
        made = CodeIndex.of(_Stored(self._database, decision=self.decision), form=require_form(self._form))
        self._index, self._seen = made, last
        return made

    def _note_owners(self, slots: np.ndarray, persons: np.ndarray) -> None:
        most = int(slots.max()) + 1 if len(slots) else 0
        if most > len(self._person_of):
            grown = np.zeros(max(most, len(self._person_of) * 3 // 2), np.int32)
            grown[: len(self._person_of)] = self._person_of
            self._person_of = grown
        self._person_of[slots] = persons

    def _read_index(self) -> Optional[CodeIndex]:
        """Read the index that somebody kept; None when there is none that can be believed."""
        text = self._database.meta(f"index.{self._form}")
        if not text:
            return None
        try:
            kept = parse_json(text, name=str(self._database.folder), error=GalleryError)
            change = int(kept["change"])
            path = self._database.folder / Path(kept["file"]).name
            if not path.is_file() or files.sha256_of_file(path) != kept["sha256"]:
                return None
            with path.open("rb") as stream:
                index = CodeIndex.read(stream, kept["about"], size=self.embedding_size, form=self._form)
        except (GalleryError, *DOCUMENT_ERRORS):  # of another FAISS, or damaged: what is in it is in the database
            return None
        table = self._database.slots_by_person()
        self._note_owners(table[:, 1], table[:, 0].astype(np.int32))
        if not np.isin(index.numbers(), table[:, 1 if self.decision == "best" else 0]).all():
            return None
        self._seen = self._kept = change
        return index

    def _keep_index(self) -> None:
        """Write the index for the next one to open the gallery, if it is worth that."""
        if self._index is None or self._index.count < _WORTH_KEEPING or self._seen <= self._kept:
            return
        with self.transaction():
            index = self._synced()
            if not index.is_clean:
                return
            name = f"index.{self._form}.{self._seen}.faiss"
            self._forget_index()
            with files.atomic_writer(self._database.folder / name) as stream:
                about = index.write(stream)
            digest = files.sha256_of_file(self._database.folder / name)
            kept = {"file": name, "change": self._seen, "sha256": digest, "about": about}
            self._database.set_meta(f"index.{self._form}", json.dumps(kept))

    def _forget_index(self) -> None:
        """Remove every file of an index: codes of somebody who is to be gone are in it."""
        for path in self._database.folder.iterdir():
            if path.name.startswith(("index.", ".index.")):
                path.unlink()
        self._kept = -1

    def _take_up_another(self) -> None:
        """Open the folder anew when somebody has put another gallery, or a backup, in its place."""
        if self._database.is_in_place():
            return
        database, contract = _opened(self._database.folder)
        try:
            with database.reported():
                database.require_matching_rows()
        except GalleryError:
            database.close()
            raise
        self._database.close()
        self._database, self.contract, self._index = database, contract, None
        self._seen = self._kept = -1
        self._person_of = np.zeros(0, np.int32)

    def _require_open(self) -> None:
        if self._closed:
            raise GalleryError(f"{self.uri}: the gallery was closed; open it again")


def _opened(folder: Path) -> tuple[FaceDatabase, GalleryContract]:
    """Open the database of a folder and read what made its faces. Raises ``GalleryError``: none is there, damaged."""
    if not (folder / DATABASE).is_file():
        raise GalleryError(f"{folder}: cannot read the gallery: no {DATABASE} is there")
    database = FaceDatabase(folder)
    try:
        with database.reported():
            database.require_format()
            contract = GalleryContract.from_text(database.meta("contract") or "", name=str(folder))
    except GalleryError:
        database.close()
        raise
    database.size = contract.embedding_size
    return database, contract


class _Stored(Vectors):
    """All vectors of a database: rows of faces, or templates of persons."""

    def __init__(self, database: FaceDatabase, *, decision: str) -> None:
        self._database = database
        self._decision = decision
        self.size = database.size
        self.count = database.count() if decision == "best" else database.count_people()

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        table = self._database.slots_by_person()
        if self._decision == "best":
            slots = np.sort(table[:, 1])
            for first in range(0, len(slots), _BLOCK_ROWS):
                block = slots[first : first + _BLOCK_ROWS]
                yield block, self._database.rows(block)
            return
        starts = np.flatnonzero(np.diff(table[:, 0], prepend=-1))
        for first in range(0, len(starts), _BLOCK_ROWS):
            end = starts[first + _BLOCK_ROWS] if first + _BLOCK_ROWS < len(starts) else len(table)
            yield _templates(self._database, table[starts[first] : end])


def _kth_person(persons: np.ndarray, cosines: np.ndarray, *, k: int) -> np.ndarray:
    """Return (N,) the cosine of the ``k``-th different person of each row, whose cosines fall; -inf for fewer.

    Args:
        persons: (N, C), -1 for nobody.
        cosines: (N, C).
        k: 1 or more.
    """
    order = np.argsort(persons, axis=1, kind="stable")
    ranked = np.take_along_axis(persons, order, axis=1)
    is_first = np.empty(persons.shape, bool)  # the best vector of a person
    np.put_along_axis(is_first, order, np.diff(ranked, axis=1, prepend=-1) != 0, axis=1)
    reached = np.cumsum(is_first, axis=1) >= k
    column = reached.argmax(axis=1)
    rows = np.arange(len(persons))
    kth: np.ndarray = np.where(reached[rows, column], cosines[rows, column], -np.inf)
    return kth


def _best_of(persons: np.ndarray, cosines: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the best ``k`` persons of vectors whose cosines fall, and who is as similar as the last."""
    first = np.sort(np.unique(persons, return_index=True)[1])  # the best vector of each person
    persons, cosines = persons[first], cosines[first]
    if len(persons) > k:
        kept = cosines >= cosines[k - 1] - _TIE
        persons, cosines = persons[kept], cosines[kept]
    return persons, cosines


def _templates(database: FaceDatabase, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return persons and the normalised means of their rows, of (N, 2) persons and slots that are ordered."""
    if not len(table):
        return np.zeros(0, np.int64), np.zeros((0, database.size), np.float32)
    starts = np.flatnonzero(np.diff(table[:, 0], prepend=-1))
    sums = np.add.reduceat(database.rows(table[:, 1]), starts, axis=0)
    return table[starts, 0], normalize_rows(sums)


def _parsed(uri: files.PathLike) -> tuple[Path, Optional[str]]:
    """Return the folder and the form of ``faiss:FOLDER?form=FORM``."""
    text = os.fsdecode(uri)[len(SCHEME) :]
    folder, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    form = options.pop("form", None)
    if options or not folder:
        raise GalleryError(f"{os.fsdecode(uri)}: allowed: {SCHEME}FOLDER, {SCHEME}FOLDER?form=ivf, int8 or hnsw")
    return Path(folder), None if form is None else require_form(form)
