"""Finding the picture that a list of photographs means, where the pictures have been given another suffix since."""

from __future__ import annotations

import contextlib
import unicodedata
from pathlib import Path, PurePosixPath

from arcface_paddle import files, images
from arcface_paddle.errors import DataError
from arcface_paddle.pipeline.file_names import FileFinder, exists


class PictureFinder:
    """Finds the pictures of a list; a folder that had to be searched is not listed again.

    Aligning and converting change suffixes (``a.jpg`` becomes ``a.png`` or ``a.bin``), and lists that were made for the
    photographs, such as LFW's pairs.txt, are meant for the results as well.
    """

    def __init__(self, folder: files.PathLike) -> None:
        """Take the folder that the names of the list are relative to."""
        self._files = FileFinder(folder)
        self._by_stem_in: dict[Path, dict[str, list[str]]] = {}

    def find(self, listed_as: str) -> Path:
        """Return the picture that the list means.

        Tried in this order: the file itself, in every spelling that ``file_names.find_file`` knows; ``a.jpg.png`` for
        ``a.jpg``; a picture or ``.bin`` with the same stem.

        Returns:
            Its path; of nothing, the path as it was listed, so that the error of reading it names that.

        Raises:
            DataError: the file itself is missing, and several have its stem.
        """
        exact = self._files.find(listed_as)
        if exists(exact):
            return exact
        listed = PurePosixPath(listed_as.replace("\\", "/"))
        folder = self._files.find(str(listed.parent))
        for wanted in (listed.name, listed.stem):
            found = self._by_stem(folder).get(_normalized(wanted), [])
            if len(found) > 1:
                raise DataError(
                    f"{exact}: no such file, and {len(found)} pictures beside it have the same stem: "
                    f"{', '.join(found[:4])}; name the one that is meant"
                )
            if found:
                return folder / found[0]
        return exact

    def _by_stem(self, folder: Path) -> dict[str, list[str]]:
        """Return the sorted names of the pictures in a folder, by their stems."""
        if folder not in self._by_stem_in:
            names: list[str] = []
            with contextlib.suppress(OSError):
                names = sorted(child.name for child in folder.iterdir())
            by_stem: dict[str, list[str]] = {}
            for name in filter(_is_picture, names):
                by_stem.setdefault(_normalized(PurePosixPath(name).stem), []).append(name)
            self._by_stem_in[folder] = by_stem
        return self._by_stem_in[folder]


def _is_picture(name: str) -> bool:
    return images.is_image_path(name) or (name.lower().endswith(".bin") and not name.startswith("."))


def _normalized(name: str) -> str:
    return unicodedata.normalize("NFC", name)
