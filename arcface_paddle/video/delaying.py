"""Frames that wait a moment before they are told of: a face named a second later has its name from the start."""

from __future__ import annotations

from collections import deque
from typing import Iterator

from arcface_paddle.types import ImageResult
from arcface_paddle.video.frames import VideoFrame

_MOST_BYTES = 256 << 20
"""Of waiting frames, 1.5 s in full HD; in 4K the delay is shorter."""


class Delay:
    """A line of frames and their results, bounded in time and memory."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[tuple[VideoFrame, ImageResult]] = deque()
        self._bytes = 0

    def put(self, frame: VideoFrame, result: ImageResult) -> Iterator[tuple[VideoFrame, ImageResult]]:
        """Take the newest frame, and give those that have waited for long enough, in order."""
        self._waiting.append((frame, result))
        self._bytes += frame.image.nbytes
        while self._waiting and (self._is_due(frame.time_s) or self._bytes > _MOST_BYTES):
            yield self._next()

    def rest(self) -> Iterator[tuple[VideoFrame, ImageResult]]:
        """Give all that are left: the video is over."""
        while self._waiting:
            yield self._next()

    def _is_due(self, now_s: float) -> bool:
        return now_s - self._waiting[0][0].time_s >= self._seconds

    def _next(self) -> tuple[VideoFrame, ImageResult]:
        frame, result = self._waiting.popleft()
        self._bytes -= frame.image.nbytes
        return frame, result
