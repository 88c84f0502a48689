"""What may be chosen about tracks before anything is loaded; nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from arcface_paddle.errors import ConfigError
from arcface_paddle.files import PathLike

MOST_SEARCH_S = 1.0
"""Later than that nobody is where they were expected."""


@dataclass(frozen=True)
class TrackSettings:
    """How faces of a video become tracks, and tracks become people.

    Attributes:
        unique: one person at most once in a frame; off for mirrors, screens, and twins under one name.
        keep_s: seconds for which a face that is out of sight keeps its track; after them it has left.
        weak_share: boxes with a score between this share of the detector's threshold and the threshold go on with a
            track, and begin none.
        look_share: faces that are embedded, as a share of all faces in all frames; the first look at a new face is
            always taken. Where frames are more than a fifth of a second apart, it grows with their distance.
        search_s: seconds of a file between two searches of a whole frame. In the frames before and after, faces are
            followed from one to the next, so that somebody who comes is found up to half of it late; 0 searches every
            frame, as is done with cameras and streams.
    """

    unique: bool = True
    keep_s: float = 10.0
    weak_share: float = 0.5
    look_share: float = 0.2
    search_s: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.keep_s <= 3600:
            raise ConfigError(f"a face keeps its track for {self.keep_s} s out of sight; allowed: above 0, to 3600")
        if not 0 < self.weak_share <= 1:
            raise ConfigError(f"weak_share is {self.weak_share}; allowed: above 0, at most 1")
        if not 0 < self.look_share <= 1:
            raise ConfigError(f"look_share is {self.look_share}; allowed: above 0, at most 1")
        if not 0 <= self.search_s <= MOST_SEARCH_S:
            raise ConfigError(f"frames are searched every {self.search_s} s; allowed: 0 to {MOST_SEARCH_S:g}")


USUAL_TRACKS = TrackSettings()
"""What holds when the user says nothing."""


@dataclass(frozen=True)
class TrackOutputs:
    """What is to be written about tracks; None for nothing.

    Attributes:
        timeline: file of one entry per track, CSV if its name ends in .csv, else JSON.
        attendance: file of one entry per person, likewise.
        crops: folder for the best crop of every track.
        sheet: HTML page of the tracks.
        events: file of JSON lines, written while the video runs.
        webhook: http(s) address to which events are sent.
    """

    timeline: Optional[PathLike] = None
    attendance: Optional[PathLike] = None
    crops: Optional[PathLike] = None
    sheet: Optional[PathLike] = None
    events: Optional[PathLike] = None
    webhook: Optional[str] = None

    @property
    def needs_crops(self) -> bool:
        """Whether the best crop of every track has to be kept."""
        return self.crops is not None or self.sheet is not None
