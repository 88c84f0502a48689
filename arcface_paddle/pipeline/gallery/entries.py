"""What a gallery says about itself: the model that made it, and where each of its embeddings comes from."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Sequence

import numpy as np

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec
from arcface_paddle.pipeline.model_files import PUBLISHED_RECOGNIZERS
from arcface_paddle.types import UNKNOWN

if TYPE_CHECKING:
    from arcface_paddle.pipeline.recognition import FaceRecognizer

_UNIT_TOLERANCE = 1e-2
_CHECKED_ROWS = 1 << 12  # at a time: 5 MB, which the processor's cache holds


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
    def face_key(self) -> tuple[Any, ...]:
        """What one face of a person is known by: a gallery does not take it twice."""
        return (self.name, self.sha256 or self.path, self.box_xyxy)

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


def checked_path(path: object) -> str:
    """Return a gallery's path or URI as text, where it is one at all.

    Raises:
        GalleryError: another type, such as the None of an option that was not given.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise GalleryError(f"the place of the gallery is of type {type(path).__name__}; allowed: a path or text")
    return os.fsdecode(path)


def checked_identity(model: object) -> ModelIdentity:
    """Return what was given when it is the identity of a model. Raises ``GalleryError``: it is not."""
    if not isinstance(model, ModelIdentity):
        raise GalleryError(
            f"the model of the gallery is of type {type(model).__name__}; allowed: a ModelIdentity, as identity_of("
            "recognizer) gives it"
        )
    return model


def clean_name(name: str) -> str:
    """Return a person's name without surrounding space, in Unicode normal form C (macOS folders are in form D).

    Raises:
        GalleryError: empty, with control characters, or the reserved word for strangers.
    """
    if not isinstance(name, str):
        raise GalleryError(f"the name of the person is of type {type(name).__name__}; allowed: text")
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned:
        raise GalleryError("the name of the person is empty")
    if any(unicodedata.category(character) == "Cs" for character in cleaned):  # how Python keeps bytes of file names
        raise GalleryError(f"the name {cleaned!r} is not text in UTF-8")
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in cleaned):
        raise GalleryError(f"the name {cleaned!r} holds control characters")
    if cleaned == UNKNOWN:
        raise GalleryError(f"the name {UNKNOWN!r} is reserved for faces that match nobody")
    return cleaned


def checked_embeddings(embeddings: np.ndarray, *, count: int, model: Optional[ModelIdentity]) -> np.ndarray:
    """Return what was given when it is ``count`` finite rows of unit length and of the model's size.

    Raises:
        GalleryError: it is not.
    """
    if not isinstance(embeddings, np.ndarray):
        raise GalleryError(f"embeddings of type {type(embeddings).__name__}; allowed: an array (M, D) float32")
    if embeddings.ndim != 2 or len(embeddings) != count or embeddings.shape[1] == 0:
        raise GalleryError(f"embeddings of shape {embeddings.shape} for {count} entries; allowed: ({count}, D)")
    if model is not None and embeddings.shape[1] != model.embedding_size:
        raise GalleryError(
            f"embeddings of size {embeddings.shape[1]}, but the model {model.name} makes {model.embedding_size}"
        )
    lengths = np.empty(count, np.float32)
    for first in range(0, count, _CHECKED_ROWS):
        with np.errstate(over="ignore"):  # an infinite length is refused below
            rows = np.asarray(embeddings[first : first + _CHECKED_ROWS], dtype=np.float32)
            lengths[first : first + _CHECKED_ROWS] = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not np.all(np.abs(lengths - 1.0) < _UNIT_TOLERANCE):
        worst = int(np.argmax(np.abs(np.nan_to_num(lengths, nan=np.inf) - 1.0)))
        raise GalleryError(f"embedding {worst} has length {lengths[worst]:.4g}; allowed: 1 (L2-normalised)")
    return embeddings


def require_comparable(made_with: Optional[ModelIdentity], model: ModelIdentity, *, embedding_size: int) -> str:
    """Check that embeddings of ``model`` may be compared with those of a gallery.

    Args:
        made_with: the model that made the gallery; None when that is not known.
        model: the one in use.
        embedding_size: D of the gallery.

    Returns:
        A caution to show to the user; empty when the gallery was made with this very model.

    Raises:
        GalleryError: made with another model or other settings.
    """
    model = checked_identity(model)
    if made_with is None:
        if embedding_size != model.embedding_size:
            raise GalleryError(_other_size(embedding_size, model))
        return (
            "the gallery does not say which model made it: names are right only if it was "
            f"{model.name} with the same crops; build it again from the pictures to be sure"
        )
    difference = made_with.difference_to(model)
    if difference:
        raise GalleryError(
            f"the gallery was made with the model {made_with.name}, not with {model.name} as it is used here "
            f"({difference}); use the model and options of the gallery or build it again"
        )
    return ""


def listed_names(names: Sequence[str], *, most: int = 10) -> str:
    """Return the first names for a message, and how many there are besides."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "nobody"


def _other_size(embedding_size: int, model: ModelIdentity) -> str:
    """Say what to do with an imported gallery whose embeddings ``model`` cannot have made."""
    published = PUBLISHED_RECOGNIZERS.get(embedding_size)
    use = f"use --rec_model {published} (get it with 'arcface-paddle models fetch {published}'), or "
    rebuild = "arcface-paddle gallery build NEW --img_dir FOLDER [--label FILE]"
    return (
        f"the gallery holds embeddings of size {embedding_size}, but the model {model.name} makes "
        f"{model.embedding_size}; {use if published else ''}build it again from its pictures: {rebuild}"
    )


def _on_off(value: bool) -> str:
    return "on" if value else "off"
