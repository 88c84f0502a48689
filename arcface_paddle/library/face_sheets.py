"""Small pictures of faces, many in one file, for pages: made once for each face and kept.

A file for each of a hundred thousand faces would be slow to copy and to open. Here 64 of them lie in one JPEG of some
200 KB. A face keeps its place; new faces go into new files, so that a second run reads the pictures of new faces only.
"""

from __future__ import annotations

import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.library.records import LibraryFace, LibraryPicture
from arcface_paddle.untrusted import DOCUMENT_ERRORS, read_json

TILE_PX = 112
COLUMNS = 8
TILES = COLUMNS * COLUMNS

_FORMAT, _VERSION = "arcface-paddle-face-sheets", 1
_INDEX = "index.json"
_LARGEST = 1 << 31  # of a number in the index
_QUALITY = 80
_AROUND = 1.35  # how much larger than the box a tile is: chin, hair and ears tell people, too
_PICTURES_AT_ONCE = 64  # read ahead, so that memory does not grow with the library
_SHEETS_BETWEEN_SAVES = 32

Progress = Callable[[Sequence[LibraryPicture]], Iterable[LibraryPicture]]


@dataclass(frozen=True)
class TilePlace:
    """Where the small picture of a face is.

    Attributes:
        sheet: number of the file.
        tile: number in it, row by row.
        box: the box that it shows, in whole pixels of the picture.
    """

    sheet: int
    tile: int
    box: tuple[int, ...]


class FaceSheets:
    """The small pictures of a library's faces.

    Attributes:
        folder: holds the sheets and their index.
        places: where each face is, by its id.
    """

    def __init__(self, folder: files.PathLike) -> None:
        """Read which faces are there; an index that cannot be read counts as none: all can be made anew."""
        self.folder = Path(folder)
        self.places = _read_places(self.folder / _INDEX)
        self._next = 1 + max((place.sheet for place in self.places.values()), default=-1)

    def path_of(self, sheet: int) -> Path:
        """Return the path of a sheet's JPEG."""
        return self.folder / f"{sheet:05d}.jpg"

    def update(
        self,
        pictures: Sequence[LibraryPicture],
        faces: Iterable[LibraryFace],
        *,
        root: files.PathLike,
        progress: Progress = iter,
    ) -> list[str]:
        """Make the small pictures of faces that have none.

        What was made stays when this is interrupted, and the next call goes on.

        Args:
            pictures: of the library.
            faces: to be shown.
            root: what the paths of pictures are relative to.
            progress: wraps the pictures that are read.

        Returns:
            A line for each picture that cannot be read; its faces have no small picture.

        Raises:
            DataError: a sheet cannot be written.
        """
        missing: dict[str, list[LibraryFace]] = {}
        there = {number for number in {place.sheet for place in self.places.values()} if self.path_of(number).is_file()}
        for face in faces:
            place = self.places.get(face.face_id)
            if place is None or place.box != _whole(face) or place.sheet not in there:
                missing.setdefault(face.picture, []).append(face)
        wanted = [picture for picture in pictures if picture.sha256 in missing]
        problems: list[str] = []
        if wanted:
            try:
                self._add(_tiles(wanted, missing, Path(root), progress, problems))
            except OSError as error:
                raise DataError(f"{self.folder}: cannot write faces: {error.strerror or error}") from None
        return problems

    def _add(self, tiles: Iterator[tuple[LibraryFace, np.ndarray]]) -> None:
        made = 0
        try:
            while batch := list(itertools.islice(tiles, TILES)):
                sheet = np.zeros((COLUMNS * TILE_PX, COLUMNS * TILE_PX, 3), np.uint8)
                for number, (_, tile) in enumerate(batch):
                    row, column = (TILE_PX * at for at in divmod(number, COLUMNS))
                    sheet[row : row + TILE_PX, column : column + TILE_PX] = tile
                files.write_bytes(self.path_of(self._next), images.encode_image(sheet, suffix=".jpg", quality=_QUALITY))
                for number, (face, _) in enumerate(batch):
                    self.places[face.face_id] = TilePlace(self._next, number, _whole(face))
                self._next += 1
                made += 1
                if made % _SHEETS_BETWEEN_SAVES == 0:
                    self._save()
        finally:
            if made:
                self._save()

    def _save(self) -> None:
        places = {key: [place.sheet, place.tile, place.box] for key, place in self.places.items()}
        document: dict[str, Any] = {"format": _FORMAT, "version": _VERSION, "places": places}
        files.write_text(self.folder / _INDEX, json.dumps(document, separators=(",", ":")))


