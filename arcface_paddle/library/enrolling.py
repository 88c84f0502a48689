"""From the named groups of a library to a gallery that recognises these people elsewhere."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.library.embedded import EmbeddedPeople
from arcface_paddle.library.records import LibraryFace
from arcface_paddle.pipeline.gallery.collection import Gallery
from arcface_paddle.pipeline.gallery.editing import edit_gallery
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.stores import is_engine_uri, shown_uri

FACES_PER_PERSON = 50
"""Most faces of a person that are enrolled, the best ones: the mean of more is the same to the second decimal, and a
group of thousands, children of ten ages among them, would only make the file larger."""


def gallery_of_groups(embedded: EmbeddedPeople) -> Gallery:
    """Return a gallery of a library's named groups, from the embeddings that are there; a person decides by the mean.

    Raises:
        GalleryError: no group has a name.
    """
    people = embedded.people
    rows = {face.face_id: row for row, face in enumerate(people.faces)}
    paths = {picture.sha256: picture.path for picture in people.pictures}
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    entries: list[GalleryEntry] = []
    chosen: list[int] = []
    for name, faces in _named(embedded).items():
        for face in faces:
            box = tuple(round(float(value), 2) for value in face.box_xyxy)
            entries.append(
                GalleryEntry(name, paths[face.picture], face.picture, (*box[:2], *box[2:]), face.score, created)  # type: ignore[arg-type]
            )
            chosen.append(rows[face.face_id])
    if not entries:
        raise GalleryError("no group has a name yet; give some on the page first")
    parameters = {"made_of": "groups of a photo library", "root": people.root}
    return Gallery(entries, embedded.embeddings[chosen], model=embedded.model, decision="mean", parameters=parameters)


def enrol_groups(target: files.PathLike, embedded: EmbeddedPeople) -> Gallery:
    """Put the named groups of a library into a gallery file: a new one, or one of other people, too.

    What an earlier call put there of this library's pictures is replaced, so that a face that was taken from somebody
    leaves the gallery.

    Returns:
        The gallery as it is now.

    Raises:
        GalleryError: made by another model, not a file, no group has a name, or it cannot be written.
    """
    if is_engine_uri(target):
        raise GalleryError(
            f"{shown_uri(target)}: groups are written into a gallery file; 'arcface-paddle gallery convert' brings it "
            "there"
        )
    ours = gallery_of_groups(embedded)
    if not Path(target).exists():
        ours.save(target)
        return ours
    pictures = {picture.sha256 for picture in embedded.people.pictures}

    def change(gallery: Gallery) -> Gallery:
        gallery.require_model(embedded.model)
        return without_pictures(gallery, pictures).merged(ours)

    return edit_gallery(target, change).after


def without_pictures(gallery: Gallery, sha256: set[str]) -> Gallery:
    """Return a gallery without the faces of some pictures, given by their content."""
    kept = [row for row, entry in enumerate(gallery.entries) if entry.sha256 not in sha256]
    return Gallery(
        [gallery.entries[row] for row in kept],
        np.array(gallery.embeddings[kept]),
        model=gallery.model,
        decision=gallery.decision,
        parameters=gallery.parameters,
    )


def _named(embedded: EmbeddedPeople) -> dict[str, Sequence[LibraryFace]]:
    """Return the faces by which each named person is enrolled, the best first."""
    faces = {face.face_id: face for face in embedded.people.faces}
    duplicates = {picture.sha256 for picture in embedded.people.pictures if picture.duplicate_of is not None}
    named: dict[str, list[LibraryFace]] = {}
    for group in embedded.people.grouping.groups:
        if group.name:
            named.setdefault(group.name, []).extend(faces[face_id] for face_id in group.face_ids)

    def worth(face: LibraryFace) -> tuple[bool, float, float]:
        # A near duplicate would count its photograph twice; it is taken where there is nothing better.
        return face.picture not in duplicates, 0.0 if face.quality is None else face.quality, face.size_px

    best_first = {name: sorted(own, key=worth, reverse=True) for name, own in named.items()}
    return {name: own[:FACES_PER_PERSON] for name, own in best_first.items()}
