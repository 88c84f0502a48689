"""What a gallery says about itself and its faces as JSON values, in files and in the engines of ``stores`` alike."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, ModelIdentity


def json_of_model(model: ModelIdentity) -> dict[str, Any]:
    """Write an identity; plain cosines are left unsaid, so that earlier versions can read the file."""
    document = asdict(model)
    if model.similarity == PLAIN_COSINE:
        del document["similarity"]
    return document


def model_of_json(value: Any) -> ModelIdentity:
    """Read an identity; files written before similarities were recorded have plain cosines.

    Raises:
        TypeError, ValueError: no identity.
    """
    if not isinstance(value, dict):
        raise TypeError(f"a model is an object, not {value!r:.60}")
    similarity = SimilaritySpec(**value.get("similarity", {}))
    if similarity.problem():
        raise ValueError(similarity.problem())
    return ModelIdentity(**{**value, "similarity": similarity})


def json_of_entry(entry: GalleryEntry) -> dict[str, Any]:
    """Write an entry; ``asdict``, which copies every value, takes seconds for a large gallery."""
    return dict(vars(entry))


def entry_of_json(value: Any) -> GalleryEntry:
    """Read an entry that ``json_of_entry`` wrote.

    Raises:
        TypeError, ValueError: no entry.
    """
    if not isinstance(value, dict):
        raise TypeError(f"an entry is an object, not {value!r:.60}")
    box = value.get("box_xyxy")
    if box is not None:
        left, top, right, bottom = (float(number) for number in box)
        value = {**value, "box_xyxy": (left, top, right, bottom)}
    entry = GalleryEntry(**value)
    if not isinstance(entry.name, str) or not isinstance(entry.path, str):
        raise TypeError("name and path of an entry are strings")
    return entry
