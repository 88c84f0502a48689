"""The gallery of known people. A ``Gallery`` does not change: every edit gives a new one."""

from __future__ import annotations

import html
import secrets
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterable, Mapping, Optional, Sequence, cast

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec
from arcface_paddle.pipeline.embedding_files import EmbeddingTable
from arcface_paddle.pipeline.gallery import (
    documents,
    hdf5,
    journal,
    keys,
    matching,
    parquet,
    published_index,
    sealing,
    storage,
)
from arcface_paddle.pipeline.gallery.columns import EntryColumns
from arcface_paddle.pipeline.gallery.entries import (
    GalleryEntry,
    ModelIdentity,
    checked_embeddings,
    checked_identity,
    checked_path,
    clean_name,
    listed_names,
    require_comparable,
)
from arcface_paddle.pipeline.gallery.index import ExactIndex, GalleryIndex, MakeIndex
from arcface_paddle.pipeline.settings import DEFAULT_DECISION
from arcface_paddle.types import Candidate

FORMAT_NAME = "arcface-paddle-gallery"
FORMAT_VERSION = 1
COLUMNS_VERSION = 2
"""Entries in columns, see ``columns``: a large gallery, which versions that do not know them refuse."""

LEAST_IN_COLUMNS = 10_000
"""Faces from which on a file has its entries in columns; fewer are read in a tenth of a second by every version."""

_NAMES_SHOWN, _CHARACTERS_SHOWN = 3, 40  # at the prompt, so that a gallery fits on one line
_ROWS_SHOWN = 100  # in a notebook, which keeps all that it shows


