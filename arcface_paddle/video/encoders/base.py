"""The contract of an engine that writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol

import numpy as np


@dataclass(frozen=True)
class Ending:
    """How a video ends.

    Attributes:
        source_ended: whether the frames are all that the source has, so that its sound is kept to the end.
        end_s: when the last frame gives way, seconds after the first; None for one frame's time after it.
    """

    source_ended: bool = False
    end_s: Optional[float] = None


class Encoder(Protocol):
    """An .mp4 that is being written; frames have the size that it was opened with, both sides even.

    All methods raise ``OSError`` when the file cannot be written.

    Attributes:
        problem: what went wrong beside the frames, such as with the sound; empty if nothing did.
    """

    problem: str

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append (H, W, 3) uint8 RGB, shown from ``time_s`` on, seconds after the first frame."""

    def close(self, ending: Ending) -> None:
        """Complete the file."""


class FrameCounter(Protocol):
    """Tells of a finished file how many frames it lists whose last can be read; 0 for one that cannot be opened."""

    def __call__(self, path: Path) -> int: ...
