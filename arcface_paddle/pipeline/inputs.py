"""What ``--input`` means, and how the results of each input are called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from arcface_paddle import images
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline import video

_WRITABLE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


@dataclass(frozen=True)
class InputPictures:
    """Pictures to recognise.

    Attributes:
        paths: in order of their names.
        from_folder: whether ``--input`` named the folder, so that one bad file must not stop the others.
    """

    paths: tuple[Path, ...]
    from_folder: bool


def list_pictures(source: str) -> InputPictures:
    """Return the picture ``source``, or the pictures that stand directly in the folder ``source``.

    Raises:
        ImageError: nothing there, or a folder without pictures.
    """
    path = Path(source)
    if path.is_dir():
        pictures = tuple(sorted(child for child in path.iterdir() if images.is_image_path(child) and child.is_file()))
        if not pictures:
            suffixes = ", ".join(sorted(images.IMAGE_SUFFIXES))
            raise ImageError(f"{source}: the folder holds no picture ({suffixes}); folders inside are not searched")
        return InputPictures(pictures, from_folder=True)
    if not path.exists():
        raise ImageError(f"{source}: no such file or folder")
    return InputPictures((path,), from_folder=False)


def is_video(source: str) -> bool:
    """Tell whether ``source`` is a video file, a camera's number or a stream's address."""
    return not Path(source).is_dir() and video.is_video_source(source)


class OutputNames:
    """Gives every result a name of its own in the output folder: that of its source if possible.

    A source is never overwritten, and two sources of one run never share a result. Formats that cannot be written
    (GIF, PPM) become PNG.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._given: set[str] = set()

    def for_picture(self, source: Path) -> Path:
        """Return where the annotated copy of the picture ``source`` goes."""
        suffix = source.suffix if source.suffix.lower() in _WRITABLE_SUFFIXES else ".png"
        return self._free_name(source.stem, suffix, source)

    def for_video(self, source: str) -> Path:
        """Return where the annotated video goes; cameras and streams have no name of their own."""
        if video.is_stream(source):
            return self._free_name("stream", ".mp4", None)
        path = Path(source)
        return self._free_name(path.stem if path.exists() else f"camera{source}", ".mp4", path)

    def _free_name(self, stem: str, suffix: str, source: Optional[Path]) -> Path:
        number = 0
        while True:
            name = f"{stem}_{number}{suffix}" if number else f"{stem}{suffix}"
            target = self.folder / name
            is_source = source is not None and target.exists() and source.exists() and target.samefile(source)
            if name.casefold() not in self._given and not is_source:
                self._given.add(name.casefold())
                return target
            number += 1
