"""Annotated frames into an .mp4 that appears under its name when it is complete.

An engine (``encoders``) encodes. Here sizes are made to fit, the file is looked at when it is finished, and takes the
place of an older one only if every frame is in it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Optional

import cv2
import numpy as np

from arcface_paddle import files, images, temporaries
from arcface_paddle.errors import ImageError
from arcface_paddle.video.encoders import opencv_encoder
from arcface_paddle.video.encoders.base import Encoder, Ending
from arcface_paddle.video.encoders.sound import SoundSource
from arcface_paddle.video.reading import uses_pyav
from arcface_paddle.video.video_settings import USUAL_VIDEO, VideoSettings


class VideoWriter:
    """An .mp4: H.264 with the sound of the source where PyAV is installed, else MPEG-4 part 2 without.

    Leaving the context without an error, by Ctrl-C, or because the caller wants no more frames finalises what was
    written; any other error removes it. What is finished is opened again and looked at before it takes the place of an
    older one: not every engine, and not every file system, says when a disk is full.

    Attributes:
        path: where the file will be.
        fps: frames a second, where frames have no times, and of what the last frame lasts.
        frames_written: so far.
        problem: what went wrong beside the frames; known when the file is closed.
    """

    def __init__(
        self,
        path: files.PathLike,
        *,
        fps: float,
        settings: VideoSettings = USUAL_VIDEO,
        sound: Optional[SoundSource] = None,
    ) -> None:
        """Prepare to write ``path``; the size is that of the first frame.

        Args:
            path: replaced when the new file is complete.
            fps: frames a second.
            settings: choose the engine.
            sound: the video whose sound is kept; None for silence.
        """
        self.path = Path(path)
        self.fps = fps
        self.frames_written = 0
        self.problem = ""
        self._settings = settings
        self._sound = sound
        self._encoder: Optional[Encoder] = None
        self._temporary: Optional[temporaries.Temporary] = None
        self._size_wh = (0, 0)
        self._first_s: Optional[float] = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close(keep=kind is None or issubclass(kind, (KeyboardInterrupt, GeneratorExit)))

    def write(self, image: np.ndarray, *, time_s: Optional[float] = None) -> None:
        """Append (H, W, 3) uint8 RGB; a frame of another size than the first is resized.

        The codecs have even sizes only: an odd one gets one more row or column, a copy of the last.

        Args:
            image: the frame.
            time_s: when it is shown, as the source says; the file begins with its first frame. None for one frame
                after the other at ``fps``.

        Raises:
            ImageError: the file cannot be written.
        """
        time_s = self.frames_written / self.fps if time_s is None else time_s
        if self._encoder is None:
            self._first_s = time_s
            self._open((image.shape[1], image.shape[0]))
        assert self._encoder is not None and self._first_s is not None
        if (image.shape[1], image.shape[0]) != self._size_wh:
            image = images.resize(image, self._size_wh)
        width, height = self._size_wh
        even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        try:
            self._encoder.write(even, time_s - self._first_s)
        except OSError as error:
            raise ImageError(self._incomplete(error)) from None
        self.frames_written += 1

    def close(self, *, keep: bool = True, source_ended: bool = False, end_s: Optional[float] = None) -> None:
        """Finalise the file and give it its name, or remove it.

        Args:
            keep: whether the file is wanted.
            source_ended: whether the frames are all that the source has, so that its sound is kept to the end.
            end_s: when the last frame gives way, on the clock of ``write``; None for one frame's time after it.

        Raises:
            ImageError: the file is not complete; what stood under its name before is untouched.
        """
        encoder, self._encoder = self._encoder, None
        if encoder is None or self._temporary is None:
            return
        try:
            self._finish(encoder, self._temporary, keep=keep, ending=Ending(source_ended, self._since_first(end_s)))
        finally:
            self._temporary.discard()

    def _finish(self, encoder: Encoder, temporary: temporaries.Temporary, *, keep: bool, ending: Ending) -> None:
        try:
            encoder.close(ending)
        except OSError as error:
            if keep:
                raise ImageError(self._incomplete(error)) from None
        self.problem = encoder.problem
        if not keep or not self.frames_written:
            return
        try:
            self._require_complete(temporary.path)
            temporary.replace(self.path)
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def _since_first(self, time_s: Optional[float]) -> Optional[float]:
        return None if time_s is None or self._first_s is None else time_s - self._first_s

    def _require_complete(self, path: Path) -> None:
        """Raise ``OSError`` if the disk did not take the file, ``ImageError`` if it is not the video that was written.

        The last frame must be readable and every frame be listed.
        """
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())  # some file systems notice only now that there is no space
        if self._count_frames(path) < self.frames_written:
            raise ImageError(self._incomplete(None))

    def _count_frames(self, path: Path) -> int:
        if uses_pyav(self._settings):
            from arcface_paddle.video.encoders import pyav_encoder

            return pyav_encoder.count_frames(path)
        return opencv_encoder.count_frames(path)

    def _incomplete(self, error: Optional[OSError]) -> str:
        reason = "" if error is None else f" ({error})"
        return (
            f"{self.path}: the video of {self.frames_written} frames could not be written completely{reason}, "
            f"{shutil.disk_usage(self.path.parent).free / 1e6:,.0f} MB are free there; nothing was kept of it"
        )

    def _open(self, size_wh: tuple[int, int]) -> None:
        self._size_wh = size_wh
        even_wh = size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = temporaries.new_file(self.path, suffix=".mp4")
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        try:
            self._encoder = self._opened(self._temporary.path, even_wh)
        except OSError as error:
            self._temporary.discard()
            raise ImageError(self._incomplete(error)) from None

    def _opened(self, path: Path, even_wh: tuple[int, int]) -> Encoder:
        if uses_pyav(self._settings):
            from arcface_paddle.video.encoders.pyav_encoder import PyAvEncoder

            return PyAvEncoder(path, fps=self.fps, size_wh=even_wh, sound=self._sound_of_first_frame())
        return opencv_encoder.OpenCvEncoder(path, fps=self.fps, size_wh=even_wh)

    def _sound_of_first_frame(self) -> Optional[SoundSource]:
        if self._sound is None or self._first_s is None:
            return None
        return SoundSource(self._sound.path, self._sound.start_s + self._first_s)
