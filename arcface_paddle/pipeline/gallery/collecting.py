"""From pictures of known people to the faces of a gallery; no picture is dropped without being reported."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, Iterable, Optional, Protocol, Union

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import ConfigError, GalleryError, ImageError
from arcface_paddle.pipeline.choosing import choose_faces
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.pictures import LabelledPicture, Rejection
from arcface_paddle.pipeline.picture_workers import PictureWorkers
from arcface_paddle.pipeline.quality import POOR_QUALITY
from arcface_paddle.pipeline.settings import ONE, ONE_FACE_CHOICES
from arcface_paddle.types import Face, ImageResult
from arcface_paddle.untrusted import integer

_LAST_SECOND = 253_402_300_799
"""Of the year 9999, after which Python knows no time."""

SMALLEST_FACE_PX = 17
"""Width of a box below which the shipped recogniser cannot tell people apart; such a face would attract strangers."""


class ImageAnalyzer(Protocol):
    """Whoever finds and embeds the faces of a picture, such as ``arcface_paddle.pipeline.Analyzer``."""

    def analyze(self, image: np.ndarray, *, source: str = ...) -> ImageResult: ...


@dataclass(frozen=True, eq=False)
class CollectedFaces:
    """The faces taken from pictures, and what was not taken.

    Attributes:
        entries: one per face.
        embeddings: (N, D) float32, L2-normalised, in the order of the entries.
        rejections: pictures that gave no face, each with its reason.
        poor: pictures that were taken though they are poor, each with what is wrong with it.
    """

    entries: tuple[GalleryEntry, ...]
    embeddings: np.ndarray
    rejections: tuple[Rejection, ...]
    poor: tuple[Rejection, ...] = ()

    @property
    def persons(self) -> int:
        return len({entry.name for entry in self.entries})


def ignore_rejection(rejection: Rejection) -> None:
    """Do nothing with a rejection while it happens; it stands in the result as well."""


def collect_faces(
    pictures: Iterable[LabelledPicture],
    analyzer: ImageAnalyzer,
    *,
    embedding_size: int,
    faces: str = ONE,
    on_rejection: Callable[[Rejection], None] = ignore_rejection,
    workers: Optional[PictureWorkers[ImageAnalyzer]] = None,
) -> CollectedFaces:
    """Embed the face of the person on every picture.

    Only the embeddings are kept, and the few pictures that are being looked at.

    Args:
        pictures: who is on which picture; wrap it for a progress bar.
        analyzer: finds and embeds faces. Probes must go through the same one.
        embedding_size: D of its recogniser.
        faces: which of several faces is the person's, one of ``ONE_FACE_CHOICES``; with ``one`` a picture with
            several is reported and not taken.
        on_rejection: told of every picture that gives no face or a poor one, as soon as that is known.
        workers: look at several pictures at once, with the models of ``analyzer``; None for one after the other. The
            faces are the same, in the same order.

    Raises:
        ConfigError: another ``faces``.
        GalleryError: the analyzer has no recogniser.
    """
    if faces not in ONE_FACE_CHOICES:
        allowed = ", ".join(ONE_FACE_CHOICES)
        raise ConfigError(f"faces {faces!r}; a gallery takes one face a picture: {allowed}")
    created = _now()
    entries: list[GalleryEntry] = []
    rows: list[np.ndarray] = []
    rejections: list[Rejection] = []
    poor: list[Rejection] = []
    take = functools.partial(_take, faces=faces, created=created)
    for taken in (workers or PictureWorkers(analyzer)).map(take, pictures):
        if isinstance(taken, Rejection):
            rejections.append(taken)
            on_rejection(taken)
            continue
        entry, face = taken
        entries.append(entry)
        rows.append(_embedding_of(face))
        if face.quality is not None and face.quality < POOR_QUALITY:
            what = face.weakness or "in several ways"
            detail = f"was taken, but is poor: {what} (quality {face.quality:.2f}); a better picture helps"
            poor.append(Rejection(entry.path, entry.name, "poor_quality", detail))
            on_rejection(poor[-1])
    matrix = np.stack(rows) if rows else np.zeros((0, embedding_size), np.float32)
    return CollectedFaces(tuple(entries), matrix, tuple(rejections), tuple(poor))


def _take(
    analyzer: ImageAnalyzer, picture: LabelledPicture, *, faces: str, created: str
) -> Union[tuple[GalleryEntry, Face], Rejection]:
    """Return the entry of a picture and the face of the person, or why there is none."""
    try:
        content = images.read_file(picture.path)
        image = images.decode_image(content, name=files.printable(picture.path))
        result = analyzer.analyze(image, source=picture.listed_as)
    except ImageError as error:
        return Rejection(picture.listed_as, picture.name, "unreadable", str(error))
    if not result.faces:
        return Rejection(picture.listed_as, picture.name, "no_face", "no face was found")
    chosen = choose_faces(result, faces)
    if not chosen:
        detail = (
            f"{len(result.faces)} faces were found; crop the picture, or take the face nearest to the centre with "
            "--faces centre, the largest with --faces largest"
        )
        return Rejection(picture.listed_as, picture.name, "several_faces", detail)
    face = chosen[0]
    width = float(face.detection.box_xyxy[2] - face.detection.box_xyxy[0])
    if width < SMALLEST_FACE_PX:
        detail = f"the face is {width:.0f} pixels wide; at least {SMALLEST_FACE_PX} are needed to tell people apart"
        return Rejection(picture.listed_as, picture.name, "small_face", detail)
    return _entry(picture, face, sha256=hashlib.sha256(content).hexdigest(), created=created), face


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
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    epoch = integer(text)
    if text and (epoch is None or not 0 <= epoch <= _LAST_SECOND):
        raise ConfigError(f"SOURCE_DATE_EPOCH is {text!r:.60}; allowed: seconds since 1970, up to the year 9999")
    moment = datetime.now(timezone.utc) if epoch is None else datetime.fromtimestamp(epoch, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
