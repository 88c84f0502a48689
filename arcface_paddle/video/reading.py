"""RGB frames from files, cameras and network streams; OpenCV's BGR ends here."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Optional

import cv2

from arcface_paddle import images
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.video_names import is_camera, is_stream
from arcface_paddle.video.frames import VideoFrame
from arcface_paddle.video.opencv import open_capture, quiet_ffmpeg

_FALLBACK_FPS = 25.0
_PLAUSIBLE_FPS = (0.1, 1000.0)
_COMPLETE = 0.9  # containers only estimate their number of frames


class VideoReader:
    """Frames of a video file, camera or stream, in RGB; a context manager that frees the source.

    Attributes:
        source: as given.
        is_live: a camera or stream, which ends when the user ends it.
        fps: frames per second; 25 when the source does not say.
        frame_count: as the container says, or None.
        frames_read: so far.
    """

    def __init__(self, source: str) -> None:
        """Open ``source``: a path, the number of a camera, or an rtsp/rtmp/http address.

        Raises:
            ImageError: no such file, or nothing that OpenCV can play.
        """
        self.source = source
        self.is_live = is_camera(source) or is_stream(source)
        self.frames_read = 0
        self._stopped = False
        quiet_ffmpeg()
        if not self.is_live and not Path(source).is_file():
            raise ImageError(f"{source}: no such file")
        self._capture = open_capture(int(source) if is_camera(source) else source)
        if not self._capture.isOpened():
            raise ImageError(f"{source}: {self._why_not_open()}")
        self.fps = self._plausible_fps()
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count: Optional[int] = count if count > 0 and not self.is_live else None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the file or camera."""
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Give the frames one after the other; a second iteration goes on where the first stopped."""
        while not self._stopped:
            ok, bgr = self._capture.read()
            if not ok or bgr is None:
                return
            position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            index, self.frames_read = self.frames_read, self.frames_read + 1
            time_s = position_s if position_s > 0 else index / self.fps
            yield VideoFrame(index, time_s, images.from_array(bgr, color_order="BGR"))

    def stop(self) -> None:
        """Let a running iteration end soon; any thread may call it."""
        self._stopped = True

    @property
    def duration_s(self) -> Optional[float]:
        """Seconds of the video, as the container says."""
        return None if self.frame_count is None else self.frame_count / self.fps

    @property
    def ended_early(self) -> bool:
        """Whether the frames ran out well before the number that the container promises: a damaged file."""
        return self.frame_count is not None and self.frames_read < _COMPLETE * self.frame_count

    def _plausible_fps(self) -> float:
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        return fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else _FALLBACK_FPS

    def _why_not_open(self) -> str:
        if is_camera(self.source):
            return "no such camera, or another program is using it"
        if is_stream(self.source):
            return "the stream cannot be opened; check address, network and password"
        return "not a video that can be played, or damaged"
