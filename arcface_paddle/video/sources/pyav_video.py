"""Videos by PyAV, which is FFmpeg: true time stamps, rotation, every container and codec that FFmpeg reads."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any, Iterator, Optional

import numpy as np

from arcface_paddle.errors import ImageError, MissingDependencyError
from arcface_paddle.pipeline.video_names import is_stream
from arcface_paddle.video.sources.base import (
    MOST_PIXELS,
    FrameSizeError,
    RawFrame,
    StreamLostError,
    plausible_fps,
    require_size,
)

if TYPE_CHECKING:
    import av

_WITHOUT_TIMES = frozenset({"mpjpeg", "mjpeg"})  # FFmpeg counts 25 a second, however fast such a camera's pictures come
_LIVE_OPTIONS = {
    "rtsp_transport": "tcp",  # over UDP a lost packet tears several frames
    "analyzeduration": "2000000",  # microseconds, at most, until a stream that is back shows its first frame
}


class PyAvVideo:
    """A file or stream; see ``base.RawVideo``."""

    def __init__(self, source: str, *, timeout_s: Optional[float] = None) -> None:
        """Open it.

        Args:
            source: path or address.
            timeout_s: of a stream, for opening and for each packet; None for a file.

        Raises:
            OSError: it cannot be opened, or holds no moving pictures.
        """
        av = require_av()
        self.frames_damaged = 0
        self._av = av
        self._is_live = timeout_s is not None
        options = {name: value for name, value in _LIVE_OPTIONS.items() if self._is_live and _knows(source, name)}
        self._container = _opened(source, options=options, timeout_s=timeout_s)
        if not self._container.streams.video:
            self._container.close()
            raise OSError("it holds no moving pictures")
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:  # PyAV before 18.1 ends the process at the first packet
            self._container.close()
            raise OSError("its pictures are in a codec that FFmpeg does not know")
        self._bound_frames()
        self._stream.thread_type = "SLICE" if self._is_live else "AUTO"  # threads by frames would hold some back
        self.fps = plausible_fps(float(self._stream.average_rate or self._stream.guessed_rate or 0))
        self.duration_s = self._duration_s()
        self.frame_count = self._frame_count()
        self.is_counted = self._stream.frames > 0
        self._to_rgb = av.video.reformatter.VideoReformatter()  # one for all frames: each keeps megabytes
        self._has_times = self._container.format.name not in _WITHOUT_TIMES

    def _bound_frames(self) -> None:
        """Refuse frames that are too large, by the head of the file and, where their size changes, in the middle."""
        decoder = self._stream.codec_context
        try:
            require_size(decoder.width, decoder.height)
        except FrameSizeError:
            self._container.close()
            raise
        decoder.options = {"max_pixels": str(MOST_PIXELS)}

    def frames(self, start_s: float) -> Iterator[RawFrame]:
        """Give the frames, from the last key frame at or before ``start_s`` on."""
        begins = self._begins()
        if start_s > 0 and self.duration_s is not None:
            offset = round((start_s + float((begins or 0) * self._stream.time_base)) / self._stream.time_base)
            self._container.seek(offset, stream=self._stream, backward=True)
        for frame in self._decoded():
            begins = frame.pts if begins is None else begins
            yield RawFrame(self._time_s(frame, begins), functools.partial(self._upright, frame))

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        """Return the pixels (H, W, 3) uint8 RGB, turned as the file says they are to be shown.

        Raises:
            ImageError: FFmpeg cannot turn the frame into any.
        """
        try:
            image = self._to_rgb.reformat(frame, format="rgb24").to_ndarray()
        except self._av.FFmpegError as error:  # a damaged head can promise colours that do not exist
            raise ImageError(f"the frame cannot be turned into pixels: {reason_of(error)}") from None
        quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as those of numpy
        return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image

    def close(self) -> None:
        """Free the source."""
        self._container.close()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Decode packet after packet; one that is damaged costs its frame and not the rest."""
        av, packets = self._av, self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.FFmpegError as error:  # a file that was cut off, a connection that broke or stalled
                if self._is_live and self.duration_s is None:
                    raise StreamLostError(reason_of(error)) from None
                break
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self.frames_damaged += 1
        if self._is_live and self.duration_s is None:
            raise StreamLostError("the other side closed it")

    def _time_s(self, frame: av.VideoFrame, begins: Optional[int]) -> Optional[float]:
        if not self._has_times or frame.pts is None or begins is None or not frame.time_base:
            return None
        return float((frame.pts - begins) * frame.time_base)

    def _begins(self) -> Optional[int]:
        """Return the time stamp at which the video begins; None when only its first frame says it."""
        return self._stream.start_time

    def _duration_s(self) -> Optional[float]:
        if self._stream.duration is not None and self._stream.duration > 0:
            return float(self._stream.duration * self._stream.time_base)
        duration = self._container.duration
        return duration / self._av.time_base if duration is not None and duration > 0 else None

    def _frame_count(self) -> Optional[int]:
        if self._stream.frames > 0:
            return int(self._stream.frames)
        return None if self.duration_s is None else max(1, round(self.duration_s * self.fps))


def require_av() -> Any:
    """Import PyAV. Raises ``MissingDependencyError`` where it is not installed."""
    try:
        import av
    except ImportError:
        raise MissingDependencyError("av", extra="video", purpose="the video engine pyav") from None
    return av


def is_installed() -> bool:
    """Tell whether PyAV is there, without importing it."""
    return importlib.util.find_spec("av") is not None


def reason_of(error: Any) -> str:
    """Return what FFmpeg says about an error of PyAV, in words."""
    return str(error.strerror or error)


def _opened(source: str, *, options: dict[str, str], timeout_s: Optional[float]) -> Any:
    av = require_av()
    try:
        return av.open(ffmpeg_name(source), options=options, timeout=timeout_s, **lenient())
    except av.FFmpegError as error:
        raise OSError(reason_of(error)) from None


def ffmpeg_name(source: str) -> str:
    """Return what FFmpeg calls a path or an address: by "file:" it reads no more into a name such as "concat:x"."""
    return source if is_stream(source) else f"file:{source}"


def lenient() -> dict[str, Any]:
    """Return what keeps a title in an old encoding from being an error; PyAV 19 knows no such option and needs none."""
    return {"metadata_errors": "replace"} if int(require_av().__version__.partition(".")[0]) < 19 else {}


def _knows(source: str, option: str) -> bool:
    return option != "rtsp_transport" or source.lower().startswith("rtsp")
