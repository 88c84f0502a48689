"""The engine that needs nothing: a gallery file, its journal, and exact search in memory.

One writer at a time holds the file's lock for as long as one change takes; readers hold none. They follow the journal
from where they were, and read the file anew when it was written anew or replaced. Rows of a large gallery are mapped
into memory, so that several processes that search it share them; those of a small one, and of an encrypted file, are in
the memory of each.

What is added or renamed is appended to the journal (see ``journal``). It is folded into the file when it has grown, and
when the store is closed, unless that would cost more than it is worth. Removing a person writes the file anew at once,
so that no byte of them stays in the file, in the journal or in what a killed process left beside it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import documents, journal, keys, storage
from arcface_paddle.pipeline.gallery.collection import FileHeader, read_header, write_file, write_file_with
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, checked_embeddings
from arcface_paddle.pipeline.gallery.keys import GalleryKey
from arcface_paddle.pipeline.gallery.stores.base import BLOCK_FACES, FaceBlock, GalleryContract, GalleryStore
from arcface_paddle.pipeline.gallery.stores.table import FaceTable
from arcface_paddle.types import Candidate

_LEAST_JOURNAL_BYTES = 4 << 20  # below this, a longer journal is quicker than a new file
_SHARE_OF_FILE = 4  # a journal may be as large as the file divided by this
_QUICK_FILE_BYTES = 32 << 20  # a file up to here is written anew in less than half a second, when a store is closed


class FileStore(GalleryStore):
    """People in a gallery file. ``open`` and ``create`` make one."""

    def __init__(self, path: files.PathLike) -> None:
        self._path = Path(path)
        self._journal = journal.journal_of(path)
        self._guard = threading.RLock()
        self._inside = False  # a transaction of this store
        self._staged: list[tuple[dict[str, Any], np.ndarray]] = []
        self._rewrite = False
        self._wrote = False
        self._closed = False
        self._journal_file: Optional[int] = None  # its number in the file system, as long as it is this file's
        self._offset = journal.HEAD_BYTES
        self._table: Optional[FaceTable] = None
        super().__init__(str(path), self._load())

    @classmethod
    def open(cls, path: files.PathLike) -> FileStore:
        """Open a gallery file of ours.

        Raises:
            GalleryError: missing, unreadable, damaged, of a newer format, or an index of the published tool.
        """
        return cls(path)

    @classmethod
    def create(cls, path: files.PathLike, contract: GalleryContract) -> FileStore:
        """Write a gallery of nobody and open it.

        Raises:
            GalleryError: the file exists, or it cannot be written.
        """
        header = FileHeader(contract.model, contract.decision, dict(contract.parameters), ())
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with files.locked(path):
                if Path(path).exists():
                    raise GalleryError(f"{path}: exists already; open it, or remove it first")
                files.remove_leftovers(path)
                write_file(path, header, list, shape=(0, contract.embedding_size))
        except OSError as error:
            raise GalleryError(f"{path}: cannot write the gallery: {error.strerror or error}") from None
        return cls(path)

    def count(self) -> int:
        with self._guard:
            return len(self._current())

    def people(self) -> dict[str, int]:
        with self._guard:
            return self._current().people()

    def blocks(self, *, name: Optional[str] = None) -> Iterator[FaceBlock]:
        with self._guard:
            table = self._current()
            numbers = np.arange(len(table)) if name is None else table.rows_of([name])
        for first in range(0, len(numbers), BLOCK_FACES):
            with self._guard:
                chosen = numbers[first : first + BLOCK_FACES]
                block = FaceBlock(table.entries_at(chosen), table.take(chosen))
            yield block

    def faces_of_picture(self, path: str) -> FaceBlock:
        with self._guard:
            table = self._current()
            numbers = table.rows_of_picture(path)
            return FaceBlock(table.entries_at(numbers), table.take(numbers))

    def search(self, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        with self._guard:
            return self._current().search(probes, k)

    def remove(self, name: str) -> int:
        with self.transaction():
            numbers = self._current().rows_of([name])
            if not len(numbers):
                raise self._nobody(name)
            return self._remove(numbers)

    def remove_picture(self, path: str) -> int:
        with self.transaction():
            numbers = self._current().rows_of_picture(path)
            if not len(numbers):
                raise self._no_picture(path)
            return self._remove(numbers)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._guard:
            if self._inside:
                yield
                return
            self._require_open()
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(files.locked(self._path))
                except OSError as error:
                    raise self._unwritten(error) from None
                self._current()
                self._inside = True
                try:
                    yield
                    self._commit()
                except BaseException:
                    if self._staged or self._rewrite:
                        self._table = None  # it holds what did not come to be: the next call reads the file again
                    raise
                finally:
                    self._inside, self._staged, self._rewrite = False, [], False

    def close(self) -> None:
        with self._guard:
            if not self._closed and self._wrote and self._is_worth_folding():
                # Everything is on the disk already: who cannot fold it now leaves it to the next one.
                with contextlib.suppress(GalleryError), self.transaction():
                    self._rewrite = self._offset > journal.HEAD_BYTES
            self._closed, self._table = True, None

    def _add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int:
        with self.transaction():
            table = self._current()
            fresh = table.fresh(entries)
            if not fresh:
                return 0
            added, rows = [entries[number] for number in fresh], embeddings[fresh]
            step = {"step": "add", "entries": [documents.json_of_entry(entry) for entry in added]}
            self._staged.append((step, rows))
            table.add(added, rows)
            return len(fresh)

    def has(self, name: str) -> bool:
        with self._guard:
            return self._current().has(name)

    def _rename(self, name: str, new_name: str) -> int:
        nothing = np.zeros((0, self.embedding_size), np.float32)
        self._staged.append(({"step": "rename", "name": name, "new_name": new_name}, nothing))
        return self._current().rename(name, new_name)

    def _remove(self, numbers: np.ndarray) -> int:
        self._rewrite = True
        self._table = self._current().without(numbers)
        return len(numbers)

    def _commit(self) -> None:
        """Make what was done in the transaction last."""
        try:
            staged = sum(rows.nbytes for _, rows in self._staged)
            # A gallery that is not encrypted yet is, by its first change: nothing more is to be written in plain text.
            is_plain = bool(self._staged) and self._cipher is None and bool(keys.known_keys())
            if self._rewrite or is_plain or staged > self._most_journal_bytes():
                self._write_anew()
            elif self._staged:
                self._append()
        except OSError as error:
            raise self._unwritten(error) from None

    def _append(self) -> None:
        if self._journal_file is None:
            journal.require_free(self._journal)
            journal.start(self._journal, self._fingerprint)
            self._journal_file, self._offset = self._journal.stat().st_ino, journal.HEAD_BYTES
        rows = np.concatenate([rows for _, rows in self._staged])
        change = journal.Record([step for step, _ in self._staged], rows)
        record = journal.encode(change, offset=self._offset, cipher=self._cipher)
        self._offset = journal.append(self._journal, record, end=self._offset)
        self._wrote = True
        if self._offset > self._most_journal_bytes():
            self._write_anew()

    def _most_journal_bytes(self) -> int:
        return max(_LEAST_JOURNAL_BYTES, self._file_bytes // _SHARE_OF_FILE)

    def encrypt(self) -> GalleryKey:
        """Write the file anew, encrypted with the first of the keys that are known; returns that key.

        Raises:
            GalleryError: no key is known, or it cannot be written.
        """
        known = keys.known_keys()
        if not known:
            raise GalleryError(
                f"{self._path}: no key is given to encrypt the gallery with; set {keys.FILE_VARIABLE} or "
                f"{keys.VARIABLE} ('arcface-paddle gallery key FILE' makes one)"
            )
        self._rewrite_with(known[0])
        return known[0]

    def decrypt(self) -> None:
        """Write the file anew so that everybody who may read it can. Raises ``GalleryError`` when it cannot be."""
        self._rewrite_with(None)

    def _rewrite_with(self, key: Optional[GalleryKey]) -> None:
        with self.transaction():
            header, blocks, shape = self._in_order()
            files.remove_leftovers(self._path)
            write_file_with(key, self._path, header, lambda: self._unless_replaced(blocks()), shape=shape)
            self._load()

    def _write_anew(self) -> None:
        header, blocks, shape = self._in_order()
        files.remove_leftovers(self._path)
        write_file(self._path, header, lambda: self._unless_replaced(blocks()), shape=shape)
        self._load()

    def _unless_replaced(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Give blocks of what was read, then raise ``GalleryError`` when another file stands in its place by now.

        Our own programs wait for the lock; a backup that is moved into place does not.
        """
        yield from blocks
        if _state_of(self._path.stat()) != self._state:
            raise GalleryError(
                f"{self._path}: was replaced by another program while it was being changed; it stays as that program "
                "left it, and the change was not made: try again"
            )

    def _in_order(self) -> tuple[FileHeader, Callable[[], Iterator[np.ndarray]], tuple[int, int]]:
        """Return what ``write_file`` writes: the header, what gives the embeddings, and their shape."""
        table = self._table
        assert table is not None, "a transaction has the present state"
        order = table.in_order()
        contract = self.contract
        header = FileHeader(contract.model, contract.decision, dict(contract.parameters), table.columns(order))

        def blocks() -> Iterator[np.ndarray]:
            for first in range(0, len(order), BLOCK_FACES):
                yield table.take(order[first : first + BLOCK_FACES])

        return header, blocks, (len(table), self.embedding_size)

    def _is_worth_folding(self) -> bool:
        return self._file_bytes < _QUICK_FILE_BYTES or self._offset > self._file_bytes // (2 * _SHARE_OF_FILE)

    def _current(self) -> FaceTable:
        """Return the faces as the file and its journal hold them now."""
        self._require_open()
        if not self._inside:
            try:
                if self._table is None or _state_of(self._path.stat()) != self._state or not self._follow():
                    self._load()
            except OSError as error:
                raise GalleryError(f"{self._path}: cannot read the gallery: {error.strerror or error}") from None
        assert self._table is not None, "it was just read"
        return self._table

    def _load(self) -> GalleryContract:
        """Read the file and what its journal holds.

        When that fails nothing is left: what is in memory would pass for what the damaged file holds.
        """
        name, self._table = str(self._path), None
        try:
            stream, content = journal.open_with_journal(self._path)
            with stream:
                return self._read(stream, content, name)
        except OSError as error:
            raise GalleryError(f"{name}: cannot read the gallery: {error.strerror or error}") from None

    def _read(self, stream: BinaryIO, content: bytes, name: str) -> GalleryContract:
        status = os.fstat(stream.fileno())
        self._state, self._file_bytes = _state_of(status), status.st_size
        if not storage.is_container(stream.read(storage.SIGNATURE_BYTES)):
            raise GalleryError(
                f"{name}: is no gallery of this program; if it is an index of the published tool, turn it into one: "
                f"arcface-paddle gallery import NEW {name}"
            )
        kept = storage.read(stream, name=name)
        header, rows = read_header(kept, name=name), kept.rows
        try:
            checked_embeddings(rows, count=len(header.entries), model=header.model)
            contract = GalleryContract(header.model, rows.shape[1], header.decision, header.parameters)
            self._table = FaceTable(header.entries, rows, decision=header.decision)
        except (GalleryError, ValueError) as error:
            raise GalleryError(f"{name}: {error}") from None
        self._fingerprint, self._cipher, self.contract = kept.fingerprint, kept.cipher, contract
        self._journal_file, self._offset = None, journal.HEAD_BYTES
        if journal.has_head(content, self._fingerprint):
            self._journal_file = _inode(self._journal)
            self._take(content[journal.HEAD_BYTES :], rows.shape[1])
        return contract

    def _follow(self) -> bool:
        """Take in what was appended to the journal since; False when everything must be read again."""
        try:
            status = self._journal.stat()
        except FileNotFoundError:
            return self._journal_file is None
        if self._journal_file is None:
            head = journal.read(self._journal, most=journal.HEAD_BYTES)
            if head is None or not journal.has_head(head, self._fingerprint):
                return True  # an old one that nobody has removed yet
            self._journal_file = status.st_ino
        if status.st_ino != self._journal_file or status.st_size < self._offset:
            return False
        if status.st_size > self._offset:
            content = journal.read(self._journal, start=self._offset)
            self._take(content or b"", self.embedding_size)
        return True

    def _take(self, content: bytes, embedding_size: int) -> None:
        """Make the changes of a journal from ``_offset`` on."""
        assert self._table is not None, "the file is read before its journal"
        name = str(self._path)
        records, end = journal.decode(
            content, origin=self._offset, embedding_size=embedding_size, name=name, cipher=self._cipher
        )
        for record in records:
            row = 0
            for step in record.steps:
                try:
                    entries = [documents.entry_of_json(value) for value in step.get("entries", ())]
                    self._table.apply(step, entries, record.rows[row : row + len(entries)])
                except (KeyError, TypeError, ValueError) as error:
                    self._table = None  # half of the journal is in it
                    raise GalleryError(f"{name}: damaged gallery journal ({error!r}); build it again") from None
                row += len(entries)
        self._offset = end

    def _require_open(self) -> None:
        if self._closed:
            raise GalleryError(f"{self._path}: the gallery was closed; open it again")

    def _unwritten(self, error: OSError) -> GalleryError:
        return GalleryError(f"{self._path}: cannot change the gallery: {error.strerror or error}")


def _state_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what changes when a file is replaced or written."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _inode(path: Path) -> Optional[int]:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
