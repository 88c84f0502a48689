"""The best view of every track: the moment in which its face was seen best, and the crop of it where that is wanted."""

from __future__ import annotations

import numpy as np

from arcface_paddle import images
from arcface_paddle.pipeline.outputs import crop_with_margin
from arcface_paddle.types import Face
from arcface_paddle.video.changes import Sighting
from arcface_paddle.video.timeline import BestView

CROP_SIDE = 224
"""Longest side in pixels of the crops that are kept, encoded: a camera may run for days."""

_CROP_QUALITY = 90


class BestViews:
    """The best views so far, by the number of the track."""

    def __init__(self, *, keep_crops: bool) -> None:
        """Begin with none; crops are kept with them if ``keep_crops``."""
        self._keep_crops = keep_crops
        self._views: dict[int, BestView] = {}
        self._merits: dict[int, float] = {}

    def of(self, track: int) -> BestView:
        """Return the best view of a track that was offered at least once."""
        return self._views[track]

    def offer(self, image: np.ndarray, time_s: float, sighting: Sighting) -> None:
        """Keep the view of a face in a frame, (H, W, 3) uint8 RGB, if it is the best one of its track."""
        number, merit = sighting.track, _merit(sighting)
        if merit <= self._merits.get(number, -1.0):
            return
        crop = None
        if self._keep_crops:
            picture = crop_with_margin(image, Face(sighting.detection))
            if not picture.size:
                return
            small = images.shrink(picture, longest_side=CROP_SIDE)
            crop = images.encode_image(small, suffix=".jpg", quality=_CROP_QUALITY)
        quality = sighting.quality if sighting.seen is None else sighting.seen.quality
        self._merits[number] = merit
        self._views[number] = BestView(time_s, quality, np.array(sighting.detection.box_xyxy), crop)

    def join(self, track: int, *, was: int) -> None:
        """Give a track the view of another one that turned out to be the same, if it is the better one."""
        view, merit = self._views.pop(was, None), self._merits.pop(was, -1.0)
        if view is not None and merit > self._merits.get(track, -1.0):
            self._views[track], self._merits[track] = view, merit


def _merit(sighting: Sighting) -> float:
    """Return how good a view is: 1 to 2 where its quality was measured, below 1 by its size where it was not."""
    if sighting.seen is not None:
        return 1 + sighting.seen.quality
    if sighting.quality is not None:
        return 1 + 0.9 * sighting.quality  # by circumstances only, which are the kinder judges
    left, top, right, bottom = (float(edge) for edge in sighting.detection.box_xyxy)
    area = max(right - left, 0.0) * max(bottom - top, 0.0)
    return sighting.detection.score * area / (area + 1e4)  # below any that was judged
