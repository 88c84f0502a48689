"""A frame, as every reader gives it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        index: from 0.
        time_s: seconds since the beginning.
        image: (H, W, 3) uint8 RGB.
    """

    index: int
    time_s: float
    image: np.ndarray
