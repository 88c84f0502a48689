"""Finding a file that a list calls by a name which is not, byte for byte, the one on the disk.

Lists of pictures travel between systems. Windows writes ``.\\a.jpg`` and ``people\\a.jpg``. A Mac stores ``José.jpg``
with the accent as a character of its own (Unicode form NFD), while editors and spreadsheets write one character for
both (NFC): the names look the same and differ in every byte after ``Jos``.
"""

from __future__ import annotations

import contextlib
import unicodedata
from pathlib import Path

from arcface_paddle.files import PathLike


def find_file(folder: PathLike, listed_as: str) -> Path:
    """Return the file that a list means by ``listed_as``.

    Tried in this order: the name as it is; with slashes for backslashes; with every component compared in the same
    Unicode form.

    Args:
        folder: what the names of the list are relative to.
        listed_as: a relative path (an absolute one is taken as such).

    Returns:
        The path of what was found; of nothing, the path exactly as it was listed, so that the error of opening it
        names what the user wrote.
    """
    return FileFinder(folder).find(listed_as)


class FileFinder:
    """``find_file`` for a whole list: a folder that had to be searched for one name is not listed again for the next.

    Attributes:
        folder: what the names of the list are relative to.
    """

    def __init__(self, folder: PathLike) -> None:
        """Take the folder; the disk is not touched before a name is looked for."""
        self.folder = Path(folder)
        self._names_in: dict[Path, dict[str, str]] = {}

    def find(self, listed_as: str) -> Path:
        """Return the file that the list means; see ``find_file``."""
        exact = self.folder / listed_as
        if exists(exact):
            return exact
        slashed = self.folder / listed_as.replace("\\", "/")
        if exists(slashed):
            return slashed
        # Normalising leaves ASCII as it is, so a plain name that is missing costs no listing of its folder.
        if listed_as.isascii():
            return exact
        found = self._find_normalized(Path(listed_as.replace("\\", "/")))
        return found if exists(found) else exact

    def _find_normalized(self, listed: Path) -> Path:
        place = self.folder
        for part in listed.parts:
            if not part.isascii() and not exists(place / part):
                part = self._names(place).get(_normalized(part), part)
            place = place / part
        return place

    def _names(self, folder: Path) -> dict[str, str]:
        """Return the name on disk of each normalised name in a folder; of two that differ in form only, the first.

        Plain names are left out: they are found as they are, and a folder of a training set can hold millions.
        """
        if folder not in self._names_in:
            names: list[str] = []
            with contextlib.suppress(OSError, ValueError):  # as in ``exists``
                names = sorted((child.name for child in folder.iterdir()), reverse=True)
            self._names_in[folder] = {_normalized(name): name for name in names if not name.isascii()}
        return self._names_in[folder]


def _normalized(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def exists(path: Path) -> bool:
    """Tell whether something is there; a name that no file can have is the name of none."""
    with contextlib.suppress(OSError, ValueError):  # no right to look, too long a name; a zero byte in it
        path.stat()
        return True
    return False
