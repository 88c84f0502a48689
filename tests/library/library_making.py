"""Small libraries for tests: pictures on the disk and the records that go with them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
from PIL import Image

from arcface_paddle.library.documents import PeopleDocument, write_people
from arcface_paddle.library.records import (
    Group,
    GroupCandidate,
    Grouping,
    GroupingFacts,
    Library,
    LibraryFace,
    LibraryPicture,
    UncertainFace,
    face_id_of,
)
from arcface_paddle.library.store import ScanIdentity, StoredPicture, open_store

FACTS = GroupingFacts("MobileFace sha256:0", "average linkage", 0.5, "for tests", {})


def write_picture(path: Path, *, size_wh: tuple[int, int], orientation: int = 1, xmp: bytes = b"") -> Path:
    """Write a JPEG of this stored size; its content follows from its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    color = tuple(hashlib.sha256(path.name.encode()).digest()[:3])
    Image.new("RGB", size_wh, color).save(path, exif=exif, quality=95)
    if xmp:  # Pillow before 11 writes none
        packet = b"http://ns.adobe.com/xap/1.0/\0" + xmp
        start, rest = path.read_bytes()[:2], path.read_bytes()[2:]
        path.write_bytes(start + b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet + rest)
    return path


def picture_of(root: Path, name: str, *, size_wh: tuple[int, int], **fields) -> LibraryPicture:
    """Return the record of a picture; ``size_wh`` is that of the upright one."""
    path = root / name
    digest = hashlib.sha256(path.read_bytes() if path.is_file() else name.encode()).hexdigest()
    return LibraryPicture(digest, name, size_wh, **fields)


def face_of(picture: LibraryPicture, number: int, box: Sequence[float], *, row: int = 0) -> LibraryFace:
    box_xyxy = np.array(box, np.float32)
    size = float(max(box[2] - box[0], box[3] - box[1]))
    return LibraryFace(face_id_of(picture.sha256, number), picture.sha256, box_xyxy, None, 0.99, 0.8, size, row)


def people_of(
    root: Path,
    pictures: Sequence[LibraryPicture],
    faces: Sequence[LibraryFace],
    *,
    groups: Sequence[tuple[str, Optional[str], Sequence[LibraryFace]]],
    uncertain: Sequence[tuple[LibraryFace, Sequence[tuple[str, float]]]] = (),
) -> PeopleDocument:
    """Return a document in which the faces of no group are alone."""
    made = tuple(Group(key, tuple(f.face_id for f in members), name, 0.7) for key, name, members in groups)
    doubtful = tuple(UncertainFace(f.face_id, tuple(GroupCandidate(*c) for c in cs)) for f, cs in uncertain)
    placed = {face_id for group in made for face_id in group.face_ids} | {one.face_id for one in doubtful}
    alone = tuple(face.face_id for face in faces if face.face_id not in placed)
    grouping = Grouping(made, doubtful, alone, FACTS)
    return PeopleDocument(str(root), str(root / "store"), tuple(pictures), tuple(faces), grouping)


def write_library(folder: Path, people: PeopleDocument, embeddings: np.ndarray, *, model: ScanIdentity) -> Path:
    """Write ``people.json`` and the store of a document's faces; returns the path of the document."""
    with open_store(folder / "store", model) as store:
        for picture in people.pictures:
            own = [face for face in people.faces if face.picture == picture.sha256]
            store.add_picture(
                StoredPicture(
                    sha256=picture.sha256,
                    size_wh=picture.size_wh,
                    captured=picture.captured,
                    perceptual=0,
                    gray=None,
                    boxes_xyxy=np.array([face.box_xyxy for face in own], np.float32).reshape(-1, 4),
                    landmarks=np.full((len(own), 5, 2), np.nan, np.float32),
                    scores=np.array([face.score for face in own], np.float32),
                    qualities=np.array([face.quality for face in own], np.float32),
                    embeddings=embeddings[[face.row for face in own]],
                )
            )
    grouping = replace(people.grouping, facts=replace(people.grouping.facts, model=model.model))
    library = Library(people.root, people.pictures, people.faces, embeddings)
    write_people(folder / "people.json", library, grouping=grouping, store=folder / "store")
    return folder / "people.json"
