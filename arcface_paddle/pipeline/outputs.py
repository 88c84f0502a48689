"""Where the pictures that a run makes go, and what they are called: annotated copies, and the faces cut out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

import numpy as np

from arcface_paddle import images
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline.video_names import is_picture_pattern, is_stream
from arcface_paddle.types import Face, ImageResult

_CROP_MARGIN = 0.25  # of the box, on each side: enough for the face to be found again in the crop
_FOLDER_NAME_BYTES = 100  # file systems allow 255, some of them after writing letters with accents as two characters
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))})
"""Names that Windows keeps for itself, with whatever ending."""


class OutputNames:
    """Gives every result a name of its own in the output folder: that of its source if possible.

    Pictures of folders inside of the input keep their place. A source is never overwritten, and two sources of one run
    never share a result. Formats that cannot be written (GIF, PPM, HEIC) become PNG.
    """

    def __init__(self, folder: PathLike) -> None:
        """Take the folder; nothing is made before something is written."""
        self.folder = Path(folder)
        self._given: set[str] = set()

    def for_picture(self, source: Path, *, relative: Optional[Path] = None) -> Path:
        """Return where the annotated copy of ``source`` goes, which lies at ``relative`` in the input."""
        place = Path(source.name) if relative is None else relative
        return self._free_name(place.with_suffix(""), drawn_suffix(source), source)

    def for_video(self, source: str) -> Path:
        """Return where the annotated video goes; cameras and streams have no name of their own."""
        if is_stream(source):
            return self._free_name(Path("stream"), ".mp4", None)
        path = Path(source)
        if is_picture_pattern(source):
            return self._free_name(Path(path.absolute().parent.name or "sequence"), ".mp4", None)
        return self._free_name(Path(path.stem if path.exists() else f"camera{source}"), ".mp4", path)

    def _free_name(self, stem: Path, suffix: str, source: Optional[Path]) -> Path:
        number = 0
        while True:
            name = stem.with_name(f"{stem.name}_{number}{suffix}" if number else f"{stem.name}{suffix}")
            target = self.folder / name
            is_source = source is not None and target.exists() and source.exists() and target.samefile(source)
            key = name.as_posix().casefold()  # as case counts on Linux and does not on Windows and Macs
            if key not in self._given and not is_source:
                self._given.add(key)
                return target
            number += 1


@dataclass(frozen=True)
class EncodedCrop:
    """A face with a margin, ready to be written.

    Attributes:
        folder: name of the person's folder.
        number: of the face in its picture, from 1.
        content: a PNG.
    """

    folder: str
    number: int
    content: bytes


class CropFolder:
    """Saves faces with a margin as ``folder/name/picture_1.png``: a tree that can become a gallery."""

    def __init__(self, folder: PathLike) -> None:
        """Take the folder; nothing is made before something is written."""
        self.folder = Path(folder)
        self._given: set[str] = set()

    def save(self, crops: Sequence[EncodedCrop], *, relative: Path) -> None:
        """Save the faces of one picture, which lies at ``relative`` in the input.

        Raises:
            ImageError: a crop cannot be written.
        """
        stem = self._stem(relative.with_suffix(""))
        for crop in crops:
            images.write_encoded(self.folder / crop.folder / f"{stem}_{crop.number}.png", crop.content)

    def _stem(self, relative: Path) -> str:
        """Return the picture's name; of two pictures of one name, the second's with its folders in front."""
        whole = "_".join(relative.parts)
        numbered = (f"{whole}-{number}" for number in range(2, len(self._given) + 3))
        stem = next(name for name in (relative.name, whole, *numbered) if name.casefold() not in self._given)
        self._given.add(stem.casefold())
        return stem


def drawn_suffix(source: Path) -> str:
    """Return the suffix of the annotated copy of a picture: its own where that can be written."""
    return source.suffix if source.suffix.lower() in images.WRITABLE_SUFFIXES else ".png"


def encode_crops(image: np.ndarray, result: ImageResult) -> list[EncodedCrop]:
    """Cut the faces out of (H, W, 3) uint8 RGB, those outside of the picture left out."""
    cut = [(number, face, crop_with_margin(image, face)) for number, face in enumerate(result.faces, start=1)]
    return [
        EncodedCrop(folder_name(face.name), number, images.encode_image(crop, suffix=".png"))
        for number, face, crop in cut
        if crop.size
    ]


def crop_with_margin(image: np.ndarray, face: Face) -> np.ndarray:
    """Cut the face out of (H, W, 3) with a margin, clipped to the picture."""
    left, top, right, bottom = (float(value) for value in face.detection.box_xyxy)
    dx, dy = _CROP_MARGIN * (right - left), _CROP_MARGIN * (bottom - top)
    rows = slice(max(0, round(top - dy)), max(0, round(bottom + dy)))
    columns = slice(max(0, round(left - dx)), max(0, round(right + dx)))
    return image[rows, columns]


def folder_name(name: Optional[str]) -> str:
    """Return a person's name as the name of a folder on any system; ``face`` when no names were asked for."""
    safe = "".join("_" if c in '<>:"/\\|?*' or ord(c) < 32 else c for c in name or "face")
    short = safe.encode("utf-8", "replace")[:_FOLDER_NAME_BYTES].decode("utf-8", "ignore").rstrip(". ") or "_"
    return f"{short}_" if short.partition(".")[0].rstrip().casefold() in _DEVICES else short
