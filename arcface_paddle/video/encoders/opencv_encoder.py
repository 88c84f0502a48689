"""An .mp4 of MPEG-4 part 2 by OpenCV: every build can write it, players play it and browsers do not. No sound."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np

from arcface_paddle.video.encoders.base import Ending
from arcface_paddle.video.sources.opencv_video import open_capture, quiet_ffmpeg

_CODEC = int.from_bytes(b"mp4v", "little")


class OpenCvEncoder:
    """See ``base.Encoder``. Frames are as far apart as the rate says, whatever their times are."""

    def __init__(self, path: Path, *, fps: float, size_wh: tuple[int, int]) -> None:
        """Begin a file.

        Raises:
            OSError: it cannot be opened, or the size cannot be written.
        """
        quiet_ffmpeg()
        self.problem = ""
        self._writer = cv2.VideoWriter(str(path), _CODEC, fps, size_wh)
        if not self._writer.isOpened():
            with contextlib.suppress(OSError):  # FFmpeg removes the file itself if not even a header fits on the disk
                path.unlink()
            raise OSError(
                f"OpenCV cannot write an .mp4 of {size_wh[0]}x{size_wh[1]} at {fps:g} fps, or the disk is full"
            )

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append a frame. OpenCV says nothing when a disk is full."""
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self, ending: Ending) -> None:
        """Complete the file."""
        self._writer.release()


def count_frames(path: Path) -> int:
    """See ``base.FrameCounter``.

    An .mp4 has its table of frames at the end; where the disk was full, it is missing and nothing can be opened, or it
    lists frames that are not there.
    """
    capture = open_capture(str(path))
    listed = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.set(cv2.CAP_PROP_POS_FRAMES, max(0, listed - 1))
    has_last, _ = capture.read()
    capture.release()
    return listed if has_last else 0
