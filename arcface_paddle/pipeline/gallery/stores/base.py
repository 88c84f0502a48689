"""What every gallery engine does, whatever keeps the faces: the contract that travels with it, and its calls.

An engine subclasses ``GalleryStore`` and keeps faces in a file, a folder or on a server. What is asked of all of them
is checked here once, so that a wrong name, a wrong embedding or a foreign model gets the same line from each.
``tests/pipeline/test_gallery_stores.py`` is the contract as tests.
"""

from __future__ import annotations

import abc
import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ContextManager, Iterator, Mapping, Optional, Sequence

import numpy as np

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec
from arcface_paddle.pipeline.gallery import documents, matching
from arcface_paddle.pipeline.gallery.entries import (
    GalleryEntry,
    ModelIdentity,
    checked_embeddings,
    clean_name,
    listed_names,
    require_comparable,
)
from arcface_paddle.pipeline.settings import DECISIONS, DEFAULT_DECISION
from arcface_paddle.types import Candidate
from arcface_paddle.untrusted import DOCUMENT_ERRORS, parse_json

BLOCK_FACES = 4096
"""Faces that ``GalleryStore.blocks`` gives at a time: 5 MB of 320 numbers each."""

_DIGITS = 6
"""Decimals to which similarities are told apart. Engines add up in different orders, and equal ones are to be equal."""


@dataclass(frozen=True)
class GalleryContract:
    """What a gallery was made with; it goes with the faces from engine to engine.

    Attributes:
        model: the recogniser (weights, preprocessing, mirrored average, similarity transform); None when not known.
        embedding_size: D.
        decision: how several pictures of a person decide, one of ``DECISIONS``.
        parameters: how the gallery was made; recorded for people, no code reads it.
    """

    model: Optional[ModelIdentity]
    embedding_size: int
    decision: str = DEFAULT_DECISION
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise GalleryError(f"decision is {self.decision!r}; allowed: {', '.join(DECISIONS)}")
        if self.embedding_size < 1 or (self.model is not None and self.model.embedding_size != self.embedding_size):
            size = "1 or more" if self.model is None else str(self.model.embedding_size)
            raise GalleryError(f"embedding size is {self.embedding_size}; allowed: {size}")

    @classmethod
    def of(
        cls,
        model: ModelIdentity,
        *,
        decision: str = DEFAULT_DECISION,
        parameters: Optional[Mapping[str, Any]] = None,
    ) -> GalleryContract:
        """Return the contract of a gallery whose faces ``model`` embeds."""
        return cls(model, model.embedding_size, decision, dict(parameters or {}))

    @property
    def similarity(self) -> SimilaritySpec:
        """What a cosine is worth."""
        return PLAIN_COSINE if self.model is None else self.model.similarity

    def to_text(self) -> str:
        """Write the contract as JSON."""
        document = {
            "model": None if self.model is None else documents.json_of_model(self.model),
            "embedding_size": self.embedding_size,
            "decision": self.decision,
            "parameters": dict(self.parameters),
        }
        return json.dumps(document, sort_keys=True, allow_nan=False)

    @classmethod
    def from_text(cls, text: str, *, name: str) -> GalleryContract:
        """Read a contract; ``name`` serves error messages.

        Raises:
            GalleryError: it is none.
        """
        try:
            value = parse_json(text, name=name, error=GalleryError)
            model = None if value["model"] is None else documents.model_of_json(value["model"])
            return cls(
                model,
                int(value["embedding_size"]),
                str(value["decision"]),
                documents.parameters_of_json(value["parameters"]),
            )
        except DOCUMENT_ERRORS as error:
            raise GalleryError(f"{name}: does not say which model made it ({error!r}); it is no gallery") from None

    def require_same(self, other: GalleryContract) -> None:
        """Check that faces of ``other`` may join.

        Raises:
            GalleryError: another model made them, or one side does not say which.
        """
        if (self.model is None) != (other.model is None) or self.embedding_size != other.embedding_size:
            raise GalleryError("a gallery that does not say which model made it can only join one of its kind")
        difference = "" if self.model is None or other.model is None else self.model.difference_to(other.model)
        if difference and self.model is not None and other.model is not None:
            raise GalleryError(
                f"galleries of different models cannot be merged: {self.model.name} and {other.model.name} "
                f"({difference})"
            )