class Gallery:
    """Embeddings of known people, what they were taken from, and the model that made them.

    Attributes:
        entries: where each embedding comes from, sorted by person and picture.
        embeddings: (M, D) float32, L2-normalised, read-only.
        model: the recogniser that made them; None for an imported gallery that does not say.
        decision: how several pictures of a person decide, one of ``index.DECISIONS``.
        parameters: how it was made (detector, thresholds, ...); recorded for people, no code reads it.
        make_index: prepares the engine that is asked who a face is; a file of the gallery does not hold it.
        similarity: what a cosine is worth: what the model says, see ``judged_by``.

    Example:
        >>> import numpy as np
        >>> entries = [GalleryEntry("Ada", "a.jpg"), GalleryEntry("Grace", "g.jpg")]
        >>> gallery = Gallery(entries, np.eye(2, 4, dtype=np.float32))
        >>> probe = np.array([[0.8, 0.6, 0.0, 0.0]], dtype=np.float32)
        >>> [found] = gallery.identify(probe, top_k=5, threshold=0.5)
        >>> found.name, round(found.similarity, 2), len(found.candidates)
        ('Ada', 0.8, 2)
    """

    def __init__(
        self,
        entries: Sequence[GalleryEntry],
        embeddings: np.ndarray,
        *,
        model: Optional[ModelIdentity] = None,
        decision: str = DEFAULT_DECISION,
        parameters: Optional[Mapping[str, Any]] = None,
        make_index: MakeIndex = ExactIndex,
        similarity: Optional[SimilaritySpec] = None,
    ) -> None:
        matrix = np.array(checked_embeddings(embeddings, count=len(entries), model=model), dtype=np.float32)
        order = sorted(range(len(entries)), key=lambda i: entries[i].sort_key)
        self.entries = tuple(entries[i] for i in order)
        self.embeddings = matrix[order]
        self.embeddings.setflags(write=False)
        of_model = PLAIN_COSINE if model is None else model.similarity
        self.model = model
        self.similarity = of_model if similarity is None else similarity
        self.decision = decision
        self.parameters = dict(parameters or {})
        names = [entry.name for entry in self.entries]
        self.make_index = make_index
        self._index: GalleryIndex = make_index(names, self.embeddings, decision=self.decision)

    @classmethod
    def empty(
        cls,
        model: ModelIdentity,
        *,
        decision: str = DEFAULT_DECISION,
        parameters: Optional[Mapping[str, Any]] = None,
    ) -> Gallery:
        """Return a gallery of nobody, to which faces embedded by ``model`` can be added."""
        nothing = np.zeros((0, checked_identity(model).embedding_size), np.float32)
        return cls([], nothing, model=model, decision=decision, parameters=parameters)

    @classmethod
    def load(cls, path: files.PathLike) -> Gallery:
        """Read a gallery file: ours, a published pickle, HDF5 or Parquet, told apart by content and not by suffix.

        What the journal beside a file of ours holds is part of the gallery; see ``journal``.

        Raises:
            GalleryError: missing, unreadable, damaged, of a newer format, or one that may not be read.
            MissingDependencyError: HDF5 without h5py, Parquet without pyarrow.
        """
        checked_path(path)
        try:
            stream, changes = journal.open_with_journal(path)
            with stream:
                if storage.is_container(stream.read(storage.SIGNATURE_BYTES)):
                    return cls._from_file(storage.read(stream, name=str(path)), changes, name=str(path))
                stream.seek(0)
                content = stream.read()
        except OSError as error:
            raise GalleryError(f"{path}: cannot read the gallery: {error.strerror or error}") from None
        if not content:
            raise GalleryError(f"{path}: the gallery file is empty; build it again")
        if parquet.is_parquet(content):
            entries, embeddings, made_by = parquet.read_parquet(content, name=Path(path).name)
            parameters = {"imported_from": Path(path).name, parquet.MADE_BY: made_by}
            return cls(entries, embeddings, parameters=parameters)
        read = hdf5.read_hdf5 if hdf5.is_hdf5(content) else published_index.read_published
        entries, embeddings = read(content, name=Path(path).name)
        return cls(entries, embeddings, parameters={"imported_from": Path(path).name})

    def save(self, path: files.PathLike) -> None:
        """Write the gallery atomically; the same gallery gives the same bytes.

        Raises:
            GalleryError: the file cannot be written.
        """
        checked_path(path)
        header = FileHeader(self.model, self.decision, self.parameters, self.entries)
        write_file(path, header, lambda: [self.embeddings], shape=(len(self), self.embedding_size))

    def table(self) -> EmbeddingTable:
        """Return the embeddings and where they come from, for ``embedding_files.write_embeddings``."""
        nowhere = (0.0, 0.0, 0.0, 0.0)  # an imported gallery does not say where the face was
        return EmbeddingTable(
            np.array(self.embeddings),
            persons=[entry.name for entry in self.entries],
            sources=[entry.path for entry in self.entries],
            boxes_xyxy=np.array([entry.box_xyxy or nowhere for entry in self.entries], np.float32).reshape(-1, 4),
            model="" if self.model is None else f"{self.model.name} {self.model.weights_sha256}",
        )

    def __len__(self) -> int:
        """Return the number of faces (not of persons)."""
        return len(self.entries)

    def __repr__(self) -> str:
        model = "unknown model" if self.model is None else self.model.name
        people, faces = _counted(len(self.names), "person", "people"), _counted(len(self), "face", "faces")
        shown = ", ".join(self.names[:_NAMES_SHOWN])[:_CHARACTERS_SHOWN]
        more = ", …" if len(self.names) > _NAMES_SHOWN else ""
        return f"Gallery({people}, {faces}, {model} {self.embedding_size}-D{': ' if shown else ''}{shown}{more})"

    def _repr_html_(self) -> str:
        """Show the persons and their numbers of faces in a notebook."""
        counts = self.faces_by_person()
        rows = [f"<tr><td>{html.escape(name)}</td><td>{counts[name]}</td></tr>" for name in self.names[:_ROWS_SHOWN]]
        rest = len(self.names) - len(rows)
        more = f"<div>and {_counted(rest, 'person', 'people')} more</div>" if rest else ""
        table = f"<table><tr><th>person</th><th>faces</th></tr>{''.join(rows)}</table>"
        return f"<div><div>{html.escape(repr(self))}</div>{table}{more}</div>"

    @property
    def names(self) -> tuple[str, ...]:
        """The persons, sorted."""
        return self._index.names

    def has(self, name: str) -> bool:
        """Tell whether a person is there."""
        return name in self.names

    @property
    def embedding_size(self) -> int:
        return int(self.embeddings.shape[1])

    @property
    def comparisons(self) -> int:
        """With how many rows each face is compared: every picture, or the mean of every person."""
        return len(self) if self.decision == "best" else len(self.names)

    def search(self, probes: np.ndarray, k: int) -> Sequence[tuple[Candidate, ...]]:
        """Find the ``k`` persons most similar to each probe (N, D) by their cosines; see ``GalleryIndex.search``."""
        return self._index.search(probes, k)

    def identify(self, embeddings: np.ndarray, *, top_k: int, threshold: float) -> list[matching.Identification]:
        """Decide who the faces with ``embeddings`` (N, D) float32, L2-normalised, are.

        Args:
            embeddings: one row per face.
            top_k: most candidates to name per face; more than there are persons is fine.
            threshold: least similarity (-1 to 1) at which a face gets a name.
        """
        return matching.identify(self._index, embeddings, top_k=top_k, threshold=threshold, similarity=self.similarity)

    def judged_by(self, model: ModelIdentity) -> Gallery:
        """Return the gallery with the similarity of ``model`` as it is now, when its embeddings may be compared.

        A cosine's worth is a matter of judging, not of embedding: when a card changes it, or an imported gallery says
        nothing of it, nothing has to be embedded again, and thresholds of the card always mean what they say.

        Raises:
            GalleryError: made with another model or other settings.
        """
        self.require_model(model)
        return self._edited(self.entries, self.embeddings, similarity=model.similarity)

    def require_model(self, model: ModelIdentity) -> str:
        """Check that embeddings of ``model`` may be compared with this gallery.

        Returns:
            A caution to show to the user; empty when the gallery was made with this very model.

        Raises:
            GalleryError: made with another model or other settings.
        """
        return require_comparable(self.model, model, embedding_size=self.embedding_size)

    def with_faces(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> Gallery:
        """Return a gallery with more faces; a face that it has already (same person, picture, box) is not doubled."""
        known = {entry.face_key for entry in self.entries}
        fresh: list[int] = []
        for row, entry in enumerate(entries):
            if entry.face_key not in known:
                known.add(entry.face_key)
                fresh.append(row)
        if len(embeddings) and embeddings.shape[1] != self.embedding_size:
            raise GalleryError(
                f"embeddings of size {embeddings.shape[1]} cannot join a gallery of size {self.embedding_size}"
            )
        rows = np.concatenate([self.embeddings, embeddings[fresh].reshape(-1, self.embedding_size)])
        return self._edited([*self.entries, *(entries[row] for row in fresh)], rows)

    def without_person(self, name: str) -> Gallery:
        """Return the gallery without ``name``. Raises ``GalleryError`` when there is no such person."""
        self._require_person(name)
        return self._where(lambda entry: entry.name != name)

    def without_picture(self, path: str) -> Gallery:
        """Return the gallery without the faces of one picture. Raises ``GalleryError`` when it has none."""
        if not any(entry.path == path for entry in self.entries):
            raise GalleryError(f"no face of the gallery comes from {path!r}; see 'gallery list --pictures'")
        return self._where(lambda entry: entry.path != path)

    def renamed(self, name: str, new_name: str, *, join: bool = False) -> Gallery:
        """Return the gallery with ``name`` called ``new_name``; ``join`` allows a person who exists already."""
        self._require_person(name)
        target = clean_name(new_name)
        if target in self.names and target != name and not join:
            raise GalleryError(f"{target!r} exists already; join the two explicitly (--join) if they are one person")
        entries = [replace(entry, name=target) if entry.name == name else entry for entry in self.entries]
        return self._edited(entries, self.embeddings)

    def merged(self, other: Gallery) -> Gallery:
        """Return the union with another gallery of the same model; common persons get the pictures of both.

        Raises:
            GalleryError: the two were made with different models, or one does not say with which.
        """
        if not isinstance(other, Gallery):
            raise GalleryError(f"a gallery cannot be merged with a {type(other).__name__}; allowed: a Gallery")
        if self.model is None or other.model is None:
            if self.model is not other.model or self.embedding_size != other.embedding_size:
                raise GalleryError("a gallery that does not say which model made it can only join one of its kind")
        else:
            difference = self.model.difference_to(other.model)
            if difference:
                raise GalleryError(
                    f"galleries of different models cannot be merged: {self.model.name} and {other.model.name} "
                    f"({difference})"
                )
        return self.with_faces(other.entries, other.embeddings)

    def with_decision(self, decision: str) -> Gallery:
        """Return the gallery with another decision, one of ``index.DECISIONS``."""
        return self._edited(self.entries, self.embeddings, decision=decision)

    def with_index(self, make_index: MakeIndex) -> Gallery:
        """Return the gallery with another engine for its searches; every edit of it keeps that."""
        return self._edited(self.entries, self.embeddings, make_index=make_index)

    def with_model(self, model: ModelIdentity) -> Gallery:
        """Return the gallery bound to ``model``: the caller knows that it made these embeddings."""
        self.require_model(model)
        return self._edited(self.entries, self.embeddings, model=model, similarity=model.similarity)

    def to_dict(self) -> dict[str, Any]:
        """Return who is in the gallery and what made it as JSON values, without the embeddings."""
        return {
            "model": asdict(self.model) if self.model else None,
            "embedding_size": self.embedding_size,
            "decision": self.decision,
            "parameters": self.parameters,
            "faces": len(self),
            "people": self.faces_by_person(),
            "entries": [asdict(entry) for entry in self.entries],
        }

    def faces_by_person(self) -> dict[str, int]:
        """Return how many faces each person has, in the order of names."""
        return dict(Counter(entry.name for entry in self.entries))

    def _require_person(self, name: str) -> None:
        if name not in self.names:
            raise GalleryError(f"no person {name!r} in the gallery; it has {listed_names(self.names)}")

    def _where(self, wanted: Callable[[GalleryEntry], bool]) -> Gallery:
        kept = [row for row, entry in enumerate(self.entries) if wanted(entry)]
        return self._edited([self.entries[row] for row in kept], self.embeddings[kept])

    def _edited(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray, **changes: Any) -> Gallery:
        kept = {
            "model": self.model,
            "decision": self.decision,
            "parameters": self.parameters,
            "make_index": self.make_index,
            "similarity": self.similarity,
        }
        return Gallery(entries, embeddings, **{**kept, **changes})

    @classmethod
    def _from_file(cls, content: storage.Container, changes: bytes, *, name: str) -> Gallery:
        read = read_header(content, name=name)
        records = journal.records_for(changes, content, name=name)
        try:
            entries = list(read.entries)
            rows = journal.fold(records, entries, content.rows) if records else content.rows
            return cls(entries, rows, model=read.model, decision=read.decision, parameters=read.parameters)
        except GalleryError as error:
            raise GalleryError(f"{name}: {error}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise GalleryError(f"{name}: damaged gallery journal ({error!r}); build it again") from None


@dataclass(frozen=True, eq=False)
class FileHeader:
    """What a gallery file says about itself.

    Attributes:
        model: the recogniser that made the embeddings; None when that is not known.
        decision: how several pictures of a person decide.
        parameters: how it was made.
        entries: one per embedding, in order.
    """

    model: Optional[ModelIdentity]
    decision: str
    parameters: dict[str, Any]
    entries: Sequence[GalleryEntry]

    def to_json(self) -> dict[str, Any]:
        """Return the header as the file holds it; a large gallery has its entries elsewhere."""
        document = {
            "format": FORMAT_NAME,
            "version": COLUMNS_VERSION if self.is_large else FORMAT_VERSION,
            "model": documents.json_of_model(self.model) if self.model else None,
            "decision": self.decision,
            "parameters": self.parameters,
        }
        if not self.is_large:
            document["entries"] = [documents.json_of_entry(entry) for entry in self.entries]
        return document

    @property
    def is_large(self) -> bool:
        return len(self.entries) >= LEAST_IN_COLUMNS


def read_header(content: storage.Container, *, name: str) -> FileHeader:
    """Read what a gallery file says about itself; ``name`` serves error messages.

    Raises:
        GalleryError: of another format or version, or damaged.
    """
    header = content.header
    if header.get("format") != FORMAT_NAME:
        raise GalleryError(f"{name}: a zip file, but not a gallery (format is {header.get('format')!r})")
    if header.get("version") not in (FORMAT_VERSION, COLUMNS_VERSION):
        raise GalleryError(
            f"{name}: gallery of format version {header.get('version')!r}; this program reads {FORMAT_VERSION} and "
            f"{COLUMNS_VERSION}"
        )
    try:
        model = documents.model_of_json(header["model"]) if header["model"] is not None else None
        entries: Sequence[GalleryEntry]
        if header["version"] == COLUMNS_VERSION:
            if content.entries is None:
                raise ValueError("no entries")
            entries = content.entries
        else:
            entries = tuple(documents.entry_of_json(value) for value in header["entries"])
        parameters = documents.parameters_of_json(header["parameters"])
        return FileHeader(model, header["decision"], parameters, entries)
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{name}: damaged gallery header ({error!r}); build it again") from None


def write_file(
    path: files.PathLike, header: FileHeader, blocks: Callable[[], Iterable[np.ndarray]], *, shape: tuple[int, int]
) -> None:
    """Write a gallery file atomically and end its journal, which is part of it now or was given up.

    It is encrypted where a key is known (see ``keys``).

    Args:
        path: the file.
        header: with the entries in the order of ``Gallery.entries``.
        blocks: gives the embeddings in that order, float32, together of ``shape``.
        shape: M, D.

    Raises:
        GalleryError: the file cannot be written, or it would replace an encrypted one and no key is known.
    """
    known = keys.known_keys()
    if not known:
        _require_plain(path)
    write_file_with(known[0] if known else None, path, header, blocks, shape=shape)


def write_file_with(
    key: Optional[keys.GalleryKey],
    path: files.PathLike,
    header: FileHeader,
    blocks: Callable[[], Iterable[np.ndarray]],
    *,
    shape: tuple[int, int],
) -> None:
    """Write a gallery file as ``write_file`` does, encrypted with ``key``; None for a file that everybody can read."""
    document = header.to_json()
    arrays = EntryColumns.of(header.entries).arrays() if header.is_large else {}
    beside = journal.journal_of(path)
    try:
        with files.atomic_writer(path) as stream:
            if key is not None:
                sealed = sealing.SealedWriter(stream, key)
                storage.write(cast(BinaryIO, sealed), document, blocks(), shape=shape, arrays=arrays)
                sealed.finish()
            else:
                written = storage.write(stream, document, blocks(), shape=shape, arrays=arrays)
                if journal.has_head(journal.read(beside, most=journal.HEAD_BYTES) or b"", written):
                    # The same file as the one that the journal continues: were we killed now, it would count for this.
                    stream.seek(0)
                    stream.truncate()
                    document = {**document, "generation": secrets.token_hex(8)}
                    storage.write(stream, document, blocks(), shape=shape, arrays=arrays)
        journal.sync_folder(beside.parent)
        journal.discard(beside)
    except OSError as error:
        raise GalleryError(f"{path}: cannot write the gallery: {error.strerror or error}") from None


def _require_plain(path: files.PathLike) -> None:
    """Raise ``GalleryError`` when an encrypted gallery stands under ``path``: it must not become one that is not."""
    try:
        with files.open_regular(path) as stream:
            content = stream.read(storage.SIGNATURE_BYTES)
    except OSError:
        return
    if sealing.is_sealed(content):
        raise GalleryError(
            f"{path}: is encrypted, and no key is given to encrypt it again; set {keys.FILE_VARIABLE} or "
            f"{keys.VARIABLE}"
        )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
