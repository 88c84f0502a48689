"""Changing a gallery, whatever keeps it, so that two changes at once both last.

The engine that keeps a gallery changes it: a file by its journal, so that one more face costs milliseconds in a file of
a million. ``edit_gallery`` is for changes that need the whole gallery: read, changed and written under the file's lock.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.embedding_files import write_embeddings
from arcface_paddle.pipeline.gallery import hdf5, parquet, sealing, storage
from arcface_paddle.pipeline.gallery.collection import Gallery
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.keys import GalleryKey
from arcface_paddle.pipeline.gallery.stores import (
    GalleryContract,
    GalleryStore,
    create_gallery,
    gallery_of,
    is_engine_uri,
    load_gallery,
    open_gallery,
    shown_uri,
)
from arcface_paddle.pipeline.gallery.stores.file_store import FileStore
from arcface_paddle.pipeline.gallery.stores.making import removed_unless_whole, whole_gallery


@dataclass(frozen=True, eq=False)
class GalleryEdit:
    """A change of a gallery file that was made.

    Attributes:
        before: what the file held.
        after: what it holds now.
    """

    before: Gallery
    after: Gallery


def edit_gallery(
    path: files.PathLike, change: Callable[[Gallery], Gallery], *, timeout_s: float = files.LOCK_TIMEOUT_S
) -> GalleryEdit:
    """Change a gallery file of ours; when anything goes wrong it is as it was.

    Args:
        path: the file.
        change: makes the new gallery of the present one. It runs while others wait: do slow work, such as embedding
            pictures, before.
        timeout_s: how long to wait for another process that changes the same file.

    Raises:
        GalleryError: what ``change`` raises; no such file, damaged, a published index.bin (see ``load_own``), locked by
            others for too long, or it cannot be written.
    """
    try:
        with files.locked(path, timeout_s=timeout_s):
            files.remove_leftovers(path)
            before = load_own(path)
            after = change(before)
            after.save(path)
    except OSError as error:
        raise GalleryError(f"{path}: cannot change the gallery: {error.strerror or error}") from None
    return GalleryEdit(before, after)


@dataclass(frozen=True)
class GalleryChange:
    """How many faces a change was about, and what the gallery holds now.

    Attributes:
        changed: faces that were removed or given another name.
        faces: of everybody.
        people: who have a face.
    """

    changed: int
    faces: int
    people: int


def remove_person(uri: files.PathLike, name: str) -> GalleryChange:
    """Remove a person, without a trace.

    Raises:
        GalleryError: nobody of that name; else as ``open_own``.
    """
    return _changed(uri, lambda store: store.remove(name))


def remove_picture(uri: files.PathLike, picture: str) -> GalleryChange:
    """Remove the faces of a picture, without a trace.

    Raises:
        GalleryError: no face comes from it; else as ``open_own``.
    """
    return _changed(uri, lambda store: store.remove_picture(picture))


def rename_person(uri: files.PathLike, name: str, new_name: str, *, join: bool = False) -> GalleryChange:
    """Give a person another name; ``join`` allows that of somebody who exists already.

    Raises:
        GalleryError: nobody of that name, or the new one is taken; else as ``open_own``.
    """
    return _changed(uri, lambda store: store.rename(name, new_name, join=join))


def add_faces(
    uri: files.PathLike, entries: Sequence[GalleryEntry], embeddings: np.ndarray, *, model: ModelIdentity
) -> GalleryChange:
    """Add faces that ``model`` embedded; one that is there already is not doubled.

    Raises:
        GalleryError: the gallery is of another model, or does not say of which; else as ``open_own`` and
            ``GalleryStore.add``.
    """

    def added(store: GalleryStore) -> int:
        require_certain(store.require_model(model), uri)
        return store.add(entries, embeddings)

    return _changed(uri, added)


def require_certain(caution: str, uri: files.PathLike) -> None:
    """Raise ``GalleryError`` when there is a caution about which model made a gallery."""
    if caution:
        raise GalleryError(f"{shown_uri(uri)}: {caution}; bind it to its model with 'gallery import --rec_model' first")


def _changed(uri: files.PathLike, change: Callable[[GalleryStore], int]) -> GalleryChange:
    with open_own(uri) as store:
        with store.transaction():
            changed = change(store)
        return GalleryChange(changed, store.count(), len(store.names))


def open_own(uri: files.PathLike) -> GalleryStore:
    """Open a gallery that is to be changed.

    Raises:
        GalleryError: as ``load_own`` and ``open_gallery``.
    """
    if not is_engine_uri(uri) and not _may_be_own_file(uri):
        load_own(uri)  # which says what it is
    return open_gallery(uri)


def write_gallery(path: files.PathLike, gallery: Gallery) -> None:
    """Write a gallery in place of what stands under ``path``, but not between another process's reading and writing.

    In an engine it is made; a gallery that is there already is not replaced.

    Raises:
        GalleryError: locked by others for too long, it cannot be written, or an engine has it already.
    """
    if is_engine_uri(path):
        contract = GalleryContract(gallery.model, gallery.embedding_size, gallery.decision, gallery.parameters)
        with whole_gallery(path) as place:
            made = create_gallery(place, contract)
            with removed_unless_whole(place), made as store:
                store.add(gallery.entries, gallery.embeddings)
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with files.locked(path):
            files.remove_leftovers(path)
            gallery.save(path)
    except OSError as error:
        raise GalleryError(f"{path}: cannot write the gallery: {error.strerror or error}") from None


def export_gallery(path: files.PathLike, gallery: Gallery, *, suffix: Optional[str] = None) -> None:
    """Write the embeddings of a gallery for other programs.

    Args:
        path: file to write.
        gallery: of at least one face.
        suffix: one that ``embedding_files.write_embeddings`` knows; None for that of the path.

    Raises:
        ConfigError: an unknown suffix.
        GalleryError: nobody in it.
        DataError: the file cannot be written.
    """
    if not len(gallery):
        raise GalleryError("the gallery is empty; there is nothing to export")
    write_embeddings(path, gallery.table(), suffix=suffix)


def load_own(path: files.PathLike) -> Gallery:
    """Read a gallery file that is to be changed, which a published index.bin must not be.

    It would be written in our format under its old name, without a word, and the published tool could no longer read
    it.

    Raises:
        GalleryError: as ``Gallery.load``, or a published index.bin.
    """
    gallery = load_gallery(path)
    if not is_engine_uri(path) and not is_own_file(path):
        raise GalleryError(
            f"{path}: is {_foreign_kind(path)} and stays as it is; turn it into a gallery under another name, "
            f"which can be changed: arcface-paddle gallery import NEW {path}"
        )
    return gallery


def contract_of(uri: files.PathLike) -> GalleryContract:
    """Return what made a gallery that is to be changed.

    Raises:
        GalleryError: as ``open_own``.
    """
    with open_own(uri) as store:
        return store.contract


def is_own_file(path: files.PathLike) -> bool:
    """Tell by the first bytes whether an existing gallery file is ours (the published one is a pickle)."""
    with files.open_regular(path) as stream:
        return storage.is_container(stream.read(storage.SIGNATURE_BYTES))


def _may_be_own_file(path: files.PathLike) -> bool:
    try:
        return is_own_file(path)
    except OSError:  # which who opens it says
        return True


def is_encrypted(uri: files.PathLike) -> bool:
    """Tell by the first bytes whether a gallery is an encrypted file of ours."""
    try:
        with files.open_regular(uri) as stream:
            return sealing.is_sealed(stream.read(storage.SIGNATURE_BYTES))
    except OSError:
        return False


def encrypt_gallery(path: files.PathLike) -> GalleryKey:
    """Write a gallery file anew with its journal, encrypted with the first of the known keys; returns that key.

    Raises:
        GalleryError: no file of ours, no key is known, or it cannot be written.
    """
    with _opened_file(path) as store:
        return store.encrypt()


def decrypt_gallery(path: files.PathLike) -> None:
    """Write a gallery file anew so that everybody who has it can read it.

    Raises:
        GalleryError: no file of ours, its key is not known, or it cannot be written.
    """
    with _opened_file(path) as store:
        store.decrypt()


@contextlib.contextmanager
def _opened_file(path: files.PathLike) -> Iterator[FileStore]:
    if is_engine_uri(path):
        raise GalleryError(f"{shown_uri(path)}: only gallery files are encrypted; see to the disk of other engines")
    with contextlib.closing(FileStore.open(path)) as store:
        yield store


def _foreign_kind(path: files.PathLike) -> str:
    with files.open_regular(path) as stream:
        start = stream.read(len(hdf5.SIGNATURE))
    if parquet.is_parquet(start):
        return "a gallery in Parquet"
    return "a gallery in HDF5" if hdf5.is_hdf5(start) else "an index of the published tool"


def combine_galleries(
    target: files.PathLike, sources: Sequence[files.PathLike], combine: Callable[[Sequence[Gallery]], Gallery]
) -> Gallery:
    """Write the gallery that ``combine`` makes of those in ``sources``, one of which may be the target itself.

    What an engine keeps is extended by the faces that are new.

    Raises:
        GalleryError: as ``Gallery.load`` for a source, and as ``edit_gallery`` when the target is one of them.
    """
    present = [_is_same_file(source, target) for source in sources]
    loaded = [None if is_target else load_gallery(source) for source, is_target in zip(sources, present)]

    def combined(current: Gallery) -> Gallery:
        return combine([current if gallery is None else gallery for gallery in loaded])

    if any(present) and is_engine_uri(target):
        with open_gallery(target) as store, store.transaction():
            united = combined(gallery_of(store))
            store.add(united.entries, united.embeddings)
        return united
    if any(present):
        return edit_gallery(target, combined).after
    made = combine([gallery for gallery in loaded if gallery is not None])
    write_gallery(target, made)
    return made


def _is_same_file(first: files.PathLike, second: files.PathLike) -> bool:
    if is_engine_uri(first) or is_engine_uri(second):
        return os.fsdecode(first) == os.fsdecode(second)
    try:
        return Path(first).samefile(second)
    except OSError:  # one does not exist
        return False
