"""Which pictures are meant by the files and folders that somebody names, and what of them is not looked at.

A file is a picture when its first bytes say so, whatever it is called: phones and browsers write ``.jfif``, ``.JPE`` or
no suffix at all, and a ``.jpg`` can hold a HEIC. What is passed over is counted, so that a command can say it:

>>> listing = find_pictures(["demo/gallery"])
>>> len(listing.pictures), listing.sentence()
(3, '1 file is no picture and was passed over: label.txt')
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Iterator, Optional, Sequence

from arcface_paddle import files, image_headers, images
from arcface_paddle.errors import ImageError
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline.video_names import VIDEO_SUFFIXES, is_video_source

SYSTEM_FOLDERS = frozenset({
    "#recycle", "#snapshot", "@eadir", "@tmp",  # Synology
    "@recycle", "@recently-snapshot",  # QNAP
    "$recycle.bin", "system volume information",  # Windows
    "lost+found",  # Linux file systems
    "__macosx",  # what a Mac adds to an archive
})  # fmt: skip
"""Names, lower case, of folders that systems make. Their pictures are thumbnails or deleted; hidden folders such as
``.thumbnails`` and ``.Trash-1000`` count as such, too."""

_THUMBNAIL_PREFIX = "SYNOPHOTO_THUMB_"  # beside the photographs where somebody has copied an @eaDir
_FIRST_BYTES = 512  # enough for every signature, the list of brands of a HEIF included
_SHOWN_REASONS = 6
_SHOWN_FOLDERS = 5
_EXAMPLES = 3

_RAW_SUFFIXES = frozenset({".arw", ".cr2", ".dng", ".erf", ".kdc", ".nef", ".nrw", ".pef", ".sr2", ".srw", ".3fr"})
"""Raw files of cameras that are TIFF by their first bytes; what a TIFF reader finds in them is a small preview."""

_SIDECAR_SUFFIXES = frozenset({".xmp"})
"""What programs write beside a picture about it."""

_PICTURE, _VIDEO, _NOTHING, _WITHOUT_SUFFIX = "picture", "video", "", "without a suffix"


@dataclass(frozen=True)
class FoundPicture:
    """A file, and what led to it.

    Attributes:
        path: where it is.
        root: the folder under which it was found; None when the file was named itself.
    """

    path: Path
    root: Optional[Path] = None

    @property
    def relative(self) -> Path:
        """The path below ``root``, or the bare name."""
        return Path(self.path.name) if self.root is None else self.path.relative_to(self.root)


@dataclass(frozen=True)
class Skipped:
    """Files that were passed over for one reason.

    Attributes:
        count: how many.
        examples: the first few of their paths, printable.
    """

    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """What was found in files and folders.

    Attributes:
        sources: what was named, printable.
        pictures: in the order of the sources, each folder in the order of its paths, each file once.
        videos: likewise; files of folders that are called like a video.
        skipped: reason, as it is said in a sentence, to the files that are neither.
        folders: names of the folders that were not searched, with how many there are of each.
    """

    sources: tuple[str, ...]
    pictures: tuple[FoundPicture, ...]
    videos: tuple[FoundPicture, ...]
    skipped: dict[str, Skipped]
    folders: dict[str, int]

    @property
    def not_looked_at(self) -> int:
        """How many files are not pictures."""
        return len(self.videos) + sum(skipped.count for skipped in self.skipped.values())

    @property
    def is_one_file(self) -> bool:
        """Whether one file was named and no folder, so that its error is that of the whole."""
        return len(self.sources) == 1 and len(self.pictures) == 1 and self.pictures[0].root is None

    def sentence(self) -> str:
        """Say what was not looked at; empty when that is nothing."""
        reasons = Counter({reason: skipped.count for reason, skipped in self.skipped.items()})
        others = {reason: reasons.pop(reason) for reason in list(reasons) if _is_no_picture(reason)}
        for found in self.videos:
            reasons[f"{found.path.suffix.lower()} (a video: name the file itself)"] += 1
        parts = []
        if reasons:
            total = sum(reasons.values())
            parts.append(f"{total} {'file was' if total == 1 else 'files were'} not looked at: {_counted(reasons)}")
        if others:
            total = sum(others.values())
            names = [PurePath(path).name for reason in others for path in self.skipped[reason].examples]
            listed = ", ".join(names) if total <= _EXAMPLES else _counted(Counter(others))
            what = "file is no picture and was" if total == 1 else "files are no pictures and were"
            parts.append(f"{total} {what} passed over: {listed}")
        if self.folders:
            names = sorted(self.folders)
            shown = names[:_SHOWN_FOLDERS] + (["..."] if len(names) > _SHOWN_FOLDERS else [])
            total = sum(self.folders.values())
            parts.append(f"{total} {'folder was' if total == 1 else 'folders were'} not searched: {', '.join(shown)}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return what was not looked at as JSON values."""
        skipped = {reason: {"count": s.count, "examples": list(s.examples)} for reason, s in self.skipped.items()}
        return {
            "count": self.not_looked_at,
            "files": skipped,
            "videos": [files.printable(found.path) for found in self.videos],
            "folders": dict(self.folders),
        }

    def require_pictures(self) -> None:
        """Raise ``ImageError`` when there is not one picture, and say what there is instead."""
        if not self.pictures:
            what = "the folder holds" if len(self.sources) == 1 else "these folders hold"
            instead = f"; {self.sentence()}" if self.sentence() else ""
            raise ImageError(f"{', '.join(self.sources)}: {what} no pictures{instead}")


