"""From pictures of known people to the faces of a gallery; nothing is dropped without being reported."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Iterable, Optional, Protocol

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import GalleryError, ImageError
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.pictures import LabelledPicture, Rejection
from arcface_paddle.types import Face, ImageResult

SMALLEST_FACE_PX = 17
"""Width of a box below which the shipped recogniser cannot tell people apart; such a face would attract strangers."""


class ImageAnalyzer(Protocol):
    """What finds and embeds faces: ``arcface_paddle.pipeline.Analyzer`` without a gallery."""

    def analyze(self, image: np.ndarray, *, source: str = ...) -> ImageResult: ...


@dataclass(frozen=True, eq=False)
class CollectedFaces:
    """The faces taken from pictures, and what was not taken.

    Attributes:
        entries: one per face.
        embeddings: (N, D) float32, L2-normalised, in the order of the entries.
        rejections: pictures and lines that gave no face, each with its reason.
    """

    entries: tuple[GalleryEntry, ...]
    embeddings: np.ndarray
    rejections: tuple[Rejection, ...]

    @property
    def persons(self) -> int:
        return len({entry.name for entry in self.entries})


def collect_faces(
    pictures: Iterable[LabelledPicture],
    analyzer: ImageAnalyzer,
    *,
    embedding_size: int,
    pick_largest: bool = False,
) -> CollectedFaces:
    """Embed the one face of every picture.

    Args:
        pictures: who is on which picture; wrap it for a progress bar.
        analyzer: finds and embeds faces. Probes must go through the same one.
        embedding_size: D of its recogniser.
        pick_largest: take the largest face of a picture with several instead of reporting the picture.
    """
    created = _now()
    entries: list[GalleryEntry] = []
    rows: list[np.ndarray] = []
    rejections: list[Rejection] = []
    for picture in pictures:
        try:
            content = images.read_file(picture.path)
            result = analyzer.analyze(
                images.decode_image(content, name=files.printable(picture.path)), source=picture.listed_as
            )
        except ImageError as error:
            rejections.append(Rejection(picture.listed_as, picture.name, "unreadable", str(error)))
            continue
        refusal = _refusal(result, picture, pick_largest=pick_largest)
        if refusal is not None:
            rejections.append(refusal)
            continue
        face = result.faces[0]
        rows.append(_embedding_of(face))
        entries.append(_entry(picture, face, sha256=hashlib.sha256(content).hexdigest(), created=created))
    matrix = np.stack(rows) if rows else np.zeros((0, embedding_size), np.float32)
    return CollectedFaces(tuple(entries), matrix, tuple(rejections))


def _refusal(result: ImageResult, picture: LabelledPicture, *, pick_largest: bool) -> Optional[Rejection]:
    count = len(result.faces)
    if count == 0:
        return Rejection(picture.listed_as, picture.name, "no_face", "no face was found")
    if count > 1 and not pick_largest:
        detail = f"{count} faces were found; crop the picture, or take the largest face with --pick_largest"
        return Rejection(picture.listed_as, picture.name, "several_faces", detail)
    left, _, right, _ = (float(edge) for edge in result.faces[0].detection.box_xyxy)
    if right - left < SMALLEST_FACE_PX:
        detail = (
            f"the face is {right - left:.0f} pixels wide; at least {SMALLEST_FACE_PX} are needed to tell people apart"
        )
        return Rejection(picture.listed_as, picture.name, "small_face", detail)
    return None


def _embedding_of(face: Face) -> np.ndarray:
    if face.embedding is None:
        raise GalleryError("the analyzer gives no embeddings; a gallery needs one with a recogniser")
    return face.embedding


def _entry(picture: LabelledPicture, face: Face, *, sha256: str, created: str) -> GalleryEntry:
    left, top, right, bottom = (round(float(value), 2) for value in face.detection.box_xyxy)
    return GalleryEntry(
        name=picture.name,
        path=picture.listed_as,
        sha256=sha256,
        box_xyxy=(left, top, right, bottom),
        detection_score=round(float(face.detection.score), 4),
        created=created,
    )


def _now() -> str:
    """Return the time as recorded; SOURCE_DATE_EPOCH fixes it, so that a build can be repeated byte for byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch.isdigit() else datetime.now(timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
