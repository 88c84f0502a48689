"""The contract of an engine that reads: frames as they come, before any are left out or turned into pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, Optional, Protocol

import numpy as np

FALLBACK_FPS = 25.0
MOST_PIXELS = 40_000_000
"""Of a frame: 8K has 35 million (8192 x 4320). A GIF of 470 bytes can claim a billion."""
_PLAUSIBLE_FPS = (0.1, 1000.0)


@dataclass(frozen=True, eq=False)
class RawFrame:
    """A frame whose pixels are made when they are wanted.

    Attributes:
        time_s: seconds since the beginning of the video, or since this connection's first frame; None when the source
            does not say.
        image: gives (H, W, 3) uint8 RGB, upright; to be called before the next frame is asked for.
    """

    time_s: Optional[float]
    image: Callable[[], np.ndarray]


class RawVideo(Protocol):
    """An open video, camera or stream.

    Attributes:
        fps: frames a second on average; ``FALLBACK_FPS`` when the source does not say.
        frame_count: as far as the source says, or as its duration lets expect.
        is_counted: whether the source says how many frames there are.
        duration_s: likewise; None for what has no end.
        frames_damaged: how many could not be decoded so far and are missing.
    """

    fps: float
    frame_count: Optional[int]
    is_counted: bool
    duration_s: Optional[float]
    frames_damaged: int

    def frames(self, start_s: float) -> Iterator[RawFrame]:
        """Give the frames, from somewhere at or before ``start_s`` on.

        Raises:
            StreamLostError: the connection broke or stalled; only of cameras and streams.
        """

    def close(self) -> None:
        """Free the source."""


class FrameSizeError(OSError):
    """Frames that would fill the memory; its text says how large they are."""


class StreamLostError(Exception):
    """A camera or stream gives no more frames for now; its text says why."""


def require_size(width: int, height: int) -> None:
    """Raise ``FrameSizeError`` for frames that would fill the memory."""
    if width * height > MOST_PIXELS:
        raise FrameSizeError(f"its frames have {width} x {height} pixels; allowed: {MOST_PIXELS:,}")


def plausible_fps(fps: float) -> float:
    """Return a rate that a video can have: the one given, or ``FALLBACK_FPS``."""
    return fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else FALLBACK_FPS
