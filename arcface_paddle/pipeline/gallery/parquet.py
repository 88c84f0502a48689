"""Galleries in Parquet, as ``encode`` and the embedding of very large sets write them: one row for each face.

Columns: ``person`` and ``source`` (texts), ``embedding`` (D floats), and perhaps ``box_xyxy`` (4 floats). The file says
which recogniser made it, by name and hash of its weights.
"""

from __future__ import annotations

from typing import Any, Iterator, Optional

import numpy as np

from arcface_paddle.errors import DataError, GalleryError, MissingDependencyError
from arcface_paddle.pickle_machine import Budget
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, ModelIdentity, clean_name
from arcface_paddle.pipeline.gallery.index import normalize_rows

SIGNATURE = b"PAR1"
MADE_BY = "embedded_by"
"""Parameter of an imported gallery: name and hash of the recogniser, as the file says."""

_NEEDED = ("person", "source", "embedding")
_BOX = "box_xyxy"
_LONGEST_EMBEDDING = 65_536
_ROWS_AT_ONCE = 4096  # so that a file that expands is noticed before it fills the memory


def is_parquet(content: bytes) -> bool:
    """Tell by the first bytes whether this is a Parquet file."""
    return content.startswith(SIGNATURE)


def read_parquet(content: bytes, *, name: str) -> tuple[list[GalleryEntry], np.ndarray, str]:
    """Read the faces of a Parquet file.

    Returns:
        The entries, embeddings (M, D) float32, L2-normalised, and what the file says of the model, which may be "".

    Raises:
        GalleryError: other columns, damaged, faces without a name, or values that are no embeddings.
        MissingDependencyError: without pyarrow.
    """
    pyarrow, parquet = _import_pyarrow()
    entries: list[GalleryEntry] = []
    blocks: list[np.ndarray] = []
    try:
        with parquet.ParquetFile(pyarrow.BufferReader(content)) as file:
            columns = _columns(pyarrow, file.schema_arrow, name)
            made_by = (file.schema_arrow.metadata or {}).get(b"model", b"").decode("utf-8", "replace")
            for batch in _batches(file, columns, Budget(len(content))):
                entries += _entries_of(batch, name)
                blocks.append(_embeddings_of(batch, name))
    except (pyarrow.ArrowException, OSError, ValueError, DataError) as error:
        raise GalleryError(f"{name}: damaged Parquet file ({' '.join(str(error).split())[:120]})") from None
    if not entries:
        raise GalleryError(f"{name}: holds no face")
    return entries, normalize_rows(np.concatenate(blocks)), made_by


def require_maker(made_by: str, model: ModelIdentity, *, name: str) -> None:
    """Raise ``GalleryError`` when the file says that another recogniser made it.

    Args:
        made_by: what ``read_parquet`` returned; "" is taken for anything.
        model: the recogniser that is meant.
        name: of the file.
    """
    if made_by and f"sha256:{model.weights_sha256}" not in made_by.split():
        raise GalleryError(
            f"{name}: made by {made_by[:120]}, not by {model.name} (sha256:{model.weights_sha256[:12]}...); name the "
            "recogniser that made it with --rec_model"
        )


def _columns(pyarrow: Any, schema: Any, name: str) -> list[str]:
    missing = [column for column in _NEEDED if column not in schema.names]
    if missing:
        raise GalleryError(
            f"{name}: no column {', '.join(missing)} (there are {', '.join(schema.names)[:120]}); a gallery in Parquet "
            f"has {', '.join(_NEEDED)}"
        )
    kind = schema.field("embedding").type
    lists = pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)
    if not lists or not pyarrow.types.is_floating(kind.value_type):
        raise GalleryError(f"{name}: the column embedding holds {kind}; allowed: lists of floats")
    for column in ("person", "source"):
        if not pyarrow.types.is_string(schema.field(column).type):
            raise GalleryError(f"{name}: the column {column} holds {schema.field(column).type}; allowed: string")
    box = [_BOX] if _BOX in schema.names and pyarrow.types.is_fixed_size_list(schema.field(_BOX).type) else []
    return [*_NEEDED, *box]


def _batches(file: Any, columns: list[str], budget: Budget) -> Iterator[Any]:
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
        budget.spend(batch.nbytes)
        if batch.num_rows:
            yield batch


def _entries_of(batch: Any, name: str) -> list[GalleryEntry]:
    persons, sources = (batch.column(column).to_pylist() for column in ("person", "source"))
    boxes = batch.column(_BOX).to_pylist() if _BOX in batch.schema.names else [None] * len(persons)
    return [
        GalleryEntry(_cleaned(person, source, name), str(source), box_xyxy=_box(box))
        for person, source, box in zip(persons, sources, boxes)
    ]


def _cleaned(person: Optional[str], source: Optional[str], name: str) -> str:
    if not person or not source:
        raise GalleryError(f"{name}: a face of {str(source)[:80]!r} has no person; only named faces make a gallery")
    try:
        return clean_name(person)
    except GalleryError as error:
        raise GalleryError(f"{name}: {error}") from None


def _box(values: Optional[list[Optional[float]]]) -> Optional[tuple[float, float, float, float]]:
    numbers = [float(value) for value in values or () if value is not None]
    if len(numbers) != 4 or not np.isfinite(numbers).all() or not any(numbers):
        return None  # all zeros: the file that 'gallery export' makes of a gallery that does not say where a face was
    return (numbers[0], numbers[1], numbers[2], numbers[3])


def _embeddings_of(batch: Any, name: str) -> np.ndarray:
    column = batch.column("embedding")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    size = len(flat) // batch.num_rows
    if column.null_count or not 0 < size <= _LONGEST_EMBEDDING or set(map(len, column)) != {size}:
        raise GalleryError(f"{name}: embeddings of several sizes, or none; allowed: 1 to {_LONGEST_EMBEDDING} floats")
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        rows = flat.astype(np.float32).reshape(-1, size)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise GalleryError(f"{name}: holds embeddings that are zero or not finite")
    return rows


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingDependencyError("pyarrow", extra="encode", purpose="reading galleries in Parquet") from None
    return pyarrow, parquet
