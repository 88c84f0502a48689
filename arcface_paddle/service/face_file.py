"""The faces of a gallery file as a service needs them: read by many while one changes them.

Its methods are named as those of every gallery engine. A ``Gallery`` does not change, so that a search goes on with
the one that it began with while the next is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from pathlib import Path
from typing import Iterator, Optional, Protocol, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, Identification, ModelIdentity, load_own
from arcface_paddle.pipeline.gallery.editing import write_gallery
from arcface_paddle.service.errors import GalleryUnavailableError

_Signature = tuple[int, int, int]


class FaceStore(Protocol):
    """Known people in an engine. A change lasts when its call returns, or when the ``transaction`` around it ends."""

    @property
    def engine(self) -> str: ...
    @property
    def model(self) -> Optional[ModelIdentity]: ...
    @property
    def comparisons(self) -> int: ...

    def count(self) -> int: ...
    def version(self) -> object:
        """Return what is equal as long as nothing was changed, by anybody."""

    def count_of(self, name: str) -> int: ...
    def people(self) -> dict[str, int]:
        """Return how many faces each person has, in the order of names."""

    def faces_of(self, name: str) -> list[GalleryEntry]: ...
    def add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int: ...
    def remove(self, name: str) -> int: ...
    def remove_face(self, entry: GalleryEntry) -> None: ...
    def rename(self, name: str, new_name: str, *, join: bool = False) -> int: ...
    def transaction(self) -> contextlib.AbstractContextManager[None]: ...
    def identify(
        self, embeddings: np.ndarray, *, top_k: int, threshold: float, similarity: SimilaritySpec
    ) -> list[Identification]: ...

    def size_bytes(self) -> Optional[int]: ...
    def close(self) -> None: ...


class FaceFile:
    """A gallery file, read anew when another process changed it.

    Args:
        path: a gallery file of ours.

    Raises:
        GalleryError: missing, damaged, or an index of the published tool.
    """

    engine = "file"

    def __init__(self, path: files.PathLike) -> None:
        self._path = Path(path)
        self._changing = threading.RLock()
        self._staged: Optional[Gallery] = None
        self._counts: tuple[Optional[Gallery], dict[str, int]] = (None, {})
        self._gallery = load_own(path)  # says what is wrong with the file
        self._signature: Optional[_Signature] = None  # so that it is read again should it have changed meanwhile

    @classmethod
    def create(cls, path: files.PathLike, model: ModelIdentity) -> FaceFile:
        """Write a gallery of nobody and open it. Raises ``GalleryError`` when it cannot be written."""
        write_gallery(path, Gallery.empty(model))
        return cls(path)

    @property
    def model(self) -> Optional[ModelIdentity]:
        return self._current().model

    @property
    def comparisons(self) -> int:
        return self._current().comparisons

    def count(self) -> int:
        return len(self._current())

    def version(self) -> object:
        return self._present()

    def count_of(self, name: str) -> int:
        return self.people().get(name, 0)

    def people(self) -> dict[str, int]:
        gallery = self._current()
        counted, counts = self._counts
        if counted is not gallery:
            counts = gallery.faces_by_person()
            self._counts = gallery, counts
        return counts

    def faces_of(self, name: str) -> list[GalleryEntry]:
        return [entry for entry in self._current().entries if entry.name == name]

    def size_bytes(self) -> Optional[int]:
        return self._present()[1]

    def identify(
        self, embeddings: np.ndarray, *, top_k: int, threshold: float, similarity: SimilaritySpec
    ) -> list[Identification]:
        """Decide who faces (N, D) are, see ``Gallery.identify``; a card says what a cosine is worth."""
        gallery = self._current()
        gallery = gallery if gallery.similarity == similarity else self._judged(gallery, similarity)
        return gallery.identify(embeddings, top_k=top_k, threshold=threshold)

    def add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int:
        """Add faces (N, D); one that is there already is not doubled. Returns how many were added."""
        with self.transaction():
            before = self._current()
            self._staged = before.with_faces(entries, embeddings)
            return len(self._staged) - len(before)

    def remove(self, name: str) -> int:
        """Remove a person; returns how many faces that were. Raises ``GalleryError`` when there is nobody."""
        with self.transaction():
            before = self._current()
            self._staged = before.without_person(name)
            return len(before) - len(self._staged)

    def remove_face(self, entry: GalleryEntry) -> None:
        """Remove one face of one person. Raises ``GalleryError`` when its picture has no face."""
        with self.transaction():
            before = self._current()
            kept = [row for row, other in enumerate(before.entries) if other.path == entry.path and other != entry]
            without = before.without_picture(entry.path)
            self._staged = without.with_faces([before.entries[row] for row in kept], before.embeddings[kept])

    def rename(self, name: str, new_name: str, *, join: bool = False) -> int:
        """Call a person something else; ``join`` allows one who exists. Returns how many faces that changed."""
        with self.transaction():
            before = self._current()
            self._staged = before.renamed(name, new_name, join=join)
            return before.faces_by_person()[name]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several changes one: all are on disk when the block ends, none when it ends with an error.

        Raises:
            GalleryUnavailableError: the file cannot be read or written, or others hold it for too long.
        """
        with self._changing:
            if self._staged is not None:  # within another
                yield
                return
            with contextlib.ExitStack() as lock:
                with _unavailable():
                    lock.enter_context(files.locked(self._path))
                    self._staged = before = load_own(self._path)
                try:
                    yield
                    if self._staged is not before:
                        with _unavailable():
                            self._staged.save(self._path)
                    self._gallery, self._signature = self._staged, self._present()
                finally:
                    self._staged = None

    def close(self) -> None:
        """Wait for a change that is being written; there is nothing else to let go of."""
        with self._changing:
            pass

    def _current(self) -> Gallery:
        """Return what a transaction of this thread has made, else what is on disk."""
        if self._staged is not None and self._changing.acquire(blocking=False):
            try:
                if self._staged is not None:
                    return self._staged
            finally:
                self._changing.release()
        if self._signature != self._present():
            self._read_anew()
        return self._gallery

    def _read_anew(self) -> None:
        with self._changing:  # behind a change of our own, after which nothing is to be read
            signature = self._present()
            if signature != self._signature:
                with _unavailable():
                    self._gallery = load_own(self._path)
                self._signature = signature

    def _judged(self, gallery: Gallery, similarity: SimilaritySpec) -> Gallery:
        assert gallery.model is not None, "checked when the service opened it"
        judged = gallery.judged_by(_with_similarity(gallery.model, similarity))
        with self._changing:
            if self._gallery is gallery:
                self._gallery = judged
        return judged

    def _present(self) -> _Signature:
        with _unavailable():
            status = self._path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    """Turn what goes wrong with a file, whose place is for the log only, into an error for everybody."""
    try:
        yield
    except (OSError, GalleryError) as error:
        raise GalleryUnavailableError("the gallery cannot be read or written just now") from error


def _with_similarity(model: ModelIdentity, similarity: SimilaritySpec) -> ModelIdentity:
    return dataclasses.replace(model, similarity=similarity)
