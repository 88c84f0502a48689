"""The faces of a gallery as a service needs them, whatever engine keeps them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.pipeline.gallery import GalleryEntry, Identification, ModelIdentity
from arcface_paddle.pipeline.gallery.journal import journal_of
from arcface_paddle.pipeline.gallery.stores import GalleryStore, create_gallery, is_engine_uri, open_gallery
from arcface_paddle.service.errors import GalleryUnavailableError


def is_yet_to_be_made(uri: files.PathLike) -> bool:
    """Tell whether a gallery is a file that does not exist; a link that leads nowhere has lost its file."""
    return not is_engine_uri(uri) and not os.path.lexists(uri)


class FaceEngine:
    """A gallery that is searched by many while one changes it.

    A gallery that somebody else puts in its place is taken up, unless another model made it.

    Args:
        store: the engine.
        uri: what opened it.
    """

    def __init__(self, store: GalleryStore, uri: files.PathLike) -> None:
        self._store = store
        self._opened_with = store.model
        self._uri = uri

    @classmethod
    def open(cls, uri: files.PathLike, model: ModelIdentity) -> FaceEngine:
        """Open a gallery; a file that does not exist is made.

        Raises:
            GalleryError: no such gallery, damaged, or not reachable.
            MissingDependencyError: the engine's package is not installed.
        """
        return cls(create_gallery(uri, model) if is_yet_to_be_made(uri) else open_gallery(uri), uri)

    @property
    def engine(self) -> str:
        return os.fsdecode(self._uri).partition(":")[0] if is_engine_uri(self._uri) else "file"

    @property
    def model(self) -> Optional[ModelIdentity]:
        return self._store.model

    @property
    def comparisons(self) -> int:
        with unavailable():
            return self._store.comparisons

    def count(self) -> int:
        with unavailable():
            return self._store.count()

    def version(self) -> object:
        """Return what is equal as long as nothing was changed, as far as can be told without reading all."""
        if is_engine_uri(self._uri):
            return self.count()
        return tuple(_stamp(path) for path in (Path(self._uri), journal_of(self._uri)))

    def count_of(self, name: str) -> int:
        """Return how many faces a person has; 0 for nobody."""
        with unavailable():
            return sum(len(block.entries) for block in self._store.blocks(name=name))

    def people(self) -> dict[str, int]:
        """Return how many faces each person has, in the order of names."""
        with unavailable():
            return self._store.people()

    def faces_of(self, name: str) -> list[GalleryEntry]:
        with unavailable():
            return [entry for block in self._store.blocks(name=name) for entry in block.entries]

    def size_bytes(self) -> Optional[int]:
        """Return the size of a file with its journal; None for other engines."""
        if is_engine_uri(self._uri):
            return None
        return sum(stamp[1] for stamp in map(_stamp, (Path(self._uri), journal_of(self._uri))) if stamp is not None)

    def identify(
        self, embeddings: np.ndarray, *, top_k: int, threshold: float, similarity: SimilaritySpec
    ) -> list[Identification]:
        """Decide who faces (N, D) are, see ``GalleryStore.identify``; a card says what a cosine is worth."""
        assert self._opened_with is not None, "checked when the service opened it"
        model = dataclasses.replace(self._opened_with, similarity=similarity)
        with unavailable():
            found = self._store.judged_by(model).identify(embeddings, top_k=top_k, threshold=threshold)
            self._require_same_model()
            return found

    def add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int:
        """Add faces (N, D); one that is there already is not doubled. Returns how many were added."""
        with unavailable(), self._store.transaction():
            self._require_same_model()
            return self._store.add(entries, embeddings)

    def remove(self, name: str) -> int:
        """Remove a person who is there; returns how many faces that were."""
        with unavailable():
            return self._store.remove(name)

    def remove_face(self, entry: GalleryEntry) -> None:
        """Remove one face of one person; other faces of the same picture stay."""
        with unavailable(), self._store.transaction():
            faces = self._store.faces_of_picture(entry.path)
            kept = [number for number, other in enumerate(faces.entries) if other != entry]
            self._store.remove_picture(entry.path)
            if kept:
                self._store.add([faces.entries[number] for number in kept], faces.embeddings[kept])

    def rename(self, name: str, new_name: str, *, join: bool = False) -> int:
        """Call a person who is there something else; ``join`` allows one who exists."""
        with unavailable():
            return self._store.rename(name, new_name, join=join)

    def close(self) -> None:
        self._store.close()

    def _require_same_model(self) -> None:
        """Raise ``GalleryError`` when another gallery stands in the place of the one that was opened."""
        now, before = self._store.model, self._opened_with
        difference = "" if now is None or before is None else before.difference_to(now)
        if (now is None) != (before is None) or difference:
            raise GalleryError(
                f"{self._store.uri}: was replaced by a gallery of another model while it was in use "
                f"({difference or 'one does not say which'}); put the former back, or start the service again"
            )


@contextlib.contextmanager
def unavailable() -> Iterator[None]:
    """Turn what goes wrong with an engine, whose place is for the log only, into an error for everybody."""
    try:
        yield
    except (OSError, GalleryError) as error:
        raise GalleryUnavailableError("the gallery cannot be read or written just now") from error


def _stamp(path: Path) -> Optional[tuple[int, int, int]]:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
