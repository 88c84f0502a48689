"""RGB frames from files, cameras, network streams and numbered pictures, at their true times.

An engine (``sources``) opens and decodes. Here frames are chosen (one of every N, a rate, a stretch of time), numbered,
and a camera or stream that breaks or stalls is opened again, at growing intervals, until it is back or given up.
"""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Iterator, Optional

from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.files import printable
from arcface_paddle.pipeline.video_names import is_camera, is_picture_pattern, is_stream
from arcface_paddle.video.frames import VideoFrame
from arcface_paddle.video.sources import pyav_video
from arcface_paddle.video.sources.base import FALLBACK_FPS, FrameSizeError, RawFrame, RawVideo, StreamLostError
from arcface_paddle.video.sources.opencv_video import OpenCvVideo
from arcface_paddle.video.sources.pictures import PictureSequence
from arcface_paddle.video.video_settings import AUTO, PYAV, USUAL_VIDEO, VideoSettings

_COMPLETE = 0.9  # containers only estimate their number of frames
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0  # between attempts: a stream that is back is followed within seconds
_SAME_TIME_S = 1e-4  # times are rounded in containers, to a millisecond and finer


class VideoReader:
    """Frames of a video file, camera, stream or sequence of pictures; a context manager that frees the source.

    Attributes:
        source: as given.
        is_live: a camera, or a stream without an end, which ends when the user ends it and does not wait.
        fps: frames a second that are given, on average; 25 when the source does not say.
        frame_count: how many will be given, as far as the source says.
        frames_read: so far.
        reconnections: how often a camera or stream was opened again.
        lost: why a camera or stream was given up; empty as long as it was not.
    """

    def __init__(self, source: str, *, settings: VideoSettings = USUAL_VIDEO) -> None:
        """Open ``source``: a path, the number of a camera, an rtsp/rtmp/http address, or numbered pictures.

        Raises:
            ImageError: no such file, or nothing that can be played.
            ConfigError: a stretch of time of a camera or stream.
            MissingDependencyError: the engine that is asked for is not installed.
        """
        self.source = source
        self.frames_read = 0
        self.reconnections = 0
        self.lost = ""
        self._settings = settings
        self._unreadable = 0
        self._last_s = 0.0
        self._stopped = threading.Event()
        self._raw = self._first_opened()
        self._begun_s = self._seen_s = time.monotonic()
        self._pause_s = _FIRST_PAUSE_S
        self.is_live = is_camera(source) or (is_stream(source) and self._raw.duration_s is None)
        if self.is_live and (settings.start_s > 0 or settings.end_s is not None):
            self.close()
            raise ConfigError(f"{printable(source)}: has no beginning and no end, so that nothing can be cut out of it")
        self.fps = self._raw.fps / settings.every
        if settings.fps is not None:
            self.fps = min(self._raw.fps, settings.fps)
        self._frames = self._chosen()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Give the frames one after the other; a second iteration goes on where the first stopped."""
        return self._frames

    def stop(self) -> None:
        """Let a running iteration end soon; any thread may call it."""
        self._stopped.set()

    def close(self) -> None:
        """Free the file or camera."""
        self._raw.close()

    @property
    def duration_s(self) -> Optional[float]:
        """Seconds of the video, or of the stretch that is looked at; None when the source does not say."""
        if self.is_live or self._raw.duration_s is None:
            return None
        end_s = self._raw.duration_s if self._settings.end_s is None else self._settings.end_s
        return max(0.0, min(end_s, self._raw.duration_s) - self._settings.start_s)

    @property
    def end_s(self) -> Optional[float]:
        """Second of the video at which its last frame, or that of the stretch, gives way; None likewise."""
        return None if self.duration_s is None else self._settings.start_s + self.duration_s

    @property
    def frame_count(self) -> Optional[int]:
        """How many frames will be given, as far as the source says."""
        if self.is_live or self._raw.frame_count is None:
            return None
        if self._takes_whole:
            return -(-self._raw.frame_count // self._settings.every)
        return None if self.duration_s is None else max(1, round(self.duration_s * self.fps))

    @property
    def frames_damaged(self) -> int:
        """How many frames could not be decoded so far and are missing."""
        return self._unreadable + self._raw.frames_damaged

    @property
    def ended_early(self) -> bool:
        """Whether the frames ran out well before what the container promises, number or time: a damaged file."""
        if self.frame_count is None:
            return False
        if self._raw.is_counted and self._takes_whole:
            return self.frames_read + self._unreadable < _COMPLETE * self.frame_count
        assert self.duration_s is not None, "a count is an estimate by the duration"
        return self._last_s - self._settings.start_s + 1 / self.fps < _COMPLETE * self.duration_s

    @property
    def _takes_whole(self) -> bool:
        """Whether how many frames are given follows from how many there are."""
        return self._settings.start_s == 0 and self._settings.end_s is None and self._settings.fps is None

    def _chosen(self) -> Iterator[VideoFrame]:
        """Give the frames that are wanted, numbered; the pixels of the others are never made."""
        start_s, end_s = self._settings.start_s, self._settings.end_s
        next_s = start_s
        position = itertools.count()
        for time_s, frame in self._timed():
            if time_s < start_s - _SAME_TIME_S:
                continue
            if end_s is not None and time_s >= end_s - _SAME_TIME_S:
                return
            if next(position) % self._settings.every or time_s < next_s - _SAME_TIME_S:
                continue
            if self._settings.fps is not None:
                next_s = max(next_s + 1 / self._settings.fps, time_s)  # a gap is not made up for by haste
            try:
                image = frame.image()
            except ImageError:
                self._unreadable += 1
                continue
            index, self.frames_read = self.frames_read, self.frames_read + 1
            yield VideoFrame(index, time_s, image)

    def _timed(self) -> Iterator[tuple[float, RawFrame]]:
        """Give every frame with its time, which never goes back, across connections of a stream."""
        for number in itertools.count():
            offset_s = time.monotonic() - self._begun_s if number else 0.0
            try:
                yield from self._timed_since(offset_s)
            except StreamLostError as error:
                if not self._reopened(str(error)):
                    return
            else:
                return

    def _timed_since(self, offset_s: float) -> Iterator[tuple[float, RawFrame]]:
        """Give the frames of one connection, which began ``offset_s`` seconds after the first one, with their times."""
        for count, frame in enumerate(self._raw.frames(self._settings.start_s)):
            if self._stopped.is_set():
                return
            self._seen_s, self._pause_s = time.monotonic(), _FIRST_PAUSE_S
            time_s = offset_s + self._time_of(frame, count=count, offset_s=offset_s)
            self._last_s = max(self._last_s, time_s)
            yield self._last_s, frame

    def _time_of(self, frame: RawFrame, *, count: int, offset_s: float) -> float:
        """Return seconds since the beginning of the connection."""
        if frame.time_s is not None:
            return frame.time_s
        if self.is_live:
            return time.monotonic() - self._begun_s - offset_s
        return self._settings.start_s + count / self._raw.fps

    def _reopened(self, reason: str) -> bool:
        """Open a camera or stream again as soon as it is back; False when it is given up or nobody wants more.

        One that can be opened and gives no frame is as gone as one that cannot: only a frame counts.
        """
        self._raw.close()
        while time.monotonic() - self._seen_s < self._settings.reconnect_s:
            if self._stopped.wait(self._pause_s):
                return False
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            try:
                self._raw = self._open()
            except OSError as error:
                reason = str(error)
                continue
            self.reconnections += 1
            return True
        if self._settings.reconnect_s > 0:
            self.lost = f"gone for {self._settings.reconnect_s:g} s and given up: {reason}"
        return False

    def _first_opened(self) -> RawVideo:
        source = self.source
        is_file = not (is_camera(source) or is_stream(source) or self.is_sequence)
        if is_file and not Path(source).is_file():
            raise ImageError(f"{printable(source)}: no such file")
        try:
            return self._open()
        except OSError as error:
            raise ImageError(f"{printable(source)}: {self._why_not_open(error)}") from None

    def _open(self) -> RawVideo:
        if is_camera(self.source):
            return OpenCvVideo(int(self.source))
        if self.is_sequence:
            return PictureSequence(self.source, fps=self._settings.sequence_fps or FALLBACK_FPS)
        timeout_s = self._settings.timeout_s if is_stream(self.source) else None
        if uses_pyav(self._settings):
            return pyav_video.PyAvVideo(self.source, timeout_s=timeout_s)
        return OpenCvVideo(self.source, timeout_s=timeout_s)

    @property
    def is_sequence(self) -> bool:
        """Whether the frames are pictures with numbers."""
        return is_picture_pattern(self.source) or Path(self.source).is_dir()

    def _why_not_open(self, error: OSError) -> str:
        if isinstance(error, FrameSizeError):
            return str(error)
        if is_camera(self.source):
            return "no such camera, or another program is using it"
        if is_stream(self.source):
            return f"the stream cannot be opened ({error}); check address, network and password"
        if self.is_sequence:
            return "there are no pictures of that name, such as frames/000001.png for frames/%06d.png"
        return "not a video that can be played, or damaged"


def uses_pyav(settings: VideoSettings) -> bool:
    """Tell whether PyAV reads and writes.

    Raises:
        MissingDependencyError: it is asked for by name and not installed.
    """
    if settings.engine == PYAV:
        pyav_video.require_av()
    return settings.engine == PYAV or (settings.engine == AUTO and pyav_video.is_installed())
