"""The contract of an engine that writes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np


class Encoder(Protocol):
    """An .mp4 that is being written; frames have the size that it was opened with, both sides even.

    All methods raise ``OSError`` when the file cannot be written.

    Attributes:
        problem: what went wrong beside the frames, such as with the sound; empty if nothing did.
    """

    problem: str

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append (H, W, 3) uint8 RGB, shown from ``time_s`` on, seconds after the first frame."""

    def close(self, *, source_ended: bool) -> None:
        """Complete the file; with ``source_ended``, the sound is kept to its end."""


class FrameCounter(Protocol):
    """Tells of a finished file how many frames it lists whose last can be read; 0 for one that cannot be opened."""

    def __call__(self, path: Path) -> int: ...
