"""Files of embeddings, by suffix: ``.npy``, ``.npz``, HDF5 (one group per person) and Parquet."""

from __future__ import annotations

import dataclasses
import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ConfigError, DataError, MissingDependencyError

PERSON = "person"
"""Attribute of a HDF5 group whose name is not that of the person."""

LONGEST_PERSON_BYTES = 60_000
"""Of that attribute: HDF5 keeps up to 64 KiB of attributes in the head of a group."""


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Embeddings of faces and where they come from; all columns have N entries.

    Attributes:
        embeddings: (N, D) float32, L2-normalised.
        persons: name of the folder or the label of each picture; "" where there is none.
        sources: path of each picture as it was given.
        boxes_xyxy: (N, 4) float32, where in the picture the face was found.
        model: name of the recogniser and the hash of its weights.
    """

    embeddings: np.ndarray
    persons: list[str]
    sources: list[str]
    boxes_xyxy: np.ndarray
    model: str

    def template_of(self, rows: Sequence[int]) -> np.ndarray:
        """Return the L2-normalised mean (D,) float32 of the embeddings in ``rows``."""
        mean = self.embeddings[list(rows)].mean(axis=0)
        return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def write_embeddings(path: files.PathLike, table: EmbeddingTable, *, suffix: Optional[str] = None) -> None:
    """Write a table atomically in the format that the suffix names: ``suffix``, or else that of the path.

    ``.npy`` holds the (N, D) matrix only; its rows follow the order of the pictures, which the other formats name.

    Raises:
        ConfigError: an unknown suffix.
        MissingDependencyError: HDF5 without h5py, Parquet without pyarrow.
        DataError: the file cannot be written.
    """
    encode = check_suffix(path, suffix=suffix)
    content = encode(_with_printable_names(table))
    try:
        files.write_bytes(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None


def _with_printable_names(table: EmbeddingTable) -> EmbeddingTable:
    """None of the formats can hold the name of a file or folder that is not UTF-8."""
    persons, sources = ([files.printable(name) for name in names] for names in (table.persons, table.sources))
    return dataclasses.replace(table, persons=persons, sources=sources, model=files.printable(table.model))


def check_suffix(path: files.PathLike, *, suffix: Optional[str] = None) -> Callable[[EmbeddingTable], bytes]:
    """Return the encoder for a path, so that a wrong suffix or a missing package is known before the long work."""
    suffix = Path(path).suffix.lower() if suffix is None else suffix
    if suffix not in _ENCODERS:
        raise ConfigError(f"{path}: no format for suffix {suffix!r}; allowed: {', '.join(sorted(_ENCODERS))}")
    if suffix in (".h5", ".hdf5"):
        _import_h5py()
    if suffix == ".parquet":
        _import_pyarrow()
    return _ENCODERS[suffix]


def _encode_npy(table: EmbeddingTable) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, table.embeddings, allow_pickle=False)
    return buffer.getvalue()


def _encode_npz(table: EmbeddingTable) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        embeddings=table.embeddings,
        persons=np.array(table.persons, dtype=str),
        sources=np.array(table.sources, dtype=str),
        boxes_xyxy=table.boxes_xyxy,
        model=np.array(table.model),
    )
    return buffer.getvalue()


def _encode_hdf5(table: EmbeddingTable) -> bytes:
    """One group per person with ``embedding`` (D,), the template, and ``embeddings`` (n, D) with their ``sources``.

    A group that cannot have the person's name says it in its attribute ``person``, UTF-8 of a fixed length.
    """
    h5py = _import_h5py()
    buffer = io.BytesIO()
    rows_of: dict[str, list[int]] = {}
    for row, person in enumerate(table.persons):
        rows_of.setdefault(person, []).append(row)
    with h5py.File(buffer, "w") as file:
        file.attrs["model"] = table.model
        for name, person in sorted(group_names(rows_of).items()):
            group, rows = file.create_group(name), rows_of[person]
            if person not in ("", name):
                group.attrs[PERSON] = np.bytes_(_short_enough(person.encode()))
            group.create_dataset("embedding", data=table.template_of(rows))
            group.create_dataset("embeddings", data=table.embeddings[rows])
            group.create_dataset("sources", data=[table.sources[row] for row in rows], dtype=h5py.string_dtype())
    return buffer.getvalue()


def group_names(persons: Iterable[str]) -> dict[str, str]:
    """Return a HDF5 group for each person, each another: its name, which is the person's where HDF5 allows that.

    Empty, ``.`` and names with a slash cannot name a group as they are. What is made of them gets a number when it is
    somebody's name already.

    Example:
        >>> group_names(["a/b", "a_b", "Ada"])
        {'Ada': 'Ada', 'a_b': 'a_b', 'a_b_2': 'a/b'}
    """
    ordered = sorted(set(persons))
    groups = {person: person for person in ordered if _can_be_group(person)}
    for person in ordered:
        if not _can_be_group(person):
            wanted = "_" if person in ("", ".") else person.replace("/", "_")
            numbered = (f"{wanted}_{number}" for number in itertools.count(2))
            groups[next(name for name in itertools.chain([wanted], numbered) if name not in groups)] = person
    return groups


def _short_enough(name: bytes) -> bytes:
    if len(name) > LONGEST_PERSON_BYTES:
        start = name[:40].decode(errors="ignore")
        raise DataError(
            f"the name {start!r}... has {len(name):,} bytes and cannot name a group of HDF5; allowed: "
            f"{LONGEST_PERSON_BYTES:,}; rename the person, or write .npz"
        )
    return name


def _can_be_group(person: str) -> bool:
    return person not in ("", ".") and "/" not in person


def _encode_parquet(table: EmbeddingTable) -> bytes:
    pyarrow, parquet = _import_pyarrow()
    size = table.embeddings.shape[1] if table.embeddings.ndim == 2 else 0
    columns = {
        "source": pyarrow.array(table.sources, pyarrow.string()),
        "person": pyarrow.array(table.persons, pyarrow.string()),
        "box_xyxy": pyarrow.array(table.boxes_xyxy.tolist(), pyarrow.list_(pyarrow.float32(), 4)),
        "embedding": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(table.embeddings.reshape(-1)), size),
    }
    sink = pyarrow.BufferOutputStream()
    rows = pyarrow.table(columns).replace_schema_metadata({"model": table.model})
    parquet.write_table(rows, sink)
    return sink.getvalue().to_pybytes()


def _import_h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError("h5py", extra="encode", purpose="writing HDF5 files") from None
    return h5py


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingDependencyError("pyarrow", extra="encode", purpose="writing Parquet files") from None
    return pyarrow, parquet


_ENCODERS: dict[str, Callable[[EmbeddingTable], bytes]] = {
    ".npy": _encode_npy,
    ".npz": _encode_npz,
    ".h5": _encode_hdf5,
    ".hdf5": _encode_hdf5,
    ".parquet": _encode_parquet,
}
