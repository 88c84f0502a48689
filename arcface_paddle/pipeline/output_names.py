"""What the results of each input are called, and where they go."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from arcface_paddle import images
from arcface_paddle.pipeline import video


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
        suffix = source.suffix if source.suffix.lower() in images.WRITABLE_SUFFIXES else ".png"
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
