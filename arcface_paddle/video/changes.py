"""What the tracker says: faces of frames, what happens to tracks, and tracks that have ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional

from arcface_paddle.types import Candidate, Detection
from arcface_paddle.video.identity import Claim
from arcface_paddle.video.looking import Seen
from arcface_paddle.video.tracks import Track

ENTERED, NAMED, UNKNOWN_PERSON, JOINED, LEFT = "entered", "named", "unknown person", "joined", "left"
KINDS = (ENTERED, NAMED, UNKNOWN_PERSON, JOINED, LEFT)
"""What happens to tracks."""

_NOBODY_LOOKS, _NOBODY_S = 3, 1.0  # after which a track without a name is said to be a stranger


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face of a frame that has a track.

    Attributes:
        track: number of the track.
        detection: where it is.
        name: the person; None for nobody.
        similarity: fused, to that person or the best one, -1 to 1; None if the gallery was not asked.
        candidates: the best persons with fused similarities, most similar first.
        seen: what the look in this frame found; None if none was taken.
        quality: by its circumstances, 0 to 1; None where it was not measured in this frame.
    """

    track: int
    detection: Detection
    name: Optional[str]
    similarity: Optional[float]
    candidates: tuple[Candidate, ...]
    seen: Optional[Seen] = None
    quality: Optional[float] = None


@dataclass(frozen=True)
class Change:
    """Something that happened to a track.

    Attributes:
        kind: one of ``KINDS``.
        track: its number.
        time_s: when, in seconds of the video; for ``left``, when it was last seen.
        name: the person, None for nobody.
        similarity: fused, to that person or the best one, -1 to 1; None if the gallery was not asked.
        before: for ``named``, the name before; else None.
        was: for ``joined``, the number under which the face went until now; else None.
    """

    kind: str
    track: int
    time_s: float
    name: Optional[str] = None
    similarity: Optional[float] = None
    before: Optional[str] = None
    was: Optional[int] = None


@dataclass(frozen=True, eq=False)
class ClosedTrack:
    """A track after its end.

    Attributes:
        number: its number.
        claim: what it may be called.
        similarity: to the best person, -1 to 1; None if the gallery was not asked.
        first_s, last_s: when it was first and last seen, in seconds of the video.
        appearances: in how many frames.
        looks: how often it was embedded.
        is_confirmed: see ``Track``.
        seen_with: in how many frames another track was there, too, by its number.
        spans: from when to when it was in sight, seconds of the video.
    """

    number: int
    claim: Claim
    similarity: Optional[float]
    first_s: float
    last_s: float
    appearances: int
    looks: int
    is_confirmed: bool
    seen_with: Mapping[int, int]
    spans: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, track: Track, claim: Claim) -> ClosedTrack:
        """Take down what is to be remembered of a track."""
        return cls(
            number=track.number, claim=claim, similarity=track.similarity, first_s=track.first_s,
            last_s=track.last_s, appearances=track.appearances, looks=track.looks,
            is_confirmed=track.is_confirmed, seen_with=dict(track.seen_with), spans=tuple(track.spans),
        )  # fmt: skip


class ChangeLog:
    """Writes down what happens to tracks, each thing once.

    Attributes:
        changes: since the list was last emptied, in order.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._told: set[tuple[str, int]] = set()

    def decided(self, track: Track, time_s: float, *, before: Optional[str]) -> None:
        """Note what a decision about the name of a track, which was ``before`` until now, brings."""
        if not track.is_confirmed:
            return
        was_told = (ENTERED, track.number) in self._told
        if not was_told:
            self._tell_once(Change(ENTERED, track.number, track.first_s, track.name, track.similarity))
        if track.name is not None and (track.name != before or not was_told):
            former = before if was_told else None
            self.changes.append(Change(NAMED, track.number, time_s, track.name, track.similarity, before=former))
        asked = bool(track.candidates) and track.looks >= _NOBODY_LOOKS and time_s - track.first_s >= _NOBODY_S
        if track.name is None and asked:
            self._tell_once(Change(UNKNOWN_PERSON, track.number, time_s, None, track.similarity))

    def joined(self, track: Track, time_s: float, *, was: int) -> None:
        """Note that the face of track number ``was`` is that of an earlier one."""
        self.changes.append(Change(JOINED, track.number, time_s, track.name, track.similarity, was=was))

    def left(self, track: Track) -> None:
        """Note the end of a track; nothing of one that was never said to have entered."""
        if (ENTERED, track.number) in self._told:
            self._told -= {(ENTERED, track.number), (UNKNOWN_PERSON, track.number)}
            self.changes.append(Change(LEFT, track.number, track.last_s, track.name, track.similarity))

    def _tell_once(self, change: Change) -> None:
        if (change.kind, change.track) not in self._told:
            self._told.add((change.kind, change.track))
            self.changes.append(change)
