"""Numbered pictures as a video: those of a folder in the order of their names, or those of a pattern by number."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Iterator, Optional

from arcface_paddle import images
from arcface_paddle.pipeline.video_names import PLACE_OF_NUMBER
from arcface_paddle.video.sources.base import RawFrame


class PictureSequence:
    """See ``base.RawVideo``. A number that is missing is a pause, as long as its picture would have been shown."""

    def __init__(self, source: str, *, fps: float) -> None:
        """List the pictures of a folder, or of a pattern such as ``frames/%06d.png``.

        Raises:
            OSError: there are none.
        """
        self.fps = fps
        self.frames_damaged = 0
        self.is_counted = True
        self._pictures = _of_folder(Path(source)) if Path(source).is_dir() else _of_pattern(Path(source))
        if not self._pictures:
            raise OSError("no such pictures")
        self.frame_count: Optional[int] = len(self._pictures)
        self.duration_s: Optional[float] = (self._pictures[-1][0] - self._pictures[0][0] + 1) / fps

    def frames(self, start_s: float) -> Iterator[RawFrame]:
        """Give the pictures; one that cannot be read is missing."""
        first = self._pictures[0][0]
        for number, path in self._pictures:
            time_s = (number - first) / self.fps
            if time_s < start_s:
                continue
            yield RawFrame(time_s, functools.partial(images.read_image, path))

    def close(self) -> None:
        """Do nothing: each picture is closed when it is read."""


def _of_folder(folder: Path) -> list[tuple[int, Path]]:
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in images.IMAGE_SUFFIXES)
    return list(enumerate(path for path in pictures if path.is_file()))


def _of_pattern(pattern: Path) -> list[tuple[int, Path]]:
    match = PLACE_OF_NUMBER.search(pattern.name)
    if match is None or not pattern.parent.is_dir():
        return []
    width = int(match[1] or 0)
    form = re.compile(f"{re.escape(pattern.name[: match.start()])}(\\d+){re.escape(pattern.name[match.end() :])}")
    found = []
    for path in pattern.parent.iterdir():
        number = form.fullmatch(path.name)
        if number and len(number[1]) >= width and path.is_file():
            found.append((int(number[1]), path))
    return sorted(found)