def is_system_folder(name: str) -> bool:
    """Tell whether a folder of this name belongs to a system and not to a person: ``#recycle``, ``.thumbnails``."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def find_pictures(
    sources: Sequence[PathLike],
    *,
    recursive: bool = True,
    exclude: Sequence[str] = (),
    leave_out: Sequence[PathLike] = (),
) -> Listing:
    """List the pictures among files and in folders.

    A file that is named itself counts as a picture: whether it is one shows when it is read. In a folder a file counts
    when its first bytes or its suffix say that it is a picture; so a damaged ``.jpg`` is listed and its error told.
    Folders that links lead to are searched, each once.

    Args:
        sources: files and folders.
        recursive: search the folders inside of folders, too.
        exclude: patterns as in ``*_small.jpg`` or ``2019/*``. A file or folder is left out without a word when its
            name, or its path below the folder that was named, matches one.
        leave_out: folders that are not searched where they lie below a source, such as that of the results.

    Raises:
        ImageError: a source does not exist.
    """
    search = _Search(recursive, tuple(pattern.rstrip("/") for pattern in exclude), leave_out)
    for source in sources:
        search.add(Path(source))
    return search.listing(tuple(files.printable(source) for source in sources))


class _Search:
    """One search over all sources: what was found so far, and what has been seen already."""

    def __init__(self, recursive: bool, exclude: tuple[str, ...], leave_out: Sequence[PathLike]) -> None:
        self._recursive = recursive
        self._exclude = exclude
        self._leave_out = {os.path.realpath(folder) for folder in leave_out}
        self._pictures: list[FoundPicture] = []
        self._videos: list[FoundPicture] = []
        self._skipped: dict[str, list[str]] = {}
        self._folders: Counter[str] = Counter()
        self._seen: set[str] = set()

    def add(self, source: Path) -> None:
        """Look at a file or folder that was named."""
        if not source.exists():
            raise ImageError(f"{files.printable(source)}: no such file or folder")
        if not source.is_dir():
            if not self._is_excluded(Path(source.name)) and self._is_new(source):
                self._pictures.append(FoundPicture(source))
            return
        if not self._is_new(source):
            return
        for path in sorted(self._files_below(source, source)):
            if self._is_new(path):
                self._file_away(FoundPicture(path, source))

    def listing(self, sources: tuple[str, ...]) -> Listing:
        """Return all that was found."""
        skipped = {reason: Skipped(len(paths), tuple(paths[:_EXAMPLES])) for reason, paths in self._skipped.items()}
        return Listing(sources, tuple(self._pictures), tuple(self._videos), skipped, dict(self._folders))

    def _files_below(self, folder: Path, root: Path) -> Iterator[Path]:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            self._folders[f"{files.printable(folder.name)} (may not be read)"] += 1
            return
        for entry in entries:
            path = folder / entry.name
            if self._is_excluded(path.relative_to(root)):
                continue
            if not _is_folder(entry):
                yield path
            elif self._recursive and self._is_searched(path):
                yield from self._files_below(path, root)

    def _is_searched(self, folder: Path) -> bool:
        if is_system_folder(folder.name) or os.path.realpath(folder) in self._leave_out:
            self._folders[files.printable(folder.name)] += 1
            return False
        return self._is_new(folder)

    def _is_excluded(self, relative: PurePath) -> bool:
        spellings = (relative.name, relative.as_posix())
        return any(fnmatch.fnmatchcase(text, pattern) for text in spellings for pattern in self._exclude)

    def _is_new(self, path: Path) -> bool:
        """Tell whether neither this file or folder nor a link to it has been seen, and remember it."""
        real = os.path.realpath(path)
        known = real in self._seen
        self._seen.add(real)
        return not known

    def _file_away(self, found: FoundPicture) -> None:
        kind = _kind_of(found.path)
        if kind == _PICTURE:
            self._pictures.append(found)
        elif kind == _VIDEO:
            self._videos.append(found)
        elif kind != _NOTHING:
            self._skipped.setdefault(files.printable(kind), []).append(files.printable(found.path))


def _kind_of(path: Path) -> str:
    """Return ``_PICTURE``, ``_VIDEO``, ``_NOTHING`` for what nobody misses, or why a file is not looked at."""
    suffix = path.suffix.lower()
    try:
        start = _read_start(path)
    except OSError:
        return _PICTURE if suffix in images.IMAGE_SUFFIXES else "unreadable"  # the reason is told when it is opened
    if start is None:
        return "links to nothing or pipes"
    content = _suffix_by_start(start)
    if path.name.startswith("."):
        # Nobody misses .DS_Store or the ._a.jpg of a Mac; a picture that is hidden may be meant.
        return "hidden" if content else _NOTHING
    if path.name.startswith(_THUMBNAIL_PREFIX):
        return "thumbnails of a Synology"
    if not content and suffix in _SIDECAR_SUFFIXES:
        return _NOTHING
    if content == ".tif" and suffix in _RAW_SUFFIXES:
        return f"{suffix} (raw of a camera: export it as JPEG)"
    if images.missing_decoder(content):
        return f"{content} ({images.missing_decoder(content)})"
    if content or suffix in images.IMAGE_SUFFIXES:
        return _PICTURE
    return _VIDEO if suffix in VIDEO_SUFFIXES else (suffix or _WITHOUT_SUFFIX)


def _is_no_picture(reason: str) -> bool:
    """Tell whether that is all that there is to say about a file: its suffix, with no advice behind it."""
    return reason == _WITHOUT_SUFFIX or (reason.startswith(".") and " (" not in reason)


def _counted(reasons: Counter[str]) -> str:
    shown = [f"{count} {reason}" for reason, count in reasons.most_common(_SHOWN_REASONS)]
    rest = sum(reasons.values()) - sum(count for _, count in reasons.most_common(_SHOWN_REASONS))
    return ", ".join([*shown, f"{rest} others"] if rest else shown)


def _read_start(path: Path) -> Optional[bytes]:
    """Return the first bytes of a regular file, None for anything else: opening a pipe would wait for its writer."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISREG(path.stat().st_mode):
            with files.open_regular(path) as stream:
                return stream.read(_FIRST_BYTES)
    return None


def _suffix_by_start(start: bytes) -> Optional[str]:
    """Return ``image_headers.suffix_by_content``, but of no text that happens to begin with ``BM`` or ``P5``."""
    suffix = image_headers.suffix_by_content(start)
    if suffix == ".bmp" and start[6:10] != bytes(4):  # reserved, zero
        return None
    if suffix in (".pgm", ".ppm") and not re.match(rb"P[56]\s+(#|\d+\s)", start):
        return None
    return suffix


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into itself
        return False


def is_video(source: str) -> bool:
    """Tell whether ``source`` is a video file, a camera's number or a stream's address."""
    return not Path(source).is_dir() and is_video_source(source)
