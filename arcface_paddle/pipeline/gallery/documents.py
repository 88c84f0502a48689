"""What a gallery says about itself and its faces as JSON values, in files and in the engines of ``stores`` alike."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any, Optional

from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, ModelIdentity

_MOST_NUMBERS = 1 << 20  # of an embedding; networks have 128 to 2,048


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
    identity = ModelIdentity(**{**value, "similarity": similarity})
    texts = (identity.name, identity.weights_sha256, identity.preprocessing_sha256)
    if not all(isinstance(text, str) for text in texts) or not isinstance(identity.mirrored, bool):
        raise TypeError("name and hashes of a model are strings, mirrored is true or false")
    if not isinstance(identity.embedding_size, int) or not 0 < identity.embedding_size < _MOST_NUMBERS:
        raise ValueError(f"an embedding of {identity.embedding_size!r:.40} numbers")
    return identity


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
        if not all(map(math.isfinite, value["box_xyxy"])):
            raise ValueError("a box whose corners are not finite")
    entry = GalleryEntry(**value)
    texts = (entry.name, entry.path, entry.sha256, entry.created)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("name, path, sha256 and created of an entry are strings")
    score = entry.detection_score
    if score is not None and (isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 1):
        raise ValueError(f"detection_score is {score!r:.40}; allowed: 0 to 1, or null")
    return entry


def box_of_text(text: str) -> Optional[tuple[float, float, float, float]]:
    """Read the box of an entry as databases keep it: JSON of four numbers, or ``null``.

    Raises:
        TypeError, ValueError, OverflowError, RecursionError: no box.
    """
    corners = json.loads(text)
    if corners is None:
        return None
    left, top, right, bottom = (float(number) for number in corners)
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise ValueError("a box whose corners are not finite")
    return left, top, right, bottom


def parameters_of_json(value: Any) -> dict[str, Any]:
    """Read how a gallery was made: any JSON, which must be such that it can be written again.

    Raises:
        TypeError, ValueError: no object, or it holds a number that is not finite.
    """
    if not isinstance(value, dict):
        raise TypeError(f"the parameters are an object, not {value!r:.60}")
    json.dumps(value, allow_nan=False)
    return dict(value)
