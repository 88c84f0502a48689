"""What a run over a video needs to know before it opens one; light, so that commands can declare flags from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from arcface_paddle.errors import ConfigError

AUTO, PYAV, OPENCV = "auto", "pyav", "opencv"
ENGINES = (AUTO, PYAV, OPENCV)
"""Who decodes and encodes: PyAV where it is installed, else OpenCV; cameras are always OpenCV's."""

_MOST_FPS = 1000.0
_MOST_BATCH = 64  # frames that are held at once
_CLOCK = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class VideoSettings:
    """Which frames of a video are looked at, and how it is read and written.

    Attributes:
        engine: one of ``ENGINES``, for reading and writing.
        every: take one frame of this many.
        fps: take at most this many frames a second; None for all.
        start_s: seconds of the video at which to begin.
        end_s: seconds of the video at which to end; None for its end.
        sequence_fps: pictures a second, of a folder or pattern of numbered pictures; None for no such source, or 25.
        timeout_s: seconds without a frame after which a camera or stream counts as stalled, and is opened again.
        frame_batch: frames whose faces go through the recogniser together; more than one pays on a GPU. On a CPU it
            gains nothing and the numbers change in the last digits, so that it is 1 unless somebody asks.
        reconnect_s: seconds for which a camera or stream that is gone is tried again; 0 ends at the first failure.
    """

    engine: str = AUTO
    every: int = 1
    fps: Optional[float] = None
    start_s: float = 0.0
    end_s: Optional[float] = None
    sequence_fps: Optional[float] = None
    frame_batch: int = 1
    timeout_s: float = 5.0
    reconnect_s: float = 60.0

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"the engine of videos is {self.engine!r}; allowed: {', '.join(ENGINES)}")
        if self.every < 1:
            raise ConfigError(f"every is {self.every}; allowed: 1 or more")
        if not 1 <= self.frame_batch <= _MOST_BATCH:
            raise ConfigError(f"the batch of frames is {self.frame_batch}; allowed: 1 to {_MOST_BATCH}")
        if self.every > 1 and self.fps is not None:
            raise ConfigError("every and fps both thin out the frames; give one")
        for name, rate in (("fps", self.fps), ("the rate of the sequence", self.sequence_fps)):
            if rate is not None and not 0 < rate <= _MOST_FPS:
                raise ConfigError(f"{name} is {rate}; allowed: above 0, at most {_MOST_FPS:.0f} frames a second")
        if self.start_s < 0 or (self.end_s is not None and self.end_s <= self.start_s):
            end = "the end" if self.end_s is None else f"{self.end_s:g} s"
            raise ConfigError(f"from {self.start_s:g} s to {end}; allowed: from 0 on, to a later time")
        if self.timeout_s <= 0 or self.reconnect_s < 0:
            raise ConfigError(
                f"timeout {self.timeout_s:g} s, reconnecting {self.reconnect_s:g} s; allowed: above 0, and 0 or more"
            )


USUAL_VIDEO = VideoSettings()
"""What holds when the user says nothing."""


def seconds_of(text: str) -> float:
    """Read a time of a video: seconds, ``mm:ss`` or ``hh:mm:ss``, with a fraction or without.

    Raises:
        ConfigError: it is none of these.

    Example:
        >>> seconds_of("90.5"), seconds_of("1:30"), seconds_of("1:02:03.5")
        (90.5, 90.0, 3723.5)
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None or (match[2] is not None and float(match[3]) >= 60):
        raise ConfigError(
            f"{text!r} is no time of a video; allowed: seconds (90.5), mm:ss (1:30) or hh:mm:ss (1:02:03)"
        )
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3])
