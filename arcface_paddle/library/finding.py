"""Which pictures of a library show somebody: one person, several together, or one without another."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from typing import Iterable, Optional, Sequence

import numpy as np

from arcface_paddle.errors import ConfigError
from arcface_paddle.library import capture_time
from arcface_paddle.library.documents import PeopleDocument
from arcface_paddle.library.embedded import EmbeddedPeople
from arcface_paddle.library.records import LibraryFace, LibraryPicture
from arcface_paddle.pipeline.gallery.collection import Gallery
from arcface_paddle.types import UNKNOWN

BY_SIMILARITY, BY_TIME = "similarity", "time"
ORDERS = (BY_SIMILARITY, BY_TIME)


@dataclass(frozen=True)
class FoundFace:
    """A face that is somebody who was looked for.

    Attributes:
        person: the name, or the path of the picture that was given in its place.
        face: the face.
        similarity: to the mean of the person's other faces, to the gallery's person, or to the picture, -1 to 1.
    """

    person: str
    face: LibraryFace
    similarity: float


@dataclass(frozen=True)
class FoundPicture:
    """A picture that shows all who were looked for.

    Attributes:
        picture: its record.
        faces: of each of them the best face, in the order in which they were named.
        duplicates: near duplicates of it that show them, too.
    """

    picture: LibraryPicture
    faces: tuple[FoundFace, ...]
    duplicates: tuple[LibraryPicture, ...] = ()

    @property
    def similarity(self) -> float:
        """That of the least certain of the faces."""
        return min(found.similarity for found in self.faces)


@dataclass(frozen=True)
class FaceFilter:
    """Which faces count.

    Attributes:
        min_face_px: the least longer side in pixels.
        min_quality: the least quality, 0 to 1; faces whose quality is not known count.
    """

    min_face_px: float = 0.0
    min_quality: float = 0.0

    def admits(self, face: LibraryFace) -> bool:
        """Tell whether a face is large and good enough."""
        return face.size_px >= self.min_face_px and (face.quality is None or face.quality >= self.min_quality)


def names_of(people: PeopleDocument) -> list[str]:
    """Return the names that groups have, the most frequent first."""
    counts: Counter[str] = Counter()
    for group in people.grouping.groups:
        if group.name:
            counts[group.name] += len(group.face_ids)
    return [name for name, _ in counts.most_common()]


def faces_called(name: str, embedded: EmbeddedPeople) -> list[FoundFace]:
    """Return the faces of the groups with a name, by how like they are to the rest of the group."""
    people = embedded.people
    members = {face_id for group in people.grouping.groups if group.name == name for face_id in group.face_ids}
    rows = [row for row, face in enumerate(people.faces) if face.face_id in members]
    worth = embedded.model.similarity.similarity_of
    similarities = map(worth, _to_the_others(embedded.embeddings[rows]))
    return [FoundFace(name, people.faces[row], value) for row, value in zip(rows, similarities)]


def faces_in_gallery(name: str, embedded: EmbeddedPeople, gallery: Gallery, *, threshold: float) -> list[FoundFace]:
    """Return the faces that a gallery takes for somebody.

    Args:
        name: the person.
        embedded: the library.
        gallery: of the same model, see ``Gallery.require_model``.
        threshold: least similarity at which a face gets a name.
    """
    if not len(embedded.embeddings):
        return []
    answers = gallery.identify(embedded.embeddings, top_k=1, threshold=threshold)
    return [
        FoundFace(name, face, float(answer.similarity or 0.0))
        for face, answer in zip(embedded.people.faces, answers)
        if answer.name == name and name != UNKNOWN
    ]


def faces_like(label: str, embedded: EmbeddedPeople, probe: np.ndarray, *, threshold: float) -> list[FoundFace]:
    """Return the faces of the person on another picture.

    A group whose mean is similar enough counts as a whole: in it are profiles and poor pictures of somebody, whom one
    face alone would not be told by. Without a group, a face counts by its own similarity.

    Args:
        label: what to call that person.
        embedded: the library.
        probe: (D,) float32, L2-normalised, by the same model.
        threshold: least similarity, -1 to 1.
    """
    people, worth = embedded.people, embedded.model.similarity.similarity_of
    similarities = [worth(float(cosine)) for cosine in embedded.embeddings @ probe]
    rows = {face.face_id: row for row, face in enumerate(people.faces)}
    chosen = {row for row in range(len(people.faces)) if similarities[row] >= threshold}
    for group in people.grouping.groups:
        own = [rows[face_id] for face_id in group.face_ids]
        mean = embedded.embeddings[own].mean(axis=0)
        if worth(float(mean @ probe) / max(1e-9, float(np.linalg.norm(mean)))) >= threshold:
            chosen.update(own)
        else:  # somebody else, whoever of the group looks alike
            chosen.difference_update(own)
    return [FoundFace(label, people.faces[row], similarities[row]) for row in sorted(chosen)]


def find_pictures_of(
    wanted: Sequence[Sequence[FoundFace]],
    unwanted: Iterable[Sequence[FoundFace]],
    people: PeopleDocument,
    *,
    faces: FaceFilter,
    order: str = BY_SIMILARITY,
) -> list[FoundPicture]:
    """Return the pictures on which all the wanted are and none of the unwanted; near duplicates count once.

    Args:
        wanted: the faces of each person.
        unwanted: likewise; a face of any size and quality keeps a picture out.
        people: the library.
        faces: which faces of the wanted count.
        order: one of ``ORDERS``: the most similar first, or the oldest first, pictures without a time last.

    Raises:
        ConfigError: another order, or nobody is wanted.
    """
    if order not in ORDERS or not wanted:
        raise ConfigError(f"the order is {order!r} and {len(wanted)} people are wanted; allowed: {', '.join(ORDERS)}")
    best = [_best_by_picture(own, faces) for own in wanted]
    out = {found.face.picture for own in unwanted for found in own}
    shown = [
        picture
        for picture in people.pictures
        if picture.sha256 not in out and all(picture.sha256 in own for own in best)
    ]
    originals = {picture.sha256 for picture in shown}
    duplicates: dict[str, list[LibraryPicture]] = {}
    for picture in shown:
        if picture.duplicate_of in originals:
            duplicates.setdefault(str(picture.duplicate_of), []).append(picture)
    found = [
        FoundPicture(picture, tuple(own[picture.sha256] for own in best), tuple(duplicates.get(picture.sha256, ())))
        for picture in shown
        if picture.duplicate_of not in originals
    ]
    if order == BY_TIME:
        return sorted(found, key=lambda one: (*capture_time.sort_key(one.picture.captured), one.picture.path))
    return sorted(found, key=lambda one: (-one.similarity, one.picture.path))


def require_name(name: str, known: Sequence[str], *, where: str) -> None:
    """Raise ``ConfigError`` with the nearest names when nobody is called ``name``."""
    if name in known:
        return
    near = [one for one in known if one.casefold() == name.casefold()]
    near += [one for one in difflib.get_close_matches(name, known, n=3, cutoff=0.5) if one not in near]
    near += [one for one in known if name.casefold() in one.casefold() and one not in near]
    if near:
        hint = f"did you mean {', '.join(near[:5])}?"
    elif known:
        hint = f"there are {', '.join(known[:5])}{' and others' if len(known) > 5 else ''}"
    else:
        hint = "nobody has a name yet: give some on the page that 'arcface-paddle people' writes"
    raise ConfigError(f"nobody in {where} is called {name!r}, and it is no file; {hint}")


def _best_by_picture(own: Sequence[FoundFace], faces: FaceFilter) -> dict[str, FoundFace]:
    best: dict[str, FoundFace] = {}
    for found in own:
        before: Optional[FoundFace] = best.get(found.face.picture)
        if faces.admits(found.face) and (before is None or found.similarity > before.similarity):
            best[found.face.picture] = found
    return best


def _to_the_others(embeddings: np.ndarray) -> list[float]:
    """Return the cosine of each embedding to the mean of the others; 1 for one that is alone."""
    if len(embeddings) < 2:
        return [1.0] * len(embeddings)
    others = embeddings.sum(axis=0) - embeddings
    norms = np.maximum(np.linalg.norm(others, axis=1), 1e-9)
    return [float(value) for value in (embeddings * others).sum(axis=1) / norms]
