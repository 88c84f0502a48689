"""Fetching a published model archive without trusting it: to a file beside, checked, only the expected names."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Callable, Iterator, Sequence, cast

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import downloading
from arcface_paddle.pipeline.graph_checks import check_graph, check_weights
from arcface_paddle.untrusted import TAR_ERRORS

MAX_ARCHIVE_BYTES = 1 << 30
MAX_UNPACKED_BYTES = 2 << 30
"""Of all that a compressed archive holds, whatever is taken of it: a few KB can stand for terabytes of zeros."""
MAX_MEMBERS = 100
_MOST_AT_ONCE = 16 << 20  # heads of members that tarfile reads whole
_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def fetch_archive(url: str, folder: Path, *, expected: Sequence[str], sha256: str = "") -> str:
    """Fetch a tar archive and make ``folder`` of the files named in ``expected``; nothing else is extracted.

    A download that breaks off is continued, in this call or the next. The hash is checked before anything is unpacked.

    Args:
        url: of the archive.
        folder: is made; its parent keeps the archive meanwhile.
        expected: names of files.
        sha256: of the archive, hexadecimal; empty when nobody has published it.

    Returns:
        The SHA-256 of the archive.

    Raises:
        ModelFileError: no network, not the archive that ``sha256`` means, not a whole one, or one that lacks an
            expected file. Only of a download that broke off something is left: its beginning.
    """
    part = folder.parent / f".{folder.name}.part"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(part):
            found = downloading.download(url, part, most_bytes=MAX_ARCHIVE_BYTES, sha256=sha256)
            try:
                _unpack(part, folder, expected=expected, url=url)
            finally:
                downloading.remove(part)
            return found
    except downloading.NETWORK_ERRORS as error:
        reason = getattr(error, "reason", None) or error
        raise ModelFileError(
            f"cannot fetch {url}: {reason}. {_kept(part)}Without a network, fetch the file by hand and put "
            f"{' and '.join(expected)} into {folder}"
        ) from None
    except OSError as error:
        raise ModelFileError(f"cannot keep the model in {folder}: {error.strerror or error}") from None


def _kept(part: Path) -> str:
    return "What has arrived is kept; call it again to go on. " if part.is_file() else ""


def _unpack(part: Path, folder: Path, *, expected: Sequence[str], url: str) -> None:
    with part.open("rb") as archive, files.atomic_folder(folder) as temporary:
        _extract(archive, temporary, expected=expected, url=url)
        for name in expected:
            check = check_weights if name.endswith(".pdiparams") else check_graph
            check(temporary / name)


def _extract(archive: BinaryIO, folder: Path, *, expected: Sequence[str], url: str) -> None:
    """Copy the regular files whose last path component is expected; no path of the archive is used."""
    found: set[str] = set()
    try:
        with _plain(archive, url) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for name, source in _members(tar, expected, url):
                if name in found:
                    raise ModelFileError(f"{url}: holds {name} twice, not a model archive")
                with (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                found.add(name)
    except TAR_ERRORS as error:
        raise ModelFileError(f"{url}: not a whole tar archive: {error}") from None
    missing = [name for name in expected if name not in found]
    if missing:
        raise ModelFileError(f"{url}: the archive has no {' and no '.join(missing)}")


def _members(tar: tarfile.TarFile, expected: Sequence[str], url: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Give name and content of each expected file, while the archive stays within its limits."""
    for index, member in enumerate(tar):
        if index >= MAX_MEMBERS:
            raise ModelFileError(f"{url}: more than {MAX_MEMBERS} members, not a model archive")
        name = PurePosixPath(member.name).name
        if name not in expected or not member.isreg():
            continue
        if member.size > MAX_ARCHIVE_BYTES:
            raise ModelFileError(f"{url}: {name} is oversized, not a model archive")
        source = tar.extractfile(member)
        if source is not None:
            yield name, source


@contextlib.contextmanager
def _plain(archive: BinaryIO, url: str) -> Iterator[BinaryIO]:
    """Give the tar in a file that may be compressed, within limits."""
    start = archive.read(8)
    archive.seek(0)
    opener = next((one for magic, one in _OPENERS.items() if start.startswith(magic)), None)
    if opener is None:
        yield cast(BinaryIO, _Bounded(archive, url))
        return
    with contextlib.closing(opener(archive, "rb")) as stream:
        yield cast(BinaryIO, _Bounded(stream, url))


class _Bounded:
    """What tarfile uses of a stream; a piece or a whole that is too large is refused before it is unpacked."""

    def __init__(self, stream: BinaryIO, url: str) -> None:
        self._stream = stream
        self._url = url

    def read(self, size: int) -> bytes:
        self._require(size <= _MOST_AT_ONCE and self._stream.tell() + size <= MAX_UNPACKED_BYTES + _MOST_AT_ONCE)
        try:
            return self._stream.read(size)
        except OSError as error:  # of bz2, for damage
            raise tarfile.ReadError(str(error)) from None

    def seek(self, position: int) -> int:
        self._require(position <= MAX_UNPACKED_BYTES)
        try:
            return self._stream.seek(position)
        except OSError as error:
            raise tarfile.ReadError(str(error)) from None

    def tell(self) -> int:
        return self._stream.tell()

    def _require(self, fits: bool) -> None:
        if not fits:
            raise ModelFileError(f"{self._url}: unpacks to more than {MAX_UNPACKED_BYTES:,} bytes; not a model archive")
