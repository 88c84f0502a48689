"""Changing a gallery file: read, change and write under its lock, so that two changes at once both last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.embedding_files import group_name, write_embeddings
from arcface_paddle.pipeline.gallery import hdf5, storage
from arcface_paddle.pipeline.gallery.collection import Gallery


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


def write_gallery(path: files.PathLike, gallery: Gallery) -> None:
    """Write a gallery in place of what stands under ``path``, but not between another process's reading and writing.

    Raises:
        GalleryError: locked by others for too long, or it cannot be written.
    """
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
        GalleryError: nobody in it, or two people whose names HDF5 cannot tell apart.
        DataError: the file cannot be written.
    """
    if not len(gallery):
        raise GalleryError("the gallery is empty; there is nothing to export")
    groups: dict[str, str] = {}
    for name in gallery.names if (suffix or Path(path).suffix.lower()) in (".h5", ".hdf5") else ():
        other = groups.setdefault(group_name(name), name)
        if other != name:
            raise GalleryError(f"HDF5 cannot tell {other!r} from {name!r}; rename one, or export to .npz")
    write_embeddings(path, gallery.table(), suffix=suffix)


def load_own(path: files.PathLike) -> Gallery:
    """Read a gallery file that is to be changed, which a published index.bin must not be.

    It would be written in our format under its old name, without a word, and the published tool could no longer read
    it.

    Raises:
        GalleryError: as ``Gallery.load``, or a published index.bin.
    """
    gallery = Gallery.load(path)
    if not is_own_file(path):
        raise GalleryError(
            f"{path}: is {_foreign_kind(path)} and stays as it is; turn it into a gallery under another name, "
            f"which can be changed: arcface-paddle gallery import NEW {path}"
        )
    return gallery


def is_own_file(path: files.PathLike) -> bool:
    """Tell by the first bytes whether an existing gallery file is ours (the published one is a pickle)."""
    with Path(path).open("rb") as stream:
        return storage.is_container(stream.read(storage.SIGNATURE_BYTES))


def _foreign_kind(path: files.PathLike) -> str:
    with Path(path).open("rb") as stream:
        in_hdf5 = hdf5.is_hdf5(stream.read(len(hdf5.SIGNATURE)))
    return "a gallery in HDF5" if in_hdf5 else "an index of the published tool"


def combine_galleries(
    target: files.PathLike, sources: Sequence[files.PathLike], combine: Callable[[Sequence[Gallery]], Gallery]
) -> Gallery:
    """Write the gallery that ``combine`` makes of those in ``sources``, one of which may be the target itself.

    Raises:
        GalleryError: as ``Gallery.load`` for a source, and as ``edit_gallery`` when the target is one of them.
    """
    present = [_is_same_file(source, target) for source in sources]
    loaded = [None if is_target else Gallery.load(source) for source, is_target in zip(sources, present)]

    def combined(current: Gallery) -> Gallery:
        return combine([current if gallery is None else gallery for gallery in loaded])

    if any(present):
        return edit_gallery(target, combined).after
    made = combine([gallery for gallery in loaded if gallery is not None])
    write_gallery(target, made)
    return made


def _is_same_file(first: files.PathLike, second: files.PathLike) -> bool:
    try:
        return Path(first).samefile(second)
    except OSError:  # one does not exist
        return False
