"""The photographs of the demonstration, which come with the package: known people, pictures of them, and a stranger."""

from __future__ import annotations

from pathlib import Path

from arcface_paddle import files
from arcface_paddle.errors import DataError

GALLERY, QUERIES, LABELS, ORIGINS = "gallery", "queries", "gallery/label.txt", "DEMO_PHOTOS.md"
"""Inside of the folder: pictures of known people, pictures to recognise, the names, and who made the photographs."""

_PACKAGE = Path(__file__).parents[1]


def photographs_folder() -> Path:
    """Return where the photographs lie: in the installed package, or beside it in a checkout.

    Raises:
        DataError: the installation is incomplete.
    """
    candidates = (_PACKAGE / "demo_photographs", _PACKAGE.parent / "demo")
    for folder in candidates:
        if (folder / LABELS).is_file():
            return folder
    raise DataError(
        f"the photographs of the demonstration are missing (looked in {candidates[0]}): install arcface-paddle again"
    )


def copy_photographs(target: files.PathLike) -> list[Path]:
    """Copy the photographs, their names and the note on their origin into the folder ``target``.

    Files of the same names are replaced, others are left alone.

    Returns:
        The copies, sorted.

    Raises:
        DataError: the installation is incomplete, or a file cannot be written.
    """
    source = photographs_folder()
    copies = []
    for original in sorted([source / ORIGINS, *_files_below(source / GALLERY), *_files_below(source / QUERIES)]):
        copy = Path(target) / original.relative_to(source)
        try:
            files.write_bytes(copy, original.read_bytes())
        except OSError as error:
            raise DataError(f"{copy}: cannot be written: {error.strerror or error}") from None
        copies.append(copy)
    return copies


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
