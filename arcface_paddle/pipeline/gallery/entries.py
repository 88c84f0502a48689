"""What a gallery says about itself: the model that made it, and where each of its embeddings comes from."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec
from arcface_paddle.types import UNKNOWN

if TYPE_CHECKING:
    from arcface_paddle.pipeline.recognition import FaceRecognizer


@dataclass(frozen=True)
class ModelIdentity:
    """What two galleries must share for their embeddings to be comparable.

    Attributes:
        name: name of the recogniser, for messages.
        embedding_size: D, numbers per embedding.
        weights_sha256: hash of the recogniser's weight file.
        preprocessing_sha256: hash of input size, colour order, normalisation and alignment template.
        mirrored: whether an embedding is the average over the face and its mirror image.
        similarity: what a cosine of two embeddings is worth. It keeps nothing from being compared: where a card says
            otherwise by now, the card counts, see ``Gallery.judged_by``.
    """

    name: str
    embedding_size: int
    weights_sha256: str
    preprocessing_sha256: str
    mirrored: bool
    similarity: SimilaritySpec = PLAIN_COSINE

    def difference_to(self, other: ModelIdentity) -> str:
        """Say in words what keeps ``other``'s embeddings from being compared with ours; empty if nothing does."""
        if self.embedding_size != other.embedding_size:
            return f"embedding size {self.embedding_size} against {other.embedding_size}"
        if self.weights_sha256 != other.weights_sha256:
            return f"weights {self.weights_sha256[:12]} against {other.weights_sha256[:12]}"
        if self.preprocessing_sha256 != other.preprocessing_sha256:
            return "another alignment or normalisation of the face"
        if self.mirrored != other.mirrored:
            return f"mirrored average {_on_off(self.mirrored)} against {_on_off(other.mirrored)}"
        return ""


@dataclass(frozen=True)
class GalleryEntry:
    """One face of the gallery and its origin.

    Attributes:
        name: the person.
        path: picture that it was taken from, as listed (usually relative to the folder of pictures).
        sha256: hash of that file, 64 hexadecimal digits; empty when not known (imported galleries).
        box_xyxy: left, top, right, bottom of the face in pixels; None when not known.
        detection_score: confidence of the detector, 0 to 1; None when not known.
        created: when it was added, UTC, ``2026-01-31T12:00:00Z``; empty when not known.
    """

    name: str
    path: str
    sha256: str = ""
    box_xyxy: Optional[tuple[float, float, float, float]] = None
    detection_score: Optional[float] = None
    created: str = ""

    @property
    def sort_key(self) -> tuple[str, str, str, tuple[float, ...]]:
        """The order of entries in a gallery: by person, then by picture."""
        return (self.name, self.path, self.sha256, self.box_xyxy or ())

    @property
    def is_from_file(self) -> bool:
        return bool(self.sha256)


def identity_of(recognizer: FaceRecognizer) -> ModelIdentity:
    """Return what a gallery records of the recogniser that makes its embeddings."""
    return ModelIdentity(
        name=recognizer.card.name,
        embedding_size=recognizer.embedding_size,
        weights_sha256=recognizer.weights_sha256,
        preprocessing_sha256=recognizer.preprocessing_sha256,
        mirrored=recognizer.mirrored,
        similarity=recognizer_spec(recognizer.card).similarity,
    )


def clean_name(name: str) -> str:
    """Return a person's name without surrounding space, in Unicode normal form C (macOS folders are in form D).

    Raises:
        GalleryError: empty, with control characters, or the reserved word for strangers.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned:
        raise GalleryError("the name of the person is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in cleaned):
        raise GalleryError(f"the name {cleaned!r} holds control characters")
    if cleaned == UNKNOWN:
        raise GalleryError(f"the name {UNKNOWN!r} is reserved for faces that match nobody")
    return cleaned


def _on_off(value: bool) -> str:
    return "on" if value else "off"
