"""Where results may go, checked before the long work and not after it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Optional

from arcface_paddle import files
from arcface_paddle.errors import ConfigError

_BYTES_SEEN = 4096
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"\x1aE\xdf\xa3")
_RIFF = (b"WEBP", b"AVI ")
"""How JPEG, PNG, GIF, TIFF and Matroska begin, and what stands in a RIFF; ``images`` would import the decoders."""


def require_writable_folder(path: Optional[str], *, option: str) -> None:
    """Check before the long work that files can be written into the folder ``path`` (None: nothing to check).

    Nothing is created: the probe is a nameless file in the folder, or in its nearest parent that exists.

    Raises:
        ConfigError: it is a file, or may not be written to.
    """
    if path is not None:
        _require_writable(Path(path).absolute(), what=f"{option} {path}")


def require_writable_file(path: Optional[str], *, option: str) -> None:
    """Check before the long work that the file ``path`` can be written (None: nothing to check).

    It is to become a gallery, embeddings or pairs, and so may replace such a file, but no text: that could be the list
    of names which is being read.

    Raises:
        ConfigError: it is a folder or holds text, a photograph or film, or its folder may not be written to.
    """
    _require_no_picture(path, option=option)
    if path is not None and _is_text(_first_bytes(path)):
        raise ConfigError(f"{option} {path}: holds text, which would be gone; name another file")


def require_writable_text(path: Optional[str], *, option: str) -> None:
    """Check likewise a file that is to become text: JSON, CSV, a page.

    Raises:
        ConfigError: it is a folder or holds no text, such as a dataset's pairs, or its folder may not be written to.
    """
    _require_no_picture(path, option=option)
    if path is not None and not _is_text(_first_bytes(path) or b"text"):
        raise ConfigError(f"{option} {path}: holds no text, and would be gone; name another file")


def require_writable_picture(path: Optional[str], *, option: str) -> None:
    """Check likewise a file that is to become a picture, and may replace one.

    Raises:
        ConfigError: it is a folder, or its folder may not be written to.
    """
    if path is None:
        return
    with _refusals_name(f"{option} {path}"):
        is_folder = Path(path).is_dir()
    if is_folder:
        raise ConfigError(f"{option} {path}: is a folder; give the name of a file")
    _require_writable(Path(path).absolute().parent, what=f"{option} {path}")


def require_writable_texts(paths: Mapping[str, Optional[str]]) -> None:
    """Check likewise all results of a command that are text: no two are one file, which the later would have alone.

    Args:
        paths: option to path; None where it was not given.

    Raises:
        ConfigError: one cannot be written, or two options name one file.
    """
    option_of: dict[str, str] = {}
    for option, path in paths.items():
        require_writable_text(path, option=option)
        if path is None or files.is_special(Path(path)):  # standard output takes several
            continue
        earlier = option_of.setdefault(os.path.realpath(path), option)
        if earlier != option:
            raise ConfigError(f"{earlier} and {option} both name {path}; give each a file of its own")


def _require_no_picture(path: Optional[str], *, option: str) -> None:
    require_writable_picture(path, option=option)
    if path is not None and _is_photograph_or_film(_first_bytes(path)):
        raise ConfigError(f"{option} {path}: holds a picture or film, which would be gone; name another file")


def _first_bytes(path: str) -> bytes:
    """Return how a regular file begins, nothing of what is none or may not be read."""
    if files.is_special(Path(path)):
        return b""
    try:
        with files.open_regular(path) as stream:
            return stream.read(_BYTES_SEEN)
    except OSError:
        return b""


def _is_text(start: bytes) -> bool:
    """Tell whether a file that begins so can be text; a character may be cut at the end."""
    try:
        start[:-3].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return bool(start) and b"\0" not in start


def _is_photograph_or_film(start: bytes) -> bool:
    return start.startswith(_SIGNATURES) or start[4:8] == b"ftyp" or (start[:4] == b"RIFF" and start[8:12] in _RIFF)


def _require_writable(folder: Path, *, what: str) -> None:
    with _refusals_name(what):
        while not folder.exists() and folder != folder.parent:
            if folder.is_symlink():  # in whose place no folder can be made
                raise ConfigError(f"{what}: {folder} is a link that leads nowhere ({_why_missing(folder)})")
            folder = folder.parent
        if not folder.is_dir():
            raise ConfigError(f"{what}: {folder} is a file, not a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            files.remove_abandoned(folder)
    except OSError as error:
        raise ConfigError(f"{what}: cannot write into {folder}: {error.strerror or error}") from None


def _why_missing(link: Path) -> str:
    try:
        link.stat()
    except OSError as error:
        return error.strerror or str(error)
    return "it was made in this moment"


@contextlib.contextmanager
def _refusals_name(what: str) -> Iterator[None]:
    """Say of which option a path is that the system will not even look at: too long, or in a closed folder."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror or error}; name another place") from None
