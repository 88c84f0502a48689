"""Pictures of a bulk enrolment while they wait: in one nameless file, which is gone when the process is."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, AsyncIterator, Optional, Union

from starlette.concurrency import run_in_threadpool

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery.entries import clean_name
from arcface_paddle.service.errors import BadRequestError, TooLargeError
from arcface_paddle.service.service_settings import Limits
from arcface_paddle.service.uploads import Upload

_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22
_ZIP_COMMENT_BYTES = 65_535
_DIRECTORY_BYTES = 64 << 20  # of a zip, which is read into memory; some hundred bytes a picture
_NAME_CHARACTERS = 300

Place = Union[tuple[int, int], zipfile.ZipInfo]
"""Where a picture lies: offset and length in the file, or the member of a zip."""


@dataclass(frozen=True)
class WaitingPicture:
    """A picture that waits.

    Attributes:
        shown: what it is called in reports.
        person: whose it is; None when its name does not say, see ``problem``.
        problem: why nobody can be enrolled from it; empty for most.
        place: where it lies.
    """

    shown: str
    person: Optional[str]
    problem: str
    place: Place


class PictureSpool:
    """A nameless file of pictures.

    Args:
        limits: how many, and how large.
    """

    def __init__(self, limits: Limits) -> None:
        self.pictures: list[WaitingPicture] = []
        self._limits = limits
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by ``close``, and with the process
        self._zip: Optional[zipfile.ZipFile] = None
        self._file_name: Optional[str] = None
        self._start = 0

    # As a receiver of a form's parts.

    def begin(self, field: str, file_name: str) -> None:
        self._file_name = file_name if field == "files" else None
        self._start = self._file.tell()
        if len(self.pictures) >= self._limits.job_pictures:
            raise TooLargeError(f"more than {self._limits.job_pictures:,} pictures; send several jobs")

    def data(self, content: bytes) -> None:
        if self._file_name is not None:
            self._file.write(content)

    def end(self) -> None:
        if self._file_name is not None:
            self._add(self._file_name, (self._start, self._file.tell() - self._start))

    # As a receiver of a zip.

    async def take_zip(self, chunks: AsyncIterator[bytes]) -> None:
        """Take a zip whole. Raises ``BadRequestError`` or ``TooLargeError``."""
        async for chunk in chunks:
            self._file.write(chunk)
        await run_in_threadpool(self.open_zip)

    def open_zip(self) -> None:
        """List the pictures of the zip that the file holds. Raises ``BadRequestError`` or ``TooLargeError``."""
        self.pictures.clear()
        self._require_small_directory()
        try:
            self._zip = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            raise BadRequestError(f"the body is no zip: {error}") from None
        members = [member for member in self._zip.infolist() if _is_picture(member)]
        if len(members) > self._limits.job_pictures:
            raise TooLargeError(f"{len(members):,} pictures; allowed: {self._limits.job_pictures:,}; send several jobs")
        for member in members:
            self._add(member.filename, member)

    @property
    def is_zip(self) -> bool:
        """Whether what came as the only file of a form is a zip."""
        if len(self.pictures) != 1:
            return False
        self._file.seek(0)
        return self._file.read(4) == b"PK\x03\x04"

    def read(self, picture: WaitingPicture) -> Upload:
        """Return a picture. Raises ``TooLargeError`` or, for a damaged member of a zip, ``BadRequestError``."""
        content = self._content(picture.place)
        if len(content) > self._limits.picture_bytes:
            raise TooLargeError(f"more than {self._limits.picture_bytes:,} bytes, which is the most allowed")
        return Upload(content, picture.shown)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _content(self, place: Place) -> bytes:
        most = self._limits.picture_bytes + 1
        if isinstance(place, tuple):
            self._file.seek(place[0])
            return self._file.read(min(place[1], most))
        assert self._zip is not None
        try:
            with self._zip.open(place) as member:
                return member.read(most)  # whatever its header says of its size
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError) as error:
            raise BadRequestError(f"cannot be unpacked: {error}") from None

    def _add(self, file_name: str, place: Place) -> None:
        parts = [part for part in file_name.replace("\\", "/").split("/") if part]
        shown = "/".join(parts[-2:])[:_NAME_CHARACTERS]
        if len(parts) < 2 or ".." in parts:
            self.pictures.append(WaitingPicture(shown, None, "its name must be NAME/FILE", place))
            return
        try:
            self.pictures.append(WaitingPicture(shown, clean_name(parts[-2][:200]), "", place))
        except GalleryError as error:
            self.pictures.append(WaitingPicture(shown, None, str(error), place))

    def _require_small_directory(self) -> None:
        """Refuse a zip whose list of members alone would fill the memory."""
        size = self._file.seek(0, 2)
        self._file.seek(max(0, size - _ZIP_END_BYTES - _ZIP_COMMENT_BYTES))
        end = self._file.read()
        at = end.rfind(_ZIP_END)
        if at < 0 or len(end) - at < _ZIP_END_BYTES:
            raise BadRequestError("the body is no zip, or not a whole one")
        (directory,) = struct.unpack_from("<I", end, at + 12)
        if directory > _DIRECTORY_BYTES:
            raise TooLargeError("the zip lists too many files; send several jobs")


def _is_picture(member: zipfile.ZipInfo) -> bool:
    """Leave out folders and what file managers put beside pictures."""
    if not member.filename:  # of which Python 3.11 cannot say whether it is a folder
        return False
    parts = member.filename.split("/")
    return not member.is_dir() and "__MACOSX" not in parts and not parts[-1].startswith(".")