@dataclass(frozen=True, eq=False)
class FaceBlock:
    """Some faces of a gallery.

    Attributes:
        entries: N, where each comes from.
        embeddings: (N, D) float32, L2-normalised.
    """

    entries: Sequence[GalleryEntry]
    embeddings: np.ndarray


class GalleryStore(abc.ABC):
    """Known people in an engine: searched, changed face by face, and as large as the engine allows.

    All methods may be called from several threads. A change is lasting when its call returns, or, within a
    ``transaction``, when that ends. Every search takes account of the changes that other processes made before it.

    Attributes:
        uri: what opens it, without passwords.
        contract: what made its faces.
    """

    def __init__(self, uri: str, contract: GalleryContract) -> None:
        self.uri = uri
        self.contract = contract

    # What an engine does.

    @abc.abstractmethod
    def count(self) -> int:
        """Return the number of faces (not of persons)."""

    @abc.abstractmethod
    def people(self) -> dict[str, int]:
        """Return how many faces each person has, in the order of names."""

    @abc.abstractmethod
    def blocks(self, *, name: Optional[str] = None) -> Iterator[FaceBlock]:
        """Give the faces, a few thousand at a time, in the engine's order; ``name``: only those of a person."""

    @abc.abstractmethod
    def search(self, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        """Find the ``k`` persons most similar to each probe (N, D), as ``GalleryIndex.search`` does."""

    @abc.abstractmethod
    def remove(self, name: str) -> int:
        """Remove a person and every trace of them; returns how many faces that were. ``GalleryError``: nobody."""

    @abc.abstractmethod
    def remove_picture(self, path: str) -> int:
        """Remove the faces of one picture, without a trace; returns how many. ``GalleryError``: none."""

    @abc.abstractmethod
    def transaction(self) -> ContextManager[None]:
        """Make several changes one: all of them last when the block ends, and none when it ends with an error.

        Searches of this store see them at once, those of others when the block has ended. Others cannot change the
        gallery meanwhile.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of files and connections; what was changed lasts anyway."""

    def drop(self) -> None:
        """Remove the gallery itself, with all that is in it; the store is of no use afterwards.

        Raises:
            GalleryError: the engine keeps files, which are removed as such, or the server refuses.
        """
        raise GalleryError(f"{self.uri}: is kept in files; remove those")

    @abc.abstractmethod
    def _add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int:
        """Add checked faces that are not there yet; returns how many were not."""

    @abc.abstractmethod
    def has(self, name: str) -> bool:
        """Tell whether a person is there."""

    @abc.abstractmethod
    def _rename(self, name: str, new_name: str) -> int:
        """Call a person who is there something else, somebody who is there too perhaps; returns how many faces."""

    # What all have in common.

    @property
    def model(self) -> Optional[ModelIdentity]:
        """The identity of the model that made the faces; None when it is not known."""
        return self.contract.model

    @property
    def embedding_size(self) -> int:
        return self.contract.embedding_size

    @property
    def decision(self) -> str:
        return self.contract.decision

    @property
    def names(self) -> tuple[str, ...]:
        """The persons, sorted."""
        return tuple(self.people())

    def faces_of_picture(self, path: str) -> FaceBlock:
        """Return the faces of one picture; none where it has none. An engine that can look them up does that."""
        found = [
            (entry, row)
            for block in self.blocks()
            for entry, row in zip(block.entries, block.embeddings)
            if entry.path == path
        ]
        rows = np.array([row for _, row in found], np.float32).reshape(-1, self.embedding_size)
        return FaceBlock([entry for entry, _ in found], rows)

    @property
    def comparisons(self) -> int:
        """With how many rows each face is compared: every picture, or the mean of every person."""
        return self.count() if self.decision == "best" else len(self.people())

    def require_model(self, model: ModelIdentity) -> str:
        """Check that embeddings of ``model`` may be compared with this gallery, as ``Gallery.require_model`` does."""
        return require_comparable(self.model, model, embedding_size=self.embedding_size)

    def add(self, entries: Sequence[GalleryEntry], embeddings: np.ndarray) -> int:
        """Add faces; one that is there already (same person, picture, box) is not doubled.

        Args:
            entries: N; their names are cleaned as everywhere.
            embeddings: (N, D) float32, L2-normalised.

        Returns:
            How many were added.

        Raises:
            GalleryError: embeddings that do not fit, a name that cannot be, or the engine cannot write.
        """
        rows = checked_embeddings(np.asarray(embeddings), count=len(entries), model=self.model)
        if rows.shape[1] != self.embedding_size:
            raise GalleryError(
                f"embeddings of size {rows.shape[1]} cannot join a gallery of size {self.embedding_size}"
            )
        for entry in entries:
            if clean_name(entry.name) != entry.name:
                raise GalleryError(f"the name {entry.name!r} has outer spaces or is not in normal form C")
        return self._add(entries, np.asarray(rows, dtype=np.float32)) if len(entries) else 0

    def rename(self, name: str, new_name: str, *, join: bool = False) -> int:
        """Call ``name`` ``new_name``; ``join`` allows a person who exists already. Returns how many faces it changed.

        Raises:
            GalleryError: nobody of that name, a new name that cannot be, or one that is taken.
        """
        target = clean_name(new_name)
        with self.transaction():
            self._require_person(name)
            if target == name:
                return 0
            if not join and self.has(target):
                raise GalleryError(
                    f"{target!r} exists already; join the two explicitly (--join) if they are one person"
                )
            return self._rename(name, target)

    def merge(self, name: str, into: str) -> int:
        """Make two people one: the faces of ``name`` become those of ``into``. Returns how many faces that were.

        Raises:
            GalleryError: one of them is not there.
        """
        with self.transaction():
            self._require_person(into)
            return self.rename(name, into, join=True)

    def identify(self, embeddings: np.ndarray, *, top_k: int, threshold: float) -> list[matching.Identification]:
        """Decide who the faces with ``embeddings`` (N, D) are, as ``Gallery.identify`` does."""
        return matching.identify(
            self, embeddings, top_k=top_k, threshold=threshold, similarity=self.contract.similarity
        )

    def judged_by(self, model: ModelIdentity) -> JudgedStore:
        """Return this gallery to be asked with embeddings of ``model``, whose card says what a cosine is worth.

        Raises:
            GalleryError: made with another model or other settings.
        """
        self.require_model(model)
        return JudgedStore(self, model)

    def with_decision(self, decision: str) -> GalleryStore:
        """Return this gallery if it decides that way.

        Raises:
            GalleryError: it was made for another decision, for which its engine is not prepared.
        """
        if decision != self.decision:
            raise GalleryError(
                f"{self.uri}: was made for the decision {self.decision!r}, not {decision!r}; export it and build one "
                f"of the other decision"
            )
        return self

    def __len__(self) -> int:
        return self.count()

    def __repr__(self) -> str:
        model = "unknown model" if self.model is None else self.model.name
        return f"{type(self).__name__}({self.uri!r}, {self.count()} faces, {model} {self.embedding_size}-D)"

    def __enter__(self) -> GalleryStore:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def _require_person(self, name: str) -> None:
        if not self.has(name):
            raise self._nobody(name)

    def _nobody(self, name: str) -> GalleryError:
        return GalleryError(f"no person {name!r} in the gallery; it has {listed_names(self.names)}")

    def _no_picture(self, path: str) -> GalleryError:
        return GalleryError(f"no face of the gallery comes from {path!r}; see 'gallery list --pictures'")


@dataclass(frozen=True)
class JudgedStore:
    """A store whose cosines a card judges.

    Attributes:
        store: who is asked.
        model: who makes the embeddings, and says what a cosine is worth.
    """

    store: GalleryStore
    model: ModelIdentity

    @property
    def comparisons(self) -> int:
        return self.store.comparisons

    def identify(self, embeddings: np.ndarray, *, top_k: int, threshold: float) -> list[matching.Identification]:
        """Decide who the faces with ``embeddings`` (N, D) are.

        Raises:
            GalleryError: somebody has put a gallery of another model in its place meanwhile.
        """
        found = matching.identify(
            self.store, embeddings, top_k=top_k, threshold=threshold, similarity=self.model.similarity
        )
        self.store.require_model(self.model)  # afterwards: the search is what takes notice of another gallery
        return found


def best_persons(names: Sequence[str], cosines: np.ndarray, k: int) -> tuple[Candidate, ...]:
    """Return the ``k`` persons with the highest cosine among faces, several of which may be of one person."""
    best: dict[str, float] = {}
    for name, cosine in zip(names, cosines.tolist()):
        value = max(-1.0, min(1.0, cosine))
        if value > best.get(name, -2.0):
            best[name] = value
    ranked = sorted(best.items(), key=lambda item: (-round(item[1], _DIGITS), item[0]))
    return tuple(Candidate(name, value) for name, value in ranked[:k])
