"""Galleries in HDF5, as published face recognition programs keep them: ``{person: {"embedding": (D,)}}``.

``embedding`` is the mean of the person's pictures. The files that this toolkit writes also hold ``embeddings`` (n, D),
which are taken in place of the mean where they are there, and a group that cannot have the name of its person (HDF5
allows no ``/`` in it) says the name in its attribute ``person``.

HDF5 can name other files, describe datasets larger than the memory in a few bytes, and refer to one object under many
names. What is read here is what lies in the file itself: plain float arrays, no more of them than the file can hold.
Texts of any length are left alone (the names of the pictures, which this toolkit writes): damaged ones can keep the
HDF5 library busy for ever.
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from arcface_paddle.errors import DataError, GalleryError, MissingDependencyError
from arcface_paddle.pickle_machine import Budget
from arcface_paddle.pipeline.embedding_files import LONGEST_PERSON_BYTES, PERSON
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, clean_name
from arcface_paddle.pipeline.gallery.index import normalize_rows

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_MEAN, _ROWS = "embedding", "embeddings"
_DAMAGED = (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError, OverflowError)
"""What h5py raises for damaged files."""
_LONGEST_EMBEDDING = 65_536
_LAYOUT = f"a gallery in HDF5 has a group for each person with a float dataset {_MEAN!r} of one size"


def is_hdf5(content: bytes) -> bool:
    """Tell by the first bytes whether this is an HDF5 file."""
    return content.startswith(SIGNATURE)


def read_hdf5(content: bytes, *, name: str) -> tuple[list[GalleryEntry], np.ndarray]:
    """Read the people of an HDF5 file.

    Returns:
        The entries, named ``<file>#<person>`` with the row's number where there are several, and embeddings (M, D)
        float32, L2-normalised.

    Raises:
        GalleryError: another layout, values that are no embeddings, or what refers to other files.
        MissingDependencyError: without h5py.
    """
    h5py = _import_h5py()
    entries: list[GalleryEntry] = []
    blocks: list[np.ndarray] = []
    budget = Budget(len(content))
    try:
        with h5py.File(h5py.h5f.open_file_image(content)) as file:  # reads only; nothing of it is written anywhere
            for person, group in _people(h5py, file, name):
                rows, sources = _rows_of(h5py, group, f"{name}#{person}", budget)
                named = _cleaned(_person_of(h5py, group, person), name)
                entries += [GalleryEntry(named, source) for source in sources]
                blocks.append(rows)
    except (GalleryError, DataError) as error:
        raise GalleryError(str(error) if name in str(error) else f"{name}: {error}") from None
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        MemoryError,
        OverflowError,
    ) as error:  # h5py's, for damaged files
        raise GalleryError(f"{name}: damaged HDF5 file ({' '.join(str(error).split())[:120]})") from None
    return entries, normalize_rows(_matrix(blocks, name))


def _people(h5py: Any, file: Any, name: str) -> Iterator[tuple[str, Any]]:
    for person in file:
        group = _own_object(h5py, file, person, f"{name}#{person}")
        if not isinstance(group, h5py.Group):
            raise GalleryError(f"{name}: holds the dataset {person!r} beside its groups; {_LAYOUT}")
        yield person, group


def _person_of(h5py: Any, group: Any, group_name: str) -> str:
    """Return whose group this is: its attribute says so where the group could not have the name."""
    key = PERSON.encode()
    if not h5py.h5a.exists(group.id, key):
        return group_name
    attribute = h5py.h5a.open(group.id, key)
    kind = attribute.get_type()
    is_text = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str()
    if not is_text or attribute.shape != () or kind.get_size() > LONGEST_PERSON_BYTES:
        return group_name  # of another program, which means something else by it
    return bytes(group.attrs[PERSON]).decode()


def _rows_of(h5py: Any, group: Any, where: str, budget: Budget) -> tuple[np.ndarray, list[str]]:
    """Return the embeddings (n, D) of one person and what each was made of."""
    if _ROWS in group:
        rows = _floats(h5py, group, _ROWS, where, budget)
        rows = rows if rows.ndim == 2 else rows[None]
        return rows, [f"{where}#{row}" for row in range(len(rows))]
    if _MEAN not in group:
        raise GalleryError(f"{where}: has {', '.join(map(repr, list(group)[:3])) or 'nothing'}; {_LAYOUT}")
    mean = _floats(h5py, group, _MEAN, where, budget)
    if mean.ndim == 2 and len(mean) != 1:
        raise GalleryError(f"{where}: {_MEAN!r} has the shape {mean.shape}; allowed: (D,) or (1, D)")
    return mean.reshape(1, -1), [where]


def _floats(h5py: Any, group: Any, key: str, where: str, budget: Budget) -> np.ndarray:
    """Read a dataset of floats, (D,) or (n, D); its description is checked before anything is allocated."""
    dataset = _own_object(h5py, group, key, where)
    if not isinstance(dataset, h5py.Dataset):
        raise GalleryError(f"{where}: {key!r} is no dataset; {_LAYOUT}")
    _require_plain(dataset, where, key)
    shape = dataset.shape
    if dataset.dtype.kind != "f" or shape is None or len(shape) not in (1, 2) or 0 in shape:
        raise GalleryError(f"{where}: {key!r} is {dataset.dtype} of shape {shape}; allowed: floats, (D,) or (n, D)")
    if shape[-1] > _LONGEST_EMBEDDING:
        raise GalleryError(f"{where}: {key!r} has rows of {shape[-1]:,} numbers; allowed: {_LONGEST_EMBEDDING:,}")
    budget.spend(dataset.size * max(dataset.dtype.itemsize, 4))
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        rows = np.asarray(dataset[()], dtype=np.float32)
    lengths = np.linalg.norm(rows.astype(np.float64).reshape(-1, shape[-1]), axis=1)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise GalleryError(f"{where}: {key!r} holds embeddings that are zero or not finite")
    return rows


def _own_object(h5py: Any, group: Any, key: str, where: str) -> Any:
    """Return a member of a group that lies in this very file; a link to somewhere else is not followed."""
    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
        raise GalleryError(f"{where}: {key!r} is a link to another place or file, which is not followed")
    return group[key]


def _require_plain(dataset: Any, where: str, key: str) -> None:
    if dataset.is_virtual or dataset.external:
        raise GalleryError(f"{where}: {key!r} keeps its values in other datasets or files, which are not opened")


def _matrix(blocks: list[np.ndarray], name: str) -> np.ndarray:
    sizes = sorted({block.shape[1] for block in blocks})
    if not blocks:
        raise GalleryError(f"{name}: holds nobody; {_LAYOUT}")
    if len(sizes) != 1:
        raise GalleryError(f"{name}: embeddings of sizes {', '.join(map(str, sizes[:5]))}; {_LAYOUT}")
    return np.concatenate(blocks)


def _cleaned(person: str, name: str) -> str:
    try:
        return clean_name(person)
    except GalleryError as error:
        raise GalleryError(f"{name}: {error}") from None


def _import_h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise MissingDependencyError("h5py", extra="encode", purpose="reading galleries in HDF5") from None
    return h5py
