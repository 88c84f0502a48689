"""Annotated frames into an .mp4."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Optional

import cv2
import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import ImageError
from arcface_paddle.video.sources.opencv_video import open_capture, quiet_ffmpeg

_CODEC = int.from_bytes(b"mp4v", "little")  # MPEG-4 part 2: every build of OpenCV can write it


class VideoWriter:
    """An .mp4 that appears under its name when it is complete.

    Leaving the context without an error, by Ctrl-C, or because the caller wants no more frames finalises what was
    written; any other error removes it. OpenCV says nothing when a disk is full, so the finished file is opened again
    and looked at before it takes the place of an older one.
    """

    def __init__(self, path: files.PathLike, *, fps: float) -> None:
        """Prepare to write ``path``; the size is that of the first frame."""
        self.path = Path(path)
        self.fps = fps
        self.frames_written = 0
        self._writer: Optional[cv2.VideoWriter] = None
        self._temporary: Optional[Path] = None
        self._size_wh = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close(keep=kind is None or issubclass(kind, (KeyboardInterrupt, GeneratorExit)))

    def write(self, image: np.ndarray, *, time_s: Optional[float] = None) -> None:
        """Append (H, W, 3) uint8 RGB; a frame of another size than the first is resized.

        The codec has even sizes only: an odd one gets one more row or column, a copy of the last.

        Raises:
            ImageError: the file cannot be written.
        """
        if self._writer is None:
            self._open((image.shape[1], image.shape[0]))
        assert self._writer is not None
        if (image.shape[1], image.shape[0]) != self._size_wh:
            image = images.resize(image, self._size_wh)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        width, height = self._size_wh
        self._writer.write(cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
        self.frames_written += 1

    def close(self, *, keep: bool = True) -> None:
        """Finalise the file and give it its name, or remove it.

        Raises:
            ImageError: the file is not complete; what stood under its name before is untouched.
        """
        if self._writer is None or self._temporary is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if keep and self.frames_written:
                self._require_complete(self._temporary)
                os.replace(self._temporary, self.path)
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        finally:
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _require_complete(self, path: Path) -> None:
        """Raise ``OSError`` if the disk did not take the file, ``ImageError`` if it is not the video that was written.

        An .mp4 has its table of frames at the end; where the disk was full, it is missing and nothing can be opened, or
        it lists frames that are not there. So the last frame must be readable and every frame be listed.
        """
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())  # some file systems notice only now that there is no space
        capture = open_capture(str(path))
        listed = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.set(cv2.CAP_PROP_POS_FRAMES, max(0, listed - 1))
        has_last, _ = capture.read()
        capture.release()
        if listed < self.frames_written or not has_last:
            raise ImageError(
                f"{self.path}: the video of {self.frames_written} frames could not be written completely, "
                f"{shutil.disk_usage(path.parent).free / 1e6:,.0f} MB are free there; nothing was kept of it"
            )

    def _open(self, size_wh: tuple[int, int]) -> None:
        quiet_ffmpeg()
        self._size_wh = size_wh
        even_wh = (size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{self.path.stem[:80]}.", suffix=".mp4", dir=self.path.parent)
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        os.close(descriptor)
        self._temporary = Path(name)
        self._temporary.chmod(0o644)
        self._writer = cv2.VideoWriter(name, _CODEC, self.fps, even_wh)
        if not self._writer.isOpened():
            with contextlib.suppress(OSError):  # FFmpeg removes the file itself if not even a header fits on the disk
                self._temporary.unlink()
            raise ImageError(
                f"{self.path}: OpenCV cannot write an .mp4 of {size_wh[0]}x{size_wh[1]} at {self.fps} fps, or the disk "
                "is full"
            )
