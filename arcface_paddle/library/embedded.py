"""The embeddings of the faces of a ``people.json``, from the store that it names: nothing is embedded again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Mapping, Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.library.documents import PeopleDocument
from arcface_paddle.library.records import LibraryFace
from arcface_paddle.library.store import IDENTITY_NAME, ScanIdentity, StoredPicture, read_embeddings, read_identity
from arcface_paddle.pipeline import model_files
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.gallery.entries import ModelIdentity

_SAME_BOX_PX = 0.02  # people.json has boxes to a hundredth of a pixel


@dataclass(frozen=True, eq=False)
class EmbeddedPeople:
    """A people document with the embeddings of its faces.

    Attributes:
        people: the document.
        embeddings: (N, D) float32, L2-normalised; row i belongs to ``people.faces[i]``.
        model: the recogniser that made them.
    """

    people: PeopleDocument
    embeddings: np.ndarray
    model: ModelIdentity

    def judged_by(self, card: ModelCard) -> EmbeddedPeople:
        """Return the same with what a cosine is worth by the recogniser's card."""
        return replace(self, model=replace(self.model, similarity=recognizer_spec(card).similarity))


def gallery_identity(scanned_by: ScanIdentity) -> ModelIdentity:
    """Return what a gallery records of the recogniser of a store."""
    hashes = (scanned_by.weights_sha256, scanned_by.preprocessing_sha256)
    return ModelIdentity(scanned_by.recognizer, scanned_by.embedding_size, *hashes, scanned_by.mirrored)


def recognizer_named(embedded: EmbeddedPeople, name_or_folder: Optional[str]) -> str:
    """Return how the recogniser of a library is opened: as it is given, or a known one on this machine.

    Raises:
        ConfigError: another recogniser is given, or none of the known ones is that of the library.
        ModelFileError: the one that is given is missing or damaged.
    """
    wanted = embedded.model.weights_sha256
    for name in [name_or_folder] if name_or_folder else model_files.local_recognizers():
        if model_files.weights_sha256_of(name) == wanted:
            return name
    problem = "is another" if name_or_folder else "is none of the known ones on this machine; name its folder"
    raise ConfigError(
        f"the library was embedded by {embedded.model.name} (weights {wanted[:12]}): "
        f"--rec_model {name_or_folder or ''}{' ' if name_or_folder else ''}{problem}"
    )


def load_embedded(people: PeopleDocument, *, beside: Optional[files.PathLike] = None) -> EmbeddedPeople:
    """Read the embeddings of a document's faces.

    Args:
        people: names store and model.
        beside: the document's folder: a store that has moved together with it is found there.

    Raises:
        DataError: no store, or one that does not hold these faces.
    """
    folder = Path(people.store)
    if not folder.is_dir() and beside is not None:
        folder = Path(beside) / folder.name
    model = people.grouping.facts.model
    stored = read_embeddings(folder, model=model)
    rows = [_embedding_of(face, stored, folder) for face in people.faces]
    identity = _model_of(folder, model=model)
    embeddings = np.array(rows, np.float32).reshape(len(rows), identity.embedding_size)
    return EmbeddedPeople(people, embeddings, identity)


def _embedding_of(face: LibraryFace, stored: Mapping[str, StoredPicture], folder: Path) -> np.ndarray:
    """Return the embedding of a face, which is found by its box, whatever number it has."""
    picture = stored.get(face.picture)
    if picture is not None and picture.face_count:
        distances = np.abs(picture.boxes_xyxy - face.box_xyxy).max(axis=1)
        nearest = int(np.argmin(distances))
        if distances[nearest] <= _SAME_BOX_PX:
            embedding: np.ndarray = picture.embeddings[nearest]
            return embedding
    raise DataError(
        f"{folder}: does not hold the face {face.face_id} of the people file; run 'arcface-paddle people' again"
    )


def _model_of(folder: Path, *, model: str) -> ModelIdentity:
    """Return the recogniser that a store was filled by, as a gallery records it."""
    for path in sorted(folder.glob(f"*/{IDENTITY_NAME}")):
        found = read_identity(path)
        if found is not None and found.model == model:
            return gallery_identity(found)
    raise DataError(f"{folder}: does not say which model filled it; run 'arcface-paddle people' again")
