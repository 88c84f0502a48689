"""What is known of the frame that the tracker is taking in; its steps read and fill it one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.types import Detection
from arcface_paddle.video.looking import Seen
from arcface_paddle.video.tracks import Track


@dataclass(eq=False)
class FrameState:
    """One frame. What is known of a detection is found by its index.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        time_s: seconds of the video.
        detections: faces and weak boxes, largest first.
        found: the track of each detection that has one.
        seen: what looks at detections have found.
        qualities: 0 to 1, by the circumstances, where they were measured.
        crowded: numbers of the tracks that have a neighbour in sight.
    """

    image: np.ndarray
    time_s: float
    detections: Sequence[Detection]
    found: dict[int, Track] = field(default_factory=dict)
    seen: dict[int, Seen] = field(default_factory=dict)
    qualities: dict[int, float] = field(default_factory=dict)
    crowded: set[int] = field(default_factory=set)

    def index_of(self, track: Track) -> Optional[int]:
        """Return the index of the detection of a track; None if it is not in sight."""
        return next((index for index, one in self.found.items() if one is track), None)

    def numbers(self) -> set[int]:
        """Return the numbers of the tracks in sight."""
        return {track.number for track in self.found.values()}

    def note_company(self) -> None:
        """Count this frame for every two tracks that are in sight together."""
        numbers = self.numbers()
        for track in self.found.values():
            track.seen_with.update(numbers - {track.number})
