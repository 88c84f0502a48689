"""People and their faces, as the routes need them: the gallery's engine and the records beside it, kept in step.

The gallery comes first in every change: what it does not hold is nobody's face. A process that is killed between the
two leaves a record without faces, which was never acknowledged as gone or new, or a renaming that the next start ends.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.errors import GalleryError
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.gallery import GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.entries import clean_name
from arcface_paddle.pipeline.gallery.stores import shown_uri
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.pipeline.settings import ThresholdSettings
from arcface_paddle.pipeline.thresholds import Threshold, search_threshold
from arcface_paddle.service.errors import NameTakenError, NotFoundError
from arcface_paddle.service.face_engine import FaceEngine
from arcface_paddle.service.people_records import PeopleRecords, PersonRecord, utc_now
from arcface_paddle.types import Face

RECORDS = "people.sqlite"


@dataclass(frozen=True)
class Person:
    """A person and how many faces they have; with the crop of their best, where one is kept and was asked for."""

    record: PersonRecord
    faces: int
    crop: Optional[bytes] = None


@dataclass(frozen=True)
class StoredFace:
    """A face of a person.

    Attributes:
        id: 16 hexadecimal digits, of its picture and place; a person has it once.
        entry: as in the gallery.
        quality: 0 to 1; None when it was enrolled elsewhere.
        crop: a small JPEG; None where none is kept, or was not asked for.
    """

    id: str
    entry: GalleryEntry
    quality: Optional[float]
    crop: Optional[bytes] = None


@dataclass(frozen=True, eq=False)
class NewFace:
    """A face to be enrolled.

    Attributes:
        entry: where it comes from; its name is replaced by the person's.
        embedding: (D,) float32, L2-normalised.
        quality: 0 to 1.
        crop: a small JPEG, which a store that keeps crops keeps.
    """

    entry: GalleryEntry
    embedding: np.ndarray
    quality: Optional[float]
    crop: Optional[bytes] = None


@dataclass(frozen=True)
class Ranked:
    """A person of the gallery and how similar they are.

    Attributes:
        person: id.
        name: of the person.
        similarity: -1 to 1.
    """

    person: str
    name: str
    similarity: float


@dataclass(frozen=True)
class Answer:
    """Who a face is.

    Attributes:
        best: the person decided on; None below the threshold.
        similarity: that to the best person, also below the threshold; None in an empty gallery.
        candidates: most similar first.
    """

    best: Optional[Ranked]
    similarity: Optional[float]
    candidates: tuple[Ranked, ...]


class PeopleStore:
    """A gallery and the records of its people. All methods may be called from several threads.

    Args:
        faces: the gallery's engine.
        records: ids, consent and expiry.
        card: of the recogniser, which says what a cosine is worth and from which similarity on a face has a name.
        keep_crops: keep small pictures of the faces that are enrolled; otherwise those kept before are removed.
    """

    def __init__(self, faces: FaceEngine, records: PeopleRecords, *, card: ModelCard, keep_crops: bool = False) -> None:
        self.keeps_crops = keep_crops
        self._faces = faces
        self._records = records
        self._card = card
        self._changing = threading.RLock()
        self._adopted_at: object = None
        if not keep_crops:
            records.forget_crops()
        self._end_renamings()
        self._adopt_all()

    @property
    def engine(self) -> str:
        return self._faces.engine

    @property
    def model(self) -> Optional[ModelIdentity]:
        return self._faces.model

    def face_count(self) -> int:
        return self._faces.count()

    def people_count(self) -> int:
        return self._records.page(search="", offset=0, limit=0)[0]

    def size_bytes(self) -> Optional[int]:
        return self._faces.size_bytes()

    def close(self) -> None:
        """Wait for a change that is being written, and let go of files."""
        with self._changing:
            self._faces.close()
            self._records.close()

    # Asking.

    def threshold(self, settings: ThresholdSettings) -> Threshold:
        """Return from which similarity on a face gets a name. Raises ``ConfigError`` for settings that cannot be."""
        return search_threshold(self._card, settings, comparisons=self._faces.comparisons)

    def identify(self, embeddings: np.ndarray, *, top_k: int, threshold: float) -> list[Answer]:
        """Decide who faces (N, D) are."""
        found = self._faces.identify(
            embeddings, top_k=top_k, threshold=threshold, similarity=recognizer_spec(self._card).similarity
        )
        ids = self._ids({candidate.name for one in found for candidate in one.candidates})
        answers = []
        for one in found:
            # Without an id: removed between the search and now.
            ranked = tuple(Ranked(ids[c.name], c.name, c.similarity) for c in one.candidates if c.name in ids)
            best = ranked[0] if ranked and ranked[0].similarity >= threshold else None
            answers.append(Answer(best, ranked[0].similarity if ranked else None, ranked))
        return answers

    def identify_faces(self, faces: Sequence[Face], *, top_k: int, threshold: float) -> list[Answer]:
        """Decide who embedded faces are."""
        if not faces:
            return []
        return self.identify(np.stack([require_embedding(face) for face in faces]), top_k=top_k, threshold=threshold)

    def page(self, *, search: str, offset: int, limit: int) -> tuple[int, list[Person]]:
        """Return how many people's names contain ``search``, and some of them in the order of names."""
        self._adopt_all()
        total, records = self._records.page(search=search, offset=offset, limit=limit)
        return total, [self._with_faces(record) for record in records]

    def with_crops(self, people: Sequence[Person]) -> list[Person]:
        """Return people with the crops of their best faces, as far as crops are kept."""
        crops = self._records.best_crops([person.record.id for person in people])
        return [dataclasses.replace(person, crop=crops.get(person.record.id)) for person in people]

    def faces_with_crops(self, person_id: str) -> list[StoredFace]:
        """Return a person's faces with their crops, as far as crops are kept. Raises ``NotFoundError``."""
        faces, crops = self.faces_of(person_id), self._records.crops(person_id)
        return [dataclasses.replace(face, crop=crops.get(face.id)) for face in faces]

    def person(self, person_id: str) -> Person:
        """Return a person. Raises ``NotFoundError``."""
        return self._with_faces(self._record(person_id))

    def find(self, name: str) -> Optional[Person]:
        """Return the person of a name, if there is one."""
        record = self._record_of(clean_name(name))
        return None if record is None else self._with_faces(record)

    def faces_of(self, person_id: str) -> list[StoredFace]:
        """Return a person's faces. Raises ``NotFoundError``."""
        record = self._record(person_id)
        qualities = self._records.qualities(person_id)
        faces = [(face_id_of(entry), entry) for entry in self._faces.faces_of(record.name)]
        return [StoredFace(face_id, entry, qualities.get(face_id)) for face_id, entry in faces]

    # Changing.

    def create(self, name: str, *, consent: Optional[str] = None, expires: Optional[str] = None) -> Person:
        """Make a person without faces.

        Raises:
            NameTakenError: there is one of that name.
            GalleryError: a name that cannot be.
        """
        cleaned = clean_name(name)
        with self._changing:
            self._record_of(cleaned)  # in the gallery, by another program
            return Person(self._records.create(cleaned, consent=consent, expires=expires), 0)

    def annotate(self, person_id: str, *, consent: Optional[str], expires: Optional[str]) -> Person:
        """Replace the note on consent and the expiry. Raises ``NotFoundError``."""
        with self._changing:
            self._record(person_id)
            self._records.annotate(person_id, consent=consent, expires=expires)
            return self.person(person_id)

    def rename(self, person_id: str, new_name: str) -> Person:
        """Give a person another name.

        Raises:
            NotFoundError: nobody has the id.
            NameTakenError: somebody else has the name.
            GalleryError: a name that cannot be.
        """
        target = clean_name(new_name)
        with self._changing:
            record = self._record(person_id)
            if target == record.name:
                return self._with_faces(record)
            if self._record_of(target) is not None:
                raise NameTakenError(f"there is a person {target!r} already; merge the two if they are one")
            if self._faces.count_of(record.name):
                self._records.begin_renaming(person_id, target)
                self._faces.rename(record.name, target)
            self._records.end_renaming(person_id, target)
            return self.person(person_id)

    def merge(self, person_id: str, into: str) -> Person:
        """Give the faces of one person to another, and remove the first.

        Raises:
            NotFoundError: nobody has one of the ids.
            GalleryError: they are one already.
        """
        with self._changing:
            record, target = self._record(person_id), self._record(into)
            if person_id == into:
                raise GalleryError("a person cannot be merged with themselves; give two ids")
            if self._faces.count_of(record.name):
                self._faces.rename(record.name, target.name, join=True)
            self._records.move_faces(person_id, into)
            self._records.remove(person_id)
            return self.person(into)

    def remove(self, person_id: str) -> int:
        """Remove a person and their faces; returns how many faces that were. Raises ``NotFoundError``."""
        with self._changing:
            record = self._record(person_id)
            removed = self._faces.remove(record.name) if self._faces.count_of(record.name) else 0
            self._records.remove(person_id)
            return removed

    def add_faces(self, person_id: str, faces: Sequence[NewFace]) -> list[StoredFace]:
        """Enrol faces; one that the person has already stays as it is. They are on disk when this returns.

        Raises:
            NotFoundError: nobody has the id.
            GalleryError: embeddings that do not fit, or the gallery cannot be written.
        """
        with self._changing:
            record = self._record(person_id)
            named = [_named(face.entry, record.name) for face in faces]
            self._faces.add(named, np.stack([face.embedding for face in faces]))
            ids = [face_id_of(entry) for entry in named]
            self._note(person_id, named, faces)
            present = {face.id: face for face in self.faces_of(person_id)}
            return [present[face_id] for face_id in ids]

    def enrol(self, faces: Sequence[tuple[str, NewFace]]) -> dict[str, int]:
        """Enrol faces of several people by their names, as one change; who is not there yet is made.

        Returns:
            How many faces were given to each person, by id.

        Raises:
            GalleryError: embeddings that do not fit, or the gallery cannot be written.
        """
        by_name: dict[str, list[NewFace]] = {}
        for name, face in faces:
            by_name.setdefault(clean_name(name), []).append(face)
        with self._changing:
            with self._records.transaction():  # each alone would wait for the disk
                records = {name: self._record_of(name) or self._records.create(name) for name in by_name}
            named = [(_named(face.entry, name), face) for name, own in by_name.items() for face in own]
            self._faces.add([entry for entry, _ in named], np.stack([face.embedding for _, face in named]))
            with self._records.transaction():
                for name, own in by_name.items():
                    self._note(records[name].id, [_named(face.entry, name) for face in own], own)
            return {records[name].id: len(own) for name, own in by_name.items()}

    def remove_face(self, person_id: str, face_id: str) -> None:
        """Remove one face of a person. Raises ``NotFoundError``."""
        with self._changing:
            found = [face for face in self.faces_of(person_id) if face.id == face_id]
            if not found:
                raise NotFoundError(f"the person has no face {face_id[:40]!r}")
            self._faces.remove_face(found[0].entry)
            self._records.forget_face(person_id, face_id)

    def keep_crop(self, person_id: str, face_id: str, crop: bytes) -> None:
        """Keep the crop of a face that is there, in a store that keeps crops."""
        if self.keeps_crops:
            self._records.keep_crops(person_id, [(face_id, crop)])

    def expired(self) -> list[str]:
        """Return the ids of the people whose time is over."""
        return [record.id for record in self._records.expired(utc_now())]

    def _note(self, person_id: str, entries: Sequence[GalleryEntry], faces: Sequence[NewFace]) -> None:
        """Note what the gallery does not hold of faces that it holds now."""
        ids = [face_id_of(entry) for entry in entries]
        crops = [(i, face.crop) for i, face in zip(ids, faces) if self.keeps_crops and face.crop is not None]
        with self._records.transaction():
            self._records.note_qualities(person_id, [(i, face.quality) for i, face in zip(ids, faces)])
            self._records.keep_crops(person_id, crops)

    def _record(self, person_id: str) -> PersonRecord:
        record = self._records.by_id(person_id)
        if record is None:
            raise NotFoundError(f"nobody has the id {person_id[:40]!r}")
        return record

    def _with_faces(self, record: PersonRecord) -> Person:
        return Person(record, self._faces.count_of(record.name))

    def _record_of(self, name: str) -> Optional[PersonRecord]:
        """Return the record of a name, which is made for a person whom another program put into the gallery."""
        record = self._records.by_name(name)
        if record is not None:
            return record
        with self._changing:  # not between the two halves of a renaming
            if self._faces.count_of(name):
                self._records.adopt([name])
            return self._records.by_name(name)

    def _ids(self, names: set[str]) -> dict[str, str]:
        """Return the ids of people of the gallery; one who was removed meanwhile has none."""
        records = {name: self._record_of(name) for name in names}
        return {name: record.id for name, record in records.items() if record is not None}

    def _adopt_all(self) -> None:
        """Make records for people whom another program put into the gallery since the last time."""
        if self._faces.version() == self._adopted_at:
            return
        with self._changing:
            version = self._faces.version()
            missing = self._records.names_without_record(list(self._faces.people()))
            if missing:
                self._records.adopt(missing)
            self._adopted_at = version

    def _end_renamings(self) -> None:
        for record, new_name in self._records.unfinished_renamings():
            happened = self._faces.count_of(new_name) and not self._faces.count_of(record.name)
            self._records.end_renaming(record.id, new_name if happened else record.name)


