"""An .mp4 that browsers play, by PyAV: H.264 in yuv420p, its table in front, frames at their times, and the sound."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any, Iterator, Optional

import cv2
import numpy as np

from arcface_paddle.video.encoders.base import Ending
from arcface_paddle.video.encoders.sound import Sound, SoundSource
from arcface_paddle.video.sources.pyav_video import reason_of, require_av

_CODECS = {
    # Half the CPU time of "medium" for 10 % more bytes; at 20, boxes and names show no traces of compression. With
    # frames out of order (B), an .mp4 of a variable rate would end up to two frames before its last.
    "libx264": {"preset": "veryfast", "crf": "20", "bf": "0"},
    "libopenh264": {},  # of builds of FFmpeg without x264
    "mpeg4": {"qscale": "3"},  # browsers do not play it
}
_TICKS = 90_000  # a second: those of MPEG; 23.976, 29.97 and 50 fps are whole numbers of them, nearly or exactly
_MATRIX_601, _LIMITED_RANGE = 6, 1  # of OpenCV's conversion; players take 720p and larger for BT.709 if nothing is said


class PyAvEncoder:
    """See ``base.Encoder``."""

    def __init__(
        self, path: Path, *, fps: float, size_wh: tuple[int, int], sound: Optional[SoundSource] = None
    ) -> None:
        """Begin a file, with the sound of another if there is any.

        Raises:
            OSError: it cannot be opened, or the size cannot be written.
        """
        av = require_av()
        self.problem = ""
        self._av = av
        self._last_tick = -1
        self._frame_ticks = max(1, round(_TICKS / fps))
        self._is_broken = False
        self._held: Any = None
        self._sound: Optional[Sound] = None
        with self._told():
            self._container = av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"})
            self._stream = _video_stream(self._container, fps=fps, size_wh=size_wh)
            self._sound = None if sound is None else Sound(sound, self._container)
            self._container.start_encoding()

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append a frame; two of one time are shown one tick apart."""
        yuv = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        frame = self._av.VideoFrame.from_ndarray(yuv, format="yuv420p")
        self._last_tick = max(self._last_tick + 1, round(time_s * _TICKS))
        frame.pts, frame.time_base = self._last_tick, Fraction(1, _TICKS)
        self._encode(frame)
        if self._sound is not None:
            self._sound.copy_until(time_s)

    def close(self, ending: Ending) -> None:
        """Complete the file; nothing is added to one whose writing has failed."""
        with self._told():
            try:
                if not self._is_broken:
                    self._complete(ending)
            finally:
                self._container.close()

    def _complete(self, ending: Ending) -> None:
        self._encode(None)
        if self._held is not None:
            end = self._last_tick + self._frame_ticks if ending.end_s is None else round(ending.end_s * _TICKS)
            self._held.duration = end - self._last_tick if end > self._last_tick else self._frame_ticks
            self._container.mux(self._held)
        if self._sound is not None:
            end_s = float("inf") if ending.source_ended else (self._last_tick + self._frame_ticks) / _TICKS
            self._sound.copy_until(end_s)
            self._sound.close()
            self.problem = self._sound.problem

    def _encode(self, frame: Any) -> None:
        """Encode a frame, None for those held back; the last packet waits for its duration to be known."""
        with self._told():
            for packet in self._stream.encode(frame):
                if self._held is not None:
                    self._container.mux(self._held)
                self._held = packet

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn FFmpeg's errors into ``OSError``, and remember them: a container that failed must not be written to."""
        try:
            yield
        except self._av.FFmpegError as error:
            self._is_broken = True
            raise OSError(reason_of(error)) from None


def _video_stream(container: Any, *, fps: float, size_wh: tuple[int, int]) -> Any:
    """Add a stream by the best codec that this build of FFmpeg has."""
    av = require_av()
    name = next(name for name in _CODECS if name in av.codecs_available)
    stream = container.add_stream(name, rate=Fraction(fps).limit_denominator(1001), options=dict(_CODECS[name]))
    stream.width, stream.height = size_wh
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
    stream.codec_context.colorspace = _MATRIX_601
    stream.codec_context.color_range = _LIMITED_RANGE
    return stream


def count_frames(path: Path) -> int:
    """See ``base.FrameCounter``."""
    av = require_av()
    try:
        with av.open(f"file:{path}") as container:
            stream = container.streams.video[0]
            listed = int(stream.frames)
            if stream.duration:
                container.seek(int(stream.duration), stream=stream, backward=True)
            has_last = any(True for _ in container.decode(stream))
            return listed if has_last else 0
    except (av.FFmpegError, IndexError):
        return 0
