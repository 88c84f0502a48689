"""What reading and writing by OpenCV share: it is kept from saying what we say ourselves."""

from __future__ import annotations

import os
from typing import Union

import cv2


def open_capture(source: Union[int, str]) -> cv2.VideoCapture:
    """Open a source without OpenCV's own warnings: what fails is said once, by us."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(source)
    finally:
        cv2.utils.logging.setLogLevel(level)


def quiet_ffmpeg() -> None:
    """Keep FFmpeg's complaints from standing beside ours; it looks at the variable once, at its first use."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
