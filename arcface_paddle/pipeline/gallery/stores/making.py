"""A new gallery appears as a whole: it is filled beside its place, as a disk may become full and a process end."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Iterator

from arcface_paddle import files, temporaries
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery.journal import journal_of
from arcface_paddle.pipeline.gallery.stores.opening import is_engine_uri, open_gallery, shown_uri

_FAISS = "faiss:"


@contextlib.contextmanager
def whole_gallery(uri: files.PathLike) -> Iterator[files.PathLike]:
    """Give the URI under which a new gallery is to be made, which has ``uri`` when the block ends without an error.

    Of files and folders nothing is there until then. A server has no second name for a gallery: there it grows, see
    ``removed_unless_whole``.

    Raises:
        GalleryError: something is there already, or it cannot be written.
    """
    text = os.fsdecode(uri)
    is_folder = text.startswith(_FAISS)
    if is_engine_uri(uri) and not is_folder:
        yield uri
        return
    place, mark, form = text[len(_FAISS) :].partition("?") if is_folder else (text, "", "")
    target = Path(place)
    with _refusals_name(target):
        _require_nothing(target, is_folder=is_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = temporaries.new_folder(target)
    try:
        made = beside.path / (target.name or "gallery")
        with _told_of(target, beside.path):
            yield f"{_FAISS}{made}{mark}{form}" if is_folder else made
        with _refusals_name(target):
            _place(made, target)
    finally:
        beside.discard()


@contextlib.contextmanager
def removed_unless_whole(uri: files.PathLike) -> Iterator[None]:
    """Remove the gallery that was just made on a server when the block, which fills it, ends with an error.

    Raises:
        GalleryError: that of the block; it says so where the server does not let go of what was made.
    """
    try:
        yield
    except BaseException as error:
        if not is_engine_uri(uri) or os.fsdecode(uri).startswith(_FAISS):
            raise
        try:
            with open_gallery(uri) as store:
                store.drop()
        except GalleryError as refusal:
            if isinstance(error, GalleryError):
                raise GalleryError(
                    f"{error}; what was made is left at {shown_uri(uri)}, as it could not be removed ({refusal}): "
                    "remove it before you try again"
                ) from None
        raise


def _place(made: Path, target: Path) -> None:
    with files.locked(target):
        _require_nothing(target, is_folder=made.is_dir())
        with contextlib.suppress(FileNotFoundError):  # changes that the file does not have yet
            os.replace(journal_of(made), journal_of(target))
        os.replace(made, target)


def _require_nothing(target: Path, *, is_folder: bool) -> None:
    is_empty = is_folder and target.is_dir() and not any(target.iterdir())
    if target.exists() and not is_empty:
        raise GalleryError(f"{target}: exists already; open it, or remove it first")


@contextlib.contextmanager
def _told_of(target: Path, beside: Path) -> Iterator[None]:
    """Let errors name the place that was asked for, not the one beside it, which is gone then."""
    try:
        yield
    except GalleryError as error:
        raise GalleryError(re.sub(re.escape(str(beside)) + "[^:]*", lambda _: str(target), str(error))) from None


@contextlib.contextmanager
def _refusals_name(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GalleryError(f"{target}: cannot write the gallery: {error.strerror or error}") from None
