"""Cuts between two shots of a camera, after which no face goes on where it was."""

from __future__ import annotations

from collections import deque
from typing import Optional

import cv2
import numpy as np

from arcface_paddle.pipeline.detection.scanning import shrink

_THUMB_WH = (48, 27)
_HALVED_WH = (192, 108)  # on the way there: averaging 720p by area at once takes ten times as long
_REMEMBERED = 25  # differences of frames that say how much this camera moves
_CHANGE = 0.08  # mean difference of grey values, 0 to 1, that a cut has at least
_TIMES = 4.0  # of the usual difference of this film
_MOVED_PIXELS = 0.35  # share of the thumbnail that differs: somebody who walks past a camera covers less
_DIFFERS = 0.06


class CutDetector:
    """Compares thumbnails of successive frames."""

    def __init__(self) -> None:
        self._before: Optional[np.ndarray] = None
        self._usual: deque[float] = deque(maxlen=_REMEMBERED)

    def is_cut(self, image: np.ndarray) -> bool:
        """Tell whether (H, W, 3) uint8 RGB begins a new shot; to be asked for every frame, in order."""
        halved = shrink(image, _HALVED_WH)
        small = cv2.cvtColor(cv2.resize(halved, _THUMB_WH, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        now = small.astype(np.float32) / 255
        before, self._before = self._before, now
        if before is None:
            return False
        difference = np.abs(now - before)
        change = float(difference.mean())
        usual = float(np.median(self._usual)) if self._usual else 0.0
        cut = change > max(_CHANGE, _TIMES * usual) and float((difference > _DIFFERS).mean()) > _MOVED_PIXELS
        self._usual.append(min(change, _CHANGE) if cut else change)
        return cut