def open_people_store(
    uri: PathLike, state_folder: Path, *, model: ModelIdentity, card: ModelCard, keep_crops: bool = False
) -> PeopleStore:
    """Open a gallery and the records beside it; what does not exist is made.

    Raises:
        GalleryError: the gallery was made with another model, does not say with which, or a file cannot be used.
    """
    faces = FaceEngine.open(uri, model)
    if faces.model is None:
        raise GalleryError(
            f"{shown_uri(uri)}: the gallery does not say which model made it; bind it to its model first: "
            f"arcface-paddle gallery import NEW {shown_uri(uri)} --rec_model NAME"
        )
    difference = faces.model.difference_to(model)
    if difference:
        raise GalleryError(
            f"{shown_uri(uri)}: was made with the model {faces.model.name}, not with {model.name} as it is used here "
            f"({difference})"
        )
    return PeopleStore(faces, PeopleRecords(state_folder / RECORDS), card=card, keep_crops=keep_crops)


def face_id_of(entry: GalleryEntry) -> str:
    """Return the id of a face: that of its picture and of its place in it, whoever it is taken for."""
    return hashlib.sha256(f"{entry.sha256 or entry.path}|{entry.box_xyxy}".encode()).hexdigest()[:16]


def _named(entry: GalleryEntry, name: str) -> GalleryEntry:
    return dataclasses.replace(entry, name=name)
