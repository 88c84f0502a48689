"""A frame, and what every source of frames has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional, Protocol

import numpy as np


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        index: from 0; of the frames that are looked at, not of those that ``--every`` leaves out.
        time_s: seconds since the beginning of the video; of a camera or stream, since it was opened.
        image: (H, W, 3) uint8 RGB.
    """

    index: int
    time_s: float
    image: np.ndarray


class FrameSource(Protocol):
    """Whoever gives frames: a file, a camera, a stream, numbered pictures.

    Attributes:
        is_live: a camera or stream, which ends when the user ends it and does not wait.
        fps: frames a second that are given, on average; 25 when the source does not say.
        frames_read: so far.
    """

    is_live: bool
    fps: float
    frames_read: int

    @property
    def frame_count(self) -> Optional[int]:
        """How many will be given, as far as the source says; None for cameras and streams."""

    @property
    def duration_s(self) -> Optional[float]:
        """Seconds from the first frame's beginning to the last one's end, as far as the source says."""

    @property
    def ended_early(self) -> bool:
        """Whether the frames ran out well before the number that the container promises: a damaged file."""

    def __iter__(self) -> Iterator[VideoFrame]:
        """Give the frames one after the other; a second iteration goes on where the first stopped."""

    def stop(self) -> None:
        """Let a running iteration end soon; any thread may call it."""

    def close(self) -> None:
        """Free the source; the thread that iterates calls it."""