def _tiles(
    pictures: Sequence[LibraryPicture],
    faces: dict[str, list[LibraryFace]],
    root: Path,
    progress: Progress,
    problems: list[str],
) -> Iterator[tuple[LibraryFace, np.ndarray]]:
    """Give each face with its tile, the pictures decoded by several threads."""

    def cut(picture: LibraryPicture) -> list[tuple[LibraryFace, np.ndarray]]:
        image = _decoded(picture, faces[picture.sha256], root)
        scale = image.shape[1] / picture.size_wh[0]
        return [(face, cut_face(image, face.box_xyxy * scale)) for face in faces[picture.sha256]]

    def tried(picture: LibraryPicture) -> tuple[list[tuple[LibraryFace, np.ndarray]], Optional[str]]:
        try:
            return cut(picture), None
        except ImageError as error:
            return [], str(error)

    listed = iter(progress(pictures))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        while batch := list(itertools.islice(listed, _PICTURES_AT_ONCE)):
            for tiles, problem in threads.map(tried, batch):
                problems += [problem] if problem else []
                yield from tiles


def _decoded(picture: LibraryPicture, faces: Sequence[LibraryFace], root: Path) -> np.ndarray:
    """Decode a picture as small as its smallest face allows."""
    smallest = max(1.0, min(face.size_px for face in faces))
    needed = int(np.ceil(max(picture.size_wh) * TILE_PX / (smallest * _AROUND)))
    return images.read_image(root / picture.path, longest_side=needed)


def cut_face(image: np.ndarray, box_xyxy: np.ndarray) -> np.ndarray:
    """Cut a square around a face, (TILE_PX, TILE_PX, 3) uint8; at the picture's edge it is moved or made smaller."""
    height, width = image.shape[:2]
    left, top, right, bottom = map(float, box_xyxy)
    side = max(1, min(width, height, round(_AROUND * max(right - left, bottom - top))))
    x = int(min(max(0, round((left + right - side) / 2)), width - side))
    y = int(min(max(0, round((top + bottom - side) / 2)), height - side))
    return images.resize(image[y : y + side, x : x + side], (TILE_PX, TILE_PX))


def _whole(face: LibraryFace) -> tuple[int, ...]:
    return tuple(round(float(value)) for value in face.box_xyxy)


def _read_places(index: Path) -> dict[str, TilePlace]:
    """Return where faces are; none for an index that is not there or not ours."""
    try:
        document = read_json(index)
        if (document["format"], document["version"]) != (_FORMAT, _VERSION):
            return {}
        return {
            key: TilePlace(_count(sheet), _count(tile), tuple(map(_pixel, box)))
            for key, (sheet, tile, box) in document["places"].items()
        }
    except (OSError, DataError, *DOCUMENT_ERRORS):
        return {}


def _count(value: object) -> int:
    """Return the number of a sheet or tile. Raises ``ValueError`` for what is none."""
    if _pixel(value) < 0:
        raise ValueError(f"{value!r:.40} is no number of a sheet or tile")
    return _pixel(value)


def _pixel(value: object) -> int:
    if type(value) is not int or abs(value) >= _LARGEST:
        raise ValueError(f"{value!r:.40} is no whole number")
    return value
