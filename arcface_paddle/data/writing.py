"""Writing datasets: many small files, full disks, and outputs that an earlier run has left."""

from __future__ import annotations

import contextlib
import contextvars
from pathlib import Path
from typing import BinaryIO, Iterator

from arcface_paddle import files
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.file_dataset import FolderDataset
from arcface_paddle.errors import ConfigError, DataError

_OURS: contextvars.ContextVar[frozenset[Path]] = contextvars.ContextVar("folders being written", default=frozenset())


@contextlib.contextmanager
def disk_errors_as_data_errors(target: files.PathLike) -> Iterator[None]:
    """Turn an ``OSError`` of writing (a full disk, no permission) into a ``DataError`` that says how to go on."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or target}: cannot be written: {error.strerror or error}. What is complete under "
            f"{target} stays usable; the same command goes on where this one stopped"
        ) from None


@contextlib.contextmanager
def sole_writer(target: files.PathLike) -> Iterator[None]:
    """Keep other processes that write datasets out of a folder: two would mix theirs, or take files from each other.

    Who is its sole writer may become so once more, further down in the same thread.

    Raises:
        DataError: somebody else is writing there.
        OSError: the folder cannot be made.
    """
    ours, folder = _OURS.get(), files.resolved(target)
    if folder in ours:
        yield
        return
    with files.claimed_folder(target) as is_claimed:
        if not is_claimed:
            raise DataError(f"{target}: another process is writing into this folder; choose another one, or wait")
        claim = _OURS.set(ours | {folder})
        try:
            yield
        finally:
            _OURS.reset(claim)


@contextlib.contextmanager
def dataset_in(target: files.PathLike) -> Iterator[None]:
    """Write a dataset into a folder, as its ``sole_writer`` and with ``disk_errors_as_data_errors``."""
    with disk_errors_as_data_errors(target), sole_writer(target):
        yield


def place_file(path: Path, content: bytes) -> bool:
    """Write a file unless it is there already with the same content; tell whether it was written.

    The file appears as a whole or not at all, but is not forced to the disk: that would cost minutes to hours for
    millions of files. After a power cut an empty file may stand there, which the next run writes anew.

    Raises:
        DataError: a file of other content is there; it is not touched.
        OSError: the disk is full or the folder cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        present = files.read_bytes(path)
        if present == content:
            return False
        if present:
            raise DataError(f"{path}: exists with other content and is left alone; choose an empty folder or remove it")
    with files.atomic_writer(path, durable=False) as stream:
        stream.write(content)
    return True


class ComparingStream:
    """A finished file, of which every write must say what it holds."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        """Take the file, at its beginning, and its path for errors."""
        self.position = 0
        self.is_comparing = True
        self._stream = stream
        self._path = path

    def write(self, content: bytes) -> int:
        """Compare, and return the number of bytes. Raises ``DataError`` when the file holds others."""
        if self._stream.read(len(content)) != content:
            self._refuse()
        self.position += len(content)
        return len(content)

    def finish(self) -> None:
        """Check that nothing follows. Raises ``DataError``."""
        if self._stream.read(1):
            self._refuse()

    def _refuse(self) -> None:
        raise DataError(
            f"{self._path}: holds another dataset (it differs from offset {self.position} on); choose an empty folder"
        )


def refuse_target_in_source(dataset: FaceDataset, target: files.PathLike) -> None:
    """Refuse to write a dataset into itself.

    A target inside of a folder-per-identity dataset would be a new identity when the command is run again.

    Raises:
        ConfigError: the target is the dataset's folder, or a folder that the dataset would read.
    """
    source, place = files.resolved(dataset.name), files.resolved(target)
    if place == source or (isinstance(dataset, FolderDataset) and source in place.parents):
        raise ConfigError(
            f"target {target} lies in the dataset {dataset.name} that is read; choose a folder outside of it"
        )
