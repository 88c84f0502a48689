"""Videos by OpenCV: the fallback where PyAV is not installed, and the way to cameras everywhere."""

from __future__ import annotations

import os
from typing import Any, Iterator, Optional, Union

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.errors import ImageError
from arcface_paddle.video.sources.base import FrameSizeError, RawFrame, StreamLostError, plausible_fps, require_size

_SILENT = 0


def home_of_log_level(opencv: Any) -> Any:
    """Return what has ``getLogLevel`` and ``setLogLevel``: the module itself in OpenCV 4, a part of it in OpenCV 5."""
    return getattr(opencv.utils, "logging", opencv)


_LOGGING = home_of_log_level(cv2)


class OpenCvVideo:
    """A file, camera or stream; see ``base.RawVideo``. Rotation is OpenCV's own."""

    def __init__(self, source: Union[int, str], *, timeout_s: Optional[float] = None) -> None:
        """Open it.

        Args:
            source: path, address, or number of a camera.
            timeout_s: of a stream, for opening and for each frame; None for a file.

        Raises:
            OSError: it cannot be opened.
        """
        quiet_ffmpeg()
        self.frames_damaged = 0
        self.is_counted = True  # it does not tell a count from an estimate
        self._is_live = timeout_s is not None or isinstance(source, int)
        self._capture = open_capture(source, timeout_s=timeout_s)
        if not self._capture.isOpened():
            self._capture.release()
            raise OSError("OpenCV cannot open it")
        try:
            require_size(*self._size())
        except FrameSizeError:
            self._capture.release()
            raise
        self.fps = plausible_fps(float(self._capture.get(cv2.CAP_PROP_FPS)))
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count: Optional[int] = count if count > 0 and not isinstance(source, int) else None
        self.duration_s = None if self.frame_count is None else self.frame_count / self.fps

    def frames(self, start_s: float) -> Iterator[RawFrame]:
        """Give the frames, from somewhere at or before ``start_s`` on."""
        if start_s > 0 and not self._is_live:
            self._capture.set(cv2.CAP_PROP_POS_MSEC, start_s * 1000)
        number = 0
        while self._capture.grab():
            position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            known = position_s > 0 or (number == 0 and start_s == 0)
            yield RawFrame(position_s if known else None, self._pixels)
            number += 1
        if self._is_live:
            raise StreamLostError("no more frames come")

    def close(self) -> None:
        """Free the source."""
        self._capture.release()

    def _size(self) -> tuple[int, int]:
        width, height = (self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return int(width), int(height)

    def _pixels(self) -> np.ndarray:
        """Return the pixels of the frame that was grabbed. Raises ``ImageError`` when it cannot be turned into any."""
        try:
            require_size(*self._size())  # which may change in the middle
        except FrameSizeError as error:
            raise ImageError(str(error)) from None
        given, bgr = self._capture.retrieve()
        if not given:
            raise ImageError("the frame cannot be decoded")
        return images.from_array(bgr, color_order="BGR")


def open_capture(source: Union[int, str], *, timeout_s: Optional[float] = None) -> cv2.VideoCapture:
    """Open a source without OpenCV's own warnings: what fails is said once, by us."""
    level = _LOGGING.getLogLevel()
    _LOGGING.setLogLevel(_SILENT)
    try:
        if timeout_s is None or isinstance(source, int):
            return cv2.VideoCapture(source)
        timeout_ms = round(timeout_s * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    finally:
        _LOGGING.setLogLevel(level)


def quiet_ffmpeg() -> None:
    """Keep FFmpeg's complaints from standing beside ours; it looks at the variable once, at its first use."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
