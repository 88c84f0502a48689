"""Which pictures belong to whom: from a ``label.txt``, from a tree with a folder per person, or from names of files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Sequence

from arcface_paddle import files, images
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.file_names import FileFinder
from arcface_paddle.pipeline.gallery.entries import clean_name
from arcface_paddle.pipeline.inputs import Listing, find_pictures

LABEL_FILE = "label.txt"
"""What the list of names is called in published folders of known people."""
_OF_PHONES = frozenset({".heic", ".heif", ".avif"})


@dataclass(frozen=True)
class LabelledPicture:
    """A picture of one person.

    Attributes:
        name: the person.
        path: the file.
        listed_as: how the list or tree calls it, with forward slashes and printable; what the gallery records.
    """

    name: str
    path: Path
    listed_as: str


@dataclass(frozen=True)
class Rejection:
    """A picture or line that did not become part of a gallery.

    Attributes:
        source: the picture as listed, or ``label.txt:12`` for a bad line.
        name: the person, empty when it could not be read.
        reason: one of ``bad_line``, ``unreadable``, ``no_face``, ``several_faces``, ``small_face``,
            ``not_in_a_person_folder``.
        detail: the reason as a sentence.
    """

    source: str
    name: str
    reason: str
    detail: str


def list_from_label_file(
    label_file: files.PathLike, *, image_folder: files.PathLike
) -> tuple[list[LabelledPicture], list[Rejection]]:
    """Read ``relative/path.jpg<TAB>Name`` lines; a byte order mark, CRLF, blank and ``#`` lines are fine.

    Paths may have backslashes or another Unicode form than the names on the disk, see ``file_names``.

    Returns:
        The pictures in order of the file, and the lines that could not be understood.

    Raises:
        GalleryError: the file is missing, is not UTF-8, or lists no picture.
    """
    finder = FileFinder(image_folder)
    pictures: list[LabelledPicture] = []
    rejections: list[Rejection] = []
    for number, line in enumerate(_read_text(label_file).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            pictures.append(_parse_line(line, finder))
        except GalleryError as error:
            rejections.append(Rejection(f"{label_file}:{number}", "", "bad_line", str(error)))
    if not pictures and not rejections:
        raise GalleryError(f"{label_file}: lists no picture; a line is: relative/path.jpg<TAB>Name")
    return pictures, rejections


def list_from_tree(
    folder: files.PathLike, *, exclude: Sequence[str] = ()
) -> tuple[list[LabelledPicture], list[Rejection]]:
    """List the pictures of a tree with one folder per person; a person's folder may hold further folders.

    In a folder without folders each file is a person.

    Args:
        folder: root of the tree.
        exclude: patterns of what is left out, as ``inputs.find_pictures`` takes them.

    Raises:
        GalleryError: no such folder, or it holds no picture.
    """
    return sort_into_people(search_tree(folder, exclude=exclude))


def search_tree(folder: files.PathLike, *, exclude: Sequence[str] = ()) -> Listing:
    """Find the pictures of a tree, and what is not looked at in it. Raises ``GalleryError`` as ``list_from_tree``."""
    if not Path(folder).is_dir():
        raise GalleryError(f"{folder}: no such folder of pictures")
    listing = find_pictures([folder], exclude=exclude)
    if not listing.pictures:
        instead = f"; {listing.sentence()}" if listing.sentence() else ""
        raise GalleryError(
            f"{folder}: holds no picture; expected are folders, or pictures, named after persons{instead}"
        )
    return listing


def sort_into_people(listing: Listing) -> tuple[list[LabelledPicture], list[Rejection]]:
    """Give every picture the name of the uppermost folder that it lies in; one that lies in none is rejected.

    Where there are no such folders, each file is a person and bears the name, see ``names_are_of_files``.

    Raises:
        GalleryError: there are no such folders, and a label file that says the names was not given.
    """
    by_file = names_are_of_files(listing)
    pictures: list[LabelledPicture] = []
    rejections: list[Rejection] = []
    for found in listing.pictures:
        parts = found.relative.parts
        listed_as = files.printable("/".join(parts))
        if len(parts) == 1 and not by_file:
            detail = "stands beside the folders of persons, so it has no name; give --label or put it into one"
            rejections.append(Rejection(listed_as, "", "not_in_a_person_folder", detail))
            continue
        try:
            name = clean_name(_without_suffix(parts[0]) if by_file else parts[0])
            pictures.append(LabelledPicture(name, found.path, listed_as))
        except GalleryError as error:
            rejections.append(Rejection(listed_as, "", "not_in_a_person_folder", str(error)))
    return pictures, rejections


def names_are_of_files(listing: Listing) -> bool:
    """Tell whether a folder holds nothing but pictures: ``known/Obama.jpg``, as users of face_recognition have them.

    Raises:
        GalleryError: it does, but its ``label.txt`` says other names.
    """
    flat = all(len(found.relative.parts) == 1 for found in listing.pictures)
    root = listing.pictures[0].root if listing.pictures else None
    if flat and root is not None and (root / LABEL_FILE).is_file():
        raise GalleryError(f"{root}: its {LABEL_FILE} says who is on the pictures; add --label {root / LABEL_FILE}")
    return flat


def _without_suffix(name: str) -> str:
    """Return ``J. Smith`` of ``J. Smith.jpg``, and of ``J. Smith``, too."""
    path = PurePath(name)
    is_suffix = path.suffix.lower() in images.IMAGE_SUFFIXES | images.WRITABLE_SUFFIXES | _OF_PHONES
    return path.stem if is_suffix else name


def _parse_line(line: str, finder: FileFinder) -> LabelledPicture:
    parts = line.strip().split("\t")
    if len(parts) != 2:
        raise GalleryError(f"{_shortened(line)!r} has {len(parts) - 1} tabs; a line is: relative/path.jpg<TAB>Name")
    spelling = parts[0].strip()
    if not spelling:
        raise GalleryError(f"{_shortened(line)!r} names no picture; a line is: relative/path.jpg<TAB>Name")
    path = finder.find(spelling)
    if path != finder.folder / spelling:  # written with backslashes, or in another Unicode form
        spelling = spelling.replace("\\", "/")
    # "./a.jpg" and "a.jpg" are one picture; an absolute path stays what it is.
    return LabelledPicture(clean_name(parts[1]), path, Path(spelling).as_posix())


def _read_text(path: files.PathLike) -> str:
    try:
        content = files.read_bytes(path)
    except OSError as error:
        raise GalleryError(f"{path}: cannot read the label file: {error.strerror or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise GalleryError(f"{path}:{line}: not UTF-8 text; save the label file as UTF-8") from None


def _shortened(line: str, *, most: int = 60) -> str:
    return line if len(line) <= most else f"{line[:most]}..."
