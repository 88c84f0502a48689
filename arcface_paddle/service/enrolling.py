"""One picture, one person: choosing the face that is to be enrolled, or saying why there is none."""

from __future__ import annotations

import hashlib
import secrets
from typing import Optional

from arcface_paddle.pipeline.choosing import choose_faces
from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.gallery.collecting import SMALLEST_FACE_PX
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.pipeline.settings import ONE
from arcface_paddle.service.crops import crop_of
from arcface_paddle.service.errors import NoFaceError, SeveralFacesError, SmallFaceError
from arcface_paddle.service.gallery_store import NewFace
from arcface_paddle.service.inference import Worker
from arcface_paddle.service.people_records import utc_now
from arcface_paddle.service.service_settings import Limits
from arcface_paddle.service.uploads import Upload, decode
from arcface_paddle.types import Face, ImageResult

_SOURCE_CHARACTERS = 80
_TO_BE_NAMED = "to be named"


def new_face(worker: Worker, upload: Upload, *, limits: Limits, faces: str = ONE) -> NewFace:
    """Find and embed the face of a person on a picture.

    Args:
        worker: who does it.
        upload: the picture.
        limits: of its size.
        faces: which of several faces is the person's, one of ``settings.ONE_FACE_CHOICES``.

    Raises:
        ImageError: no picture.
        NoFaceError, SeveralFacesError, SmallFaceError: it gives no face to enrol.
    """
    image = decode(upload, name="the picture", limits=limits)
    result = worker.analyzer.analyze(image, source="upload")
    face = _chosen(result, faces)
    left, top, right, bottom = (round(float(value), 2) for value in face.detection.box_xyxy)
    entry = GalleryEntry(
        name=_TO_BE_NAMED,
        path=source_of(upload.file_name),
        sha256=hashlib.sha256(upload.content).hexdigest(),
        box_xyxy=(left, top, right, bottom),
        detection_score=round(float(face.detection.score), 4),
        created=utc_now(),
    )
    return NewFace(entry, require_embedding(face), face.quality, crop_of(image, face.detection.box_xyxy))


def source_of(file_name: str, *, token: Optional[str] = None) -> str:
    """Return what the gallery calls a picture that was sent: like no other, and harmless in a terminal."""
    last = file_name.replace("\\", "/").rpartition("/")[2]
    harmless = "".join(letter if letter.isprintable() else "_" for letter in last)[-_SOURCE_CHARACTERS:]
    kept = "" if harmless.strip(". ") == "" else f"/{harmless}"
    return f"upload-{token or secrets.token_hex(6)}{kept}"


def _chosen(result: ImageResult, how: str) -> Face:
    if not result.faces:
        raise NoFaceError("no face was found in the picture")
    chosen = choose_faces(result, how)
    if not chosen:
        raise SeveralFacesError(
            f"{len(result.faces)} faces were found; crop the picture, or say faces=centre or faces=largest"
        )
    width = float(chosen[0].detection.box_xyxy[2] - chosen[0].detection.box_xyxy[0])
    if width < SMALLEST_FACE_PX:
        raise SmallFaceError(
            f"the face is {width:.0f} pixels wide; at least {SMALLEST_FACE_PX} are needed to tell people apart"
        )
    return chosen[0]
