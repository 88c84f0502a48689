"""From photographs to a table of embeddings: faces are found and aligned by the pipeline that recognises them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Iterable, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.choosing import choose_faces
from arcface_paddle.pipeline.embedding_files import EmbeddingTable
from arcface_paddle.pipeline.inputs import FoundPicture
from arcface_paddle.pipeline.picture_workers import PictureWorkers
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.pipeline.settings import ONE
from arcface_paddle.types import Face


@dataclass(frozen=True, eq=False)
class EncodedPicture:
    """What became of one picture.

    Attributes:
        source: its path, printable.
        person: the folder that holds it; empty for a picture that was named itself or stands in the searched folder.
        faces: the faces that are meant, each with its embedding; empty when there is a problem.
        problem: why there is no face, as a sentence; empty when there is one.
        note: what is to be known, such as "first of 12 frames"; may be empty.
    """

    source: str
    person: str
    faces: tuple[Face, ...]
    problem: str = ""
    note: str = ""


def encode_pictures(
    workers: PictureWorkers[Analyzer],
    pictures: Iterable[FoundPicture],
    *,
    faces: str = ONE,
    max_pixels: Optional[int] = None,
) -> Iterator[EncodedPicture]:
    """Embed the faces of every picture in order, whatever happens to it; wrap ``pictures`` for a progress bar.

    Args:
        workers: find and embed faces.
        pictures: what ``inputs.find_pictures`` found.
        faces: which of several faces is meant, one of ``FACE_CHOICES``.
        max_pixels: refuse larger pictures; None for ``images.MAX_PIXELS``.
    """
    return workers.map(functools.partial(_encode, faces=faces, max_pixels=max_pixels), pictures)


def _encode(analyzer: Analyzer, found: FoundPicture, *, faces: str, max_pixels: Optional[int]) -> EncodedPicture:
    source, person = files.printable(found.path), person_of(found)
    try:
        content = images.read_file(found.path)
        image = images.decode_image(content, name=source, max_pixels=max_pixels)
        chosen = _chosen_faces(analyzer, image, source=source, how=faces)
    except ImageError as error:
        return EncodedPicture(source, person, (), problem=str(error))
    frames = images.count_frames(content)
    return EncodedPicture(source, person, chosen, note=f"first of {frames} frames" if frames > 1 else "")


def person_of(found: FoundPicture) -> str:
    """Return the name of the folder that holds a picture, printable; empty when that is the folder searched."""
    place = found.relative.parent
    return files.printable(place.name)


def make_table(encoded: Sequence[EncodedPicture], *, model: str) -> EmbeddingTable:
    """Put the faces of all pictures, at least one, into one table.

    Args:
        encoded: pictures; those without faces are passed over.
        model: name of the recogniser and the hash of its weights.
    """
    rows = [(face, picture) for picture in encoded for face in picture.faces]
    return EmbeddingTable(
        embeddings=np.stack([require_embedding(face) for face, _ in rows]),
        persons=[picture.person for _, picture in rows],
        sources=[picture.source for _, picture in rows],
        boxes_xyxy=np.stack([face.detection.box_xyxy for face, _ in rows]).astype(np.float32),
        model=model,
    )


def _chosen_faces(analyzer: Analyzer, image: np.ndarray, *, source: str, how: str) -> tuple[Face, ...]:
    result = analyzer.analyze(image, source=source)
    if not result.faces:
        raise ImageError(f"{source}: no face found")
    chosen = choose_faces(result, how)
    if not chosen:
        raise ImageError(f"{source}: {len(result.faces)} faces; choose with --faces centre, largest or all")
    return tuple(chosen)
