"""Reading the gallery that users of the published wheel own: a pickle of labels and features."""

from __future__ import annotations

from typing import Any

import numpy as np

from arcface_paddle import safe_pickle
from arcface_paddle.errors import DataError, GalleryError
from arcface_paddle.pickle_machine import Budget
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, clean_name
from arcface_paddle.pipeline.gallery.index import normalize_rows


def read_published(content: bytes, *, name: str) -> tuple[list[GalleryEntry], np.ndarray]:
    """Read a published ``index.bin``: a pickle of ``{"label": [str], "feature": [(1, D) float32]}``.

    The pickle is never executed; see ``safe_pickle``. Its features are not normalised; what is returned is.

    Returns:
        The entries, named ``<file>#<row>`` because the published file does not say which pictures it was made of,
        and embeddings (M, D) float32, L2-normalised.

    Raises:
        GalleryError: neither such a pickle nor one that may be read.
    """
    try:
        value = safe_pickle.load_arrays(content, name=name)
    except DataError as error:
        raise GalleryError(f"{error}; neither a gallery of arcface_paddle nor a published index") from None
    labels, features = _labels_and_features(value, name)
    try:
        budget = Budget(len(content))
        budget.spend(sum(len(label) for label in labels if isinstance(label, (str, bytes))))
        matrix = _matrix(features, name, budget)
    except DataError as error:
        raise GalleryError(f"{name}: {error}") from None
    return [_entry(label, f"{name}#{row}") for row, label in enumerate(labels)], normalize_rows(matrix)


def _matrix(features: list[Any], name: str, budget: Budget) -> np.ndarray:
    rows = [_row(feature, name) for feature in features]
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or 0 in sizes or any(row.dtype.kind != "f" for row in rows):
        raise GalleryError(f"{name}: features of sizes {sorted(sizes)}; a published index holds float rows of one size")
    budget.spend(sum(row.nbytes for row in rows))  # a row that the file refers to a thousand times is copied as often
    matrix = np.stack(rows).astype(np.float32)
    if not np.isfinite(matrix).all() or not np.linalg.norm(matrix, axis=1).all():
        raise GalleryError(f"{name}: holds features that are zero or not finite")
    return matrix


def _row(feature: object, name: str) -> np.ndarray:
    """Return one feature as a row: an array, or a list of floats that may stand in a list of its own.

    Deeper lists are not followed: they can share their items, and then number more than anything can count.
    """
    while isinstance(feature, (list, tuple)) and len(feature) == 1 and isinstance(feature[0], (list, tuple)):
        feature = feature[0]
    if isinstance(feature, (list, tuple)) and all(isinstance(value, (float, np.floating)) for value in feature):
        return np.array(feature, dtype=np.float64)
    if not isinstance(feature, (np.ndarray, np.floating)):
        raise GalleryError(f"{name}: holds features that are no arrays of numbers")
    return np.asarray(feature).reshape(-1)


def _entry(label: object, path: str) -> GalleryEntry:
    try:
        return GalleryEntry(name=clean_name(_text(label)), path=path)
    except GalleryError as error:
        raise GalleryError(f"{path}: {error}") from None


def _labels_and_features(value: object, name: str) -> tuple[list[Any], list[Any]]:
    if not isinstance(value, dict):
        raise GalleryError(f"{name}: the pickle holds a {type(value).__name__}; a published index is a dictionary")
    content = {_text(key): item for key, item in value.items()}
    if "label" not in content or "feature" not in content:
        keys = ", ".join(sorted(content)) or "none"
        raise GalleryError(f"{name}: the pickle has the keys {keys}; a published index has 'label' and 'feature'")
    for key in ("label", "feature"):
        if not _is_sequence(content[key]):
            kind = type(content[key]).__name__
            raise GalleryError(f"{name}: {key!r} is a {kind}; a published index has lists of equal length")
    labels, features = list(content["label"]), list(content["feature"])
    if not labels or len(labels) != len(features):
        raise GalleryError(
            f"{name}: {len(labels)} labels and {len(features)} features; allowed: as many of each, not 0"
        )
    return labels, features


def _is_sequence(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, (list, tuple, dict, np.ndarray)):  # whose spelling may be larger than the memory
        raise GalleryError(f"a label is a {type(value).__name__}; allowed: text")
    return str(value)
